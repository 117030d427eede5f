"""Whitening: the coordinates in which normal windows spread alike in every direction, and a common gain hardly counts.

Distances between raw vectors are ruled by the few directions in which normal windows differ anyway. Divided by how
much normal windows spread in each direction, what is unusual stands out (Mahalanobis 1936); of all rules that were
compared on real machines in noise this one was first: ``docs/results/methods.md``.

Shape suffixes: W = windows, P = numbers in a vector, R = directions kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_FIT = 512  # windows that the covariance is taken from, evenly spaced: more cost time and change little
DIRECTIONS = 128  # that are told apart; the spread of all others is taken to be alike
LEAST_SHRINKAGE = 0.1  # of the covariance towards a sphere: directions that hardly ever moved must not decide alone
LEAST_UNIT = 0.1  # of the median coordinate's spread
DEAD = 1e-6  # a spread below, as a share of the largest number, is rounding: the coordinate never changes

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Whitening:
    """A linear map to whitened coordinates, and back in order: each number keeps its place (ZCA)."""

    mean: Array
    """Shape (P,)."""

    inverse_unit: Array
    """Shape (P,): 1 / spread of each number; 0 for one that never changes."""

    axes: Array
    """Shape (R, P): principal directions of the numbers in their units."""

    weights: Array
    """Shape (R,): 1 / spread along each direction, less that of all others."""

    rest: float
    """1 / spread of all other directions."""

    shy: Array
    """Shape (P,): a direction in which a difference counts less; zero for none. see ``fit``."""

    @classmethod
    def fit(cls, vectors: NDArray[np.floating[Any]], tolerated: float = 0.0) -> Whitening:
        """Learn from normal vectors.

        The covariance is shrunk towards a sphere as Ledoit and Wolf (2004) compute it, but at least by a tenth.

        Args:
            vectors: shape (W, P), W >= 2.
            tolerated: an offset common to all numbers that counts as one usual spread: a gain, where the numbers are
                logarithms of levels.
        """
        picked = np.unique(np.linspace(0, len(vectors) - 1, min(MAX_FIT, len(vectors))).astype(np.int64))
        x = vectors[picked].astype(np.float64)
        mean = x.mean(axis=0)
        x -= mean
        spread = x.std(axis=0)
        live = spread > DEAD * max(float(np.abs(vectors[picked]).max()), 1e-30)
        inverse_unit = np.zeros_like(spread)
        if live.any():
            inverse_unit[live] = 1 / np.maximum(spread[live], LEAST_UNIT * np.median(spread[live]))
        x *= inverse_unit
        size, count = len(x), max(int(live.sum()), 1)
        gram = x @ x.T
        level = float(np.trace(gram)) / size / count  # mean variance of a live number
        shrinkage = max(_ledoit_wolf(gram, count), LEAST_SHRINKAGE)
        squared, turns = np.linalg.eigh(gram)
        kept = np.flatnonzero(squared > 1e-10 * max(float(squared[-1]), 1e-30))[::-1][:DIRECTIONS]
        variance = squared[kept] / size
        axes = (turns[:, kept] / np.sqrt(squared[kept])).T @ x
        others = max(float(np.trace(gram)) / size - float(variance.sum()), 0.0) / max(count - len(kept), 1)
        rest = max(shrinkage * level + (1 - shrinkage) * others, 1e-12) ** -0.5
        weights = ((1 - shrinkage) * variance + shrinkage * level) ** -0.5 - rest
        plain = cls(
            mean.astype(np.float32),
            inverse_unit.astype(np.float32),
            axes.astype(np.float32),
            weights.astype(np.float32),
            float(rest),
            np.zeros(len(mean), np.float32),
        )
        if not tolerated:
            return plain
        v = plain((mean + tolerated * live)[None])[0].astype(np.float64)
        length = float(v @ v)
        # one more spread along v: z - c v (v.z), so that the square becomes |z|^2 - (v.z)^2 / (1 + |v|^2)
        shy = v * np.sqrt((1 - 1 / np.sqrt(1 + length)) / max(length, 1e-30))
        return cls(plain.mean, plain.inverse_unit, plain.axes, plain.weights, plain.rest, shy.astype(np.float32))

    def __call__(self, vectors: NDArray[np.floating[Any]]) -> Array:
        """(W, P) -> (W, P)."""
        off = np.multiply(vectors.astype(np.float32) - self.mean, self.inverse_unit, dtype=np.float32)
        z: Array = off * np.float32(self.rest) + ((off @ self.axes.T) * self.weights) @ self.axes
        z -= (z @ self.shy)[:, None] * self.shy
        return z

    def back(self, whitened: NDArray[np.floating[Any]]) -> Array:
        """The vectors that would be whitened so. (W, P) -> (W, P)"""
        z = whitened.astype(np.float32)
        z = z + (z @ self.shy)[:, None] * self.shy / np.float32(1 - self.shy @ self.shy)
        along = 1 / (self.rest + self.weights) - np.float32(1 / self.rest)
        off = z / np.float32(self.rest) + ((z @ self.axes.T) * along) @ self.axes
        unit = np.divide(1, self.inverse_unit, out=np.zeros_like(self.inverse_unit), where=self.live)
        return (off * unit + self.mean).astype(np.float32)

    @property
    def live(self) -> NDArray[np.bool_]:
        """Shape (P,): the numbers that change at all."""
        return self.inverse_unit > 0

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """What it is made of; see ``from_arrays``."""
        return {
            "mean": self.mean,
            "inverse_unit": self.inverse_unit,
            "axes": self.axes,
            "weights": self.weights,
            "rest": np.array([self.rest]),
            "shy": self.shy,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float32]]) -> Whitening:
        """Made again from ``arrays``."""
        return cls(
            arrays["mean"],
            arrays["inverse_unit"],
            arrays["axes"],
            arrays["weights"],
            float(arrays["rest"][0]),
            arrays["shy"],
        )


def _ledoit_wolf(gram: NDArray[np.float64], numbers: int) -> float:
    """The best share of a sphere in the covariance, 0..1, from the products of centred vectors with each other."""
    count = len(gram)
    trace = float(np.trace(gram)) / count
    mean = trace / numbers
    of_products = float(np.square(gram).sum()) / count**2
    noise = (float(np.square(np.diag(gram)).sum()) / count - of_products) / (numbers * count)
    apart = (of_products - 2 * mean * trace + numbers * mean**2) / numbers
    return min(noise, apart) / apart if apart > 0 else 1.0
