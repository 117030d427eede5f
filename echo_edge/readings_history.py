"""History for a chart: at most some hundred buckets of a stretch of time, from files that are read one by one.

A month of windows of 5 s with 24 indicators takes 0.9 s and 4 MB, and holds up other threads by 10 ms at the worst
(two busy cores). A bucket without a window is None in every column: a gap is a gap. What the pipeline has not written
yet, at most a minute, is not in it.

Shape suffixes: W = windows, C = channels, K = indicators, B = buckets, M = columns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.envelope import timestamp
from echo_edge.errors import HistoryError
from echo_edge.features import channel_name
from echo_edge.history_reader import HistoryReader, Part, start_of
from echo_edge.memory import LEVELS

SECOND_NS, HOUR_NS = 10**9, 3600 * 10**9
STEPS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
"""Lengths of a bucket that a person can read off a scale; beyond them whole days."""

YIELD_S = 0.0002  # after each file, so that other threads have their turn
OF_REST = ("normal", "resting", "unjudged", "not_monitored")
"""Levels of which a bucket has the one of most windows, where none of it was worse; of equally many the later one."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the buckets lie."""

    from_ns: int
    bucket_s: int
    count: int

    @property
    def to_ns(self) -> int:
        return self.from_ns + self.count * self.bucket_s * SECOND_NS

    @property
    def edges_ns(self) -> NDArray[np.int64]:
        """Shape (B + 1,)."""
        return self.from_ns + np.arange(self.count + 1, dtype=np.int64) * self.bucket_s * SECOND_NS


def grid(from_ns: int, to_ns: int, buckets: int, hop_s: float) -> Grid:
    """The shortest buckets that cover the time and are no more than wanted.

    None is shorter than two windows: else some would be empty though every second was heard.
    """
    for bucket_s in (*STEPS_S, *(86_400 * days for days in range(2, 400))):
        step_ns = bucket_s * SECOND_NS
        first = from_ns // step_ns
        count = -(-to_ns // step_ns) - first
        if bucket_s >= 2 * hop_s and count <= buckets:
            return Grid(first * step_ns, bucket_s, max(1, count))
    raise HistoryError("too long a time for so few buckets")


def history(reader: HistoryReader, point: str, span: Grid, labels: Sequence[str]) -> dict[str, Any]:
    """What the page draws of a point; see ``read`` in docs/orders.md.

    Args:
        labels: of the point's channels, as it is configured.

    Raises:
        HistoryError: the disk.
    """
    drawn, damaged = _Drawn(span, labels), 0
    for part in reader.walk(point, span.from_ns, span.to_ns):
        if isinstance(part, HistoryError):
            damaged += 1
            continue
        damaged += part.damaged
        drawn.add(part)
        time.sleep(YIELD_S)
    return drawn.told() | {"damaged": damaged}


class _Drawn:
    """Buckets that fill up in order of time; only those of the hour that is read hold their windows."""

    def __init__(self, span: Grid, labels: Sequence[str]) -> None:
        self._span, self._labels = span, labels
        self._hour = ""
        self._waiting: list[tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]] = []
        """Of windows whose buckets are not finished: shape (W,) the bucket, and shape (W,) for each column."""

        self._medians: dict[str, NDArray[np.float64]] = {}
        self._levels = np.zeros((span.count, len(LEVELS)), np.int64)
        self._alert = np.zeros(span.count, np.bool_)
        self._heard_ns = np.zeros(span.count)
        self._score_max = np.full(span.count, np.nan)

    def add(self, part: Part) -> None:
        hour = part.path.name[:11]
        if hour != self._hour:
            self._finish(start_of(hour))
            self._hour = hour
        if not len(part.facts):
            return
        facts = part.facts[np.argsort(part.facts["start_ns"], kind="stable")]
        bucket = (facts["start_ns"] - self._span.from_ns) // (self._span.bucket_s * SECOND_NS)
        np.add.at(self._levels, (bucket, np.minimum(facts["level"], len(LEVELS) - 1)), 1)
        self._alert[bucket[np.any(facts["alert"] != 0, axis=1)]] = True
        self._heard_ns += _covered_ns(facts["start_ns"], facts["end_ns"], self._span)
        value, ratio = facts["value"], facts["ratio"]
        np.fmax.at(self._score_max, bucket, value.astype(np.float64))
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = {"score_median": value, "threshold": np.where(ratio > 0, value / ratio, np.float32(np.nan))}
        names = facts.dtype.names or ()
        if "level_db" in names:
            columns["level_db"] = _together_db(facts["level_db"])
        if "indicators" in names:
            columns |= _indicators(part, facts["indicators"], self._labels)
        self._waiting.append((bucket, columns))

    def told(self) -> dict[str, Any]:
        self._finish(self._span.to_ns + HOUR_NS)
        span, empty = self._span, np.full(self._span.count, np.nan)
        indicators = {name: _plain(values) for name, values in self._medians.items() if name.startswith("indicators.")}
        return {
            "from": timestamp(span.from_ns),
            "to": timestamp(span.to_ns),
            "bucket_s": span.bucket_s,
            "t": [timestamp(int(edge)) for edge in span.edges_ns[:-1]],
            "score_max": _plain(self._score_max),
            "score_median": _plain(self._medians.get("score_median", empty)),
            "threshold": _plain(self._medians.get("threshold", empty)),
            "level": [_worst(counts) for counts in self._levels],
            "alert": self._alert.tolist(),
            "heard": [round(float(ns) / (span.bucket_s * SECOND_NS), 4) for ns in self._heard_ns],
            "level_db": _plain(self._medians.get("level_db", empty)),
            "indicators": {name.partition(".")[2]: values for name, values in sorted(indicators.items())},
        }

    def _finish(self, upto_ns: int) -> None:
        """Take the medians of all buckets that end by then."""
        upto = (upto_ns - self._span.from_ns) // (self._span.bucket_s * SECOND_NS)
        if not self._waiting or not any((bucket < upto).any() for bucket, _ in self._waiting):
            return
        names = list(dict.fromkeys(name for _, columns in self._waiting for name in columns))
        bucket = np.concatenate([bucket for bucket, _ in self._waiting])
        values_mw = np.full((len(names), len(bucket)), np.nan, np.float32)
        at = 0
        for piece, columns in self._waiting:
            for name, column in columns.items():
                values_mw[names.index(name), at : at + len(piece)] = column
            at += len(piece)
        order = np.argsort(bucket, kind="stable")
        bucket, values_mw = bucket[order], values_mw[:, order]
        first = int(np.searchsorted(bucket, upto))
        for which, start, count in zip(*np.unique(bucket[:first], return_index=True, return_counts=True), strict=True):
            for name, median in zip(names, _median(values_mw[:, start : start + count]), strict=True):
                self._medians.setdefault(name, np.full(self._span.count, np.nan))[which] = median
        left = {name: values_mw[i, first:] for i, name in enumerate(names)}
        self._waiting = [(bucket[first:], left)] if first < len(bucket) else []


def _median(values_mw: NDArray[np.float32]) -> NDArray[np.float64]:
    """Shape (M,): of each row, of the numbers in it; not a number where there is none."""
    values_mw = np.where(np.isfinite(values_mw), values_mw, np.float32(np.nan))
    values_mw.sort(axis=1)  # what is no number comes last
    known = np.isfinite(values_mw).sum(axis=1)
    rows = np.arange(len(values_mw))
    low, high = (values_mw[rows, np.maximum(at, 0)].astype(np.float64) for at in ((known - 1) // 2, known // 2))
    return np.where(known > 0, (low + high) / 2, np.nan)


def _covered_ns(start_ns: NDArray[np.int64], end_ns: NDArray[np.int64], span: Grid) -> NDArray[np.float64]:
    """Shape (B,): how much of each bucket windows cover, in order of time; where they overlap it counts once."""
    ends = np.maximum.accumulate(end_ns)
    starts = np.maximum(start_ns, np.concatenate([start_ns[:1], ends[:-1]]))
    lengths = np.maximum(ends - starts, 0)
    # covered time before each instant: it rises within windows and stands still between them
    instants = np.stack([starts, starts + lengths], axis=1).ravel() - span.from_ns
    before = np.concatenate([[0], np.cumsum(lengths)])
    covered = np.stack([before[:-1], before[1:]], axis=1).ravel()
    edges = (span.edges_ns - span.from_ns).astype(np.float64)
    return np.asarray(np.diff(np.interp(edges, instants.astype(np.float64), covered.astype(np.float64))))


def _together_db(level_db_wc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shape (W,): the mean power of all channels."""
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(np.mean(10 ** (level_db_wc / 10), axis=1)), np.float32)


def _indicators(part: Part, values_wck: NDArray[np.float32], labels: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    channels = part.circumstances.origin.channels
    if len(labels) != len(channels):  # the point had others then
        labels = [f"ch{channel}" for channel in channels]
    return {
        f"indicators.{channel_name(name, label)}": values_wck[:, c, k]
        for k, name in enumerate(part.circumstances.indicators)
        for c, label in enumerate(labels)
    }


def _worst(counts: NDArray[np.int64]) -> str | None:
    """Of one bucket: an alarm and a warning show wherever there is one; else what most of the time was so."""
    if not counts.any():
        return None
    by_level = dict(zip(LEVELS, counts.tolist(), strict=True))
    for level in ("alarm", "warning"):
        if by_level[level]:
            return level
    return max(reversed(OF_REST), key=lambda level: by_level[level])


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    """Six digits that count; None where there is no number."""
    return [None if not math.isfinite(value) else float(f"{value:.6g}") for value in values.tolist()]
