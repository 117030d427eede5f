"""Tails: how rare a normal score is, and the threshold that normal operation passes so many times a month.

Two of them. ``Tail`` turns one part's distances into rarity, so that parts can be compared. ``EpisodeTail`` counts
what an alert policy would have made of the enrolled time, and extrapolates to rates far below anything that was heard.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MONTH_S = 30 * 24 * 3600
WANTED_EPISODES = 40  # with more, the tail starts higher: nearer to what has to be extrapolated
LEVELS = np.linspace(0.5, 0.995, 50)  # shares of the windows below which an episode may begin
SHAPES = np.linspace(0.0, 0.5, 11)  # of the generalised Pareto distribution: exponential or heavier, never with an end
SHAPE_SPREAD = 0.1  # of the prior beyond 0: scores are rarities, exponential by construction
SCALES = np.geomspace(0.05, 20, 80)  # in units of the mean excess

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tail:
    """The upper tail of the values of normal windows, taken for exponential: it gives different parts one measure."""

    start: float
    mean_excess: float
    """Over ``start``, of the values beyond it."""

    share: float
    """Part of the normal windows above ``start``."""

    @classmethod
    def fit(cls, values: Array) -> Tail:
        """Fit the largest fifth of ``values``, or the upper half up to 20 where there are few."""
        above = tail_count(len(values))
        ordered = np.sort(values)
        start = float(ordered[len(values) - above - 1])
        return cls(start, float(np.mean(ordered[len(values) - above :] - start)), above / len(values))

    def rarity(self, values: Array) -> Array:
        """How rare, in decades: one normal window in 10 ** rarity is as strange. Below ``start`` linear, from 0 at 0.

        Far out this is a distance in other units rather than a chance; how often it comes about is ``EpisodeTail``'s.
        """
        at_start = -math.log10(self.share)
        above = at_start + np.maximum(values - self.start, 0.0) / (self.mean_excess * math.log(10))
        below = at_start * np.maximum(values, 0.0) / self.start if self.start > 0 else above
        rarity: Array = np.where(values > self.start, above, below)
        return rarity


def tail_count(count: int) -> int:
    """How many of so many values make their upper tail."""
    return max(min(count // 2, 20), count // 5)


@dataclass(frozen=True, slots=True)
class Persistence:
    """An alert needs ``strange`` of the latest ``windows`` above the threshold, the newest among them."""

    strange: int
    windows: int


def persistent(scores: Array, run_starts: NDArray[np.bool_], rule: Persistence) -> Array:
    """Return, for every window, the highest threshold at which it would open an alert.

    An alert opens when the newest score and k of the latest n are above the threshold: exactly when the threshold is
    below min(newest, k-th largest of the latest n). Counting alerts is so a matter of counting exceedances.

    Args:
        scores: shape (W,), in order of time.
        run_starts: shape (W,), True where a window does not follow on the one before.
    """
    n, k = rule.windows, rule.strange
    run = np.cumsum(run_starts)
    padded = np.concatenate([np.full(n - 1, -np.inf), scores])
    latest = np.lib.stride_tricks.sliding_window_view(padded, n).copy()  # (W, n), the newest last
    runs = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.full(n - 1, -1), run]), n)
    latest[runs != run[:, None]] = -np.inf
    kth = np.partition(latest, n - k, axis=1)[:, n - k]
    statistic: Array = np.minimum(scores, kth)
    return statistic


def episode_peaks(statistic: Array, run_starts: NDArray[np.bool_], level: float, windows: int) -> Array:
    """Return the peak of every episode above ``level``; exceedances less than ``windows`` apart are one episode."""
    above = np.flatnonzero(statistic > level)
    if not len(above):
        return np.empty(0)
    run = np.cumsum(run_starts)
    new = np.concatenate([[True], (np.diff(above) > windows) | (np.diff(run[above]) != 0)])
    peaks: Array = np.maximum.reduceat(statistic[above], np.flatnonzero(new))
    return peaks


class EpisodeTail:
    """How often per month normal operation opens an alert, as a function of the threshold.

    Two bounds, of which the lower holds. One extrapolates the peaks of the ``persistent`` statistic, one per episode:
    it knows what persistence is worth, and needs many episodes. The other takes the alerts that were counted at a low
    level and lets them fall off as fast as the scores of single windows do: it knows nothing of persistence beyond that
    level, and makes do with a dozen windows.

    Args:
        scores: shape (W,), of windows as if they had not been learned, in order of time.
        run_starts: shape (W,), True where a window does not follow on the one before.
        rule: how many of how many windows make an alert.
        heard_s: seconds that the windows stand for.
    """

    def __init__(self, scores: Array, run_starts: NDArray[np.bool_], rule: Persistence, heard_s: float) -> None:
        statistic = persistent(scores, run_starts, rule)
        level = float(np.sort(scores)[len(scores) - tail_count(len(scores)) - 1])
        above = scores > level
        # neighbours that exceed together tell less than as many that exceed alone (runs estimator of the extremal
        # index, against what independent windows would give)
        stays = len(episode_peaks(scores, run_starts, level, 1))
        alone = min(1.0, stays / (above.sum() * (1 - above.mean()))) if above.any() else 1.0
        alerts = len(episode_peaks(statistic, run_starts, level, rule.windows))
        self._bounds = [_Bound(level, scores[above] - level, alone, alerts, heard_s)]
        if peaks := _enough_peaks(statistic, run_starts, rule.windows):
            level, found = peaks
            self._bounds.append(_Bound(level, found - level, 1.0, len(found), heard_s))

    def per_month(self, threshold: float) -> float:
        """Expected alerts per month of normal operation."""
        return min(bound.per_month(threshold) for bound in self._bounds)

    def threshold(self, per_month: float) -> float:
        """The threshold at which normal operation opens so many alerts a month."""
        return min(bound.threshold(per_month) for bound in self._bounds)


def _enough_peaks(statistic: Array, run_starts: NDArray[np.bool_], windows: int) -> tuple[float, Array] | None:
    """The highest level that leaves ``WANTED_EPISODES``, or the one that leaves most, and the peaks over it."""
    whole = statistic[np.isfinite(statistic)]
    if not len(whole):
        return None
    levels = np.unique(np.quantile(whole, LEVELS, method="lower"))
    found = [episode_peaks(statistic, run_starts, level, windows) for level in levels]
    counts = np.array([len(peaks) for peaks in found])
    if not counts.max():
        return None
    at = int(np.flatnonzero(counts >= min(WANTED_EPISODES, counts.max()))[-1])
    return float(levels[at]), found[at]


class _Bound:
    """Events that pass a level so many times in so long, and by how much: extrapolated by a generalised Pareto tail.

    Peaks over a level follow it (Pickands 1975; Davison and Smith 1990). Its shape and scale are not fixed but averaged
    over, a prior times the likelihood on a grid, so that few excesses give a heavier tail.

    Args:
        excesses: over the level.
        weight: 0 to 1, of each of them in the likelihood: how much it tells that its neighbours do not.
        events: how many there were.
    """

    def __init__(self, level: float, excesses: Array, weight: float, events: int, heard_s: float) -> None:
        if not len(excesses):
            raise ValueError("no score lies above another: nothing tells how normal scores fall off")
        self._level = level
        self._per_month = (events + 0.5) * MONTH_S / heard_s
        shapes, scales = np.meshgrid(SHAPES, SCALES * float(excesses.mean()), indexing="ij")
        log_weight = -np.square(shapes / SHAPE_SPREAD) / 2  # the scale's prior 1/scale is the spacing of its grid
        for excess in excesses:
            log_weight += weight * _log_density(excess, shapes, scales)
        posterior = np.exp(log_weight - log_weight.max()).ravel()
        self._shapes, self._scales = shapes.ravel(), scales.ravel()
        self._posterior = posterior / posterior.sum()

    def per_month(self, threshold: float) -> float:
        excess = max(threshold - self._level, 0.0)  # at and below the level: what was counted there
        return self._per_month * float(self._posterior @ _survival(excess, self._shapes, self._scales))

    def threshold(self, per_month: float) -> float:
        if per_month >= self._per_month:
            return self._level
        low, high = 0.0, 1.0
        while self.per_month(self._level + high) > per_month:
            low, high = high, 2 * high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.per_month(self._level + middle) > per_month else (low, middle)
        return self._level + high


def _survival(excess: float, shapes: Array, scales: Array) -> Array:
    """Chance of more than ``excess``, for every shape and scale of a generalised Pareto distribution."""
    inner = np.maximum(1 + shapes * excess / scales, 0.0)
    straight = np.abs(shapes) < 1e-9
    with np.errstate(divide="ignore"):
        survival: Array = np.where(straight, np.exp(-excess / scales), inner ** (-1 / np.where(straight, 1.0, shapes)))
    return np.where((shapes < 0) & (inner <= 0), 0.0, survival)


def _log_density(excess: float, shapes: Array, scales: Array) -> Array:
    inner = 1 + shapes * excess / scales
    straight = np.abs(shapes) < 1e-9
    with np.errstate(divide="ignore", invalid="ignore"):
        curved = -(1 + 1 / np.where(straight, 1.0, shapes)) * np.log(np.maximum(inner, 0.0))
    density: Array = -np.log(scales) + np.where(straight, -excess / scales, curved)
    return np.where(inner <= 0, -np.inf, density)
