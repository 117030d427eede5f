"""Signal -> the bands ECHO reads: log spectrogram, cut into pieces of 32 bins. Pure numpy and scipy.

Shape suffixes: S = samples, T = time frames (100 per second), F = frequency bins (40 Hz each), N = bands.
The torch twin is ``trainer/frontend.py``; both are held to the same golden data.
Source: ECHO, arXiv:2508.14689, and its released code where the two differ (band padding, logarithm, truncated hop).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray
from scipy import fft

CHUNK_SAMPLES = 80_000  # windowed frames per FFT call, 320 kB: faster than 4 times more or less at 16 and 48 kHz


@dataclass(frozen=True, slots=True)
class Spec:
    """The constants of the front end. A model package repeats them, and loads only where they agree."""

    window_ms: int = 25
    hop_ms: int = 10
    floor: float = 1e-9
    """Added to every magnitude before the logarithm: digital silence is ln(1e-9), not minus infinity."""

    log_mean: float = -5.874158
    log_scale: float = 10.446348
    """Twice the standard deviation of the log magnitudes of the published training data."""

    band_width: int = 32
    patch_frames: int = 16
    max_frames: int = 2000
    min_rate_hz: int = 1000


SPEC = Spec()


def frame_sizes(rate_hz: int) -> tuple[int, int]:
    """Return samples per window and per hop, both rounded down: 16 kHz gives (400, 160), 22.05 kHz (551, 220).

    Raises:
        ValueError: the rate is not a whole number of at least 1000 Hz.
    """
    if rate_hz != int(rate_hz) or rate_hz < SPEC.min_rate_hz:
        raise ValueError(f"sampling rate {rate_hz} Hz: needs a whole number of at least {SPEC.min_rate_hz} Hz")
    return SPEC.window_ms * int(rate_hz) // 1000, SPEC.hop_ms * int(rate_hz) // 1000


def frame_count(n_samples: int, rate_hz: int) -> int:
    """Return how many full frames fit: 5 s give 498 at any rate divisible by 100.

    Raises:
        ValueError: fewer samples than one frame, or an impossible rate.
    """
    win, hop = frame_sizes(rate_hz)
    if n_samples < win:
        raise ValueError(f"{n_samples} samples at {rate_hz} Hz: one frame needs {win} ({SPEC.window_ms} ms)")
    return (n_samples - win) // hop + 1


def band_bins(rate_hz: int) -> list[tuple[int, int]]:
    """Return (first bin, one past the last bin) of every band, low to high; the last band is usually partial."""
    n_bins = frame_sizes(rate_hz)[0] // 2 + 1
    return [(low, min(low + SPEC.band_width, n_bins)) for low in range(0, n_bins, SPEC.band_width)]


def band_edges_hz(rate_hz: int) -> list[tuple[float, float]]:
    """Return (low, high) of every band: half a bin beyond its outer bin centres, within 0 .. rate/2."""
    bin_hz, top_hz = rate_hz / frame_sizes(rate_hz)[0], rate_hz / 2
    return [(max(0.0, (low - 0.5) * bin_hz), min((high - 0.5) * bin_hz, top_hz)) for low, high in band_bins(rate_hz)]


def positions(rate_hz: int) -> NDArray[np.float32]:
    """Return the centre of every band as a fraction of half the rate, shape (N,), 0..1.

    Relative, not physical: 0-1280 Hz lies at 0.0775 at 16 kHz and at 0.0258 at 48 kHz.
    """
    win, _ = frame_sizes(rate_hz)
    return np.array([(low + high - 1) / win for low, high in band_bins(rate_hz)], np.float32)


def log_spectrogram(samples: ArrayLike, rate_hz: int) -> NDArray[np.float32]:
    """Return the normalized log-magnitude spectrogram of one signal, of any length.

    Args:
        samples: shape (S,), any linear unit (the level matters); the mean of the whole signal is removed first.
        rate_hz: 16 kHz gives 201 bins, 48 kHz gives 601.
    Returns:
        Shape (F, T): row 0 is DC, the last row Nyquist. Silence is -1.4215.
    Raises:
        ValueError: fewer samples than one frame, samples that are not finite, several channels, an impossible rate.
    """
    signal = _checked(samples)
    win, _ = frame_sizes(rate_hz)
    out_ft = np.empty((win // 2 + 1, frame_count(signal.size, rate_hz)), np.float32)
    _write_spectrogram(signal, rate_hz, out_ft, out_ft[:0])
    return out_ft


def split_bands(spectrogram_ft: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut a spectrogram of shape (F, T) into bands of shape (N, 32, Tpad).

    The partial last band sits in the *last* rows of its 32, with zeros (the mean level, not silence) in front. T is
    padded on the right with zeros to a multiple of 16.

    Raises:
        ValueError: more frames than the encoder has time positions for.
    """
    n_bins, n_frames = spectrogram_ft.shape
    out, head, tail = _empty_bands(n_bins, n_frames)
    head[:] = spectrogram_ft[: len(head)]
    tail[:] = spectrogram_ft[len(head) :]
    return out


def bands(samples: ArrayLike, rate_hz: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the encoder takes: bands, shape (N, 32, Tpad), and their positions, shape (N,).

    Same result as ``split_bands(log_spectrogram(...))`` without the copy in between.

    Raises:
        ValueError: as ``log_spectrogram``, or longer than 2000 frames (20 s).
    """
    signal = _checked(samples)
    win, _ = frame_sizes(rate_hz)
    out, head, tail = _empty_bands(win // 2 + 1, frame_count(signal.size, rate_hz))
    _write_spectrogram(signal, rate_hz, head, tail)
    return out, positions(rate_hz)


def _checked(samples: ArrayLike) -> NDArray[np.float32]:
    signal = np.asarray(samples, np.float32)
    if signal.ndim != 1:
        raise ValueError(f"samples of shape {signal.shape}: one channel at a time, shape (S,)")
    # The energy instead of a mask as large as the signal: any NaN or infinity survives the sum of squares, and so does
    # a level (about 1e16) whose spectrum would overflow.
    with np.errstate(all="ignore"):
        energy = np.dot(signal, signal)
    if not np.isfinite(energy):
        where = int(np.argmax(np.where(np.isfinite(signal), np.abs(signal), np.inf)))
        raise ValueError(f"sample {where} is {signal[where]}: samples must be finite, and no spectrum may overflow")
    return signal


Bands = NDArray[np.float32]


def _empty_bands(n_bins: int, n_frames: int) -> tuple[Bands, Bands, Bands]:
    """Return zeroed bands, shape (N, 32, Tpad), and views on the rows of all full bands and of the partial one."""
    if n_frames > SPEC.max_frames:
        raise ValueError(f"{n_frames} frames: at most {SPEC.max_frames} at a time, about 20 s")
    width = SPEC.band_width
    partial = n_bins % width
    n_rows = -(-n_bins // width) * width
    out = np.zeros((n_rows, -(-n_frames // SPEC.patch_frames) * SPEC.patch_frames), np.float32)
    head = out[: n_bins - partial, :n_frames]
    tail = out[n_rows - partial :, :n_frames]
    return out.reshape(n_rows // width, width, -1), head, tail


def _write_spectrogram(signal: NDArray[np.float32], rate_hz: int, head: Bands, tail: Bands) -> None:
    """Write the log spectrogram: the first bins into ``head`` (rows, T), the others into ``tail``."""
    win, hop = frame_sizes(rate_hz)
    signal = signal - signal.mean(dtype=np.float64).astype(np.float32)
    n_frames = head.shape[1]
    frames = as_strided(signal, (n_frames, win), (hop * signal.strides[0], signal.strides[0]), writeable=False)
    hann = _hann(win)
    step = max(1, CHUNK_SAMPLES // win)
    for start in range(0, n_frames, step):
        spectrum = fft.rfft(frames[start : start + step] * hann, axis=1, overwrite_x=True)
        level = np.abs(spectrum)  # one SIMD pass; squaring real and imaginary parts apart takes 1.4 times the whole
        level += np.float32(SPEC.floor)
        np.log(level, out=level)
        level -= np.float32(SPEC.log_mean)
        level *= np.float32(1 / SPEC.log_scale)
        head[:, start : start + step] = level[:, : len(head)].T
        tail[:, start : start + step] = level[:, len(head) :].T


def _hann(win: int) -> NDArray[np.float32]:
    """Return the periodic Hann window, shape (win,), in float32 throughout.

    As published: its rounding leaks into near-silent bins, and moves embeddings of pure tones more than the FFT's.
    """
    phase = np.arange(win, dtype=np.float32) * np.float32(2 * np.pi / win)
    window: NDArray[np.float32] = np.float32(0.5) - np.float32(0.5) * np.cos(phase)
    return window
