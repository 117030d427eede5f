"""How often the parts of a bearing meet, and how far that stands out in a window's squared envelope. Pure.

A spalled race or ball strikes once per passage, and each strike rings the structure at some kilohertz. The envelope of
that ringing repeats at the defect's frequency, far above what shaft and gears leave there.

Sources: R. B. Randall and J. Antoni, "Rolling element bearing diagnostics - a tutorial", Mechanical Systems and Signal
Processing 25 (2011): the frequencies, the slip of 1 to 2 %, and the squared envelope by an inverse transform of the
one-sided spectrum of the band. ``docs/indicators.md`` has what was measured for the band.
Shape suffixes: C = channels, F = frequency bins, L = lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

DEFECTS = ("bpfo", "bpfi", "bsf", "ftf")
HARMONICS = 3
SLIP = 0.02  # rolling elements slide: a line is looked for within so much of its frequency
LOW_HZ, LOW_SHARE, HIGH_SHARE = 2000.0, 0.25, 0.45  # the band; the shares are of the sampling rate
PERIODS = 20  # of a line in the window, at least: fewer do not tell it from its neighbours
SIDE = 5  # stretches to either side of a line's own and as wide; the nearest hold the line's skirts and are left out
FLOOR = [i for i in range(2 * SIDE + 1) if abs(i - SIDE) > 1]
TINY = 1e-300  # a band without any signal has neither line nor floor: 0 dB


@dataclass(frozen=True, slots=True)
class Bearing:
    """What a defect of each part does per turn of the shaft."""

    bpfo: float
    """Balls that pass a spot of the outer race."""

    bpfi: float
    """Balls that pass a spot of the inner race."""

    bsf: float
    """Turns of a ball. A spot on it strikes twice in each, once per race."""

    ftf: float
    """Turns of the cage."""

    @classmethod
    def of_geometry(
        cls, rolling_elements: int, ball_diameter_mm: float, pitch_diameter_mm: float, contact_angle_deg: float = 0.0
    ) -> Bearing:
        """Return the frequencies of a bearing that rolls without slip, its inner ring on the shaft.

        With r = d / D * cos(angle): bpfo = n/2 (1 - r), bpfi = n/2 (1 + r), ftf = (1 - r)/2, bsf = D/2d (1 - r**2).
        Source: Randall and Antoni (2011), equations 1 to 4.
        """
        slope = ball_diameter_mm / pitch_diameter_mm
        r = slope * math.cos(math.radians(contact_angle_deg))
        n = rolling_elements
        return cls(n / 2 * (1 - r), n / 2 * (1 + r), (1 - r * r) / (2 * slope), (1 - r) / 2)


@dataclass(frozen=True, slots=True)
class Stretches:
    """``2 * SIDE + 1`` neighbouring stretches of the envelope's spectrum; the one in the middle holds a line."""

    first: int
    width: int

    @property
    def bins(self) -> slice:
        return slice(self.first, self.first + (2 * SIDE + 1) * self.width)


@dataclass(frozen=True, slots=True)
class LinePlan:
    """Which bins of a window's spectrum make the envelope, and where in that to look."""

    band: slice
    points: int
    """Of the envelope's time series: enough for no line to be an alias."""

    defects: tuple[str, ...]
    """Those of ``DEFECTS`` that can be told from their neighbours in a window of this length."""

    harmonics: tuple[tuple[Stretches, ...], ...]
    """Per defect, 1 to ``HARMONICS`` of them."""


def plan_lines(bearing: Bearing, shaft_hz: float, rate_hz: int, n_fft: int, low_hz: float = LOW_HZ) -> LinePlan:
    """Plan for spectra ``rfft(samples, n_fft)``.

    In 1 s nothing below 20 Hz is told, in 5 s nothing below 4 Hz; and nothing above half the band's width, towards
    which the envelope holds less and less.
    """
    bin_hz = rate_hz / n_fft
    low, high = (round(hz / bin_hz) for hz in (min(low_hz, LOW_SHARE * rate_hz), HIGH_SHARE * rate_hz))
    end = (high - low) // 2
    found: dict[str, tuple[Stretches, ...]] = {}
    taken: list[float] = []
    for defect, line_hz in zip(DEFECTS, _strikes_hz(bearing, shaft_hz), strict=True):
        # what falls on a line of a defect before it would tell of both: 6205, twice bpfi is nearly three times bpfo
        own = [line_hz * k for k in range(1, HARMONICS + 1)]
        own = [hz for hz in own if hz == line_hz or all(abs(hz / other - 1) > SLIP for other in taken)]
        taken += own
        harmonics = [_stretches(hz / bin_hz, end) for hz in own]
        if harmonics[0] is not None:
            found[defect] = tuple(h for h in harmonics if h is not None)
    last = max((h.bins.stop for hs in found.values() for h in hs), default=0)
    # the envelope's bin k sums products of the band's bins k apart; cyclic, it needs as many points more than the band
    points = fft.next_fast_len(high - low + last)
    return LinePlan(slice(low, high), points, tuple(found), tuple(found.values()))


def line_levels_db(spectrum_cf: NDArray[np.complex64], plan: LinePlan) -> NDArray[np.float64]:
    """Return how far each defect's line stands out, in dB, shape (C, L); about 0 where there is none.

    Per harmonic: the largest bin near the line over the median of the largest bins of its neighbouring stretches; in
    power of the squared envelope, averaged over the harmonics in dB.

    Args:
        spectrum_cf: of Hann-windowed samples; the window's square then shapes the squared envelope.
    """
    ringing = fft.ifft(spectrum_cf[:, plan.band], plan.points, axis=1)
    envelope = np.square(ringing.real) + np.square(ringing.imag)
    lines_cf = np.square(np.abs(fft.rfft(envelope, axis=1)).astype(np.float64))
    levels = [np.mean(list(_levels(lines_cf, harmonics)), axis=0) for harmonics in plan.harmonics]
    return np.stack(levels, axis=1) if levels else np.zeros((len(spectrum_cf), 0))


def _strikes_hz(bearing: Bearing, shaft_hz: float) -> tuple[float, ...]:
    """In the order of ``DEFECTS``."""
    return tuple(shaft_hz * per_turn for per_turn in (bearing.bpfo, bearing.bpfi, 2 * bearing.bsf, bearing.ftf))


def _stretches(line: float, end: int) -> Stretches | None:
    """Lay stretches around a line at bin ``line``; None where it is too low, or they would end beyond ``end``."""
    width = max(3, math.ceil(2 * SLIP * line))
    stretches = Stretches(round(line - (width - 1) / 2) - SIDE * width, width)
    return stretches if line >= PERIODS and stretches.bins.stop <= end else None


def _levels(lines_cf: NDArray[np.float64], harmonics: tuple[Stretches, ...]) -> Iterator[NDArray[np.float64]]:
    for h in harmonics:
        peaks = lines_cf[:, h.bins].reshape(len(lines_cf), -1, h.width).max(axis=2)
        yield 10 * np.log10((peaks[:, SIDE] + TINY) / (np.median(peaks[:, FLOOR], axis=1) + TINY))
