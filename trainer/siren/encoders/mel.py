"""Power in mel bands and decibels: the front end of CED and Dasheng, and of any baseline on a mel spectrogram.

Shape suffixes: B = pieces, S = samples, F = bins of the Fourier transform, M = mel bands, T = frames.
Source: the arithmetic of torchaudio's ``MelSpectrogram`` and ``AmplitudeToDB`` with their defaults; the mel scale is
that of HTK, 2595 log10(1 + f / 700).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

LEAST_POWER = 1e-10
"""Below this a power counts as this: -100 dB."""


def mel_power(pieces: Tensor, n_fft: int, hop: int, n_mels: int, low_hz: float, high_hz: float, rate_hz: int) -> Tensor:
    """Return the power in mel bands, shape (B, M, T) with T = S // hop + 1.

    Frames of ``n_fft`` samples under a Hann window stand around each multiple of ``hop``; the ends are mirrored.

    Args:
        pieces: shape (B, S), any linear unit; the power is in that unit squared, not divided by the window's.
        low_hz: where the first band begins.
        high_hz: where the last band ends.
    Raises:
        ValueError: there is too little to mirror, S <= n_fft // 2.
    """
    if pieces.shape[1] <= n_fft // 2:
        raise ValueError(f"{pieces.shape[1]} samples are too few: a frame of {n_fft} needs more than {n_fft // 2}")
    spectrum = torch.stft(pieces, n_fft, hop, window=hann(n_fft, pieces.device), return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    return mel_filters(n_fft, n_mels, low_hz, high_hz, rate_hz, pieces.device).T @ power


def decibels(power: Tensor, top_db: float = 120.0) -> Tensor:
    """Return powers (B, M, T) in decibels; of each piece, nothing is further than ``top_db`` below its own maximum.

    torchaudio takes one maximum for everything handed over together, so that there a piece's level depends on its
    neighbours. Here it does not: each piece comes out as it would alone.
    """
    level = 10 * power.clamp(min=LEAST_POWER).log10()
    return level.maximum(level.amax(dim=(1, 2), keepdim=True) - top_db)


@lru_cache(maxsize=16)
def mel_filters(n_fft: int, n_mels: int, low_hz: float, high_hz: float, rate_hz: int, device: torch.device) -> Tensor:
    """Return triangles of height 1, shape (F, M) with F = n_fft // 2 + 1, evenly spaced in mel.

    Each begins at the centre of the one below and ends at the centre of the one above.
    """
    # float32 throughout, as in torchaudio: a tone at the very edge of a band is otherwise heard 0.2 dB differently
    corners = _hertz(torch.linspace(_mel(low_hz), _mel(high_hz), n_mels + 2))
    bins = torch.linspace(0, rate_hz / 2, n_fft // 2 + 1)[:, None]
    below, centre, above = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (bins - below) / (centre - below), (above - bins) / (above - centre)
    return rising.minimum(falling).clamp(min=0).to(device)


@lru_cache(maxsize=16)
def hann(length: int, device: torch.device) -> Tensor:
    """Return a periodic Hann window, shape (length,)."""
    return torch.hann_window(length).to(device)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mel: Tensor) -> Tensor:
    hertz: Tensor = 700 * (10 ** (mel / 2595) - 1)
    return hertz
