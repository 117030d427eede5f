"""How loud each range of frequencies is, from the mean spectra that are kept of a window.

Shape suffixes: W = windows, C = channels, N = bands of R = 32 rows, L = levels: every channel's ranges in turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from echo_edge.frontend import SPEC, band_bins, frame_sizes

DB_PER_UNIT = SPEC.log_scale * 20 / math.log(10)  # the front end counts in multiples of its log scale
FINE_ROWS = 32  # so many rows, 1.3 kHz, stand for themselves: a shaft's lines move within them when its speed changes
COARSE_ROWS = 8  # above, 320 Hz are one range

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Range:
    """Some frequencies of one channel."""

    channel: int
    low_hz: float
    high_hz: float

    def __str__(self) -> str:
        if self.high_hz < 1000:
            return f"{self.low_hz:.0f}-{self.high_hz:.0f} Hz"
        return f"{self.low_hz / 1000:.1f}-{self.high_hz / 1000:.1f} kHz"


def levels_db(spectrum_wcnr: NDArray[np.floating], rate_hz: int) -> tuple[Array, tuple[Range, ...]]:
    """Return levels, shape (W, L), in dB of an arbitrary reference, and what each is the level of.

    Args:
        spectrum_wcnr: shape (W, C, N, 32), as ``Embedding.spectrum`` of each window: the mean log spectrum.
        rate_hz: of the windows. Row 0 (no frequency at all) and the padding of the last band are left out.
    """
    windows, channels = spectrum_wcnr.shape[:2]
    rows, partial = band_bins(rate_hz)[-1][1], band_bins(rate_hz)[-1][1] % SPEC.band_width
    rows_wcf = spectrum_wcnr.reshape(windows, channels, -1).astype(np.float64)
    if partial:
        rows_wcf = np.concatenate((rows_wcf[..., : rows - partial], rows_wcf[..., -partial:]), axis=-1)
    edges = np.concatenate((np.arange(1, min(FINE_ROWS, rows)), np.arange(FINE_ROWS, rows, COARSE_ROWS)))
    levels_wcl = DB_PER_UNIT * np.add.reduceat(rows_wcf, edges, axis=-1) / np.diff(edges, append=rows)
    edges_hz = (np.append(edges, rows) - 0.5) * rate_hz / frame_sizes(rate_hz)[0]
    ranges = tuple(
        Range(channel, float(low_hz), float(high_hz))
        for channel in range(channels)
        for low_hz, high_hz in pairwise(edges_hz)
    )
    return levels_wcl.reshape(windows, -1), ranges
