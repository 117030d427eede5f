"""Normal states of one point: how strange a window is to each, and a threshold that keeps a target rate.

Three parts look at a window: the encoder's vectors, the mean log spectrum in the same bands, and the physical
indicators. Each says how rare its value is among normal windows, in decades (``Tail.rarity``): 3 is met in one normal
window of a thousand. The root of the sum of their squares is the score, so that two parts that agree count more than
one, and one alone is heard.

Shape suffixes: W = windows learned, C = channels, N = bands, D = embedding width, K = indicators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri
from threadpoolctl import threadpool_limits

from echo_edge.config import AlertConfig
from echo_edge.coreset import thin
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.frontend import SPEC, band_edges_hz
from echo_edge.indicators import strangeness_scale
from echo_edge.material import Material
from echo_edge.nearest import Nearest
from echo_edge.records import BandShare, Embedding, FalseAlarmRate, Score
from echo_edge.spread import Spread
from echo_edge.tail import MONTH_S, EpisodeTail, Persistence, Tail

MIN_WINDOWS = 12  # below, not even the usual distance between normals is known
MIN_BLOCKS, MAX_BLOCKS = 4, 24
BLOCK_S = 60  # windows closer than this are too alike to test each other; short enrollments use shorter blocks
MAX_BANK = 2048  # windows that a state is compared with
PICTURED = 256  # of them have a spectrogram to show
FIRM_AFTER_S = 24 * 3600  # an enrollment shorter than this has not seen a day, and its alerts stay warnings
WITHIN_S = 60.0  # an alert is to open so soon
PERSISTENCES = (Persistence(1, 1), Persistence(2, 3), Persistence(3, 5), Persistence(6, 10))
WEIGHTS = {"echo": 1.0, "spectrum": 1.0, "indicators": 0.5}  # of each part's rarity in the score
GAIN_DB = 3.0  # a change of the spectrum that is the same at all frequencies counts as one usual spread at so much
TOLERATED = {"echo": 0.0, "spectrum": GAIN_DB / 20 * math.log(10) / SPEC.log_scale}

Array = NDArray[np.float64]
Part = Nearest | Spread


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one state says of a window."""

    rarities: dict[str, float]
    """Part -> how rare, in decades, times its weight: the score is the root of the sum of their squares."""

    channel: int
    """The strangest channel for the part that decided."""

    band_ratios: Array
    """Shape (N,): distances in that channel, from the rarer of encoder and spectrum."""

    @property
    def value(self) -> float:
        return math.hypot(*self.rarities.values())


class NormalState:
    """One normal way to run, learned from windows of one point.

    Args:
        name: the state's name.
        parts: part -> its bank or spread.
        tails: part -> the tail of its values for windows as if they had not been learned.
        held_out: shape (W,): scores of all windows learned, each against the others outside its own stretch of time.
        start_ns, end_ns: shape (W,): their capture times.
        learned_s: seconds of signal behind them; overlapping windows count once.
        quiet_db: shape (C,): the level that nearly all windows learned exceed.
        pictures, pictured: coarse spectrograms of some windows of the bank, and their numbers in it.
        indicator_names: what the indicators' part compares.
    """

    def __init__(
        self,
        name: str,
        parts: dict[str, Part],
        tails: dict[str, Tail],
        held_out: Array,
        start_ns: NDArray[np.int64],
        end_ns: NDArray[np.int64],
        learned_s: float,
        quiet_db: Array,
        pictures: NDArray[np.uint8],
        pictured: NDArray[np.int64],
        indicator_names: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.parts, self.tails = parts, tails
        self.held_out, self.start_ns, self.end_ns = held_out, start_ns, end_ns
        self.learned_s = learned_s
        self.quiet_db = quiet_db
        self.pictures, self.pictured = pictures, pictured
        self.indicator_names = indicator_names

    @classmethod
    def learn(cls, name: str, material: Material, learned_s: float | None = None) -> NormalState:
        """Learn a state.

        Args:
            material: at least ``MIN_WINDOWS`` windows in order of time; windows that overlap never test each other.
            learned_s: seconds of signal behind it, where more was heard than is kept.

        Raises:
            EnrollError: too few windows, too short a time, or windows that do not differ.
        """
        # small matrices, one after the other: threads that wait for each other on a busy gateway took 20 times as long
        with threadpool_limits(1, user_api="blas"):
            return cls._learn(name, material, learned_s)

    @classmethod
    def _learn(cls, name: str, material: Material, learned_s: float | None) -> NormalState:
        if len(material) < MIN_WINDOWS:
            raise EnrollError(f"{len(material)} useful windows are too few to learn '{name}'; at least {MIN_WINDOWS}")
        kept = thin(material.bands.reshape(len(material), -1), MAX_BANK)
        held = held_blocks(name, material.start_ns, material.end_ns)
        parts: dict[str, Part] = {}
        values: dict[str, Array] = {}
        try:
            for part, vectors in (("echo", material.bands), ("spectrum", material.spectrum)):
                parts[part], distances = Nearest.learn(vectors, kept, held, TOLERATED[part])
                values[part] = band_rms(distances).max(axis=1)
        except EnrollError as error:
            raise EnrollError(f"'{name}': {error}") from error
        if material.indicators.shape[2]:
            scaled = strangeness_scale(material.indicators, material.indicator_names)
            parts["indicators"], ratios = Spread.learn(scaled, held)
            values["indicators"] = ratios.max(axis=(1, 2))
        tails = {part: Tail.fit(value) for part, value in values.items()}
        if min(tail.mean_excess for tail in tails.values()) <= 0:
            raise EnrollError(f"the windows of '{name}' are all equally far apart: repeated material teaches nothing")
        pictured = np.unique(np.linspace(0, len(kept) - 1, min(PICTURED, len(kept))).astype(np.int64))
        return cls(
            name,
            parts,
            tails,
            np.linalg.norm([WEIGHTS[part] * tails[part].rarity(value) for part, value in values.items()], axis=0),
            material.start_ns,
            material.end_ns,
            seconds_heard(material.start_ns, material.end_ns) if learned_s is None else learned_s,
            np.quantile(material.level_db, 0.01, axis=0),
            material.picture[kept][pictured],
            pictured,
            material.indicator_names,
        )

    def with_more(self, material: Material) -> NormalState:
        """The same state with more windows in its bank, which is thinned to its bound again.

        Whitening, tails and held-out scores stay as they are, so no threshold moves: windows like the new ones come
        nearer.

        Raises:
            BaselineError: the windows have another shape.
        """
        if material.bands.shape[1:] != self.shape:
            raise BaselineError(
                f"'{self.name}' has (channels, bands, width) {self.shape}, not {material.bands.shape[1:]}"
            )
        both = np.concatenate([self._echo.bank, self._echo.whitened(material.bands)])
        kept = thin(both.reshape(len(both), -1), MAX_BANK)
        parts = dict(self.parts)
        for name, vectors in (("echo", material.bands), ("spectrum", material.spectrum)):
            part = parts[name]
            if isinstance(part, Nearest):
                parts[name] = part.with_more(vectors, kept)
        pictures = np.concatenate([self.pictures, material.picture])
        pictured = np.concatenate([self.pictured, np.arange(self.windows, len(both))])
        shown = np.flatnonzero(np.isin(pictured, kept))
        shown = shown[np.unique(np.linspace(0, len(shown) - 1, min(PICTURED, len(shown))).astype(np.int64))]
        return NormalState(
            self.name,
            parts,
            self.tails,
            self.held_out,
            self.start_ns,
            self.end_ns,
            self.learned_s,
            self.quiet_db,
            pictures[shown],
            np.searchsorted(kept, pictured[shown]),
            self.indicator_names,
        )

    @property
    def windows(self) -> int:
        """How many windows the bank holds."""
        return len(self._echo.bank)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, N, D) of the embeddings it judges."""
        return self._echo.bank.shape[1:]

    @property
    def _echo(self) -> Nearest:
        echo = self.parts["echo"]
        if not isinstance(echo, Nearest):
            raise TypeError("the encoder's part is a bank")
        return echo

    def run_starts(self) -> NDArray[np.bool_]:
        """Shape (W,): True where a window learned does not follow on the one before."""
        slack_ns = (self.end_ns - self.start_ns)[1:] // 10
        return np.concatenate([[True], self.start_ns[1:] - self.end_ns[:-1] > slack_ns])

    def judge(self, embedding: Embedding) -> Verdict:
        """Compare one window with this state.

        Raises:
            BaselineError: the window was measured with other indicators than the state.
        """
        seen: dict[str, NDArray[Any]] = {"echo": embedding.bands, "spectrum": embedding.spectrum}
        if "indicators" in self.parts:
            if embedding.indicator_names != self.indicator_names:
                raise BaselineError(
                    f"'{self.name}' was learned with the indicators {', '.join(self.indicator_names)}, "
                    f"the point now has {', '.join(embedding.indicator_names) or 'none'}; enroll again"
                )
            seen["indicators"] = strangeness_scale(embedding.indicators, embedding.indicator_names)
        return self._verdict(seen)

    def strange_windows(self, other: NormalState, threshold: float, most: int) -> NDArray[np.bool_]:
        """Which windows of another state's bank, at most so many and evenly spread, score above ``threshold`` here.

        Encoder and spectrum alone judge: the indicators of single windows are not kept.
        """
        which = np.unique(np.linspace(0, other.windows - 1, min(most, other.windows)).astype(np.int64))
        spectra = other.parts["spectrum"]
        if not isinstance(spectra, Nearest):
            raise TypeError("the spectrum's part is a bank")
        pairs = zip(other._echo.vectors(which), spectra.vectors(which), strict=True)
        return np.array([self._verdict({"echo": b, "spectrum": s}).value > threshold for b, s in pairs])

    def _verdict(self, seen: Mapping[str, NDArray[Any]]) -> Verdict:
        """Judge by those parts that were seen."""
        rarities: dict[str, float] = {}
        channels: dict[str, int] = {}
        by_band: dict[str, Array] = {}
        for name in seen:
            part = self.parts[name]
            if isinstance(part, Nearest):
                by_band[name] = part.distances(seen[name])
                by_channel = band_rms(by_band[name])
            else:
                by_channel = part.ratios(seen[name]).max(axis=1)
            channels[name] = int(by_channel.argmax())
            rarities[name] = WEIGHTS[name] * float(self.tails[name].rarity(by_channel.max(keepdims=True))[0])
        channel = channels[max(rarities, key=lambda name: rarities[name])]
        spectral = max(by_band, key=lambda name: rarities[name])
        return Verdict(rarities, channel, by_band[spectral][channel])

    def nearest_picture(self, embedding: Embedding) -> NDArray[np.uint8]:
        """The coarse spectrogram, (C, R, Q), of the learned window that is most like this one."""
        picture: NDArray[np.uint8] = self.pictures[self._echo.nearest_of(embedding.bands, self.pictured)]
        return picture

    def about(self) -> dict[str, Any]:
        """What a person or a manifest wants to know of it."""
        return {
            "windows": self.windows,
            "windows_heard": len(self.held_out),
            "learned_s": round(self.learned_s, 3),
            "parts": list(self.parts),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that a verdict depends on; see ``from_arrays``."""
        stored: dict[str, NDArray[Any]] = {
            "held_out": self.held_out,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
            "learned_s": np.array([self.learned_s]),
            "quiet_db": self.quiet_db,
            "pictures": self.pictures,
            "pictured": self.pictured,
            "indicator_names": np.frombuffer("\n".join(self.indicator_names).encode(), np.uint8),
        }
        for name, part in self.parts.items():
            tail = self.tails[name]
            stored[f"{name}.tail"] = np.array([tail.start, tail.mean_excess, tail.share])
            stored |= {f"{name}.{key}": array for key, array in part.arrays().items()}
        return stored

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, NDArray[Any]]) -> NormalState:
        """Make a state again: its scores are equal to the last bit.

        Raises:
            BaselineError: something is missing or misshapen.
        """
        parts: dict[str, Part] = {}
        tails: dict[str, Tail] = {}
        try:
            for part in WEIGHTS:
                own = {k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{part}.")}
                if not own:
                    continue
                tails[part] = Tail(*own.pop("tail").tolist())
                parts[part] = Spread.from_arrays(own) if part == "indicators" else Nearest.from_arrays(own)
            return cls(
                name,
                parts,
                tails,
                arrays["held_out"],
                arrays["start_ns"],
                arrays["end_ns"],
                float(arrays["learned_s"][0]),
                arrays["quiet_db"],
                arrays["pictures"],
                arrays["pictured"],
                tuple(arrays["indicator_names"].astype(np.uint8).tobytes().decode().split()),
            )
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise BaselineError(f"the stored state '{name}' cannot be read: {error}") from error


class Normal:
    """All normal states of one point, and the verdict on a window: unlike every one of them or not.

    Args:
        baseline: the stored baseline's id.
        states: at least one.
        target_per_month: accepted false alarms per month of this point; its states share them.
        hop_s: seconds between windows.
        alert: how many strange windows make an alert; chosen here where it does not say.
    """

    def __init__(
        self, baseline: str, states: Sequence[NormalState], target_per_month: float, hop_s: float, alert: AlertConfig
    ) -> None:
        self.baseline = baseline
        self.states = {state.name: state for state in states}
        self._target = target_per_month
        share = target_per_month / len(states)
        tails = {rule: [_episodes(state, rule, hop_s) for state in states] for rule in _rules(alert, hop_s)}
        # Persistence that gains nothing, because neighbouring windows are alike, only costs time: take what lets the
        # thresholds be lowest at the same rate of false alarms.
        self.persistence = min(tails, key=lambda rule: sum(tail.threshold(share) for tail in tails[rule]))
        self._tails = dict(zip(self.states, tails[self.persistence], strict=True))
        self.thresholds = {name: tail.threshold(share) for name, tail in self._tails.items()}
        self.learned_s = sum(state.learned_s for state in states)
        self._shape = states[0].shape

    def false_alarm_rate(self, monitored_s: float = 0.0, alerts: int = 0) -> FalseAlarmRate:
        """The promise in force, after so many seconds of monitoring and alerts in them.

        The enrollment counts as time without an alert: its windows were judged as if they had not been learned. The
        bound on the mean of a Poisson count of n is half the 95 % quantile of chi-square with 2 n + 2 degrees of
        freedom; 3.0 for 0.
        """
        estimated = sum(self._tails[name].per_month(threshold) for name, threshold in self.thresholds.items())
        bound = float(chdtri(2 * alerts + 2, 0.05)) / 2
        return FalseAlarmRate(self._target, estimated, bound * MONTH_S / (self.learned_s + monitored_s))

    def score(self, embedding: Embedding, told: str | None = None, *, provisional: bool = False) -> Score:
        """Compare a window with the state in force, or with every state, and keep the one it is most like.

        Args:
            told: the state in force, where something outside says so; one of ``states``.

        Raises:
            BaselineError: the embedding has another shape than the baseline's.
        """
        if embedding.bands.shape != self._shape:
            raise BaselineError(
                f"{embedding.point}: baseline {self.baseline} has (channels, bands, width) {self._shape}, "
                f"the sensor now gives {embedding.bands.shape}; enroll again"
            )
        names = list(self.states) if told is None else [told]
        verdicts = {name: self.states[name].judge(embedding) for name in names}
        best = min(names, key=lambda name: verdicts[name].value / self.thresholds[name])
        verdict = verdicts[best]
        if not math.isfinite(verdict.value):
            raise BaselineError(f"{embedding.point}: the distance to baseline {self.baseline} is not a finite number")
        return Score(
            point=embedding.point,
            time_ns=embedding.time_ns,
            end_ns=embedding.end_ns,
            value=verdict.value,
            threshold=self.thresholds[best],
            state=best,
            channel=verdict.channel,
            bands=_shares(verdict.band_ratios, embedding.rate_hz),
            baseline=self.baseline,
            provisional=provisional,
            rarities=verdict.rarities,
        )


def seconds_heard(start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> float:
    """Seconds of signal that windows cover; where they overlap it counts once."""
    ends = np.maximum.accumulate(end_ns)
    starts = np.maximum(start_ns, np.concatenate([start_ns[:1], ends[:-1]]))
    return float(np.maximum(end_ns - starts, 0).sum() / 1e9)


def blocks(start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the contiguous block each window belongs to: about a minute each, at least ``MIN_BLOCKS`` in all."""
    seconds = (end_ns.max() - start_ns.min()) / 1e9
    count = int(np.clip(seconds // BLOCK_S, MIN_BLOCKS, min(MAX_BLOCKS, len(start_ns))))
    return np.arange(len(start_ns), dtype=np.int64) * count // len(start_ns)


def held_blocks(
    name: str, start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """For each block: the indices of its windows, and a mask of those outside that share no sample with it.

    The distance of a window to itself would be zero; to a neighbour in time, too small.
    """
    block = blocks(start_ns, end_ns)
    held = []
    for b in np.unique(block):
        inside = block == b
        first, last = start_ns[inside].min(), end_ns[inside].max()
        others = ~inside & ((end_ns <= first) | (start_ns >= last))
        if not others.any():
            raise EnrollError(f"'{name}' was heard for too short a time for windows of this length; learn longer")
        held.append((np.flatnonzero(inside), others))
    return held


def _rules(alert: AlertConfig, hop_s: float) -> list[Persistence]:
    if alert.windows is not None and alert.strange_windows is not None:
        return [Persistence(alert.strange_windows, alert.windows)]
    return [rule for rule in PERSISTENCES if rule.windows * hop_s <= WITHIN_S] or [PERSISTENCES[0]]


def _episodes(state: NormalState, rule: Persistence, hop_s: float) -> EpisodeTail:
    return EpisodeTail(state.held_out, state.run_starts(), rule, len(state.held_out) * hop_s)


def band_rms(ratios: Array) -> Array:
    """One value from the ratios of all bands (last axis): their root mean square, so that few bad bands are heard."""
    combined: Array = np.sqrt(np.mean(np.square(ratios), axis=-1))
    return combined


def _shares(ratios: Array, rate_hz: int) -> tuple[BandShare, ...]:
    """Each band's part of the mean square that made the score."""
    squares = np.square(ratios)
    total = squares.sum() or 1.0  # a window that was itself learned lies at distance 0 in every band
    return tuple(
        BandShare(low, high, float(share))
        for (low, high), share in zip(band_edges_hz(rate_hz), squares / total, strict=True)
    )
