"""Physical indicators of a window: what vibration analysts read, beside the embedding. Pure.

The encoder's bins are 40 Hz wide, so imbalance and misalignment, at once and twice the shaft's speed, hide in the
lowest one. Velocity RMS sees them.

Which indicators there are depends on the point alone (``IndicatorSpec``), so every window of it has the same ones.
Shape suffixes: C = channels of the point, S = samples, F = frequency bins, K = indicators.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from echo_edge.bearing_lines import HIGH_SHARE, Bearing, LinePlan, line_levels_db, plan_lines
from echo_edge.records import Window
from sensors import FULL_SCALE

GRAVITY_MM_S2 = 9806.65  # 1 g
VELOCITY_HZ = (10.0, 1000.0)
VELOCITY_BAND_RATE_HZ = VELOCITY_HZ[1] / HIGH_SHARE  # a slower rate shows a part of the band
VELOCITY_MIN_S = 0.5  # five periods of the lowest frequency
PASCAL_0 = 20e-6  # 0 dB of sound
ROUNDING = 1e-9  # of the mean: less is what rounding leaves of one value repeated, float32's own steps are 6e-8
FLOOR = 1e-9  # of any unit: what a level in dB starts from, so that silence has one, too
ZONES = "ABCD"
ZONE_LIMITS_MM_S = {  # upper limits of A, B and C; ISO 10816-1:1995, annex B, classes I to IV
    "small": (0.71, 1.8, 4.5),
    "medium": (1.12, 2.8, 7.1),
    "large_rigid": (1.8, 4.5, 11.2),
    "large_flexible": (2.8, 7.1, 18.0),
}
DECIBELS = ("db", "dbfs")
UNITS = {"mm_s": "mm/s", "g": "g", "db": "dB", "dbfs": "dBFS"}
WORDS = {
    "velocity_rms_mm_s": "velocity RMS",
    "acceleration_rms_g": "acceleration RMS",
    "sound_level_db": "sound level",
    "level_dbfs": "level",
    "crest": "crest factor",
    "envelope_bpfo_db": "outer race line (BPFO)",
    "envelope_bpfi_db": "inner race line (BPFI)",
    "envelope_bsf_db": "ball line (BSF)",
    "envelope_ftf_db": "cage line (FTF)",
}

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class IndicatorSpec:
    """What decides which indicators a point has."""

    unit: str
    """Of the samples, as ``Window.unit``."""

    rate_hz: int
    length_s: float
    shaft_hz: float | None = None
    bearing: Bearing | None = None
    """Needs ``shaft_hz``; without it there are no lines."""

    @classmethod
    def of(cls, window: Window, shaft_hz: float | None = None, bearing: Bearing | None = None) -> IndicatorSpec:
        return cls(window.unit, window.rate_hz, window.length_s, shaft_hz, bearing)

    @property
    def frames(self) -> int:
        return round(self.length_s * self.rate_hz)


def names(spec: IndicatorSpec) -> tuple[str, ...]:
    """Return the K indicators of a point, in the order of ``measure``.

    Each name ends in its unit (``velocity_rms_mm_s``); ``crest`` and ``kurtosis`` have none.
    """
    lines = _lines(spec)
    velocity = ("velocity_rms_mm_s",) if _velocity_bins(spec) is not None else ()
    defects = () if lines is None else tuple(f"envelope_{defect}_db" for defect in lines.defects)
    return (*velocity, _level_name(spec.unit), "crest", "kurtosis", *defects)


def measure(window: Window, spec: IndicatorSpec) -> Array:
    """Return the indicators of every channel, shape (C, K), finite for any finite samples.

    Everything is of the samples without their mean, so gravity and offsets do not count. A silent channel has RMS,
    crest and kurtosis 0, and no line.

    Args:
        spec: of the window's point; its unit, rate and length are the window's.
    """
    channels = [_channel(samples) for samples in window.samples]
    peak_c, rms_c, crest_c, kurtosis_c = np.array([c.figures for c in channels]).T
    columns = [_level(spec.unit, rms_c), crest_c, kurtosis_c]
    velocity, lines = _velocity_bins(spec), _lines(spec)
    if velocity is not None or lines is not None:
        hann_s = _hann(spec.frames)
        windowed_cs = np.stack([c.wave * hann_s for c in channels])
        spectrum_cf = fft.rfft(windowed_cs, _fft_length(spec), axis=1)
        if velocity is not None:
            columns.insert(0, peak_c * _velocity_rms(spectrum_cf[:, velocity], velocity, spec))
        if lines is not None:
            columns += list(line_levels_db(spectrum_cf, lines).T)
    return np.stack(columns, axis=1)


def strangeness_scale(values: ArrayLike, indicators: tuple[str, ...]) -> Array:
    """Return indicators on the scale that differences are compared on, log10 of an amplitude. (..., K), finite.

    0 becomes -9. What is in dB is divided by 20, so one floor means the same for all of them: 0.01 is 2 % or 0.2 dB.
    """
    values = np.array(values, dtype=np.float64)
    decibels = np.array([split_unit(name)[1] in DECIBELS for name in indicators])
    values[..., decibels] /= 20
    values[..., ~decibels] = np.log10(np.maximum(values[..., ~decibels], FLOOR))
    return values


def zone(velocity_rms_mm_s: float, vibration_class: str) -> str:
    """Return A (as new) to D (harmful) for a class of ``ZONE_LIMITS_MM_S``; a limit belongs to the better zone.

    For information: the standard's assessment needs its places of measurement and a steady machine, too.
    """
    return ZONES[bisect_left(ZONE_LIMITS_MM_S[vibration_class], velocity_rms_mm_s)]


def in_words(name: str, value: float, usual: tuple[float, float], label: str = "") -> str:
    """Return ``velocity RMS 4.2 mm/s, usual 1.1 to 1.4``; with the label of a channel ``velocity RMS (y) 4.2 ...``."""
    stem, unit = split_unit(name)
    words = WORDS.get(name, "RMS" if stem == "rms" else stem) + (f" ({label})" if label else "")
    now, low, high = (_figure(x, unit) for x in (value, *usual))
    usually = low if low == high else f"{low} to {high}"
    return f"{words} {now}{' ' if unit else ''}{UNITS.get(unit, unit)}, usual {usually}"


def split_unit(name: str) -> tuple[str, str]:
    """Return an indicator's name without its unit, and the unit: ``velocity_rms`` and ``mm_s``, ``crest`` and none."""
    if name.startswith("rms_"):
        return "rms", name.removeprefix("rms_")
    for unit in UNITS:
        if name.endswith(f"_{unit}"):
            return name.removesuffix(f"_{unit}"), unit
    return name, ""


@dataclass(frozen=True, slots=True)
class _Channel:
    """One channel in parts of its own peak, so that no power of any finite sample leaves the range of the numbers."""

    wave: NDArray[np.float32]
    """Shape (S,), without the mean; -1 to 1, or zeros."""

    figures: tuple[float, float, float, float]
    """Peak and RMS in the samples' unit, crest factor, kurtosis."""


def _channel(samples: NDArray[np.float32]) -> _Channel:
    x = samples.astype(np.float64)
    mean = float(x.mean())
    x -= mean
    peak = float(max(x.max(), -x.min()))
    if peak <= ROUNDING * abs(mean):
        x[:] = 0
        return _Channel(x.astype(np.float32), (0.0, 0.0, 0.0, 0.0))
    x /= peak
    wave = x.astype(np.float32)
    square = np.square(x, out=x)
    power = float(square.mean())
    rms = math.sqrt(power)
    kurtosis = float(np.square(square, out=square).mean()) / power**2
    return _Channel(wave, (peak, peak * rms, 1 / rms, kurtosis))


def _level_name(unit: str) -> str:
    known = {"g": "acceleration_rms_g", "Pa": "sound_level_db", FULL_SCALE: "level_dbfs"}
    if unit in known:
        return known[unit]
    plain = unicodedata.normalize("NFKD", unit.lower().replace("µ", "u")).encode("ascii", "ignore").decode()
    return f"rms_{re.sub('[^a-z0-9]+', '_', plain).strip('_') or 'unit'}"


def _level(unit: str, rms_c: Array) -> Array:
    """The RMS in its unit, or in dB where that is usual; 0 dBFS is an RMS of full scale."""
    if unit not in {"Pa", FULL_SCALE}:
        return rms_c
    reference = PASCAL_0 if unit == "Pa" else 1.0
    level: Array = 20 * np.log10(np.maximum(rms_c, FLOOR) / reference)
    return level


def _velocity_rms(spectrum_cf: NDArray[np.complex64], bins: slice, spec: IndicatorSpec) -> Array:
    """Integrate acceleration in g, bin by bin: velocity is acceleration over 2 pi f. Shape (C,), in mm/s."""
    n_fft = _fft_length(spec)
    omega_f = 2 * np.pi * np.arange(bins.start, bins.stop) * spec.rate_hz / n_fft
    hann_s = _hann(spec.frames)
    # Parseval's theorem, both halves of the spectrum; the power that the window takes is given back
    scale = 2 / (n_fft * float(np.sum(np.square(hann_s), dtype=np.float64)))
    velocity_cf = np.abs(spectrum_cf) / omega_f
    rms_c: Array = GRAVITY_MM_S2 * np.sqrt(scale * np.sum(np.square(velocity_cf), axis=1))
    return rms_c


@lru_cache(maxsize=64)
def _velocity_bins(spec: IndicatorSpec) -> slice | None:
    """The bins from 10 Hz to 1000 Hz, or to what the rate can show."""
    if spec.unit != "g" or spec.length_s < VELOCITY_MIN_S:
        return None
    bin_hz = spec.rate_hz / _fft_length(spec)
    low, high = VELOCITY_HZ[0], min(VELOCITY_HZ[1], HIGH_SHARE * spec.rate_hz)
    return slice(math.ceil(low / bin_hz), int(high / bin_hz) + 1)


@lru_cache(maxsize=64)
def _lines(spec: IndicatorSpec) -> LinePlan | None:
    if spec.bearing is None or spec.shaft_hz is None:
        return None
    plan = plan_lines(spec.bearing, spec.shaft_hz, spec.rate_hz, _fft_length(spec))
    return plan if plan.defects else None


def _fft_length(spec: IndicatorSpec) -> int:
    return int(fft.next_fast_len(spec.frames, real=True))


@lru_cache(maxsize=16)
def _hann(frames: int) -> NDArray[np.float32]:
    """The periodic Hann window, shape (S,)."""
    phase = 2 * np.pi * np.arange(frames) / frames
    return np.asarray(0.5 - 0.5 * np.cos(phase), dtype=np.float32)


def _figure(value: float, unit: str) -> str:
    """Two significant digits or whole numbers, none of them behind an e."""
    if unit in DECIBELS or abs(value) >= 99.5:
        return str(round(value))
    return np.format_float_positional(value, 2, unique=False, fractional=False, trim="-")
