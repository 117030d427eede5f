"""Material: what a normal state is learned from, many windows of one point in order of time.

Shape suffixes: W = windows, C = channels, N = bands, D = embedding width, K = indicators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from echo_edge.records import Embedding


@dataclass(frozen=True, slots=True)
class Material:
    """What ``Embedding`` holds of one window, of many. Vectors are in half precision, as the index keeps them."""

    bands: NDArray[np.float16]
    """Shape (W, C, N, D)."""

    spectrum: NDArray[np.float16]
    """Shape (W, C, N, 32)."""

    indicators: NDArray[np.float64]
    """Shape (W, C, K)."""

    picture: NDArray[np.uint8]
    """Shape (W, C, R, Q): coarse spectrograms."""

    level_db: NDArray[np.float64]
    """Shape (W, C)."""

    start_ns: NDArray[np.int64]
    """Shape (W,): capture time of each window's first sample."""

    end_ns: NDArray[np.int64]
    """Shape (W,)."""

    @classmethod
    def of(cls, embeddings: Sequence[Embedding]) -> Material:
        """Stack at least one embedding; all have the same shapes."""
        return cls(
            np.stack([e.bands for e in embeddings]).astype(np.float16),
            np.stack([e.spectrum for e in embeddings]).astype(np.float16),
            np.stack([e.indicators for e in embeddings]),
            np.stack([e.picture for e in embeddings]),
            np.stack([e.level_db for e in embeddings]),
            np.array([e.time_ns for e in embeddings], dtype=np.int64),
            np.array([e.end_ns for e in embeddings], dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.start_ns)

    def pick(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Material:
        """Some of the windows."""
        return Material(*(getattr(self, field.name)[which] for field in fields(self)))

    def and_then(self, later: Material) -> Material:
        """These windows and then those."""
        return Material(*(np.concatenate([getattr(self, f.name), getattr(later, f.name)]) for f in fields(self)))
