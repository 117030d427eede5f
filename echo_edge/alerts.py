"""Alert policy: scores -> events. Pure; one object per point.

An alert opens when k of the latest n windows are above the threshold, and clears when all n are well below it: the
two limits lie apart, so that a machine on the edge does not chatter.
"""

from __future__ import annotations

import uuid
from collections import deque

from echo_edge.config import AlertConfig
from echo_edge.records import Event, Score
from echo_edge.tail import Persistence

SPAN_NS = 2_000_000_000  # strange for less is no alert: what is wrong with a sensor is known only a second later
UPDATE_RATIO = 1.5  # a peak this many times the last one told is news
UPDATE_EVERY_NS = 10_000_000_000


class AlertPolicy:
    """The life of one point's alerts: open, update, clear, with one id and rising revision."""

    def __init__(self, config: AlertConfig, persistence: Persistence) -> None:
        self._config = config
        self.persistence = persistence
        self._recent: deque[float] = deque(maxlen=persistence.windows)  # score / threshold
        self._strange_ns: int | None = None  # begin of the first window of those that are strange now
        self._open: Event | None = None
        self._cleared_ns: int | None = None
        self.began_ns = 0
        """When the first strange window of the latest alert began."""

    @property
    def open(self) -> Event | None:
        """The latest event of the alert that is open now."""
        return self._open

    @property
    def strange_windows(self) -> int:
        """How many of the latest windows are above the threshold."""
        return sum(ratio > 1 for ratio in self._recent)

    def forget(self, persistence: Persistence | None = None) -> None:
        """Start the count of windows anew: what came before was judged by another measure, or heard at another gain.

        Args:
            persistence: how many strange windows make an alert from now on.
        """
        self.persistence = persistence or self.persistence
        self._recent = deque(maxlen=self.persistence.windows)
        self._strange_ns = None

    def update(self, score: Score) -> Event | None:
        """Take in one score; return what is news."""
        self._recent.append(score.value / score.threshold)
        if not self.strange_windows:
            self._strange_ns = None
        elif self._strange_ns is None:
            self._strange_ns = score.time_ns
        if self._open is None:
            return self._opened(score)
        if len(self._recent) == self.persistence.windows and max(self._recent) < self._config.clear_ratio:
            self._cleared_ns = score.end_ns
            return self._next("clear", score)
        grown = score.value > UPDATE_RATIO * self._open.peak_value
        if grown and abs(score.end_ns - self._open.time_ns) >= UPDATE_EVERY_NS:
            return self._next("update", score)
        return None

    def _opened(self, score: Score) -> Event | None:
        if score.value <= score.threshold or self.strange_windows < self.persistence.strange:
            return None
        if self._strange_ns is not None and 0 <= score.end_ns - self._strange_ns < SPAN_NS:  # negative: set back
            return None
        since_ns = None if self._cleared_ns is None else score.end_ns - self._cleared_ns
        if since_ns is not None and 0 <= since_ns < self._config.hold_off_s * 1e9:  # negative: the clock was set back
            return None
        self.began_ns = score.time_ns if self._strange_ns is None else self._strange_ns
        severity = "warning" if score.provisional else "alarm"
        self._open = Event(
            score.point,
            uuid.uuid4().hex,
            1,
            "open",
            severity,
            score.end_ns,
            score.end_ns,
            score.value,
            score.end_ns,
            score,
        )
        return self._open

    def _next(self, kind: str, score: Score) -> Event:
        last = self._open
        if last is None:
            raise RuntimeError(f"{score.point}: no alert is open")
        higher = score.value > last.peak_value
        event = Event(
            point=last.point,
            alert_id=last.alert_id,
            rev=last.rev + 1,
            type=kind,
            severity=last.severity,
            time_ns=score.end_ns,
            opened_ns=last.opened_ns,
            peak_value=score.value if higher else last.peak_value,
            peak_ns=score.end_ns if higher else last.peak_ns,
            score=score,
        )
        self._open = None if kind == "clear" else event
        return event
