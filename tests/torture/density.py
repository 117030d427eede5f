"""Distances in units of how dense the normal windows lie where the nearest one is: a variant to measure beside ours.

After Wilkinghoff and others, "local density-based anomaly score normalization" (2025), with one neighbour.
Shape suffixes: W = windows, M = windows kept, C = channels, N = bands, D = width.
"""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vectors = NDArray[np.float16]
FLOOR = 0.1  # of the median radius: two windows that are nearly equal must not turn a whisper into infinity


def density_ratios(
    vectors: Vectors, kept: NDArray[np.int64], held: list[tuple[NDArray[np.int64], NDArray[np.bool_]]]
) -> tuple[Array, Callable[[Vectors], Array]]:
    """Learn; return the ratios of the windows learned as if they had not been, (W, C, N), and the rule for others.

    Args:
        vectors: shape (W, C, N, D).
        kept: shape (M,), the windows that others are compared with.
        held: for each stretch of time its windows, and a mask over W of those that may test it.
    """
    _, channels, bands, _ = vectors.shape
    bank = vectors[kept].astype(np.float32)
    centre = bank.mean(axis=0)
    radius = np.empty((len(kept), channels, bands))
    apart = np.empty(vectors.shape[:3])
    nearest = np.empty(vectors.shape[:3], np.int64)
    for c in range(channels):
        for n in range(bands):
            all_of = vectors[:, c, n].astype(np.float32) - centre[c, n]
            for inside, others in held:
                allowed = np.flatnonzero(others[kept])
                apart[inside, c, n], found = _nearest(all_of[inside], all_of[kept[allowed]])
                nearest[inside, c, n] = allowed[found]
            radius[:, c, n] = apart[kept, c, n]  # of a window kept, to the nearest outside its own stretch
    radius = np.maximum(radius, FLOOR * np.median(radius, axis=0))
    ratios = apart / np.take_along_axis(radius, nearest, axis=0)
    scale = np.median(ratios, axis=0)

    def of_others(others: Vectors) -> Array:
        found = np.empty(others.shape[:3])
        for c in range(channels):
            for n in range(bands):
                query = others[:, c, n].astype(np.float32) - centre[c, n]
                distance, at = _nearest(query, bank[:, c, n] - centre[c, n])
                found[:, c, n] = distance / radius[at, c, n]
        return np.asarray(found / scale)

    return ratios / scale, of_others


def _nearest(queries: NDArray[np.float32], bank: NDArray[np.float32]) -> tuple[Array, NDArray[np.int64]]:
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(np.ascontiguousarray(bank))
    at = index.search(np.ascontiguousarray(queries), 1)[1][:, 0]
    return np.linalg.norm(queries - bank[at], axis=1).astype(np.float64), at
