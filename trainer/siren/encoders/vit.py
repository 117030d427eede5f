"""The transformer that CED and Dasheng share: mel bands to patches, patches to tokens, and the mean of the tokens.

Shape suffixes: B = pieces, S = samples, M = mel bands, T = frames, P = columns of patches, L = tokens, D = width,
H = heads. State-dict keys are those of the published Dasheng checkpoints, but for the batch norm's (``init_bn.1``
there) and the mel filters, which are computed here.
Source: ViT, arXiv:2010.11929, pre-norm; Dasheng, arXiv:2406.06992, PyPI ``dasheng`` 0.0.9.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.siren.encoders.base import Mode
from trainer.siren.encoders.mel import decibels, hann, mel_filters, mel_power
from trainer.siren.encoders.pieces import RATE_HZ, PieceEncoder
from trainer.siren.encoders.weights import Source, Stored, load_strictly, read_weights
from trainer.siren.errors import WeightsError

N_FFT, HOP, N_MELS, LOW_HZ, HIGH_HZ, TOP_DB = 512, 160, 64, 0.0, 8000.0, 120.0
EPS = 1e-6
STORED = {"hop_size": HOP, "win_size": N_FFT, "center": True, "top_db": TOP_DB}
"""What a stored configuration may say that no tensor's shape tells, and what it has to be."""


@dataclass(frozen=True, slots=True)
class VitShape:
    """The shape of an encoder."""

    dim: int
    depth: int
    heads: int
    patch: tuple[int, int]
    """Mel bands and frames of one patch; patches do not overlap."""

    columns: int
    """Columns of patches the time table covers."""


class Attention(nn.Module):
    """Multi-head attention of every token to every token."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, L, D) for x (B, L, D)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        heard = functional.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = self.proj(heard.transpose(1, 2).flatten(2))
        return mixed


class Mlp(nn.Module):
    """Two linear maps and a GELU, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, L, D) for x (B, L, D)."""
        y: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return y


class Block(nn.Module):
    """One layer, norm before each of its two steps."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, L, D) for x (B, L, D)."""
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class PatchEmbed(nn.Module):
    """A module of its own only because the published keys begin with ``patch_embed.proj``."""

    def __init__(self, dim: int, patch: tuple[int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, patch, patch)


class MelVit(nn.Module):
    """From 16 kHz samples to tokens. Call ``eval()`` before use: mel bands are normalised by stored statistics."""

    def __init__(self, shape: VitShape) -> None:
        super().__init__()
        self.shape = shape
        self.init_bn = nn.BatchNorm1d(N_MELS)
        self.patch_embed = PatchEmbed(shape.dim, shape.patch)
        self.time_pos_embed = nn.Parameter(torch.zeros(1, shape.dim, 1, shape.columns))
        self.freq_pos_embed = nn.Parameter(torch.zeros(1, shape.dim, N_MELS // shape.patch[0], 1))
        self.blocks = nn.Sequential(*(Block(shape.dim, shape.heads) for _ in range(shape.depth)))
        self.norm = nn.LayerNorm(shape.dim, eps=EPS)

    def forward(self, pieces: Tensor) -> Tensor:
        """Return the tokens (B, L, D) of pieces (B, S), after the final norm; frames short of a patch are left out.

        What is longer than the time table is cut into columns that fit, each part heard by itself, none padded.

        Raises:
            ValueError: S is less than one patch.
        """
        level = decibels(mel_power(pieces, N_FFT, HOP, N_MELS, LOW_HZ, HIGH_HZ, RATE_HZ), TOP_DB)
        if level.shape[2] < self.shape.patch[1]:
            raise ValueError(f"{pieces.shape[1]} samples are too few: a patch is {self.shape.patch[1]} frames of {HOP}")
        columns = self.patch_embed.proj(self.init_bn(level)[:, None])
        return torch.cat([self._tokens(part) for part in columns.split(self.shape.columns, dim=3)], dim=1)

    def _tokens(self, columns: Tensor) -> Tensor:
        placed = columns + self.time_pos_embed[..., : columns.shape[3]] + self.freq_pos_embed
        tokens: Tensor = self.norm(self.blocks(placed.flatten(2).transpose(1, 2)))
        return tokens


class MelVitEncoder(PieceEncoder):
    """A published encoder of this kind: its weights, and the mean of all tokens of a piece."""

    def __init__(
        self,
        name: str,
        shape: VitShape,
        source: Source,
        path: Path | None,
        device: torch.device,
        mode: Mode,
        *,
        allow_pickle: bool = False,
    ) -> None:
        stored = read_weights(name, source, path, allow_pickle=allow_pickle)
        with torch.device("meta"):  # no time is spent on drawing weights that are about to be replaced
            vit = MelVit(shape)
        vit.to_empty(device="cpu")
        load_strictly(name, stored, vit, own_names(name, stored))
        self.name, self.device, self.mode = name, device, mode
        self.vit = vit.to(device)
        tail = "siren" if mode == "siren" and not self.clamps_tail else "clamped"
        front = (N_FFT, HOP, N_MELS, LOW_HZ, HIGH_HZ, TOP_DB)
        decisive = (name, stored.sha256, tail, shape, front, EPS)
        self.digest = hashlib.sha256(repr(decisive).encode()).hexdigest()

    def embed_pieces(self, pieces: Tensor) -> Tensor:
        """Return the mean over tokens, (B, D), of pieces (B, S); see ``PieceEncoder``."""
        mean: Tensor = self.vit(pieces).mean(dim=1)
        return mean


def own_names(name: str, stored: Stored) -> dict[str, Tensor]:
    """Return stored weights under the names used here, without a classifier's and without the mel filters.

    Raises:
        WeightsError: the stored mel filters or configuration are not the ones computed here.
    """
    for key, wanted in STORED.items():
        if (found := stored.config.get(key, wanted)) != wanted:
            raise WeightsError(f"{name}: {stored.path}: config: {key} is {found}, expected {wanted}")
    state = {key: value for key, value in stored.state.items() if not key.startswith("outputlayer.")}
    if all(key.startswith("encoder.") for key in state):
        state = {key.removeprefix("encoder."): value for key, value in state.items()}
    cpu = torch.device("cpu")
    for key, computed in {
        "front_end.0.spectrogram.window": hann(N_FFT, cpu),
        "front_end.0.mel_scale.fb": mel_filters(N_FFT, N_MELS, LOW_HZ, HIGH_HZ, RATE_HZ, cpu),
    }.items():
        kept = state.pop(key, computed)
        if kept.shape != computed.shape or not torch.allclose(kept.float(), computed, atol=1e-4):
            raise WeightsError(f"{name}: {stored.path}: {key}: not the one this encoder is computed with")
    return {key.replace("init_bn.1.", "init_bn.", 1): value for key, value in state.items()}
