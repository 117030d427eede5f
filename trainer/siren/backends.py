"""Other ways to say how far a vector is from a bank of normal ones, and the least strange answer of several.

Nearest by cosine is what SIREN publishes. *Per band*: the nearest is sought in each band by itself, and the distances
are averaged (arXiv:2603.13749). *Local density*: a distance counts in units of the usual one around the normal vector
it leads to, so that a crowded state does not set the measure for a sparse one (Wilkinghoff et al., arXiv:2509.10951).
*Mahalanobis*, with the covariance shrunk (Ledoit and Wolf 2004), and the residual of a principal component analysis.
*Combined*: each standardised by what it says of normal vectors it did not learn, and the smallest taken
(arXiv:2606.19269).

Shape suffixes: N = bank, Q = queries, D = length of a vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage

from trainer.siren.errors import ScoringError
from trainer.siren.neighbours import DENSITY_NEIGHBOURS

EXPLAINED = 0.95  # of the variance, by the components whose residual is scored
LEAST = 3  # vectors in a bank: fewer have no spread

Array = NDArray[Any]


class Detector(ABC):
    """Learned from normal vectors (N, D); the larger its score, the stranger a vector."""

    own: Array
    """What it says of the vectors it learned from, each left out, shape (N,)."""

    @abstractmethod
    def scores(self, queries_qd: Array) -> Array:
        """Return one score a query, shape (Q,)."""


class Nearest(Detector):
    """1 - cosine to the nearest; band by band and averaged where edges are given."""

    def __init__(self, bank_nd: Array, edges: Sequence[int] | None = None) -> None:
        self._bank, self._edges = bank_nd, edges
        self.own = self._all(bank_nd, same=True)

    def scores(self, queries_qd: Array) -> Array:
        """Return one score a query; see ``Detector``."""
        return self._all(queries_qd, same=False)

    def _all(self, queries_qd: Array, *, same: bool) -> Array:
        ends = list(self._edges or (0, self._bank.shape[1]))
        bands = [(queries_qd[:, a:b], self._bank[:, a:b]) for a, b in pairwise(ends)]
        found: Array = np.mean([_cosine(q, n, same=same).min(axis=1) for q, n in bands], axis=0)
        return found


class LocalDensity(Detector):
    """The smallest of the cosine distances to normal vectors, each divided by the usual one around that vector."""

    def __init__(self, bank_nd: Array) -> None:
        self._bank = bank_nd
        among = _cosine(bank_nd, bank_nd, same=True)
        k = min(DENSITY_NEIGHBOURS, len(bank_nd) - 1)
        usual = np.sort(among, axis=1)[:, :k].mean(axis=1)
        self._usual = np.maximum(usual, 1e-3 * np.median(usual) + 1e-12)  # doubles in a bank have no distance at all
        self.own = (among / self._usual).min(axis=1)

    def scores(self, queries_qd: Array) -> Array:
        """Return one score a query; see ``Detector``."""
        found: Array = (_cosine(queries_qd, self._bank, same=False) / self._usual).min(axis=1)
        return found


class Mahalanobis(Detector):
    """Distance to the mean in units of the shrunk covariance."""

    def __init__(self, bank_nd: Array, *, crossed: bool = True) -> None:
        self._mean, self._axes, variance = principal(bank_nd)
        shrinkage = float(ledoit_wolf_shrinkage(bank_nd))
        level = max(float(variance.sum()) / bank_nd.shape[1], 1e-12)
        self._rest = 1.0 / max(shrinkage * level, 1e-9 * level)
        self._weight = 1.0 / ((1 - shrinkage) * variance + 1.0 / self._rest)
        self.own = _crossed(Mahalanobis, bank_nd) if crossed else np.empty(0)

    def scores(self, queries_qd: Array) -> Array:
        """Return one score a query; see ``Detector``."""
        off = queries_qd - self._mean
        along = np.square(off @ self._axes.T)
        outside = np.maximum(np.square(off).sum(axis=1) - along.sum(axis=1), 0.0)
        found: Array = np.sqrt(along @ self._weight + outside * self._rest)
        return found


class Residual(Detector):
    """What the principal components that explain 95 % of the bank leave of a vector."""

    def __init__(self, bank_nd: Array, *, crossed: bool = True) -> None:
        self._mean, axes, variance = principal(bank_nd)
        kept = 1 + int(np.searchsorted(np.cumsum(variance), EXPLAINED * variance.sum()))
        self._axes = axes[:kept]
        self.own = _crossed(Residual, bank_nd) if crossed else np.empty(0)

    def scores(self, queries_qd: Array) -> Array:
        """Return one score a query; see ``Detector``."""
        off = queries_qd - self._mean
        left: Array = np.linalg.norm(off - off @ self._axes.T @ self._axes, axis=1)
        return left


class Combined(Detector):
    """The smallest of the standardised scores of nearest, local density, Mahalanobis and residual."""

    def __init__(self, bank_nd: Array) -> None:
        self._members: list[Detector] = [make(bank_nd) for make in (Nearest, LocalDensity, Mahalanobis, Residual)]
        self.own = np.min([_standard(member, member.own) for member in self._members], axis=0)

    def scores(self, queries_qd: Array) -> Array:
        """Return one score a query; see ``Detector``."""
        found: Array = np.min([_standard(member, member.scores(queries_qd)) for member in self._members], axis=0)
        return found


METHODS = ("per band", "local density", "combined")


def detector(method: str, bank_nd: Array, edges: Sequence[int] | None) -> Detector | None:
    """Return a detector by name, learned from a bank; None for "per band" where vectors have no bands.

    Raises:
        ScoringError: too few vectors to have a spread.
    """
    if len(bank_nd) < LEAST:
        raise ScoringError(f"{method}: {len(bank_nd)} normal vectors have no spread; at least {LEAST} are needed")
    bank = np.asarray(bank_nd, np.float64)
    if method == "per band":
        return Nearest(bank, edges) if edges else None
    if method == "combined":
        return Combined(bank)
    return LocalDensity(bank)


def _cosine(queries_qd: Array, bank_nd: Array, *, same: bool) -> Array:
    """Return 1 - cosine, shape (Q, N); of the ``same`` vectors, infinite where one meets itself."""
    q = queries_qd / (np.linalg.norm(queries_qd, axis=1, keepdims=True) + 1e-10)
    n = bank_nd / (np.linalg.norm(bank_nd, axis=1, keepdims=True) + 1e-10)
    distance: Array = np.maximum(1.0 - q @ n.T, 0.0)
    if same:
        np.fill_diagonal(distance, np.inf)
    return distance


def principal(bank_nd: Array) -> tuple[Array, Array, Array]:
    """Return mean (D,), principal axes (R, D), widest first, and the variance along each (R,).

    From the products of the vectors with each other, since there are mostly fewer vectors than numbers in one: four
    times as fast as a singular value decomposition of a bank of 1000 by 2688.
    """
    mean = bank_nd.mean(axis=0)
    off = bank_nd - mean
    squared, turns = np.linalg.eigh(off @ off.T)
    kept = np.flatnonzero(squared > 1e-12 * max(float(squared[-1]), 1e-30))[::-1]
    axes = turns[:, kept].T @ off / np.sqrt(squared[kept])[:, None]
    return mean, axes, squared[kept] / len(bank_nd)


def _crossed(make: type[Mahalanobis] | type[Residual], bank_nd: Array) -> Array:
    """Return what each half of a bank's vectors is worth to the detector learned from the other half."""
    own = np.empty(len(bank_nd))
    for half in (0, 1):
        own[half::2] = make(bank_nd[1 - half :: 2], crossed=False).scores(bank_nd[half::2])
    return own


def _standard(member: Detector, scores: Array) -> Array:
    standard: Array = (scores - member.own.mean()) / max(float(member.own.std()), 1e-12)
    return standard
