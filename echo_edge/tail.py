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
SHAPES = np.linspace(-0.2, 0.5, 15)  # of the generalised Pareto distribution; 0 is exponential
SHAPE_SPREAD = 0.1  # of the prior around 0: scores are rarities, exponential by construction
SCALES = np.geomspace(0.05, 20, 80)  # in units of the mean excess

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tail:
    """The upper tail of independent values of normal windows: exponential, with the uncertainty of its own fit.

    With ``count`` excesses over ``start`` of mean ``mean_excess`` and the prior 1/mean, the chance that another normal
    window exceeds x is ``share * (1 + (x - start) / (count * mean_excess)) ** -count``: the predictive distribution of
    an exponential sample (Lomax). Few windows give a heavy tail and so a high threshold; many approach the
    exponential. Derivation: a gamma posterior of the rate, integrated out of the exponential.
    """

    start: float
    mean_excess: float
    count: int
    share: float
    """Part of the normal windows above ``start``."""

    @classmethod
    def fit(cls, values: Array) -> Tail:
        """Fit the largest fifth of ``values``, or the upper half up to 20 where there are few."""
        n = len(values)
        count = max(min(n // 2, 20), n // 5)
        ordered = np.sort(values)
        start = float(ordered[n - count - 1])
        return cls(start, float(np.mean(ordered[n - count :] - start)), count, count / n)

    def rarity(self, values: Array) -> Array:
        """How rare: one normal window in 10 ** rarity is as strange. Below ``start`` linear, from 0 at 0."""
        spread = self.count * self.mean_excess
        above = self.count * np.log10(1 + np.maximum(values - self.start, 0.0) / spread) - math.log10(self.share)
        below = -math.log10(self.share) * np.maximum(values, 0.0) / self.start if self.start > 0 else above
        rarity: Array = np.where(values > self.start, above, below)
        return rarity


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

    Peaks over a level, one per episode, follow a generalised Pareto distribution (Pickands 1975; Davison and Smith
    1990). Its shape and scale are not fixed but averaged over: a prior times the likelihood on a grid, so that few
    episodes give a heavier tail. Declustering into episodes takes in how alike neighbouring windows are.

    Args:
        statistic, run_starts: from ``persistent`` and of the same windows.
        windows: the n of the alert policy.
        heard_s: seconds that the windows stand for.
    """

    def __init__(self, statistic: Array, run_starts: NDArray[np.bool_], windows: int, heard_s: float) -> None:
        whole = statistic[np.isfinite(statistic)]
        levels = np.unique(np.quantile(whole, LEVELS, method="lower")) if len(whole) else np.zeros(1)
        found = [episode_peaks(statistic, run_starts, level, windows) for level in levels]
        counts = np.array([len(peaks) for peaks in found])
        most = int(counts.max())
        # the highest level that leaves enough episodes
        at = int(np.flatnonzero(counts >= min(WANTED_EPISODES, most))[-1]) if most else 0
        self.level = float(levels[at])
        excesses = found[at] - self.level
        self.episodes = len(excesses)
        self._per_month = (self.episodes + 0.5) * MONTH_S / heard_s
        mean = float(excesses.mean()) if self.episodes else max(abs(self.level), 1.0)
        shapes, scales = np.meshgrid(SHAPES, SCALES * mean, indexing="ij")
        weight = -np.square(shapes / SHAPE_SPREAD) / 2  # the scale's prior 1/scale is the spacing of its grid
        for excess in excesses:
            weight += _log_density(excess, shapes, scales)
        weight = np.exp(weight - weight.max())
        self._shapes, self._scales = shapes.ravel(), scales.ravel()
        self._weight = weight.ravel() / weight.sum()

    def per_month(self, threshold: float) -> float:
        """Expected alerts per month of normal operation; at and below the level, what was counted there."""
        excess = max(threshold - self.level, 0.0)
        return self._per_month * float(self._weight @ _survival(excess, self._shapes, self._scales))

    def threshold(self, per_month: float) -> float:
        """The threshold that normal operation passes so many times a month; at least the level."""
        if per_month >= self._per_month:
            return self.level
        low, high = 0.0, 1.0
        while self.per_month(self.level + high) > per_month:
            low, high = high, 2 * high
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.per_month(self.level + middle) > per_month else (low, middle)
        return self.level + high


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
