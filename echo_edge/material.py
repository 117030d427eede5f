"""Material: what a normal state is learned from, many windows of one point in order of time.

Shape suffixes: W = windows, C = channels, N = bands, D = embedding width, K = indicators.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

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

    indicator_names: tuple[str, ...]
    """Of the K indicators; the same for all windows."""

    @classmethod
    def of(cls, embeddings: Sequence[Embedding]) -> Material:
        """Stack at least one embedding; all have the same shapes and indicators."""
        return cls(
            np.stack([e.bands for e in embeddings]).astype(np.float16),
            np.stack([e.spectrum for e in embeddings]).astype(np.float16),
            np.stack([e.indicators for e in embeddings]),
            np.stack([e.picture for e in embeddings]),
            np.stack([e.level_db for e in embeddings]),
            np.array([e.time_ns for e in embeddings], dtype=np.int64),
            np.array([e.end_ns for e in embeddings], dtype=np.int64),
            embeddings[0].indicator_names,
        )

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(getattr(self, name).nbytes for name in ARRAYS)

    def pick(self, which: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Material:
        """Some of the windows."""
        picked: dict[str, Any] = {name: getattr(self, name)[which] for name in ARRAYS}
        return replace(self, **picked)

    def embeddings(self, point: str, rate_hz: int) -> Iterator[Embedding]:
        """The windows one by one, as they were; vectors keep their half precision."""
        for i in range(len(self)):
            yield Embedding(
                point=point,
                bands=self.bands[i].astype(np.float32),
                rate_hz=rate_hz,
                time_ns=int(self.start_ns[i]),
                end_ns=int(self.end_ns[i]),
                spectrum=self.spectrum[i].astype(np.float32),
                picture=self.picture[i],
                level_db=self.level_db[i],
                indicators=self.indicators[i],
                indicator_names=self.indicator_names,
            )

    @classmethod
    def joined(cls, parts: Sequence[Material]) -> Material:
        """At least one part, one after the other."""
        joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
        return replace(parts[0], **joined)


ARRAYS = tuple(field.name for field in fields(Material) if field.name != "indicator_names")
