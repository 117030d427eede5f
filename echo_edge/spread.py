"""Spread: how far a window's physical indicators are from their normal middle, in units of their normal spread.

Shape suffixes: W = windows, C = channels, K = indicators.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MAD_TO_SIGMA = 1.4826  # of a normal distribution
FLOOR = 0.01  # of log10 or of a ratio: 2 %, below which a difference of an indicator tells nothing

Array = NDArray[np.float64]


class Spread:
    """Median and median absolute deviation of each indicator over the normal windows.

    Args:
        middle, spread: shape (C, K).
    """

    def __init__(self, middle: Array, spread: Array) -> None:
        self.middle, self.spread = middle, spread

    @classmethod
    def learn(cls, values: Array, held: list[tuple[NDArray[np.int64], NDArray[np.bool_]]]) -> tuple[Spread, Array]:
        """Learn from all windows, (W, C, K); measure each block by the windows outside it. Returns ratios, (W, C, K).

        Args:
            held: for each block the indices of its windows, and a mask over W of those that may test it.
        """
        ratios = np.empty(values.shape)
        for inside, others in held:
            ratios[inside] = cls._of(values[others]).ratios(values[inside])
        return cls._of(values), ratios

    @classmethod
    def _of(cls, values: Array) -> Spread:
        middle = np.median(values, axis=0)
        return cls(middle, np.maximum(MAD_TO_SIGMA * np.median(np.abs(values - middle), axis=0), FLOOR))

    def ratios(self, values: Array) -> Array:
        """(..., C, K) -> (..., C, K)."""
        ratios: Array = np.abs(values - self.middle) / self.spread
        return ratios

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it is made of; see ``from_arrays``."""
        return {"middle": self.middle, "spread": self.spread}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Spread:
        """Made again from ``arrays``."""
        return cls(arrays["middle"].astype(np.float64), arrays["spread"].astype(np.float64))
