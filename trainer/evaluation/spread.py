"""How many directions an encoder's vectors really use: what falls when training collapses.

Shape suffixes: R = rows, D = width, N = bands.
Source: O. Roy and M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.machines import machine_signal

SEED = 7207
MACHINES, MACHINE_RATE_HZ, MACHINE_S = 48, 16_000, 4


def effective_rank(vectors: Tensor | NDArray[Any]) -> float:
    """Return exp of the entropy of the normalised singular values of vectors (R, D) less their mean.

    From 1 to min(R - 1, D); vectors that are all the same have none: 0.
    """
    x = vectors.detach().float().cpu().numpy() if isinstance(vectors, Tensor) else vectors
    x = np.asarray(x, np.float64)
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    if values.sum() <= np.finfo(np.float32).eps * np.abs(x).sum():
        return 0.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def within_bands(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return (R * N, D) of vectors (R, N, D), each less its band's mean: that bands differ is no merit."""
    centred = np.asarray(vectors, np.float64) - vectors.mean(axis=0, dtype=np.float64)
    flat: NDArray[np.float64] = centred.reshape(-1, vectors.shape[-1])
    return flat


def invented_machines() -> list[NDArray[np.float32]]:
    """Return the same machines every time, none of which training draws: recordings when there are no recordings."""
    frames = MACHINE_S * MACHINE_RATE_HZ
    return [machine_signal(np.random.default_rng([SEED, i]), MACHINE_RATE_HZ, frames) for i in range(MACHINES)]
