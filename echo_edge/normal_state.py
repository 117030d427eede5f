"""One normal state: how strange a window is to it, by three parts.

The encoder's vectors, the mean log spectrum in the same bands, and the physical indicators. Each says how rare its
value is among normal windows, in decades (``Tail.rarity``): 3 is met in one normal window of a thousand. The root of
the sum of their squares is the score, so that two parts that agree count more than one, and one alone is heard.

Shape suffixes: W = windows learned, C = channels, N = bands, D = embedding width, K = indicators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from echo_edge.coreset import thin
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.frontend import SPEC
from echo_edge.indicators import strangeness_scale
from echo_edge.material import Material
from echo_edge.nearest import Nearest
from echo_edge.records import Embedding
from echo_edge.spread import Spread
from echo_edge.tail import EpisodeTail, Persistence, Tail

MIN_WINDOWS = 12  # below, not even the usual distance between normals is known
MIN_BLOCKS, MAX_BLOCKS = 4, 24
BLOCK_S = 60  # windows closer than this are too alike to test each other; short enrollments use shorter blocks
MAX_BANK = 2048  # windows that a state is compared with
PICTURED = 256  # of them have a spectrogram to show
USUAL = (0.05, 0.95)  # quantiles of an indicator that a person is told as its usual range
WEIGHTS = {"echo": 1.0, "spectrum": 1.0, "indicators": 0.5}  # of each part's rarity in the score
GAIN_DB = 3.0  # a change of the spectrum that is the same at all frequencies counts as one usual spread at so much
TOLERATED = {"echo": 0.0, "spectrum": GAIN_DB / 20 * math.log(10) / SPEC.log_scale}
Array = NDArray[np.float64]
Part = Nearest | Spread


@dataclass(frozen=True, slots=True)
class StateVerdict:
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


@dataclass(frozen=True, eq=False)
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
        usual: shape (2, C, K): what 5 % and 95 % of the windows learned are below, in the indicators' units.
    """

    name: str
    parts: dict[str, Part]
    tails: dict[str, Tail]
    held_out: Array
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    learned_s: float
    quiet_db: Array
    pictures: NDArray[np.uint8]
    pictured: NDArray[np.int64]
    indicator_names: tuple[str, ...]
    usual: Array
    _episodes: dict[tuple[Persistence, float], EpisodeTail] = field(init=False, repr=False, default_factory=dict)

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
            np.quantile(material.indicators, USUAL, axis=0),
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
        return replace(self, parts=parts, pictures=pictures[shown], pictured=np.searchsorted(kept, pictured[shown]))

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

    def episodes(self, rule: Persistence, hop_s: float) -> EpisodeTail:
        """How often normal operation opens an alert by this rule; worked out once, since it takes a second for a day's
        windows, and no target or version changes it."""
        key = (rule, hop_s)
        if key not in self._episodes:
            heard_s = len(self.held_out) * hop_s
            self._episodes[key] = EpisodeTail(self.held_out, self.run_starts(), rule, heard_s)
        return self._episodes[key]

    def judge(self, embedding: Embedding) -> StateVerdict:
        """Compare one window with this state.

        Raises:
            BaselineError: the window was measured with other indicators than the state.
        """
        seen: dict[str, NDArray[Any]] = {"echo": embedding.bands, "spectrum": embedding.spectrum}
        if "indicators" in self.parts:
            if difference := self.other_indicators(embedding.indicator_names):
                raise BaselineError(f"'{self.name}' was learned with {difference}; enroll again")
            seen["indicators"] = strangeness_scale(embedding.indicators, embedding.indicator_names)
        return self._verdict(seen)

    def other_indicators(self, now: tuple[str, ...]) -> str | None:
        """How windows with these indicators differ from those learned, in words; None when they can be judged."""
        if "indicators" not in self.parts or now == self.indicator_names:
            return None
        return f"the indicators {', '.join(self.indicator_names)}, the point now has {', '.join(now) or 'none'}"

    def strange_windows(self, other: NormalState, threshold: float, most: int) -> NDArray[np.bool_]:
        """Which windows of another state's bank, at most so many and evenly spread, score above ``threshold`` here.

        Encoder and spectrum alone judge: the indicators of single windows are not kept.
        """
        pairs = zip(other._echo.vectors(other._spread_evenly(most)), other.spectra(most), strict=True)
        return np.array([self._verdict({"echo": b, "spectrum": s}).value > threshold for b, s in pairs])

    def spectra(self, most: int) -> NDArray[np.float32]:
        """Mean log spectra, (W, C, N, 32), of at most so many windows of the bank, evenly spread, nearly exact."""
        part = self.parts["spectrum"]
        if not isinstance(part, Nearest):
            raise TypeError("the spectrum's part is a bank")
        return part.vectors(self._spread_evenly(most))

    def _spread_evenly(self, most: int) -> NDArray[np.int64]:
        return np.unique(np.linspace(0, self.windows - 1, min(most, self.windows)).astype(np.int64))

    def _verdict(self, seen: Mapping[str, NDArray[Any]]) -> StateVerdict:
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
        return StateVerdict(rarities, channel, by_band[spectral][channel])

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
            "usual": self.usual,
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
                arrays["usual"],
            )
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise BaselineError(f"the stored state '{name}' cannot be read: {error}") from error


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


def band_rms(ratios: Array) -> Array:
    """One value from the ratios of all bands (last axis): their root mean square, so that few bad bands are heard."""
    combined: Array = np.sqrt(np.mean(np.square(ratios), axis=-1))
    return combined
