"""How windows are judged: by the daemon, and in the plain ways that it has to be better than.

All that touches the daemon's scoring is here; the measurements use nothing else of it. A way to judge is a ``Scorer``:
it has learned a stretch, and gives windows a score. Whatever the score, its threshold for a target comes from the
daemon's own tail and persistence, so that ways to judge are compared at one rate of false alarms.

Shape suffixes: W = windows, C = channels, N = bands, D = width, K = indicators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echo_edge.config import AlertConfig
from echo_edge.coreset import thin
from echo_edge.material import Material
from echo_edge.nearest import CANDIDATES, Nearest
from echo_edge.normal import MAX_BANK, Normal, NormalState, _held_out, _rms
from echo_edge.records import Embedding, FalseAlarmRate
from echo_edge.spread import Spread
from echo_edge.tail import Persistence, Tail
from tests.torture.density import density_ratios
from tests.torture.features import Heard, indicators_compared
from tests.torture.hall import HOP_S

ALERT = AlertConfig()
IN_PRACTICE = Persistence(3, 5)  # for rules of thumb, which know no persistence: kinder to them than one window
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A way to judge that has learned."""

    held_out: Array
    """Shape (W,): scores of the windows learned, as if they had not been."""

    score: Callable[[Heard], Array]
    """Scores of other windows, shape (W,)."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit for scores, how many windows above it make an alert, and what it promises."""

    rule: str
    """The target per month as text, or the name of a rule of thumb."""

    value: float
    persistence: Persistence
    target: float | None = None
    normal: Normal | None = None
    """Tells what is promised; a rule of thumb promises nothing."""

    def promise(self, monitored_s: float = 0.0, alerts: int = 0) -> FalseAlarmRate | None:
        return None if self.normal is None else self.normal.false_alarm_rate(monitored_s, alerts)


class Learned:
    """One stretch of normal operation, and the daemon's state made of it.

    Raises:
        EnrollError: too little or useless material.
    """

    def __init__(self, heard: Heard, hop_s: float = HOP_S) -> None:
        self.heard, self._hop_s = heard, hop_s
        self.material = material(heard)
        self.state = NormalState.learn("run", self.material)
        self._kept = thin(self.material.bands.reshape(len(heard), -1), MAX_BANK)
        self._held = _held_out("run", self.material.start_ns, self.material.end_ns)

    def threshold(self, scorer: Scorer, target: float, alert: AlertConfig = ALERT) -> Threshold:
        """The daemon's threshold for a target, for scores of any kind."""
        state = self.state
        own = NormalState(
            state.name,
            state.parts,
            state.tails,
            scorer.held_out,
            state.start_ns,
            state.end_ns,
            state.learned_s,
            state.quiet_db,
            state.pictures,
            state.pictured,
        )
        normal = Normal("measured", [own], target, self._hop_s, alert)
        return Threshold(f"{target:g}", normal.thresholds["run"], normal.persistence, target, normal)

    def daemon(self) -> Scorer:
        """All of the daemon."""
        return Scorer(self.state.held_out, lambda heard: np.max(list(rarities(self.state, heard).values()), axis=0))

    def nearest(self, view: Callable[[Material], NDArray[np.float16]]) -> Scorer:
        """Nearest neighbours as the daemon does it, among vectors (W, C, N, D) of any kind."""
        against_bank = [(inside, np.flatnonzero(others[self._kept])) for inside, others in self._held]
        part, ratios = Nearest.learn(view(self.material), self._kept, against_bank)
        return self._by_tail(
            _rms(ratios).max(axis=1), lambda heard: _rms(nearest_ratios(part, view(material(heard)))).max(axis=1)
        )

    def dense(self, view: Callable[[Material], NDArray[np.float16]]) -> Scorer:
        """As ``nearest``, each distance in units of how dense the normal windows lie there."""
        ratios, others = density_ratios(view(self.material), self._kept, self._held)
        return self._by_tail(_rms(ratios).max(axis=1), lambda heard: _rms(others(view(material(heard)))).max(axis=1))

    def spread(self) -> Scorer:
        """The indicators as the daemon does it."""
        part, ratios = Spread.learn(self.material.indicators, self._held)
        return self._by_tail(
            ratios.max(axis=(1, 2)), lambda heard: part.ratios(material(heard).indicators).max(axis=(1, 2))
        )

    def indicator(self, k: int) -> Scorer:
        """One indicator alone, upwards, in parts of its median: a threshold as vibration monitors have it."""
        usual = np.median(self.heard.indicators[..., k], axis=0)

        def values(heard: Heard) -> Array:
            return np.asarray((heard.indicators[..., k] / usual).max(axis=1), np.float64)

        return self._by_tail(values(self.heard), values)

    def _by_tail(self, held_out: Array, values: Callable[[Heard], Array]) -> Scorer:
        """Rarities, as the daemon makes them of the values of its parts."""
        tail = Tail.fit(held_out)
        return Scorer(tail.rarity(held_out), lambda heard: tail.rarity(values(heard)))


def strongest(*scorers: Scorer) -> Scorer:
    """The largest of several scores, as the daemon joins its parts."""
    return Scorer(
        np.max([scorer.held_out for scorer in scorers], axis=0),
        lambda heard: np.max([scorer.score(heard) for scorer in scorers], axis=0),
    )


def thumbs(scorer: Scorer) -> list[Threshold]:
    """Thresholds as usual in practice: the largest normal score, or the mean and three standard deviations."""
    scores = scorer.held_out
    return [
        Threshold("maximum", float(scores.max()), IN_PRACTICE),
        Threshold("mean + 3 sd", float(scores.mean() + 3 * scores.std()), IN_PRACTICE),
    ]


def echo(found: Material) -> NDArray[np.float16]:
    return found.bands


def whole(found: Material) -> NDArray[np.float16]:
    """All bands as one long vector per channel: what plain KNN compares."""
    return found.bands.reshape(*found.bands.shape[:2], 1, -1)


def spectrum(found: Material) -> NDArray[np.float16]:
    return found.spectrum


def whole_spectrum(found: Material) -> NDArray[np.float16]:
    """The trivial detector's view: one long vector per channel."""
    return found.spectrum.reshape(*found.spectrum.shape[:2], 1, -1)


def rarities(state: NormalState, heard: Heard) -> dict[str, Array]:
    """What ``NormalState.judge`` says part by part, of many windows at once: shape (W,) each."""
    found = material(heard)
    seen = {"echo": found.bands, "spectrum": found.spectrum}
    rare = {}
    for name, part in state.parts.items():
        if isinstance(part, Nearest):
            values = _rms(nearest_ratios(part, seen[name])).max(axis=1)
        else:
            values = part.ratios(found.indicators).max(axis=(1, 2))
        rare[name] = state.tails[name].rarity(values)
    return rare


def nearest_ratios(part: Nearest, vectors: NDArray[np.float16]) -> Array:
    """``Nearest.ratios`` of many windows at once: (W, C, N, D) -> (W, C, N). The same searches, fewer calls."""
    squared = np.empty(vectors.shape[:3])
    for c, indexes in enumerate(part._indexes):
        for n, index in enumerate(indexes):
            query = np.ascontiguousarray(vectors[:, c, n] - part._centre[c, n])
            near = index.search(query, min(CANDIDATES, index.ntotal))[1]
            for rows in np.array_split(np.arange(len(vectors)), len(vectors) // 1024 + 1):
                apart = part.bank[near[rows], c, n].astype(np.float32) - vectors[rows, None, c, n]
                squared[rows, c, n] = np.square(apart).sum(axis=2).min(axis=1)
    ratios: Array = np.sqrt(squared) / part.scale
    return ratios


def material(heard: Heard) -> Material:
    """Windows as the daemon learns them, without pictures."""
    begin_ns = heard.begin_ns
    return Material(
        heard.bands.astype(np.float16),
        heard.spectrum.astype(np.float16),
        indicators_compared(heard.indicators),
        np.zeros((len(heard), heard.bands.shape[1], 1, 1), np.uint8),
        heard.level_db.astype(np.float64),
        begin_ns,
        begin_ns + heard.hop_ns,
    )


def embedding(heard: Heard, i: int) -> Embedding:
    """One window as the daemon judges it."""
    one = material(heard.rows(i, i + 1))
    return Embedding(
        heard.point,
        heard.bands[i],
        heard.rate_hz,
        int(one.start_ns[0]),
        int(one.end_ns[0]),
        heard.spectrum[i],
        one.picture[0],
        one.level_db[0],
        one.indicators[0],
    )


Thresholds = list[Threshold]
Method = Callable[[Learned, Sequence[float]], tuple[Scorer, Thresholds]]


def _by_target(make: Callable[[Learned], Scorer], *, thumb: bool = False) -> Method:
    def method(learned: Learned, targets: Sequence[float]) -> tuple[Scorer, Thresholds]:
        scorer = make(learned)
        thresholds = [learned.threshold(scorer, target) for target in targets]
        return scorer, thresholds + (thumbs(scorer) if thumb else [])

    return method


METHODS: dict[str, Method] = {
    "echo-edge": _by_target(Learned.daemon),
    "mean log spectrum": _by_target(lambda learned: learned.nearest(whole_spectrum)),
    "plain KNN": _by_target(lambda learned: learned.nearest(whole), thumb=True),
}
