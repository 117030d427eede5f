"""The torch twin of ``echo_edge/frontend.py``: the same numbers, on any device and for many signals at once.

Bit for bit the published preprocessing where the FFT library takes the same path (MKL: ``MKL_CBWR=COMPATIBLE``).

Shape suffixes: S = samples, T = time frames, F = frequency bins, N = bands; ``...`` = any leading axes (a batch).
Source: ECHO, arXiv:2508.14689, and its released code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from echo_edge.frontend import SPEC, band_edges_hz, frame_count, frame_sizes
from echo_edge.frontend import positions as numpy_positions

__all__ = [
    "band_edges_hz",
    "bands",
    "frame_count",
    "log_level",
    "log_spectrogram",
    "positions",
    "spectrum",
    "split_bands",
]


def positions(rate_hz: int, device: torch.device | str | None = None) -> Tensor:
    """Return the centre of every band as a fraction of half the rate, shape (N,), float32."""
    return torch.from_numpy(numpy_positions(rate_hz)).to(device)


def log_spectrogram(samples: Tensor, rate_hz: int) -> Tensor:
    """Return the normalized log-magnitude spectrogram of signals of any length.

    Args:
        samples: shape (..., S), any linear unit; each signal loses its own mean.
        rate_hz: one rate for all of them.
    Returns:
        Shape (..., F, T), float32.
    Raises:
        ValueError: fewer samples than one frame, samples that are not finite, an impossible rate.
    """
    samples = samples.float()
    frame_count(samples.shape[-1], rate_hz)
    if not bool(torch.isfinite(samples).all()):
        raise ValueError("samples must be finite")
    return log_level(spectrum(samples, rate_hz))


def spectrum(samples: Tensor, rate_hz: int) -> Tensor:
    """Return the complex spectrogram (..., F, T) of signals (..., S); each loses its own mean."""
    win, hop = frame_sizes(rate_hz)
    samples = samples - samples.mean(dim=-1, keepdim=True)
    hann = torch.hann_window(win, periodic=True, device=samples.device)
    flat = samples.reshape(-1, samples.shape[-1])
    found = torch.stft(flat, win, hop, win, hann, center=False, onesided=True, return_complex=True)
    return found.reshape(*samples.shape[:-1], *found.shape[-2:])


def log_level(spectrum: Tensor) -> Tensor:
    """Return the normalized log magnitude of a complex spectrogram."""
    level: Tensor = (torch.log(spectrum.abs() + SPEC.floor) - SPEC.log_mean) / SPEC.log_scale
    return level


def split_bands(spectrogram: Tensor) -> Tensor:
    """Cut spectrograms (..., F, T) into bands (..., N, 32, Tpad); where the zeros go is told in the numpy twin.

    Raises:
        ValueError: more frames than the encoder has time positions for.
    """
    n_bins, n_frames = spectrogram.shape[-2:]
    if n_frames > SPEC.max_frames:
        raise ValueError(f"{n_frames} frames: at most {SPEC.max_frames} at a time")
    width = SPEC.band_width
    whole = n_bins - n_bins % width
    spectrogram = functional.pad(spectrogram, (0, -n_frames % SPEC.patch_frames))
    partial = functional.pad(spectrogram[..., whole:, :], (0, 0, -n_bins % width, 0))
    rows = torch.cat((spectrogram[..., :whole, :], partial if n_bins % width else partial[..., :0, :]), dim=-2)
    return rows.reshape(*rows.shape[:-2], -1, width, rows.shape[-1])


def bands(samples: Tensor, rate_hz: int) -> tuple[Tensor, Tensor]:
    """Return what the encoder takes: bands (..., N, 32, Tpad) and their positions (N,).

    Raises:
        ValueError: as ``log_spectrogram``, or longer than 2000 frames (20 s).
    """
    return split_bands(log_spectrogram(samples, rate_hz)), positions(rate_hz, samples.device)
