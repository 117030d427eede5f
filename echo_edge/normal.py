"""Normal states of one point: nearest neighbours band by band, their usual distance, and a threshold for a target rate.

Shape suffixes: W = windows, C = channels, N = bands, D = embedding width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from echo_edge.errors import BaselineError, EnrollError
from echo_edge.frontend import band_edges_hz
from echo_edge.records import BandShare, Embedding, FalseAlarmRate, Score

MONTH_S = 30 * 24 * 3600
MIN_WINDOWS = 12  # below, not even the usual distance between normals is known
MIN_BLOCKS, MAX_BLOCKS = 4, 60
BLOCK_S = 60  # windows closer than this are too alike to test each other; short enrollments use shorter blocks
SCALE_FLOOR = 0.1  # of the median band's: a band that hardly ever changes must not turn a whisper into infinity
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


class NormalState:
    """One normal way to run, learned from windows of one point.

    Args:
        name: the state's name.
        vectors: shape (W, C, N, D), in order of time.
        start_ns, end_ns: shape (W,), capture times; windows that overlap never test each other.

    Raises:
        EnrollError: too few windows, or windows that do not differ (a silent sensor, a repeated recording).
    """

    def __init__(
        self,
        name: str,
        vectors: NDArray[np.float32],
        start_ns: NDArray[np.int64],
        end_ns: NDArray[np.int64],
    ) -> None:
        if len(vectors) < MIN_WINDOWS:
            raise EnrollError(f"{len(vectors)} useful windows are too few to learn '{name}'; at least {MIN_WINDOWS}")
        self.name = name
        self.vectors = vectors
        self.start_ns = start_ns
        self.end_ns = end_ns
        # distances between embeddings are small beside the embeddings: centring keeps their float32 digits
        self._centre = vectors.mean(axis=0)
        centred = _halved(vectors - self._centre)
        held_out = _leave_block_out(centred, start_ns, end_ns)
        scale = np.median(held_out, axis=0)
        floor = SCALE_FLOOR * np.median(scale, axis=1, keepdims=True)
        if not np.all(floor > 0):
            raise EnrollError(f"the windows of '{name}' do not differ: a silent sensor, or one recording repeated")
        self._scale = np.maximum(scale, floor)
        self.held_out = combine(held_out / self._scale).max(axis=1)
        """Shape (W,): the score of each window against the others, as if it had not been learned."""

        self._indexes = [[_index(centred[:, c, n]) for n in range(vectors.shape[2])] for c in range(vectors.shape[1])]

    @property
    def learned_s(self) -> float:
        """Seconds of signal that were learned; overlapping windows count once."""
        ends = np.maximum.accumulate(self.end_ns)
        starts = np.maximum(self.start_ns, np.concatenate([self.start_ns[:1], ends[:-1]]))
        return float(np.maximum(self.end_ns - starts, 0).sum() / 1e9)

    def ratios(self, bands: NDArray[np.float32]) -> NDArray[np.float64]:
        """Distance to the nearest normal per channel and band, in units of the usual one. (C, N, D) -> (C, N)."""
        centred = _halved(bands - self._centre)
        squared = np.array(
            [
                [index.search(centred[c, n : n + 1], 1)[0][0, 0] for n, index in enumerate(indexes)]
                for c, indexes in enumerate(self._indexes)
            ]
        )
        ratios: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0.0)) / self._scale
        return ratios


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
        # scores are in units of each state's own usual distance, so that the states of a point can share one tail
        self.tail = Tail.fit(np.concatenate([state.held_out for state in states]))
        self._target = target_per_month
        # The windows that the alert policy looks at count as one independent draw: neighbouring windows of a machine
        # are alike, and how much persistence gains is not known before it has run for long. What it gains is margin.
        self._draws_per_month = MONTH_S / (windows * hop_s)
        self.threshold = self.tail.quantile(min(target_per_month / self._draws_per_month, self.tail.share))
        self.learned_s = sum(state.learned_s for state in states)
        self.provisional = self.learned_s < FIRM_AFTER_S
        self._shape = states[0].vectors.shape[1:]

    def false_alarm_rate(self, clean_s: float = 0.0) -> FalseAlarmRate:
        """The promise in force, after ``clean_s`` seconds of monitoring without an alert."""
        estimated = self.tail.exceedance(self.threshold) * self._draws_per_month
        return FalseAlarmRate(self._target, estimated, 3 * MONTH_S / (self.learned_s + clean_s))

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


def _leave_block_out(
    vectors: NDArray[np.float32], start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distance of every window to its nearest one outside its own block. (W, C, N, D) -> (W, C, N).

    The distance to the training set itself would be zero; to a neighbour in time, too small. Windows that share
    samples with the one judged are left out whatever their block.
    """
    block = blocks(start_ns, end_ns)
    distances = np.empty(vectors.shape[:3])
    for b in np.unique(block):
        inside = block == b
        first, last = start_ns[inside].min(), end_ns[inside].max()
        others = ~inside & ((end_ns <= first) | (start_ns >= last))
        if not others.any():
            others = ~inside
        for c in range(vectors.shape[1]):
            for n in range(vectors.shape[2]):
                squared = _index(vectors[others, c, n]).search(np.ascontiguousarray(vectors[inside, c, n]), 1)[0]
                distances[inside, c, n] = np.sqrt(np.maximum(squared[:, 0], 0.0))
    return distances
