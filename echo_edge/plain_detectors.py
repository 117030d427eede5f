"""Plain detectors: the trivial ways to judge that ours has to beat, with the same tail and the same alert policy.

One hears the mean log spectrum alone, by the rule of ours; the other is the nearest neighbour among whole vectors of
the encoder, as they are. Both learn the very windows that the baseline learned.

Shape suffixes: W = windows, C = channels, N = bands, D = numbers per band.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from echo_edge.alerts import AlertPolicy
from echo_edge.config import AlertConfig
from echo_edge.coreset import thin
from echo_edge.errors import EnrollError
from echo_edge.material import Material
from echo_edge.nearest import Held, Nearest
from echo_edge.normal import Normal
from echo_edge.normal_state import MAX_BANK, TOLERATED, NormalState, band_rms, held_blocks
from echo_edge.records import Embedding, Event, Score
from echo_edge.tail import Tail

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Learned:
    """The vectors of the windows that a state learned."""

    state: NormalState
    bands: NDArray[np.float16]
    """Shape (W, C, N, D)."""

    spectrum: NDArray[np.float16]
    """Shape (W, C, N, 32)."""

    @classmethod
    def of(cls, state: NormalState, material: Material) -> Learned:
        """From the windows themselves."""
        return cls(state, material.bands, material.spectrum)

    @classmethod
    def restored(cls, state: NormalState) -> Learned | None:
        """From the bank; None when it does not hold every window that was learned."""
        echo, spectrum = state.parts["echo"], state.parts["spectrum"]
        if not isinstance(echo, Nearest) or not isinstance(spectrum, Nearest) or state.windows != len(state.held_out):
            return None
        bands, averages = (part.vectors(np.arange(state.windows)).astype(np.float16) for part in (echo, spectrum))
        return cls(state, bands, averages)


class PlainDetector:
    """One trivial way to judge; its threshold promises the same rate of false alarms as ours.

    Args:
        learned: every state of the point.
        make: learns from vectors; returns their values as if they had not been learned, and what gives others theirs.
    """

    def __init__(
        self,
        name: str,
        learned: Sequence[Learned],
        make: Make,
        target_per_month: float,
        hop_s: float,
        alert: AlertConfig,
    ) -> None:
        self.name = name
        states = []
        self._values: dict[str, Callable[[Embedding], float]] = {}
        self._tails: dict[str, Tail] = {}
        for one in learned:
            held_out, self._values[one.state.name] = make(one)
            tail = self._tails[one.state.name] = Tail.fit(held_out)
            if tail.mean_excess <= 0:
                raise EnrollError(f"{name}: the windows are all equally far apart; repeated material teaches nothing")
            states.append(replace(one.state, held_out=tail.rarity(held_out)))
        self.normal = Normal(name, states, target_per_month, hop_s, alert)
        self._policy = AlertPolicy(alert, self.normal.persistence)

    def judge(self, embedding: Embedding, ours: Score) -> tuple[Score, Event | None]:
        """Judge one window that ours has judged, too."""
        found = {
            name: float(self._tails[name].rarity(np.array([value(embedding)]))[0])
            for name, value in self._values.items()
        }
        best = min(found, key=lambda name: found[name] / self.normal.thresholds[name])
        score = replace(ours, value=found[best], threshold=self.normal.thresholds[best], state=best)
        return score, self._policy.update(score)


Make = Callable[[Learned], tuple[Array, Callable[[Embedding], float]]]


def plain_detectors(
    learned: Sequence[Learned], target_per_month: float, hop_s: float, alert: AlertConfig
) -> list[PlainDetector]:
    """All of them.

    Raises:
        EnrollError: the windows do not differ in what one of them hears.
    """
    ways: dict[str, Make] = {"mean log spectrum": _spectrum, "plain KNN": _neighbour}
    return [PlainDetector(name, learned, make, target_per_month, hop_s, alert) for name, make in ways.items()]


def _spectrum(learned: Learned) -> tuple[Array, Callable[[Embedding], float]]:
    kept, held = _kept_and_held(learned)
    part, distances = Nearest.learn(learned.spectrum, kept, held, TOLERATED["spectrum"])
    return band_rms(distances).max(axis=1), lambda e: float(band_rms(part.distances(e.spectrum)).max())


def _neighbour(learned: Learned) -> tuple[Array, Callable[[Embedding], float]]:
    """Euclidean distance to the nearest whole vector of the same channel; of several channels the farthest counts."""
    kept, held = _kept_and_held(learned)
    vectors = learned.bands.astype(np.float32).reshape(*learned.bands.shape[:2], -1)
    held_out = np.empty(vectors.shape[:2])
    for c in range(vectors.shape[1]):
        for inside, others in held:
            held_out[inside, c] = _apart(_flat(vectors[kept[others[kept]], c]), vectors[inside, c])
    indexes = [_flat(vectors[kept, c]) for c in range(vectors.shape[1])]

    def value(embedding: Embedding) -> float:
        whole = embedding.bands.astype(np.float16).astype(np.float32).reshape(len(embedding.bands), 1, -1)
        return max(float(_apart(index, one)[0]) for index, one in zip(indexes, whole, strict=True))

    return held_out.max(axis=1), value


def _kept_and_held(learned: Learned) -> tuple[NDArray[np.int64], Held]:
    state = learned.state
    kept = thin(learned.bands.reshape(len(learned.bands), -1), MAX_BANK)
    return kept, held_blocks(state.name, state.start_ns, state.end_ns)


def _flat(vectors: NDArray[np.float32]) -> Any:
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    return index


def _apart(index: Any, queries: NDArray[np.float32]) -> Array:
    squared = index.search(np.ascontiguousarray(queries), 1)[0][:, 0]
    apart: Array = np.sqrt(np.maximum(squared, 0.0)).astype(np.float64)
    return apart
