"""Kaldi's filter banks: the front end of BEATs and EAT.

Written out here because no installed library gives them. ``kaldi-native-fbank`` refuses 128 bands, as Kaldi does: one
of the lowest lies between two lines of the Fourier transform and hears nothing. The published encoders were trained by
torchaudio's port, which gives such a band the level of silence, and so does this file, for many pieces at a time.

Shape suffixes: B = pieces, S = samples, T = frames, F = bins of the Fourier transform, M = mel bands.
Source: the arithmetic of ``torchaudio.compliance.kaldi.fbank`` (2.11) with 128 bands, 16 kHz, no dither and else its
defaults; Kaldi, ``feat/feature-window.cc`` and ``feat/mel-computations.cc``.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from trainer.siren.encoders.pieces import RATE_HZ

Window = Literal["povey", "hanning"]

BANDS = 128
FRAME, HOP = 25 * RATE_HZ // 1000, 10 * RATE_HZ // 1000
N_FFT = 512  # the next power of two above a frame
LOW_HZ, HIGH_HZ = 20.0, RATE_HZ / 2
PRE_EMPHASIS = 0.97
LEAST = torch.finfo(torch.float32).eps


def filter_banks(pieces: Tensor, window: Window, bands: int = BANDS) -> Tensor:
    """Return log energies in mel bands, natural logarithm, shape (B, T, M) with T = (S - 400) // 160 + 1.

    Only whole frames count. Each loses its own mean, so that an offset of the piece changes nothing, and is filtered
    by itself: its first sample stands for the one before.

    Args:
        pieces: shape (B, S), 16 kHz, any linear unit; energies are in that unit squared, at least 1.2e-7.
        window: ``hanning`` is symmetric and zero at both ends, ``povey`` the same to the power of 0.85.
    Raises:
        ValueError: fewer samples than one frame.
    """
    if pieces.shape[1] < FRAME:
        raise ValueError(f"{pieces.shape[1]} samples of 16 kHz are too few: one frame is {FRAME}")
    frames = pieces.unfold(1, FRAME, HOP)
    frames = frames - frames.mean(dim=2, keepdim=True)
    before = functional.pad(frames, (1, 0), mode="replicate")[..., :-1]
    shaped = (frames - PRE_EMPHASIS * before) * _window(window, pieces.device)
    power = torch.fft.rfft(shaped, n=N_FFT).abs().square()
    level: Tensor = (power @ _filters(bands, pieces.device)).clamp(min=LEAST).log()
    return level


def frames_of(samples: int) -> int:
    """Return how many whole frames fit."""
    return max(0, (samples - FRAME) // HOP + 1)


@lru_cache(maxsize=8)
def _window(name: Window, device: torch.device) -> Tensor:
    hann = torch.hann_window(FRAME, periodic=False)
    return (hann if name == "hanning" else hann.pow(0.85)).to(device)


@lru_cache(maxsize=8)
def _filters(bands: int, device: torch.device) -> Tensor:
    """Return triangles of height 1 in mel, shape (F, M); the bin of half the rate belongs to none."""
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (LOW_HZ, HIGH_HZ))
    step = (high - low) / (bands + 1)
    corner = torch.arange(bands)
    left, centre, right = low + corner * step, low + (corner + 1.0) * step, low + (corner + 2.0) * step
    mel = 1127 * (1 + torch.arange(N_FFT // 2) * (RATE_HZ / N_FFT) / 700).log()[:, None]
    # float32 slopes of their own, as torchaudio rounds them: levels otherwise differ by up to 1e-4
    triangles = torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp(min=0)
    return functional.pad(triangles, (0, 0, 0, 1)).to(device)
