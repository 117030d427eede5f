"""How windows are judged: by the daemon, and in the plain ways that it has to be better than.

All that touches the daemon's scoring is here; the measurements use nothing else of it. A way to judge is a ``Scorer``:
it has learned a stretch, and gives windows a score. Whatever the score, its threshold for a target comes from the
daemon's own tail and persistence, so that ways to judge are compared at one rate of false alarms.

Shape suffixes: W = windows, C = channels, N = bands, D = numbers per band, K = indicators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from unittest.mock import patch

import faiss
import numpy as np
from numpy.typing import NDArray

from echo_edge.config import AlertConfig
from echo_edge.coreset import thin
from echo_edge.indicators import strangeness_scale
from echo_edge.material import Material
from echo_edge.nearest import Nearest
from echo_edge.normal import Normal
from echo_edge.normal_state import MAX_BANK, WEIGHTS, NormalState, band_rms, held_blocks
from echo_edge.records import Embedding, FalseAlarmRate
from echo_edge.spread import Spread
from echo_edge.tail import Persistence, Tail
from tests.torture.features import Heard
from tests.torture.hall import HOP_S

ALERT = AlertConfig()
IN_PRACTICE = Persistence(3, 5)  # for rules of thumb, which know no persistence: kinder to them than one window
Array = NDArray[np.float64]
View = Callable[[Material], NDArray[np.float16]]
"""What is looked at, shape (W, C, N, D)."""


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

    Args:
        heard: what to learn from.
        hop_s: seconds between windows.
        lines: bearing lines join the indicators, as where the geometry is configured.

    Raises:
        EnrollError: too little or useless material.
    """

    def __init__(self, heard: Heard, hop_s: float = HOP_S, *, lines: bool = False) -> None:
        self.heard, self._hop_s, self._lines = heard, hop_s, lines
        self.material = material(heard, lines=lines)
        self.state = NormalState.learn("run", self.material)
        self._kept = thin(self.material.bands.reshape(len(heard), -1), MAX_BANK)
        self._held = held_blocks("run", self.material.start_ns, self.material.end_ns)

    def threshold(self, scorer: Scorer, target: float, alert: AlertConfig = ALERT) -> Threshold:
        """The daemon's threshold for a target, for scores of any kind."""
        state = replace(self.state, held_out=scorer.held_out)
        normal = Normal("measured", [state], target, self._hop_s, alert)
        return Threshold(f"{target:g}", normal.thresholds["run"], normal.persistence, target, normal)

    def daemon(self) -> Scorer:
        """All of the daemon."""

        def score(heard: Heard) -> Array:
            found = rarities(self.state, self._of(heard))
            return np.asarray(np.linalg.norm([WEIGHTS[part] * rarity for part, rarity in found.items()], axis=0))

        return Scorer(self.state.held_out, score)

    def nearest(self, view: View, tolerated: float = 0.0, *, density: bool = True) -> Scorer:
        """Rarity of the distance to the nearest normal window as the daemon measures it."""
        with nullcontext() if density else patch("echo_edge.nearest.DENSITY", 0.0):
            part, distances = Nearest.learn(view(self.material), self._kept, self._held, tolerated)
        return self._by_tail(
            band_rms(distances).max(axis=1), lambda found: band_rms(part.exact_distances(view(found))).max(axis=1)
        )

    def plain(self, view: View) -> Scorer:
        """Rarity of the plain Euclidean distance to the nearest normal window, all bands as one long vector."""
        vectors = _flat(view(self.material))
        held_out = np.empty(len(vectors))
        for inside, others in self._held:
            held_out[inside] = _distance(vectors[inside], vectors[self._kept[others[self._kept]]])
        bank = vectors[self._kept]
        return self._by_tail(held_out, lambda found: _distance(_flat(view(found)), bank))

    def spread(self) -> Scorer:
        """Rarity of the indicators as the daemon measures it."""
        part, ratios = Spread.learn(_scaled(self.material), self._held)
        return self._by_tail(ratios.max(axis=(1, 2)), lambda found: part.ratios(_scaled(found)).max(axis=(1, 2)))

    def indicator(self, name: str) -> Scorer:
        """One indicator alone, upwards, in parts of its median: a limit as vibration monitors have it."""
        k = self.material.indicator_names.index(name)
        usual = np.median(_scaled(self.material)[..., k], axis=0)

        def values(found: Material) -> Array:
            return np.asarray((10 ** (_scaled(found)[..., k] - usual)).max(axis=1))

        return self._by_tail(values(self.material), values)

    def _by_tail(self, held_out: Array, values: Callable[[Material], Array]) -> Scorer:
        """Rarities, as the daemon makes them of the values of its parts."""
        tail = Tail.fit(held_out)
        return Scorer(tail.rarity(held_out), lambda heard: tail.rarity(values(self._of(heard))))

    def _of(self, heard: Heard) -> Material:
        return judged(material(heard, lines=self._lines), heard)


def joined_parts(parts: Mapping[str, Scorer]) -> Scorer:
    """Some parts of the daemon, joined as it joins them."""

    def join(scores: list[Array]) -> Array:
        return np.asarray(np.linalg.norm([WEIGHTS[n] * s for n, s in zip(parts, scores, strict=True)], axis=0))

    return Scorer(
        join([part.held_out for part in parts.values()]),
        lambda heard: join([part.score(heard) for part in parts.values()]),
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


def spectrum(found: Material) -> NDArray[np.float16]:
    return found.spectrum


def whole(view: View) -> View:
    """All bands as one long vector per channel."""

    def one(found: Material) -> NDArray[np.float16]:
        vectors = view(found)
        return vectors.reshape(*vectors.shape[:2], 1, -1)

    return one


VIEWS: dict[str, View] = {"echo": echo, "spectrum": spectrum}


def rarities(state: NormalState, found: Material) -> dict[str, Array]:
    """What ``NormalState.judge`` says part by part before it weighs them, of many windows at once: shape (W,) each."""
    rare = {}
    for name, part in state.parts.items():
        if isinstance(part, Nearest):
            values = band_rms(part.exact_distances(VIEWS[name](found))).max(axis=1)
        else:
            values = part.ratios(_scaled(found)).max(axis=(1, 2))
        rare[name] = state.tails[name].rarity(values)
    return rare


def material(heard: Heard, *, lines: bool = False) -> Material:
    """Windows as the daemon learns them, without pictures."""
    begin_ns = heard.begin_ns
    columns = [k for k, name in enumerate(heard.indicator_names) if lines or not name.startswith("envelope_")]
    return Material(
        heard.bands.astype(np.float16),
        heard.spectrum.astype(np.float16),
        heard.indicators[..., columns].astype(np.float64),
        np.zeros((len(heard), heard.bands.shape[1], 1, 1), np.uint8),
        heard.level_db.astype(np.float64),
        begin_ns,
        begin_ns + heard.length_ns,
        tuple(heard.indicator_names[k] for k in columns),
    )


def judged(learned: Material, heard: Heard) -> Material:
    """The same windows as the daemon judges them: their vectors are in half precision only where they are learned."""
    return replace(learned, bands=heard.bands, spectrum=heard.spectrum)  # type: ignore[arg-type]


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
        one.indicator_names,
    )


def _scaled(found: Material) -> Array:
    return strangeness_scale(found.indicators, found.indicator_names)


def _flat(vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    return np.ascontiguousarray(vectors.reshape(len(vectors), -1), np.float32)


def _distance(queries: NDArray[np.float32], bank: NDArray[np.float32]) -> Array:
    """To the nearest of the bank, shape (W,)."""
    centre = bank.mean(axis=0)  # distances are small beside the vectors: centring keeps their digits
    index = faiss.IndexFlatL2(bank.shape[1])
    index.add(bank - centre)
    return np.sqrt(np.maximum(index.search(queries - centre, 1)[0][:, 0], 0.0, dtype=np.float64))


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
    "mean log spectrum": _by_target(lambda learned: learned.plain(spectrum)),
    "plain KNN": _by_target(lambda learned: learned.plain(echo), thumb=True),
}
