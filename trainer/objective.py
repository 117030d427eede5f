"""What the student learns: to tell of a band what it is like, and to guess patches of it that are hidden.

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

from trainer.bands import Bands
from trainer.config import SUMMARY_DIM, ObjectiveConfig
from trainer.masking import clones_within, is_masked, kept_patches
from trainer.metrics import encoder_flops
from trainer.model.decoder import GROUPS, Decoder
from trainer.model.echo import Echo

FEWEST_PATCHES = 8  # instance norm over fewer says nothing (over one it is all zeros): layer norm stands in
EPS = 1e-5
N_BINS, RHYTHM_FRAMES, RHYTHM_GROUPS, RHYTHM_RANGES = 32, 64, 4, 8  # 32 + 4 * 8 are SUMMARY_DIM
LEVEL_SHARE = 0.1  # of the level of a band as a whole, beside the shape of its spectrum
SUMMARY_UNIT = 0.3  # 5 dB in one bin: below it errors count squared, above it as they are


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
        self.summary = Summary(dim, config.rhythm) if config.summary else None  # first: its turn is drawn from the seed
        self.decoder = Decoder(dim, outs, layers=config.decoder_layers) if outs else None
        self.teacher = deepcopy(student).requires_grad_(False).eval() if config.eat else None

    def forward(self, bands: Bands, bands_per_clip: float) -> Outcome:
        """Return the loss of what was seen of bands (B, 32, T), T a multiple of 16."""
        patches = bands.seen.shape[-1] // self.student.config.patch_stride_t
        latest = self.student.config.spec_len // self.student.config.patch_stride_t - patches
        first = int(torch.randint(latest + 1, ()))  # short crops too learn every place of the time table
        seen = self.student.patch_tokens(bands.seen, bands.position, first)
        total = torch.zeros((), device=seen.device)
        parts: dict[str, Tensor] = {}
        if self.summary is not None:
            cls = self.student.encode(seen, bands.position, cls_only=True)[:, 0]
            parts |= self.summary(cls.float(), bands) | spread(cls.float(), "cls")
            total = total + self.config.summary * (parts["summary_loss"] + parts["excess_loss"])
        if self.decoder is not None:
            guessed = self._guess(self.decoder, seen, bands, bands_per_clip, first)
            parts = guessed | parts
            for name, weight in self._weights().items():
                total = total + weight * parts[name]
        return Outcome(total, {name: value.detach() for name, value in parts.items()})

    def _weights(self) -> dict[str, float]:
        config = self.config
        patch = {"patch_loss": config.reconstruction} if config.reconstruction else {}
        return patch | (
            {"frame_loss": config.eat, "utterance_loss": config.eat * config.eat_utterance} if config.eat else {}
        )

    def _guess(
        self, decoder: Decoder, seen: Tensor, bands: Bands, bands_per_clip: float, first: int
    ) -> dict[str, Tensor]:
        """Return the losses of guessing patches (B, P, D) that are hidden from the student."""
        config, (n_bands, n_patches, dim) = self.config, seen.shape
        clones = clones_within(config.clone_budget, bands_per_clip)
        kept = kept_patches(n_bands * clones, n_patches, config.mask_ratio, config.mask, seen.device)
        masked = is_masked(kept, n_patches)
        index = kept[:, :, None].expand(-1, -1, dim)
        tokens = self.student.encode(
            seen.repeat_interleave(clones, 0).gather(1, index), bands.position.repeat_interleave(clones, 0)
        )
        cls, features = tokens[:, 0].float(), decoder(tokens[:, 1:], kept, n_patches)[masked]
        parts = {"masked_share": masked.float().mean()} | spread(cls, "cls")
        if config.reconstruction:
            target = patches_of(bands.wanted, config.normalise_patches).repeat_interleave(clones, 0)[masked]
            parts["patch_loss"] = unexplained(decoder.predict("patch", features).float(), target)
        if self.teacher is not None:
            target = self._teach(bands.wanted, bands.position, first)
            parts |= self._eat(decoder.predict("teacher", features).float(), cls, target, masked, clones)
        return parts

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


class Summary(nn.Module):
    """Reads from CLS what a band is like, and holds CLS to it: distances between CLS are then those between summaries.

    The reading is a fixed turn of space, so that it stretches no direction; what varies in CLS beside the numbers that
    are read is excess. A learned reading, with distances asked for apart, let distances follow what a short or noisy
    view can not tell; these follow what it can.
    """

    turn: Tensor

    def __init__(self, dim: int, rhythm: float = 0.0) -> None:
        super().__init__()
        self.rhythm, self.size = rhythm, SUMMARY_DIM if rhythm else N_BINS
        # The spectrum is read the same way with the rhythm and without.
        self.register_buffer("turn", torch.linalg.qr(torch.randn(dim, SUMMARY_DIM))[0][:, : self.size].contiguous())
        self.bias = nn.Parameter(torch.zeros(self.size))

    def forward(self, cls: Tensor, bands: Bands) -> dict[str, Tensor]:
        """Return the losses of CLS (B, D) against the summaries of the clips whose views were seen."""
        with torch.autocast(cls.device.type, enabled=False):
            target, guess = self.told(bands), cls @ self.turn + self.bias
            varies = cls - cls.mean(0)
            excess = (varies - varies @ self.turn @ self.turn.T).square().sum(1).mean() / self.size
        parts = {
            "summary_loss": functional.smooth_l1_loss(guess, target, beta=SUMMARY_UNIT) / SUMMARY_UNIT,
            "excess_loss": excess,
            "mean_unexplained": unexplained(guess[:, :N_BINS], target[:, :N_BINS]),
        }
        if self.rhythm:
            parts["rhythm_unexplained"] = unexplained(guess[:, N_BINS:], target[:, N_BINS:])
        return parts

    @torch.no_grad()
    def begin_with(self, cls: Tensor, bands: Bands) -> None:
        """Take the offset between CLS and what it tells from an encoder that was trained before."""
        self.bias.copy_((self.told(bands) - cls.float() @ self.turn).mean(0))

    def told(self, bands: Bands) -> Tensor:
        """Return what CLS shall tell of every view, shape (B, 32), or (B, 64) with the rhythm."""
        mean = spectrum_of(bands.whole.mean(2)[bands.of_whole] + bands.offset, bands.real)
        if not self.rhythm:
            return mean
        return torch.cat((mean, self.rhythm * rhythm_of(bands.whole)[bands.of_whole]), dim=1)


def patches_of(bands: Tensor, normalise: bool = False) -> Tensor:
    """Return the patches of bands (B, 32, T) as rows, shape (B, P, R)."""
    n_bands, width, _ = bands.shape
    patches = bands.reshape(n_bands, width, -1, 16).permute(0, 2, 1, 3).flatten(2)
    if normalise:
        patches = functional.layer_norm(patches, patches.shape[-1:], eps=1e-6)
    return patches


def spectrum_of(mean: Tensor, real: Tensor) -> Tensor:
    """Return mean log spectra of bands (B, 32) as CLS shall tell them: in units of 0.2 (18 dB), less most of the level.

    The level of a band as a whole counts a tenth: how loud a machine is at a sensor says less of its health than the
    shape of its spectrum does. Rows that are not ``real`` (B, 32) stay 0.
    """
    level = (mean * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
    shape: Tensor = (mean - (1 - LEVEL_SHARE) * level) * real
    return shape / 0.2


def rhythm_of(bands: Tensor) -> Tensor:
    """Return how the fluctuation of a band is spread over modulation frequencies, shape (B, 4 * 8).

    Of windows of 64 frames (0.64 s, or all of a shorter band), each less its mean: power from 1.6 to 50 Hz, averaged
    over the windows; each bin as shares of its own total, so that its strength does not count; logarithm of the
    average over eight bins, in eight ranges of modulation frequency, 0 for an even spread and for bins of nothing.
    """
    length = min(RHYTHM_FRAMES, bands.shape[2])
    frames = bands.unfold(2, length, length)
    window = torch.hann_window(length, device=bands.device)
    power = torch.fft.rfft((frames - frames.mean(-1, keepdim=True)) * window, dim=-1).abs().square().mean(2)[..., 1:]
    total = power.sum(-1, keepdim=True)
    shares, heard = power / (total + 1e-6), (total > 0).float()
    by_group = (len(bands), RHYTHM_GROUPS, N_BINS // RHYTHM_GROUPS, -1)
    count = heard.reshape(by_group).sum(2)
    groups = shares.reshape(by_group).sum(2) / count.clamp_min(1)
    ranges = torch.stack([part.sum(-1) for part in groups.tensor_split(RHYTHM_RANGES, dim=-1)], dim=-1)
    rhythm: Tensor = torch.log(RHYTHM_RANGES * (ranges + 1e-3)) * (count > 0)
    return rhythm.flatten(1)


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
    kept = max(1, int(patches * (1 - config.mask_ratio)))
    embedded, student = 2.0 * bands * patches * patch * dim, 0.0
    if objective.summary is not None:
        student += encoder_flops(echo, bands, patches + 1, cls_only=True) + 2 * bands * dim * objective.summary.size
    if objective.decoder is not None:
        student += encoder_flops(echo, bands * clones, kept + 1)
        convolution = 2 * 3 * dim * dim / GROUPS
        student += bands * clones * patches * config.decoder_layers * convolution
        heads = (patch if config.reconstruction else 0) + (dim if config.eat else 0)
        student += 2 * bands * clones * (patches - kept) * dim * heads
    teacher = encoder_flops(echo, bands, patches + 1) + embedded if config.eat else 0.0
    return 2 * embedded + 3 * student + teacher  # nobody asks for the gradient of the bands
