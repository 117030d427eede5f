"""How many directions an encoder's vectors really use: what falls when training collapses.

Shape suffixes: R = signals, N = bands, D = width.
Source: O. Roy and M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.machines import machine_signal

SEED = 7207
ROUNDING = 1e-6  # of the largest component: what float32 leaves of equal vectors
MACHINES, MACHINE_RATE_HZ, MACHINE_S = 48, 16_000, 4


def effective_rank(vectors: Tensor | NDArray[Any]) -> float:
    """Return exp of the entropy of the normalised singular values of vectors (R, D) or (R, N, D).

    The mean over signals is removed; bands become rows, each less its own mean: that bands differ is no merit of an
    encoder. From 1 to the width; vectors that are all the same have none: 0.
    """
    given = vectors.detach().cpu().numpy() if isinstance(vectors, Tensor) else vectors
    x = np.asarray(given, np.float64)
    centred = (x - x.mean(axis=0)).reshape(-1, x.shape[-1])
    values = np.linalg.svd(centred, compute_uv=False)
    if np.abs(centred).max() <= ROUNDING * np.abs(x).max():
        return 0.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def invented_machines() -> list[NDArray[np.float32]]:
    """Return the same machines every time, none of which training draws: recordings when there are no recordings."""
    frames = MACHINE_S * MACHINE_RATE_HZ
    return [machine_signal(np.random.default_rng([SEED, i]), MACHINE_RATE_HZ, frames) for i in range(MACHINES)]
