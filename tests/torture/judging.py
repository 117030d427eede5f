"""How windows are judged: the daemon's own rule, and the plain ones that it has to be better than.

Everything that touches the daemon's scoring is in ``learn``, ``normal_for`` and ``judge``; the measurements use nothing
else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from echo_edge.baseline import Origin
from echo_edge.config import AlertConfig
from echo_edge.enroll import Enrollment
from echo_edge.normal import MONTH_S, Normal, NormalState, combine
from echo_edge.records import Embedding, FalseAlarmRate
from tests.torture.features import Heard
from tests.torture.hall import HOP_S

ALERT = AlertConfig()
Values = NDArray[np.float64]
View = Callable[[Heard], NDArray[np.float32]]
"""What a method looks at: shape (W, C, N, D)."""


def learn(embeddings: Sequence[Embedding], state: str = "run") -> NormalState:
    """Enroll as the daemon does.

    Raises:
        EnrollError: too little or useless material.
    """
    enrollment = Enrollment(embeddings[0].point, state, 0)
    length_s = (embeddings[0].end_ns - embeddings[0].time_ns) / 1e9
    origin = Origin("", "", embeddings[0].rate_hz, (0,), length_s, "")
    for embedding in embeddings:
        enrollment.add(embedding, origin)
    return enrollment.finish(None).states[0]


def normal_for(states: Sequence[NormalState], target_per_month: float, hop_s: float = HOP_S) -> Normal:
    """The daemon's judge with its threshold for a target."""
    return Normal("measured", list(states), target_per_month, hop_s, ALERT.windows)


def judge(normal: Normal, embedding: Embedding) -> float:
    """How strange a window is; it does not depend on the target, only ``normal.threshold`` does."""
    return normal.score(embedding).value


def judge_vectors(normal: Normal, embedding: Embedding) -> float:
    """As ``judge`` without what only band vectors of the encoder have: their edges in Hz."""
    return min(float(combine(state.ratios(embedding.bands)).max()) for state in normal.states)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit for a method's values, and what it promises."""

    rule: str
    """The target per month as text, or the name of a rule of thumb."""

    value: float
    target: float | None = None
    normal: Normal | None = None
    """Tells what is promised; a rule of thumb promises nothing."""

    def promise(self, monitored_s: float = 0.0, alerts: int = 0) -> FalseAlarmRate | None:
        return None if self.normal is None else self.normal.false_alarm_rate(monitored_s, alerts)


@dataclass(frozen=True, slots=True)
class Taught:
    """A method that has learned one stretch of normal operation."""

    values: Callable[[Heard], Values]
    """Shape (W,)."""

    thresholds: tuple[Threshold, ...]


def bands(heard: Heard) -> NDArray[np.float32]:
    return heard.bands


def spectrum(heard: Heard) -> NDArray[np.float32]:
    """The trivial detector's view: one long vector per channel."""
    return heard.spectrum.reshape(*heard.spectrum.shape[:2], 1, -1)


def by_daemon(view: View, score: Callable[[Normal, Embedding], float]) -> Callable[[Heard, Sequence[float]], Taught]:
    """A method with the daemon's rule, tail and threshold on vectors of any kind."""

    def teach(learned: Heard, targets: Sequence[float]) -> Taught:
        states = [learn(list(_embeddings(learned, view)))]
        normals = [normal_for(states, target) for target in targets]
        thresholds = [Threshold(f"{t:g}", n.threshold, t, n) for t, n in zip(targets, normals, strict=True)]

        def values(heard: Heard) -> Values:
            return np.array([score(normals[0], embedding) for embedding in _embeddings(heard, view)])

        return Taught(values, tuple(thresholds))

    return teach


def plain_knn(learned: Heard, _: Sequence[float]) -> Taught:
    """Nearest neighbour of the whole vector; the threshold from each learned window's distance to the others.

    As usual in practice: the largest one, or their mean and three standard deviations. It knows no target.
    """
    flat = _flat(learned)
    centre = flat.mean(axis=0)
    index = faiss.IndexFlatL2(flat.shape[1])
    index.add(flat - centre)
    others = np.sqrt(np.maximum(index.search(flat - centre, 2)[0][:, 1], 0))

    def values(heard: Heard) -> Values:
        return np.asarray(np.sqrt(np.maximum(index.search(_flat(heard) - centre, 1)[0][:, 0], 0)), np.float64)

    spread = float(others.mean() + 3 * others.std())
    return Taught(values, (Threshold("maximum", float(others.max())), Threshold("mean + 3 sd", spread)))


METHODS: dict[str, Callable[[Heard, Sequence[float]], Taught]] = {
    "echo-edge": by_daemon(bands, judge),
    "mean log spectrum": by_daemon(spectrum, judge_vectors),
    "plain KNN": plain_knn,
}


def draws_per_month(hop_s: float = HOP_S) -> float:
    """Windows in a month of 30 days."""
    return MONTH_S / hop_s


def _embeddings(heard: Heard, view: View) -> Iterator[Embedding]:
    for i, vectors in enumerate(view(heard)):
        embedding = heard.embedding(i)
        yield Embedding(embedding.point, vectors, embedding.rate_hz, embedding.time_ns, embedding.end_ns)


def _flat(heard: Heard) -> NDArray[np.float32]:
    return np.ascontiguousarray(heard.bands.reshape(len(heard), -1))
