"""Coreset: the few windows that stand for many, so that memory and search stay bounded however long one learns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PROJECTED = 64  # random directions: they keep distances to within some 10 %


def thin(vectors: NDArray[np.float16], keep: int) -> NDArray[np.int64]:
    """Choose ``keep`` of W vectors, shape (W, F), so that none is far from a chosen one; returns rising indices.

    Farthest first (Gonzalez 1985; in projected vectors as by Roth et al., arXiv:2106.08265): each next one is the
    farthest from all before, so that what is alike shares one place and what is rare keeps its own.
    """
    if len(vectors) <= keep:
        return np.arange(len(vectors), dtype=np.int64)
    turn = np.random.default_rng(0).standard_normal((vectors.shape[1], PROJECTED), dtype=np.float32)
    flat = np.concatenate(
        [part.astype(np.float32) @ turn for part in np.array_split(vectors, len(vectors) // 1024 + 1)]
    )
    flat -= flat.mean(axis=0)
    squares = np.square(flat).sum(axis=1)
    chosen = np.empty(keep, dtype=np.int64)
    apart = np.full(len(flat), np.inf, dtype=np.float32)
    at = int(squares.argmin())  # the most ordinary one first
    for i in range(keep):
        chosen[i] = at
        np.minimum(apart, squares + squares[at] - 2 * (flat @ flat[at]), out=apart)
        apart[at] = -np.inf
        at = int(apart.argmax())
    return np.sort(chosen)
