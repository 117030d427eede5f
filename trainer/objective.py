"""What the student learns: to guess masked patches of a band, as log spectra or as its teacher sees them.

Shape suffixes: B = bands, M = masked sequences (bands times clones), P = patches, K = patches kept, D = width,
T = time frames, R = 512 numbers of a patch (32 bins of 16 frames).
Sources: EAT's published code for teacher, taps, targets and losses; ECHO, arXiv:2508.14689, for masked bands as
independent samples. What differs, and why, is in ``docs/decisions/``.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import ObjectiveConfig
from trainer.masking import clones_within, is_masked, kept_patches
from trainer.metrics import encoder_flops
from trainer.model.decoder import GROUPS, Decoder
from trainer.model.echo import Echo

FEWEST_PATCHES = 8  # instance norm over fewer says nothing (over one it is all zeros): layer norm stands in
EPS = 1e-5
RHYTHM_FRAMES, RHYTHM_GROUPS = 16, 4
SUMMARY_DIM = 32 + RHYTHM_GROUPS * RHYTHM_FRAMES // 2  # 64
SUMMARY_UNIT = 0.3  # keeps the summary of ordinary bands within the reach of a normed CLS, whose length is about 14


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one forward pass found."""

    loss: Tensor
    parts: dict[str, Tensor]
    """Detached: each loss by name, and the collapse indicators of ``spread``."""


class Objective(nn.Module):
    """Student, decoder and, where the configuration asks for one, teacher. Everything a run trains."""

    def __init__(self, student: Echo, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config, self.student = config, student
        dim, patch = student.config.embed_dim, student.config.band_width * student.config.patch_stride_t
        outs = ({"patch": patch} if config.reconstruction else {}) | ({"teacher": dim} if config.eat else {})
        self.decoder = Decoder(dim, outs, layers=config.decoder_layers) if outs else None
        self.summary = nn.Linear(dim, SUMMARY_DIM) if config.summary else None
        self.teacher = deepcopy(student).requires_grad_(False).eval() if config.eat else None

    def forward(self, bands: Tensor, position: Tensor, bands_per_clip: float, frames: int | None = None) -> Outcome:
        """Return the loss of bands (B, 32, T), T a multiple of 16, at positions (B,); ``frames`` of T are signal."""
        config = self.config
        patches = bands.shape[-1] // self.student.config.patch_stride_t
        latest = self.student.config.spec_len // self.student.config.patch_stride_t - patches
        first = int(torch.randint(latest + 1, ()))  # short crops too learn every place of the time table
        seen = self.student.patch_tokens(bands, position, first)
        n_bands, n_patches, dim = seen.shape
        clones = clones_within(config.clone_budget, bands_per_clip)
        kept = kept_patches(n_bands * clones, n_patches, config.mask_ratio, config.mask, seen.device)
        masked = is_masked(kept, n_patches)
        index = kept[:, :, None].expand(-1, -1, dim)
        tokens = self.student.encode(
            seen.repeat_interleave(clones, 0).gather(1, index), position.repeat_interleave(clones, 0)
        )
        cls, features = tokens[:, 0], None
        if self.decoder is not None:
            features = self.decoder(tokens[:, 1:], kept, n_patches)[masked]
        total = torch.zeros((), device=bands.device)
        parts = {"masked_share": masked.float().mean()} | spread(cls.float(), "cls")
        if config.reconstruction and self.decoder is not None and features is not None:
            target = patches_of(bands, config.normalise_patches).repeat_interleave(clones, 0)[masked]
            guess = self.decoder.predict("patch", features).float()
            parts["patch_loss"] = unexplained(guess, target)
            total = total + config.reconstruction * parts["patch_loss"]
        if self.summary is not None:
            target = summary_of(bands[..., :frames]).repeat_interleave(clones, 0)
            guess = self.summary(cls).float()
            parts["summary_loss"] = functional.smooth_l1_loss(guess, target, beta=SUMMARY_UNIT) / SUMMARY_UNIT
            parts["distance_loss"] = distortion(cls.float(), target)
            total = total + config.summary * (parts["summary_loss"] + parts["distance_loss"])
            for name, part in (("mean", slice(0, bands.shape[1])), ("rhythm", slice(bands.shape[1], None))):
                parts[f"{name}_unexplained"] = unexplained(guess[:, part], target[:, part])
        if self.teacher is not None and self.decoder is not None and features is not None:
            target = self._teach(bands, position, first)
            guess = self.decoder.predict("teacher", features).float()
            parts |= self._eat(guess, cls.float(), target, masked, clones)
            total = total + config.eat * (parts["frame_loss"] + config.eat_utterance * parts["utterance_loss"])
        return Outcome(total, {name: value.detach() for name, value in parts.items()})

    def _eat(self, guess: Tensor, cls: Tensor, target: Tensor, masked: Tensor, clones: int) -> dict[str, Tensor]:
        """Return EAT's two losses, squared errors over the square root of the width."""
        scale = target.shape[-1] ** -0.5
        copies = target.repeat_interleave(clones, 0)
        frame = scale * (guess - copies[masked]).square().sum(-1).mean()
        per_sequence = scale * (cls - copies.mean(1)).square().sum(-1)
        utterance = per_sequence.sum() if self.config.cls_reduction == "sum" else per_sequence.mean()
        losses = {"frame_loss": frame, "utterance_loss": utterance}
        return losses | spread(target.flatten(0, 1), "target") | spread(guess, "guess")

    @torch.no_grad()
    def _teach(self, bands: Tensor, position: Tensor, first: int = 0) -> Tensor:
        """Return the teacher's target for every patch, shape (B, P, D), float32: its taps, normed and averaged."""
        assert self.teacher is not None
        taps = self.teacher.taps(self.teacher.patch_tokens(bands, position, first), position, self.config.target_tap)
        total = torch.zeros_like(taps[0], dtype=torch.float32)
        for tap in taps:
            total += normalised(tap.float(), self.config.target_norm)
        return functional.layer_norm(total / len(taps), total.shape[-1:], eps=EPS)

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher towards the student; its copy stays float32."""
        if self.teacher is None:
            return
        for ours, theirs in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            if theirs.requires_grad:
                ours.lerp_(theirs.float(), 1 - momentum)


def patches_of(bands: Tensor, normalise: bool = False) -> Tensor:
    """Return the patches of bands (B, 32, T) as rows, shape (B, P, R)."""
    n_bands, width, _ = bands.shape
    patches = bands.reshape(n_bands, width, -1, 16).permute(0, 2, 1, 3).flatten(2)
    if normalise:
        patches = functional.layer_norm(patches, patches.shape[-1:], eps=1e-6)
    return patches


def summary_of(bands: Tensor) -> Tensor:
    """Return what CLS shall tell of a band, shape (B, 64): its mean log spectrum, with the level, and its rhythm.

    The scales make both matter about as much in a distance between recordings of one kind of machine: there, bins
    differ by about 0.06 (5 dB), rhythms by about 0.2.
    """
    return torch.cat((bands.mean(2) * (SUMMARY_UNIT / 0.06), rhythm_of(bands) * (SUMMARY_UNIT / 0.2)), dim=1)


def rhythm_of(bands: Tensor) -> Tensor:
    """Return how the fluctuation of a band is spread over modulation frequencies, shape (B, 4 * 8).

    Of windows of 16 frames (one patch, 0.16 s), each less its mean: power at 6, 12, ... 50 Hz, averaged over the
    windows; each bin as shares of its own total, so that its strength does not count; logarithm of the average over
    eight bins, 0 for an even spread.
    """
    frames = bands.unfold(2, RHYTHM_FRAMES, RHYTHM_FRAMES)
    window = torch.hann_window(RHYTHM_FRAMES, device=bands.device)
    power = torch.fft.rfft((frames - frames.mean(-1, keepdim=True)) * window, dim=-1).abs().square().mean(2)[..., 1:]
    shares = power / (power.sum(-1, keepdim=True) + 1e-6)
    groups = shares.reshape(len(bands), RHYTHM_GROUPS, -1, power.shape[-1]).mean(2)
    return torch.log(power.shape[-1] * (groups + 1e-3)).flatten(1)


def distortion(vectors: Tensor, wanted: Tensor) -> Tensor:
    """Return how far distances between rows of ``vectors`` are from those between rows of ``wanted``.

    Mean square of the logarithm of their ratio over all pairs: near pairs count as much as far ones.
    """
    upper = torch.triu_indices(len(wanted), len(wanted), 1, device=wanted.device)
    ratio = torch.log((_distances(vectors, upper) + SUMMARY_UNIT) / (_distances(wanted, upper) + SUMMARY_UNIT))
    return ratio.square().mean()


def _distances(rows: Tensor, pairs: Tensor) -> Tensor:
    square = rows.square().sum(1)
    apart = square[:, None] + square - 2 * rows @ rows.T
    return apart[pairs[0], pairs[1]].clamp_min(1e-4).sqrt()


def unexplained(guess: Tensor, target: Tensor) -> Tensor:
    """Return the squared error as a share of the targets' variance over the batch: 1 is what a constant reaches."""
    return (guess - target).square().mean() / target.var(dim=0).mean().clamp_min(1e-6)


def normalised(tap: Tensor, kind: str) -> Tensor:
    """Norm one tapped layer (B, P, D): each channel over time, or the channels of each patch."""
    if kind == "instance" and tap.shape[1] >= FEWEST_PATCHES:
        return functional.instance_norm(tap.transpose(1, 2), eps=EPS).transpose(1, 2)
    return functional.layer_norm(tap, tap.shape[-1:], eps=EPS)


@torch.no_grad()
def spread(rows: Tensor, name: str) -> dict[str, Tensor]:
    """Return how much rows (..., D) differ from each other: near 0 is collapse."""
    return {f"{name}_deviation": (rows.detach().var(dim=0) + 1e-6).sqrt().mean()}


def step_flops(objective: Objective, bands: int, frames: int, bands_per_clip: float) -> float:
    """Return the floating-point operations of the matrix products of one step, forward and backward."""
    config, echo = objective.config, objective.student.config
    patches, dim, patch = frames // echo.patch_stride_t, echo.embed_dim, echo.band_width * echo.patch_stride_t
    clones = clones_within(config.clone_budget, bands_per_clip)
    kept, masked = (
        max(1, int(patches * (1 - config.mask_ratio))),
        patches - max(1, int(patches * (1 - config.mask_ratio))),
    )
    student = encoder_flops(echo, bands * clones, kept + 1) + 2 * bands * patches * patch * dim
    if objective.decoder is not None:
        convolution = 2 * 3 * dim * dim / GROUPS
        student += bands * clones * patches * config.decoder_layers * convolution
        heads = (patch if config.reconstruction else 0) + (dim if config.eat else 0)
        student += 2 * bands * clones * masked * dim * heads
    teacher = encoder_flops(echo, bands, patches + 1) + 2 * bands * patches * patch * dim if config.eat else 0.0
    return 3 * student + teacher
