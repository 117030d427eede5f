"""Did the machine change while it was learned? Pure: windows in order of time in, findings out.

Shape suffixes: W = windows, C = channels, N = bands of R = 32 rows, L = levels (each a range of frequencies of one
channel), K = blocks of consecutive windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from echo_edge.levels import Range, levels_db
from echo_edge.signal_checks import Finding

FEWEST = 12  # windows; of fewer nothing is said
BLOCKS = 30  # at least, where there are as many windows
CHANGE_DB = 1.0  # less is no change, however sure
CHANGE_Z = 8.0  # standard errors, of the largest of many levels at the best of many instants
APART = (
    5.0  # distance between two clusters in their own spread: halves of one cluster are at 2.7, of a slow drift at 3.5
)
RAREST = 0.05  # share of the windows: fewer are outliers, not a way to run
CYCLE = 6  # changes to and fro: from here on it is how the machine works, not two states
FAR = 10.0  # in standard deviations: what is farther counts no more
LEAST_DB = 0.02  # spread of a level: half precision rounds by as much
ABRUPT, BESIDE = 0.6, 4  # share of a step that happens between so many windows before and after; a drift's is less
START_SHARE = 0.2  # a change so early is taken for the end of the start-up

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stationarity:
    """What became of the machine while it was learned."""

    findings: tuple[Finding, ...]
    """At most one: ``step`` (bad), ``two_states`` (bad unless it is a cycle) or ``trend``."""

    z: float
    """The surest change between an earlier and a later part, in its standard error; below 8 is steady."""

    change_db: float
    """That change."""

    changed_ns: int | None
    """Start of the first window after a step."""

    state_w: NDArray[np.int64]
    """Shape (W,): 0, and 1 in the windows of a second way to run."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A change between the windows before and after a border."""

    z: float
    border: int
    """About the first window after it."""

    level: int


def check_stationarity(
    spectrum_wcnr: NDArray[np.floating], start_ns_w: NDArray[np.int64], rate_hz: int
) -> Stationarity:
    """Look for a step, a slow trend, and two ways to run that are mixed.

    Args:
        spectrum_wcnr: shape (W, C, N, 32), as ``Material.spectrum``: the useful windows in order of time.
        start_ns_w: shape (W,), capture time of each window's first sample.
        rate_hz: of the windows.
    """
    windows = len(spectrum_wcnr)
    one_state = np.zeros(windows, dtype=np.int64)
    if windows < FEWEST:
        return Stationarity((), 0.0, 0.0, None, one_state)
    levels_wl, ranges = levels_db(spectrum_wcnr, rate_hz)
    after_s = (start_ns_w - start_ns_w[0]) / 1e9
    change = _surest_change(levels_wl)
    first = _first_after(levels_wl, change.border)
    change_db = float(_difference(levels_wl, first)[change.level])
    steady = Stationarity((), change.z, change_db, None, one_state)
    state_w = _two_states(levels_wl)
    if state_w is not None and np.count_nonzero(np.diff(state_w)) > 1:
        return replace(steady, findings=(_mixed(levels_wl, state_w, after_s, ranges),), state_w=state_w)
    if change.z < CHANGE_Z or abs(change_db) < CHANGE_DB:
        return steady
    if not _abrupt(levels_wl, first):
        return replace(steady, findings=(_trend(levels_wl, first, after_s, ranges),))
    return replace(
        steady,
        findings=(_step(levels_wl, first, after_s, ranges),),
        changed_ns=int(start_ns_w[first]),
        state_w=(np.arange(windows) >= first).astype(np.int64),
    )


def _surest_change(levels_wl: Array) -> _Change:
    """Return the surest change of 1 dB or more, of less where there is none.

    Blocks, because windows next to each other are alike. Every border between two blocks is tried, as CUSUM does. What
    correlation is left from block to block widens the standard error, as of a first-order autoregressive process.
    """
    per_block = max(1, len(levels_wl) // BLOCKS)
    blocks = len(levels_wl) // per_block
    means_kl = levels_wl[: blocks * per_block].reshape(blocks, per_block, -1).mean(axis=1)
    count = np.arange(1, blocks)[:, None]
    total_kl = np.cumsum(means_kl, axis=0)
    difference_kl = (total_kl[-1] - total_kl[:-1]) / (blocks - count) - total_kl[:-1] / count
    z_kl = np.abs(difference_kl) / (_spread(means_kl) * np.sqrt(1 / count + 1 / (blocks - count)))
    large_kl = np.abs(difference_kl) >= CHANGE_DB
    at, level = np.unravel_index(int(np.where(large_kl, z_kl + z_kl.max(), z_kl).argmax()), z_kl.shape)
    means_k, border = means_kl[:, level], int(at) + 1
    stepped_k = means_k - np.repeat([means_k[:border].mean(), means_k[border:].mean()], [border, blocks - border])
    index_k = np.arange(blocks)
    sloped_k = means_k - np.polyval(np.polyfit(index_k, means_k, 1), index_k)
    wider = _correlation(min(stepped_k, sloped_k, key=lambda rest_k: float(rest_k @ rest_k)))
    return _Change(float(z_kl[at, level]) / wider, border * per_block, int(level))


def _spread(values_nl: Array) -> Array:
    """Return each level's standard deviation without its changes, shape (L,): from differences of neighbours.

    None is taken for less than the usual level's: of so many, some look calm by chance.
    """
    spread_l = np.median(np.abs(np.diff(values_nl, axis=0)), axis=0) * 1.4826 / math.sqrt(2)
    return np.asarray(np.maximum(np.maximum(spread_l, np.median(spread_l)), LEAST_DB))


def _correlation(rest_k: Array) -> float:
    """How much wider a mean's standard error is than if blocks were independent."""
    power = float(rest_k @ rest_k)
    if power == 0:
        return 1.0
    lag_1 = float(rest_k[1:] @ rest_k[:-1]) / power + 1 / len(rest_k)  # the estimate's own bias
    lag_1 = min(max(lag_1, 0.0), 0.95)
    return math.sqrt((1 + lag_1) / (1 - lag_1))


def _two_states(levels_wl: Array) -> NDArray[np.int64] | None:
    """Return which windows belong to a second cluster, shape (W,), or None when there is but one. The first is 0."""
    z_wl = (levels_wl - np.median(levels_wl, axis=0)) / _spread(levels_wl)
    z_wl = np.clip(z_wl, -FAR, FAR)
    z_wl -= z_wl.mean(axis=0)
    widest = np.linalg.svd(z_wl, full_matrices=False)[2][0]
    half_w = z_wl @ widest > 0
    if half_w.all() or not half_w.any():
        return None
    centres = np.stack([z_wl[half_w == side].mean(axis=0) for side in (False, True)])
    centres, state_w = kmeans2(z_wl, centres, minit="matrix")
    counts = np.bincount(state_w, minlength=2)
    if counts.min() < max(2, RAREST * len(z_wl)):
        return None
    along_w = z_wl @ (centres[1] - centres[0])
    means = np.array([along_w[state_w == state].mean() for state in (0, 1)])
    within = math.sqrt(float(np.sum((along_w - means[state_w]) ** 2)) / (len(along_w) - 2))
    if means[1] - means[0] < APART * within or np.abs(_states_apart(levels_wl, state_w)).max() < CHANGE_DB:
        return None
    return np.asarray(state_w if state_w[0] == 0 else 1 - state_w, dtype=np.int64)


def _first_after(levels_wl: Array, border: int) -> int:
    """Return the first window after a change, given about where it is: the split that leaves the smallest rest."""
    along_w = _along_change(levels_wl, border)
    count = np.arange(1, len(along_w))
    explained = np.cumsum(along_w)[:-1] ** 2 * (1 / count + 1 / (len(along_w) - count))
    return int(explained.argmax()) + 1


def _abrupt(levels_wl: Array, first: int) -> bool:
    """Tell a step from a drift: most of the difference is there between the few windows before and after."""
    along_w = _along_change(levels_wl, first)
    jump = along_w[first : first + BESIDE].mean() - along_w[max(0, first - BESIDE) : first].mean()
    return bool(jump >= ABRUPT * (along_w[first:].mean() - along_w[:first].mean()))


def _along_change(levels_wl: Array, first: int) -> Array:
    """Return all levels in one, shape (W,): weighted by how clearly they changed, without the mean."""
    spread_l = _spread(levels_wl)
    along_w = (levels_wl / spread_l) @ (_difference(levels_wl, first) / spread_l)
    return np.asarray(along_w - along_w.mean())


def _difference(levels_wl: Array, first: int) -> Array:
    return np.asarray(levels_wl[first:].mean(axis=0) - levels_wl[:first].mean(axis=0))


def _states_apart(levels_wl: Array, state_w: NDArray[np.int64]) -> Array:
    """How much each level is higher in state 1."""
    return np.asarray(levels_wl[state_w == 1].mean(axis=0) - levels_wl[state_w == 0].mean(axis=0))


def _step(levels_wl: Array, first: int, after_s: Array, ranges: tuple[Range, ...]) -> Finding:
    return Finding(
        "step",
        True,
        f"the level at {_moved(_difference(levels_wl, first), ranges)} {_time(after_s[first])} after the start",
        "let it run until it is steady, then learn again"
        if after_s[first] < START_SHARE * after_s[-1]
        else "keep speed and load as they are and learn again, or learn each way to run as a state of its own",
    )


def _trend(levels_wl: Array, first: int, after_s: Array, ranges: tuple[Range, ...]) -> Finding:
    moved = _moved(_difference(levels_wl, first), ranges)
    return Finding(
        "trend",
        False,
        f"the level at {moved} little by little (before against after {_time(after_s[first])})",
        "if it is still warming up, learn later; else learn for longer, until all it does was seen",
    )


def _mixed(levels_wl: Array, state_w: NDArray[np.int64], after_s: Array, ranges: tuple[Range, ...]) -> Finding:
    """The finding of two ways to run: how they differ, and when it was the rarer one."""
    rarer = int(np.count_nonzero(state_w) * 2 <= len(state_w))
    place, apart_db = _largest((2 * rarer - 1) * _states_apart(levels_wl, state_w), ranges)
    differ = f"one, {np.mean(state_w == rarer):.0%} of the time, is {abs(apart_db):.1f} dB "
    differ += f"{'louder' if apart_db > 0 else 'quieter'} at {place}"
    turns = np.count_nonzero(np.diff(state_w))
    if turns >= CYCLE:
        return Finding(
            "two_states",
            False,
            f"two ways to run take turns, {turns} changes in {_time(after_s[-1])}; {differ}",
            "if this is its working cycle, learn many of them; else learn each way to run as a state of its own",
        )
    edges = np.flatnonzero(np.diff(np.concatenate(([False], state_w == rarer, [False])).astype(np.int8)))
    ends_s = np.append(after_s, after_s[-1] + np.median(np.diff(after_s)))
    times = ", ".join(f"{_time(ends_s[a])} to {_time(ends_s[b])}" for a, b in zip(edges[::2], edges[1::2], strict=True))
    return Finding(
        "two_states",
        True,
        f"two ways to run are mixed; {differ} ({times} after the start)",
        "learn each way to run as a state of its own",
    )


def _moved(change_l: Array, ranges: tuple[Range, ...]) -> str:
    """``1.3-2.6 kHz rose by 4.0 dB``: where and by how much the level changed most."""
    place, change_db = _largest(change_l, ranges)
    return f"{place} {'rose' if change_db > 0 else 'fell'} by {abs(change_db):.1f} dB"


def _largest(change_l: Array, ranges: tuple[Range, ...]) -> tuple[str, float]:
    """Return where the largest change is, its neighbours included that changed more than half as much, and its size."""
    low = high = most = int(np.abs(change_l).argmax())
    alike = change_l * np.sign(change_l[most]) > abs(change_l[most]) / 2
    alike &= np.array([place.channel == ranges[most].channel for place in ranges])
    while low > 0 and alike[low - 1]:
        low -= 1
    while high + 1 < len(alike) and alike[high + 1]:
        high += 1
    where = str(replace(ranges[most], low_hz=ranges[low].low_hz, high_hz=ranges[high].high_hz))
    return f"{where} of channel {ranges[most].channel}" if ranges[-1].channel > 0 else where, float(change_l[most])


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
