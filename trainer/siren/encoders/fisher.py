"""FISHER in its three sizes: at the signal's own rate, every band of 50 bins is heard by itself, as in ECHO.

Ten seconds are 64 columns of 3 patches in each band. Kept as published: what is left above the last whole band is not
heard, nor the last 2 bins of a band of 50, nor frames short of a patch; and the table of positions, made for 128
columns of 50, is read in a row, so that patch n has the place (n // 50, n % 50) and not its own.

Shape suffixes: C = channels, R = channels of equal length, S = samples, T = frames, F = bins, N = bands, W = bins of a
band, D = width; a vector is N * D long, bands low to high.
Source: FISHER, arXiv:2507.16696; github.com/jianganbai/FISHER@165159d, ``models/`` and the front end of its README;
pieces as in github.com/yucongzh/SIREN@f9fa43e, ``examples/fisher_extractor.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.siren.encoders.base import Encoder, FloatArray, Mode, by_length
from trainer.siren.encoders.eat import PATCH, check_config, fairseq_config, loaded, own_names
from trainer.siren.encoders.vit import EPS
from trainer.siren.encoders.weights import Source, Stored, read_weights
from trainer.siren.errors import WeightsError

DEPTH, CELLS = 12, 128 * 50
FRAMES = 1024
FLOOR = 1e-10
MEAN, DEVIATION = -3.017344307886898, 2.1531635155379805
BAND_WIDTH = 50
BANDS_AT_ONCE, GPU_BANDS_AT_ONCE = 64, 1024

WIDTHS = {"tiny": 192, "mini": 256, "small": 384}
SOURCES = {
    size: Source(f"FISHER-{size}-0723.pt", f"huggingface.co/jiangab/FISHER-{size}-0723", "MIT") for size in WIDTHS
}


class FisherEncoder(Encoder):
    """Vectors of 192, 256 or 384 numbers a band; see the module."""

    def __init__(self, size: str, stored: Stored, device: torch.device, mode: Mode) -> None:
        self.name, self.device, self.mode = f"fisher-{size}", device, mode
        self.width = WIDTHS[size]
        heads = self.width // 64
        check_config(self.name, stored, {"embed_dim": self.width, "depth": DEPTH, "num_heads": heads})
        self.band_width = band_width(self.name, stored)
        shape = (self.width, DEPTH, heads, CELLS)
        self.network = loaded(self.name, stored, own_names(stored.state), shape).to(device)
        front = (self.band_width, FRAMES, FLOOR, MEAN, DEVIATION)
        decisive = (self.name, stored.sha256, "whole", shape, front, EPS)
        self.digest = hashlib.sha256(repr(decisive).encode()).hexdigest()

    def embed_batch(self, signals: Sequence[FloatArray], rate_hz: int) -> list[FloatArray]:
        """Return one array (C, N * D) for each signal (C, S); see ``Encoder``."""
        for signal in signals:
            for channel in signal:
                check(channel, rate_hz)
        bands_at_once = BANDS_AT_ONCE if self.device.type == "cpu" else GPU_BANDS_AT_ONCE

        def embed(samples: FloatArray) -> FloatArray:
            with torch.inference_mode():
                found: FloatArray = (
                    self._embed(torch.from_numpy(samples).to(self.device), rate_hz).float().cpu().numpy()
                )
            return found

        return by_length(signals, lambda _: bands_at_once // self._bands(rate_hz), embed)

    def band_edges(self, rate_hz: int) -> tuple[int, ...]:
        """Return the edges of the bands: D apart."""
        return tuple(range(0, (self._bands(rate_hz) + 1) * self.width, self.width))

    def _bands(self, rate_hz: int) -> int:
        return max(1, (25 * rate_hz // 1000 // 2 + 1) // self.band_width)

    def _embed(self, samples: Tensor, rate_hz: int) -> Tensor:
        """Return (R, N * D) of samples (R, S): the mean over pieces of 1024 frames and, of a rest, the last 1024."""
        spectrogram = log_spectrogram(samples, rate_hz)
        missing = self.band_width - spectrogram.shape[2]
        if missing > 0:
            spectrogram = functional.pad(spectrogram, (0, missing))
        bands = spectrogram.unfold(2, self.band_width, self.band_width).transpose(1, 2).flatten(0, 1)
        frames = bands.shape[1]
        pieces = [bands[:, at : at + FRAMES] for at in range(0, frames - FRAMES + 1, FRAMES)]
        if frames % FRAMES:
            pieces.append(bands[:, -FRAMES:])
        mean = torch.stack([self.network(piece) for piece in pieces]).mean(dim=0)
        return mean.reshape(len(samples), -1)


def log_spectrogram(samples: Tensor, rate_hz: int) -> Tensor:
    """Return the normalized log magnitude, shape (R, T, F), of samples (R, S); the mean is removed first.

    Frames of 25 ms every 10 ms under a Hann window, not padded: F = frame // 2 + 1, T = (S - frame) // hop + 1.
    """
    frame, hop = 25 * rate_hz // 1000, 10 * rate_hz // 1000
    centred = samples - samples.mean(dim=1, keepdim=True)
    window = torch.hann_window(frame, device=samples.device)
    spectrum = torch.stft(centred, frame, hop, window=window, center=False, return_complex=True)
    level: Tensor = (spectrum.abs() + FLOOR).log().transpose(1, 2)
    return (level - MEAN) / (2 * DEVIATION)


def check(channel: FloatArray, rate_hz: int) -> None:
    """Check that a channel (S,) can be heard.

    Raises:
        ValueError: it is shorter than 16 frames, one patch, or holds samples that are not finite.
    """
    frame, hop = 25 * rate_hz // 1000, 10 * rate_hz // 1000
    if hop < 1 or len(channel) < (least := frame + (PATCH - 1) * hop):
        wanted = f"one patch needs {least}" if hop else "a hop of 10 ms is less than one sample"
        raise ValueError(f"{len(channel)} samples at {rate_hz} Hz are too few: {wanted}")
    if not np.isfinite(channel).all():
        raise ValueError("samples must be finite")


def band_width(name: str, stored: Stored) -> int:
    """Return how many bins a band has, after the stored configuration, and check what it says of the patches.

    Raises:
        WeightsError: this encoder is not written for it.
    """
    image = fairseq_config(stored, "modalities", "image")
    wanted = {"patch_size": PATCH, "flatten": "freq", "max_length": 128, "max_freq": 50, "use_alibi_encoder": False}
    for key, value in wanted.items():
        if image.get(key, value) != value:
            raise WeightsError(f"{name}: {stored.path}: cfg: {key} is {image[key]}, expected {value}")
    found = fairseq_config(stored).get("band_width", BAND_WIDTH)
    if not isinstance(found, int) or found < PATCH:
        raise WeightsError(f"{name}: {stored.path}: cfg: band_width is {found}, expected at least {PATCH}")
    return found


def fisher(
    size: str, path: Path | None, device: torch.device, mode: Mode, *, allow_pickle: bool = False
) -> FisherEncoder:
    """Load one size.

    Args:
        size: a key of ``WIDTHS``.
        path: its weights; None looks under ``checkpoints/``.
        allow_pickle: see ``read_weights``; the published files store a configuration beside the weights.
    Raises:
        WeightsError: the weights are missing, or are not this encoder's.
    """
    stored = read_weights(f"fisher-{size}", SOURCES[size], path, allow_pickle=allow_pickle)
    return FisherEncoder(size, stored, device, mode)
