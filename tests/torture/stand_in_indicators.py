"""Velocity RMS, RMS, crest and kurtosis of a window, until the daemon measures them itself.

Shape suffixes: C = channels, S = samples, K = indicators.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from echo_edge.records import Window

MM_S2_PER_G = 9806.65
VELOCITY_HZ = (10.0, 1000.0)


def names(unit: str) -> tuple[str, ...]:
    """The K indicators of a sensor: a microphone feels no velocity."""
    return (("velocity_rms_mm_s",) if unit == "g" else ()) + ("rms", "crest", "kurtosis")


def measure(window: Window) -> NDArray[np.float32]:
    """Shape (C, K)."""
    x_cs = window.samples - window.samples.mean(axis=1, keepdims=True)
    rms_c = np.sqrt(np.mean(np.square(x_cs), axis=1))
    columns = [rms_c, np.abs(x_cs).max(axis=1) / rms_c, np.mean((x_cs / rms_c[:, None]) ** 4, axis=1)]
    if window.unit == "g":
        frames = x_cs.shape[1]
        hann_s = _hann(frames)
        frequency = np.arange(frames // 2 + 1) * window.rate_hz / frames
        within = (frequency >= VELOCITY_HZ[0]) & (frequency <= VELOCITY_HZ[1])
        speed_cf = np.abs(fft.rfft(x_cs * hann_s, axis=1))[:, within] / (2 * np.pi * frequency[within])
        power_c = 2 * np.sum(np.square(speed_cf), axis=1) / (frames * float(np.square(hann_s).sum()))
        columns.insert(0, MM_S2_PER_G * np.sqrt(power_c))
    return np.stack(columns, axis=1).astype(np.float32)


@lru_cache
def _hann(frames: int) -> NDArray[np.float32]:
    return np.hanning(frames).astype(np.float32)
