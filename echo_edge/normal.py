"""Normal states of one point: nearest neighbours band by band, their usual distance, and a threshold for a target rate.

Shape suffixes: W = windows, C = channels, N = bands, D = embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from echo_edge.errors import BaselineError, EnrollError
from echo_edge.frontend import band_edges_hz
from echo_edge.records import BandShare, Embedding, FalseAlarmRate, Score

MONTH_S = 30 * 24 * 3600
MIN_WINDOWS = 12  # below, not even the usual distance between normals is known
MIN_BLOCKS, MAX_BLOCKS = 4, 60
BLOCK_S = 60  # windows closer than this are too alike to test each other; short enrollments use shorter blocks
SCALE_FLOOR = 0.1  # of the median band's: a band that hardly ever changes must not turn a whisper into infinity
ROUNDING = 1e-7  # of the largest component: distances below are what float32 leaves of equal windows
MAX_TESTED = 1024  # windows that leave-block-out scores: the work grows with their number times all
FIRM_AFTER_S = 24 * 3600  # an enrollment shorter than this has not seen a day, and its alerts stay warnings

# a search takes tens of microseconds: waiting for a second thread that is busy elsewhere was seen to cost 200 ms
faiss.omp_set_num_threads(1)


@dataclass(frozen=True, slots=True)
class Tail:
    """The upper tail of the scores of normal windows: exponential, with the uncertainty of its own fit.

    With ``count`` excesses over ``start`` of mean ``mean_excess`` and the prior 1/mean, the chance that another normal
    window exceeds x is ``share * (1 + (x - start) / (count * mean_excess)) ** -count``: the predictive distribution of
    an exponential sample (Lomax). Few windows give a heavy tail and so a high threshold; many approach the
    exponential. Derivation: a gamma posterior of the rate, integrated out of the exponential.
    """

    start: float
    mean_excess: float
    count: int
    share: float
    """Part of the normal windows above ``start``."""

    @classmethod
    def fit(cls, values: NDArray[np.float64]) -> Tail:
        """Fit the largest fifth of ``values``, or the upper half up to 20 where there are few."""
        n = len(values)
        count = max(min(n // 2, 20), n // 5)
        ordered = np.sort(values)
        start = float(ordered[n - count - 1])
        return cls(start, float(np.mean(ordered[n - count :] - start)), count, count / n)

    def exceedance(self, value: float) -> float:
        """Chance (0..share) that a normal window scores above ``value``, for ``value >= start``."""
        spread = self.count * self.mean_excess
        return self.share * math.pow(1 + (value - self.start) / spread, -self.count)

    def quantile(self, chance: float) -> float:
        """The value that a normal window exceeds with this chance (0 < chance <= share)."""
        return self.start + self.count * self.mean_excess * (math.pow(self.share / chance, 1 / self.count) - 1)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What leave-block-out taught of a state; stored with it, so that loading need not compute it again."""

    scale: NDArray[np.float64]
    """Shape (C, N): the usual distance between normals of each channel and band."""

    held_out: NDArray[np.float64]
    """Shape (W',): scores of windows against the others, as if they had not been learned."""

    learned_s: float
    """Seconds of signal that were learned; overlapping windows count once."""


class NormalState:
    """One normal way to run, learned from windows of one point.

    Args:
        name: the state's name.
        vectors: shape (W, C, N, D), in order of time.
        calibration: from ``calibrate`` on the same vectors.
    """

    def __init__(self, name: str, vectors: NDArray[np.float32], calibration: Calibration) -> None:
        self.name = name
        self.vectors = vectors
        self.calibration = calibration
        # distances between embeddings are small beside the embeddings: centring keeps their digits
        self._centre = vectors.mean(axis=0)
        centred = _halved(vectors - self._centre)
        self._indexes = [[_index(centred[:, c, n]) for n in range(vectors.shape[2])] for c in range(vectors.shape[1])]

    @classmethod
    def learn(
        cls,
        name: str,
        vectors: NDArray[np.float32],
        start_ns: NDArray[np.int64],
        end_ns: NDArray[np.int64],
        learned_s: float | None = None,
    ) -> NormalState:
        """Calibrate and make a state.

        Args:
            start_ns, end_ns: shape (W,), capture times; windows that overlap never test each other.
            learned_s: seconds of signal behind the windows, where more were seen than are kept.

        Raises:
            EnrollError: too few windows, too short a time, or windows that do not differ.
        """
        calibration = calibrate(name, vectors, start_ns, end_ns)
        if learned_s is not None:
            calibration = replace(calibration, learned_s=learned_s)
        return cls(name, vectors, calibration)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that a verdict depends on, to be stored; ``from_arrays`` makes the same state of it."""
        learned = self.calibration
        return {
            "vectors": self.vectors,
            "scale": learned.scale,
            "held_out": learned.held_out,
            "learned_s": np.array(learned.learned_s),
        }

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, NDArray[Any]]) -> NormalState:
        """Make the state again from what ``arrays`` gave.

        Raises:
            BaselineError: an array is missing or does not fit the others.
        """
        try:
            vectors, scale, held_out = arrays["vectors"], arrays["scale"], arrays["held_out"]
            calibration = Calibration(scale, held_out, float(arrays["learned_s"]))
        except (KeyError, TypeError) as error:
            raise BaselineError(f"state '{name}': the stored array {error} is missing") from error
        if vectors.ndim != 4 or vectors.size == 0 or scale.shape != vectors.shape[1:3] or held_out.ndim != 1:
            raise BaselineError(f"state '{name}': the stored arrays do not fit each other")
        return cls(name, vectors, calibration)

    def about(self) -> dict[str, Any]:
        """What a person may want to know of it, as JSON."""
        return {"windows": len(self.vectors), "learned_s": self.calibration.learned_s}

    def ratios(self, bands: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distance to the nearest normal per channel and band, in units of the usual one. (C, N, D) -> (C, N)."""
        centred = _halved(bands - self._centre)
        squared = np.array(
            [
                [index.search(centred[c, n : n + 1], 1)[0][0, 0] for n, index in enumerate(indexes)]
                for c, indexes in enumerate(self._indexes)
            ]
        )
        ratios: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0.0)) / self.calibration.scale
        return ratios


def calibrate(
    name: str, vectors: NDArray[np.float32], start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> Calibration:
    """Find the usual distance per band and the scores of held-out windows; see ``NormalState.learn``."""
    if len(vectors) < MIN_WINDOWS:
        raise EnrollError(f"{len(vectors)} useful windows are too few to learn '{name}'; at least {MIN_WINDOWS}")
    distances = _leave_block_out(name, _halved(vectors - vectors.mean(axis=0)), start_ns, end_ns)
    scale = np.median(distances, axis=0)
    floor = SCALE_FLOOR * np.median(scale, axis=1, keepdims=True)
    if not np.all(floor > ROUNDING * np.abs(vectors).max()):
        raise EnrollError(f"the windows of '{name}' do not differ: a silent sensor, or one recording repeated")
    scale = np.maximum(scale, floor)
    ends = np.maximum.accumulate(end_ns)
    starts = np.maximum(start_ns, np.concatenate([start_ns[:1], ends[:-1]]))
    learned_s = float(np.maximum(end_ns - starts, 0).sum() / 1e9)
    held_out = combine(distances / scale).max(axis=1)
    if Tail.fit(held_out).mean_excess <= 0:
        raise EnrollError(f"the windows of '{name}' are all equally far apart: repeated material teaches nothing")
    return Calibration(scale, held_out, learned_s)


class Normal:
    """All normal states of one point, and the verdict on a window: unlike every one of them or not.

    Args:
        baseline: the stored baseline's id.
        states: at least one.
        target_per_month: accepted false alarms per month of this point.
        hop_s, windows: from the point's window and alert settings.
    """

    def __init__(
        self, baseline: str, states: list[NormalState], target_per_month: float, hop_s: float, windows: int
    ) -> None:
        self.baseline = baseline
        self.states = states
        # Scores are in units of each state's own usual distance, so that the states of a point can share one tail. Each
        # counts the same, as many scores as the smallest has: a calm state of many windows must not hide a lively one.
        few = min(len(state.calibration.held_out) for state in states)
        self.tail = Tail.fit(np.concatenate([_quantiles(state.calibration.held_out, few) for state in states]))
        self._target = target_per_month
        # The windows that the alert policy looks at count as one independent draw: neighbouring windows of a machine
        # are alike, and how much persistence gains is not known before it has run for long. What it gains is margin.
        self._draws_per_month = MONTH_S / (windows * hop_s)
        self.threshold = self.tail.quantile(min(target_per_month / self._draws_per_month, self.tail.share))
        self.learned_s = sum(state.calibration.learned_s for state in states)
        self.provisional = self.learned_s < FIRM_AFTER_S
        self._shape = states[0].vectors.shape[1:]

    def false_alarm_rate(self, monitored_s: float = 0.0, alerts: int = 0) -> FalseAlarmRate:
        """The promise in force, after so many seconds of monitoring and alerts in them.

        The enrollment counts as time without an alert: its windows were judged by leave-block-out. The bound on the
        mean of a Poisson count of n is half the 95 % quantile of chi-square with 2 n + 2 degrees of freedom; 3.0 for 0.
        """
        estimated = self.tail.exceedance(self.threshold) * self._draws_per_month
        bound = float(chdtri(2 * alerts + 2, 0.05)) / 2
        return FalseAlarmRate(self._target, estimated, bound * MONTH_S / (self.learned_s + monitored_s))

    def score(self, embedding: Embedding) -> Score:
        """Compare a window with every state and keep the one it is most like.

        Raises:
            BaselineError: the embedding has another shape than the baseline's.
        """
        if embedding.bands.shape != self._shape:
            raise BaselineError(
                f"{embedding.point}: baseline {self.baseline} has (channels, bands, width) {self._shape}, "
                f"the sensor now gives {embedding.bands.shape}; enroll again"
            )
        ratios = [state.ratios(embedding.bands) for state in self.states]
        values = [combine(r) for r in ratios]
        best = min(range(len(values)), key=lambda i: float(values[i].max()))
        channel = int(values[best].argmax())
        value = float(values[best][channel])
        if not math.isfinite(value):
            raise BaselineError(f"{embedding.point}: the distance to baseline {self.baseline} is not a finite number")
        return Score(
            point=embedding.point,
            time_ns=embedding.time_ns,
            end_ns=embedding.end_ns,
            value=value,
            threshold=self.threshold,
            state=self.states[best].name,
            channel=channel,
            bands=_shares(ratios[best][channel], embedding.rate_hz),
            baseline=self.baseline,
            provisional=self.provisional,
        )


def combine(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """One value from the ratios of all bands (last axis): their root mean square, so that few bad bands are heard."""
    combined: NDArray[np.float64] = np.sqrt(np.mean(np.square(ratios), axis=-1))
    return combined


def _shares(ratios: NDArray[np.float64], rate_hz: int) -> tuple[BandShare, ...]:
    """Each band's part of the mean square that made the score."""
    squares = np.square(ratios)
    total = squares.sum() or 1.0  # a window that was itself learned lies at distance 0 in every band
    return tuple(
        BandShare(low, high, float(share))
        for (low, high), share in zip(band_edges_hz(rate_hz), squares / total, strict=True)
    )


def _halved(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to half precision, as the index stores them: a window that was learned is then at distance 0 exactly."""
    return vectors.astype(np.float16).astype(np.float32)


def _index(vectors: NDArray[np.float32]) -> faiss.IndexScalarQuantizer:
    # an exact search reads every vector, and memory is what it waits for: half the bytes, two thirds of the time
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16)
    index.train(np.ascontiguousarray(vectors[:1]))
    index.add(np.ascontiguousarray(vectors))
    return index


def blocks(start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the contiguous block each window belongs to: about a minute each, at least ``MIN_BLOCKS`` in all."""
    seconds = (end_ns.max() - start_ns.min()) / 1e9
    count = int(np.clip(seconds // BLOCK_S, MIN_BLOCKS, min(MAX_BLOCKS, len(start_ns))))
    return np.arange(len(start_ns), dtype=np.int64) * count // len(start_ns)


def _quantiles(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """``count`` evenly spaced order statistics of ``values``; all of them when there are no more."""
    picked = ((np.arange(count) + 0.5) * len(values) / count).astype(np.int64)
    spaced: NDArray[np.float64] = np.sort(values)[picked]
    return spaced


def _leave_block_out(
    name: str, vectors: NDArray[np.float32], start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distance of windows to their nearest one outside their own block. (W, C, N, D) -> (W', C, N), W' <= MAX_TESTED.

    The distance to the training set itself would be zero; to a neighbour in time, too small. Windows that share
    samples with the block are left out too.
    """
    block = blocks(start_ns, end_ns)
    tested = np.zeros(len(vectors), dtype=bool)
    tested[np.unique(np.linspace(0, len(vectors) - 1, min(MAX_TESTED, len(vectors))).astype(np.int64))] = True
    parts = []
    for b in np.unique(block):
        inside = block == b
        first, last = start_ns[inside].min(), end_ns[inside].max()
        others = ~inside & ((end_ns <= first) | (start_ns >= last))
        if not others.any():
            raise EnrollError(f"'{name}' was heard for too short a time for windows of this length; learn longer")
        queries = vectors[inside & tested]
        if not len(queries):
            continue
        distances = np.empty(queries.shape[:3])
        for c in range(vectors.shape[1]):
            for n in range(vectors.shape[2]):
                found = _index(vectors[others, c, n]).search(np.ascontiguousarray(queries[:, c, n]), 1)[0]
                distances[:, c, n] = np.sqrt(np.maximum(found[:, 0], 0.0))
        parts.append(distances)
    return np.concatenate(parts)
