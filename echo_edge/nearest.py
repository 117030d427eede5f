"""Nearest: how far a window is from the nearest normal one, band by band, in whitened coordinates.

Shape suffixes: M = windows kept, W = windows learned, C = channels, N = bands, D = numbers per band.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from echo_edge.errors import EnrollError
from echo_edge.whitening import Whitening

FOLDS = 5  # the whitening is learned anew without each: its own windows would lie closer to the middle than any others
CANDIDATES = 4  # nearest windows, of which the one that is nearest for its density counts
COARSE = 16  # windows found by the coarse search and compared exactly: the candidates are among them
CROWD = 2  # neighbours that tell how densely normal windows lie around one of them
DENSITY = 0.5  # power of that density that a distance is divided by: between none (0) and full local scaling (1)
SPARSE = 0.1  # of the usual density: doubles in a bank have no distance at all
SAME = 1e-3  # of the usual distance (1), below which windows do not differ

# a search takes tens of microseconds: waiting for a second thread that is busy elsewhere was seen to cost 200 ms
faiss.omp_set_num_threads(1)

Array = NDArray[np.float64]
Held = Sequence[tuple[NDArray[np.int64], NDArray[np.bool_]]]
"""For each block of windows its indices, and a mask over all windows of those that may test it."""


class Nearest:
    """The bank of one state for one kind of vector.

    Args:
        whitenings: one per channel.
        bank: shape (M, C, N, D), half precision: normal windows in whitened coordinates.
        crowding: shape (M, C, N): what a distance to each of them is divided by; about 1.
    """

    def __init__(
        self, whitenings: Sequence[Whitening], bank: NDArray[np.float16], crowding: NDArray[np.float32]
    ) -> None:
        self._whitenings = whitenings
        self.bank, self.crowding = bank, crowding
        self._size = _size(whitenings, bank.shape[2])
        self._indexes = [[_index(bank[:, c, n]) for n in range(bank.shape[2])] for c in range(bank.shape[1])]

    @classmethod
    def learn(
        cls, vectors: NDArray[np.float16], kept: NDArray[np.int64], held: Held, tolerated: float = 0.0
    ) -> tuple[Nearest, Array]:
        """Make a bank of some windows, and measure all windows as if they had not been learned.

        Args:
            vectors: shape (W, C, N, D).
            kept: rising indices of those that make the bank.
            held: which windows may test which.
            tolerated: as ``Whitening.fit``.

        Returns:
            The bank, and the distances of all windows, shape (W, C, N); about 1 is usual.

        Raises:
            EnrollError: the windows do not differ.
        """
        distances = np.empty(vectors.shape[:3])
        for inside, others in _folds(held):
            tested = np.flatnonzero(others)
            whitenings = _fit(vectors[tested], tolerated)
            part = kept[others[kept]]
            bank = cls(whitenings, _whiten(whitenings, vectors[part]), _crowding(whitenings, vectors[part]))
            distances[inside] = bank.exact_distances(vectors[inside])
        whitenings = _fit(vectors, tolerated)
        learned = cls(whitenings, _whiten(whitenings, vectors[kept]), _crowding(whitenings, vectors[kept]))
        if not np.median(distances) > SAME:
            raise EnrollError("the windows do not differ: a silent sensor, or one recording repeated")
        return learned, distances

    def distances(self, vectors: NDArray[np.floating[Any]]) -> Array:
        """Distance of one window to the nearest in the bank, band by band. (C, N, D) -> (C, N)."""
        whitened = _whiten(self._whitenings, vectors[None])[0].astype(np.float32)
        channels, bands = whitened.shape[:2]
        near = np.empty((channels, bands, min(COARSE, len(self.bank))), np.int64)
        for c, indexes in enumerate(self._indexes):
            for n, index in enumerate(indexes):
                near[c, n] = index.search(whitened[c, n][None], near.shape[2])[1][0]
        which = (near, *np.ogrid[:channels, :bands, :1][:2])
        apart = np.linalg.norm(self.bank[which].astype(np.float32) - whitened[:, :, None], axis=3)
        best = np.argpartition(apart, min(CANDIDATES, near.shape[2]) - 1, axis=2)[:, :, :CANDIDATES]
        found = np.take_along_axis(apart / self.crowding[which], best, axis=2).min(axis=2)
        distances: Array = found / self._size
        return distances

    def vectors(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Windows of the bank as they were before they were whitened, to within rounding. (M',) -> (M', C, N, D)."""
        bank = self.bank[which]
        whole = [w.back(bank[:, c].reshape(len(bank), -1)) for c, w in enumerate(self._whitenings)]
        return np.stack(whole, axis=1).reshape(bank.shape)

    def nearest_of(self, vectors: NDArray[np.floating[Any]], among: NDArray[np.int64]) -> int:
        """Which of some windows of the bank is the most like one window over all bands: its place in ``among``."""
        whitened = _whiten(self._whitenings, vectors[None])[0].astype(np.float32)
        apart = np.square(self.bank[among].astype(np.float32) - whitened).sum(axis=(1, 2, 3))
        return int(apart.argmin())

    def whitened(self, vectors: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
        """Windows in the bank's coordinates, (W, C, N, D) -> (W, C, N, D)."""
        return _whiten(self._whitenings, vectors)

    def with_more(self, vectors: NDArray[np.float16], kept: NDArray[np.int64]) -> Nearest:
        """The same whitening over this bank and more windows; ``kept`` are the indices of both that stay.

        A new window divides distances by what its nearest neighbour does, and never by more than the usual 1: the edge
        of normal must not grow by its own sparseness.
        """
        new = self.whitened(vectors)
        crowding = np.empty(new.shape[:3], np.float32)
        for c in range(new.shape[1]):
            for n in range(new.shape[2]):
                near = _neighbours(new[:, c, n].astype(np.float32), self.bank[:, c, n].astype(np.float32), 1)[:, 0]
                crowding[:, c, n] = np.minimum(self.crowding[near, c, n], 1)
        both = np.concatenate([self.bank, new])[kept]
        return Nearest(self._whitenings, both, np.concatenate([self.crowding, crowding])[kept])

    def exact_distances(self, vectors: NDArray[np.float16]) -> Array:
        """``distances`` of many windows, exhaustively. (W, C, N, D) -> (W, C, N)."""
        whitened = _whiten(self._whitenings, vectors)
        found = np.empty(whitened.shape[:3])
        for c in range(whitened.shape[1]):
            for n in range(whitened.shape[2]):
                bank, queries = (x[:, c, n].astype(np.float32) for x in (self.bank, whitened))
                near = _neighbours(queries, bank, CANDIDATES)
                apart = np.linalg.norm(bank[near] - queries[:, None], axis=2)
                found[:, c, n] = (apart / self.crowding[near, c, n]).min(axis=1)
        distances: Array = found / self._size
        return distances

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What it is made of; see ``from_arrays``."""
        stored: dict[str, NDArray[Any]] = {"bank": self.bank, "crowding": self.crowding}
        for c, whitening in enumerate(self._whitenings):
            stored |= {f"{c}.{key}": array for key, array in whitening.arrays().items()}
        return stored

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Nearest:
        """Made again from ``arrays``: every distance is equal to the last bit."""
        bank = arrays["bank"]
        whitenings = [
            Whitening.from_arrays({k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{c}.")})
            for c in range(bank.shape[1])
        ]
        return cls(whitenings, bank, arrays["crowding"])


def _fit(vectors: NDArray[np.float16], tolerated: float) -> list[Whitening]:
    return [Whitening.fit(vectors[:, c].reshape(len(vectors), -1), tolerated) for c in range(vectors.shape[1])]


def _whiten(whitenings: Sequence[Whitening], vectors: NDArray[np.floating[Any]]) -> NDArray[np.float16]:
    """(W, C, N, D) -> (W, C, N, D), rounded to half precision as the bank is kept.

    Rounded before as well: what is judged must be as noisy as what was learned, and whitening magnifies small noise.
    """
    rounded = vectors.astype(np.float16)
    whole = [w(rounded[:, c].reshape(len(rounded), -1)) for c, w in enumerate(whitenings)]
    return np.stack(whole, axis=1).reshape(vectors.shape).astype(np.float16)


def _size(whitenings: Sequence[Whitening], bands: int) -> Array:
    """Root of how many numbers of each band can differ, shape (C, N): what makes a usual distance about 1."""
    live = np.array([w.live.reshape(bands, -1).sum(axis=1) for w in whitenings])
    size: Array = np.sqrt(np.maximum(live, 1))
    return size


def _crowding(whitenings: Sequence[Whitening], vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    """How sparsely windows lie around each, against the usual, to a power. (M, C, N, D) -> (M, C, N)."""
    whitened = _whiten(whitenings, vectors)
    crowding = np.ones(whitened.shape[:3], np.float32)
    for c in range(whitened.shape[1]):
        for n in range(whitened.shape[2]):
            bank = whitened[:, c, n].astype(np.float32)
            near = _neighbours(bank, bank, CROWD + 1)
            apart = np.linalg.norm(bank[near] - bank[:, None], axis=2)
            local = np.sort(apart, axis=1)[:, 1:].mean(axis=1)  # the nearest is the window itself
            crowding[:, c, n] = np.maximum(local / max(float(np.median(local)), 1e-6), SPARSE) ** DENSITY
    return crowding


def _folds(held: Held) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Join blocks into ``FOLDS``, each with what may test every block of it."""
    for fold in range(min(FOLDS, len(held))):
        own = held[fold::FOLDS]
        others = np.logical_and.reduce([mask for _, mask in own])
        yield np.concatenate([inside for inside, _ in own]), others


def _index(vectors: NDArray[np.float16]) -> faiss.IndexScalarQuantizer:
    # a search reads every vector, and memory is what it waits for: a quarter of the bytes, then a few exact distances
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_8bit)
    single = np.ascontiguousarray(vectors, dtype=np.float32)
    index.train(single)
    index.add(single)
    return index


def _neighbours(queries: NDArray[np.float32], bank: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(np.ascontiguousarray(bank))
    near: NDArray[np.int64] = index.search(np.ascontiguousarray(queries), min(count, len(bank)))[1]
    return near
