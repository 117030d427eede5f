"""Drift: how the normal of a point moves over days, as a trend with its interval. No remaining life is claimed. Pure.

Neighbouring windows are alike, so a trend over windows would look far surer than it is. Each block (a day, or an hour
where there are few days) gives one median, and the trend is through the medians: Theil-Sen's slope, the median of the
slopes between all pairs, with the interval that Sen (1968) derives from Kendall's tau.

Shape suffixes: W = windows, B = blocks, C = channels, K = indicators.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

from echo_edge.history_reader import Part
from echo_edge.tail import MONTH_S

HOUR_S, DAY_S = 3600, 86400
MIN_BLOCKS = 5
MIN_WINDOWS = 12  # per block: below, its median is a few windows' chance
CONFIDENCE = 0.95
BARS = "▁▂▃▄▅▆▇█"

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trend:
    """How one figure of one state moves."""

    state: str
    what: str
    """``ratio`` (score / threshold), or an indicator's name."""

    channel: int | None
    """Of the point; None for what the whole point has one of."""

    block: str
    """``day`` or ``hour``: what one median is of."""

    medians: tuple[float, ...]
    """In order of time."""

    per_month: float | None
    """Change per month of 30 days; like ``low`` and ``high`` (95 %) None where there are too few blocks."""

    low: float | None
    high: float | None

    @property
    def verdict(self) -> str:
        """``too little``, ``no trend seen``, ``rising`` or ``falling``."""
        if self.low is None or self.high is None:
            return "too little"
        if self.low <= 0 <= self.high:
            return "no trend seen"
        return "rising" if self.low > 0 else "falling"


def trends(parts: Sequence[Part]) -> list[Trend]:
    """Follow the score ratio and every indicator over the windows in which no alert was open.

    The ratio is of the newest baseline only: another one measures otherwise. Indicators are of the newest sensor, rate
    and gain.
    """
    newest = next((part.circumstances for part in reversed(parts) if part.circumstances.shapes), None)
    if newest is None:
        return []
    same = [
        part
        for part in parts
        if part.circumstances.shapes == newest.shapes
        and (part.circumstances.origin, part.circumstances.identity, part.circumstances.settings)
        == (newest.origin, newest.identity, newest.settings)
    ]
    found = []
    for state in sorted({state for part in same for state in (*part.circumstances.states, "")}):
        own = [(part, _of_state(part, state)) for part in same]
        judged = [(p, mask & p.is_level("normal")) for p, mask in own if p.circumstances.baseline == newest.baseline]
        times, ratios = _column(judged, "ratio")
        if len(times):
            found.append(_trend(state, "ratio", None, times, ratios))
        channels, count = newest.shapes["indicators"]
        times, values = _column(own, "indicators")
        if not len(times):
            continue
        names = newest.indicators or tuple(f"indicator_{k}" for k in range(count))
        for k, name in enumerate(names[:count]):
            found += [_trend(state, name, c, times, values[:, c, k]) for c in range(channels)]
        if not count:
            times, levels = _column(own, "level_db")
            found += [_trend(state, "level_db", c, times, levels[:, c]) for c in range(levels.shape[1])]
    return found


def sparkline(values: Iterable[float]) -> str:
    """A small picture of a series in one line of text."""
    series = np.array(list(values))
    if not len(series):
        return ""
    low, spread = series.min(), np.ptp(series)
    steps = np.zeros(len(series)) if spread == 0 else (series - low) / spread * (len(BARS) - 1)
    return "".join(BARS[round(step)] for step in steps)


def theil_sen(times_s: Array, values: Array) -> tuple[float, float, float]:
    """Slope per month of 30 days with its 95 % interval: (slope, low, high)."""
    found = theilslopes(values, times_s / MONTH_S, CONFIDENCE)
    return float(found[0]), float(found[2]), float(found[3])


def _trend(state: str, what: str, channel: int | None, times_s: Array, values: Array) -> Trend:
    for block, length_s in (("day", DAY_S), ("hour", HOUR_S)):
        middles_s, medians = _block_medians(times_s, values, length_s)
        if len(medians) >= MIN_BLOCKS:
            slope, low, high = theil_sen(middles_s, medians)
            return Trend(state, what, channel, block, tuple(medians.tolist()), slope, low, high)
    return Trend(state, what, channel, "hour", tuple(medians.tolist()), None, None, None)


def _block_medians(times_s: Array, values: Array, length_s: int) -> tuple[Array, Array]:
    """Times, shape (B,), and medians, (B,), of blocks with enough windows."""
    block = (times_s // length_s).astype(np.int64)
    numbers, counts = np.unique(block, return_counts=True)
    whole = numbers[counts >= MIN_WINDOWS]
    middles = np.array([np.mean(times_s[block == number]) for number in whole])
    return middles, np.array([np.median(values[block == number]) for number in whole])


def _of_state(part: Part, state: str) -> NDArray[np.bool_]:
    usable = ~part.in_alert & ~part.away
    own = part.facts["state"] == part.circumstances.state_number(state)
    return np.asarray(usable & own)


def _column(picked: Sequence[tuple[Part, NDArray[np.bool_]]], name: str) -> tuple[Array, Array]:
    chosen = [part.facts[mask] for part, mask in picked if mask.any()]
    if not chosen:
        return np.empty(0), np.empty(0)
    times_s = np.concatenate([facts["start_ns"] for facts in chosen]) / 1e9
    return times_s, np.concatenate([facts[name] for facts in chosen]).astype(np.float64)
