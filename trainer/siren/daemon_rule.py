"""The daemon's rule in small form, to be compared with others: ``echo_edge/normal_state.py`` in exact arithmetic.

The trainer may not import the daemon's scoring; a test holds the two together.

Shape suffixes: R = windows, N = bands, D = numbers per band, P = N * D, K = indicators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.frontend import SPEC
from trainer.siren.backends import principal

# as echo_edge/whitening.py, nearest.py, spread.py, tail.py and normal.py have them, where it is told why
MAX_FIT, DIRECTIONS, LEAST_SHRINKAGE, LEAST_UNIT, DEAD = 512, 128, 0.1, 0.1, 1e-6
FOLDS, CANDIDATES, CROWD, SPARSE = 5, 4, 2, 0.1
DENSITY = 0.5
MAD_TO_SIGMA, FLOOR = 1.4826, 0.01
GAIN = 3.0 / 20 * math.log(10) / SPEC.log_scale
"""3 dB in units of the front end: what a change at all frequencies alike must be to count as one spread."""

INDICATORS_WEIGHT = 0.5

Array = NDArray[np.float64]
Part = tuple[Array, Array]
"""Values of the windows learned as if they had not been, shape (R,), and of those asked of, shape (R',)."""


def nearest(known_rnd: NDArray[Any], group: NDArray[Any], asked_rnd: NDArray[Any], **how: float) -> Part:
    """Root mean square over bands of the distances to the nearest normal window in whitened coordinates.

    Args:
        known_rnd: shape (R, N, D).
        group: shape (R,); windows of one group never test each other.
        asked_rnd: shape (R', N, D).
        how: ``density``, the power of the local density that a distance is divided by, and ``tolerated``, an offset
            common to all numbers that counts as one spread.
    """
    held = np.empty(len(known_rnd))
    for inside in _folds(group):
        held[inside] = _values(known_rnd[~inside], known_rnd[inside], **how)
    return held, _values(known_rnd, asked_rnd, **how)


def spread(known_rk: Array, group: NDArray[Any], asked_rk: Array) -> Part:
    """Return how far the farthest indicator is from its normal middle, in units of its normal spread."""

    def values(learned: Array, asked: Array) -> Array:
        middle = np.median(learned, axis=0)
        unit = np.maximum(MAD_TO_SIGMA * np.median(np.abs(learned - middle), axis=0), FLOOR)
        farthest: Array = (np.abs(asked - middle) / unit).max(axis=1)
        return farthest

    held = np.empty(len(known_rk))
    for one in np.unique(group):
        held[group == one] = values(known_rk[group != one], known_rk[group == one])
    return held, values(known_rk, asked_rk)


def rarity(part: Part) -> Part:
    """Return how rare values are among the normal ones, in decades, by an exponential tail."""
    held, asked = part
    above = max(min(len(held) // 2, 20), len(held) // 5)
    ordered = np.sort(held)
    start = float(ordered[len(held) - above - 1])
    mean_excess = max(float(np.mean(ordered[len(held) - above :] - start)), 1e-30)
    at_start = -math.log10(above / len(held))

    def of(values: Array) -> Array:
        over = at_start + np.maximum(values - start, 0) / (mean_excess * math.log(10))
        return np.where(values > start, over, at_start * np.maximum(values, 0) / start if start > 0 else over)

    return of(held), of(asked)


def fused(parts: Sequence[Part], weights: Sequence[float]) -> Array:
    """Return the score of the windows asked of: the root of the sum of the squares of the weighted rarities."""
    asked = [weight * rarity(part)[1] for part, weight in zip(parts, weights, strict=True)]
    score: Array = np.linalg.norm(asked, axis=0)
    return score


def whitening(known_rp: Array, tolerated: float = 0.0) -> tuple[Callable[[Array], Array], NDArray[np.bool_]]:
    """Return the map to whitened coordinates, and which numbers change at all, shape (P,)."""
    x = known_rp[np.unique(np.linspace(0, len(known_rp) - 1, min(MAX_FIT, len(known_rp))).astype(np.int64))]
    deviation = x.std(axis=0)
    live = deviation > DEAD * max(float(np.abs(x).max()), 1e-30)
    unit = np.maximum(deviation[live], LEAST_UNIT * np.median(deviation[live]))
    x = x[:, live] / unit
    mean, axes, variance = principal(x)
    level = float(variance.sum()) / live.sum()
    shrinkage = max(_ledoit_wolf(x - mean), LEAST_SHRINKAGE)
    kept, axes = variance[:DIRECTIONS], axes[:DIRECTIONS]
    others = max(float(variance.sum() - kept.sum()), 0.0) / max(int(live.sum()) - len(kept), 1)
    rest = (shrinkage * level + (1 - shrinkage) * others) ** -0.5
    weights = ((1 - shrinkage) * kept + shrinkage * level) ** -0.5 - rest

    def plain(of_rp: Array) -> Array:
        off = of_rp[:, live] / unit - mean
        white: Array = off * rest + ((off @ axes.T) * weights) @ axes
        return white

    if not tolerated:
        return plain, live
    center = np.zeros(known_rp.shape[1])
    center[live] = mean * unit
    v = plain((center + tolerated)[None])[0]
    length = float(v @ v)

    def shy(of_rp: Array) -> Array:
        z = plain(of_rp)
        shorter: Array = z - (z @ v)[:, None] * v * (1 - 1 / np.sqrt(1 + length)) / length
        return shorter

    return shy, live


def _ledoit_wolf(off_rp: Array) -> float:
    """As ``sklearn.covariance.ledoit_wolf_shrinkage``, from the products of windows: twenty times as fast here."""
    count, numbers = off_rp.shape
    gram = off_rp @ off_rp.T
    squared = float(np.square(gram).sum()) / count**2
    trace = float(np.trace(gram)) / count
    noise = (float(np.square(np.diag(gram)).sum()) / count - squared) / (count * numbers)
    apart = squared / numbers - (trace / numbers) ** 2
    return min(noise, apart) / apart if apart > 0 else 1.0


def _folds(group: NDArray[Any]) -> Iterator[NDArray[np.bool_]]:
    names = np.unique(group)
    for fold in range(min(FOLDS, len(names))):
        yield np.isin(group, names[fold::FOLDS])


def _values(
    known_rnd: NDArray[Any], asked_rnd: NDArray[Any], density: float = DENSITY, tolerated: float = 0.0
) -> Array:
    known, asked = (x.reshape(len(x), -1).astype(np.float64) for x in (known_rnd, asked_rnd))
    white, live = whitening(known, tolerated)
    band = np.repeat(np.arange(known_rnd.shape[1]), known_rnd.shape[2])[live]
    bank, queries = white(known), white(asked)
    distances = []
    for n in range(known_rnd.shape[1]):
        own, theirs = bank[:, band == n], queries[:, band == n]
        among, apart = _apart(own, own), _apart(theirs, own)
        np.fill_diagonal(among, np.inf)
        local = np.sort(among, axis=1)[:, :CROWD].mean(axis=1)
        crowding = np.maximum(local / max(float(np.median(local)), 1e-6), SPARSE) ** density
        near = np.argpartition(apart, min(CANDIDATES, len(own)) - 1, axis=1)[:, :CANDIDATES]
        found = (np.take_along_axis(apart, near, axis=1) / crowding[near]).min(axis=1)
        distances.append(found / np.sqrt(max(own.shape[1], 1)))
    combined: Array = np.sqrt(np.mean(np.square(distances), axis=0))
    return combined


def _apart(a: Array, b: Array) -> Array:
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2 * a @ b.T
    apart: Array = np.sqrt(np.maximum(squared, 0.0))
    return apart
