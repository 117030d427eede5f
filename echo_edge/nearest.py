"""Nearest: how far a window's vectors are from the nearest normal ones, band by band, in units of the usual distance.

Shape suffixes: M = vectors kept, W = windows learned, C = channels, N = bands, D = width of a vector.
"""

from __future__ import annotations

from collections.abc import Mapping

import faiss
import numpy as np
from numpy.typing import NDArray

from echo_edge.errors import EnrollError

SCALE_FLOOR = 0.1  # of the median band's: a band that hardly ever changes must not turn a whisper into infinity
ROUNDING = 1e-3  # of the largest component: half precision leaves of equal vectors as much
CANDIDATES = 4  # of the coarse search, compared exactly: the nearest is among them

# a search takes tens of microseconds: waiting for a second thread that is busy elsewhere was seen to cost 200 ms
faiss.omp_set_num_threads(1)

Array = NDArray[np.float64]


class Nearest:
    """The bank of one state for one kind of vector, and the usual distance in each band.

    Args:
        bank: shape (M, C, N, D), half precision.
        scale: shape (C, N), the usual distance between normal windows.
    """

    def __init__(self, bank: NDArray[np.float16], scale: Array) -> None:
        self.bank = bank
        self.scale = scale
        # distances between embeddings are small beside the embeddings: centring keeps their digits
        self._centre = bank.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._indexes = [
            [_index(bank[:, c, n] - self._centre[c, n]) for n in range(bank.shape[2])] for c in range(bank.shape[1])
        ]

    @classmethod
    def learn(
        cls,
        vectors: NDArray[np.float16],
        kept: NDArray[np.int64],
        held: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    ) -> tuple[Nearest, Array]:
        """Make a bank of some of the vectors, and measure all others against it as if they had not been learned.

        Args:
            vectors: shape (W, C, N, D).
            kept: indices of those that make the bank.
            held: for each block of windows its indices, and which of ``kept`` may test it.

        Returns:
            The bank, and the ratios of all windows, shape (W, C, N).

        Raises:
            EnrollError: the vectors do not differ.
        """
        distances = np.empty(vectors.shape[:3])
        for c in range(vectors.shape[1]):
            for n in range(vectors.shape[2]):
                one = vectors[:, c, n].astype(np.float32)
                one -= one.mean(axis=0)
                for inside, others in held:
                    distances[inside, c, n] = _exact_nearest(one[inside], one[kept[others]])
        scale = np.median(distances, axis=0)
        floor = SCALE_FLOOR * np.median(scale, axis=1, keepdims=True)
        if not np.all(floor > ROUNDING * SCALE_FLOOR * np.abs(vectors).max()):
            raise EnrollError("the windows do not differ: a silent sensor, or one recording repeated")
        scale = np.maximum(scale, floor)
        return cls(vectors[kept], scale), distances / scale

    def ratios(self, vectors: NDArray[np.float32]) -> Array:
        """Return distance / usual distance of one window, (C, N, D) -> (C, N)."""
        rounded = vectors.astype(np.float16)
        squared = np.empty(rounded.shape[:2])
        for c, indexes in enumerate(self._indexes):
            for n, index in enumerate(indexes):
                query = (rounded[c, n] - self._centre[c, n])[None]
                near = index.search(query, min(CANDIDATES, index.ntotal))[1][0]
                apart = self.bank[near, c, n].astype(np.float32) - rounded[c, n]
                squared[c, n] = np.square(apart).sum(axis=1).min()
        ratios: Array = np.sqrt(squared) / self.scale
        return ratios

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it is made of; see ``from_arrays``."""
        return {"bank": self.bank, "scale": self.scale}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Nearest:
        """Made again from ``arrays``: every ratio is equal to the last bit."""
        return cls(arrays["bank"].astype(np.float16, copy=False), arrays["scale"].astype(np.float64, copy=False))


def _index(vectors: NDArray[np.float32]) -> faiss.IndexScalarQuantizer:
    # a search reads every vector, and memory is what it waits for: a quarter of the bytes, then a few exact distances
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    index.train(vectors)
    index.add(vectors)
    return index


def _exact_nearest(queries: NDArray[np.float32], bank: NDArray[np.float32]) -> Array:
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(np.ascontiguousarray(bank))
    near = index.search(np.ascontiguousarray(queries), 1)[1][:, 0]
    # the matrix form of the search loses digits of small distances
    distance: Array = np.linalg.norm(queries.astype(np.float64) - bank[near], axis=1)
    return distance
