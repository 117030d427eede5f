"""Books: what outlives a run, kept by the pipeline's thread: the history of every point, its alerts, its promise.

Nothing here raises: a disk that is full or a database that is damaged costs the record, not the monitoring.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

from echo_edge.errors import HistoryError
from echo_edge.history import History
from echo_edge.operation import OperationLog
from echo_edge.pipeline import Point, Verdict
from echo_edge.promise import Operation, in_words
from echo_edge.remember import memory_of

log = logging.getLogger(__name__)

T = TypeVar("T")


class Books:
    """Takes every verdict.

    Args:
        operation: opens the log, in the thread that writes it.
        examples: folder of the faults that people confirmed.
    """

    def __init__(
        self,
        history: History,
        operation: Callable[[], OperationLog],
        examples: Path,
    ) -> None:
        self.history = history
        self.examples = examples
        self._open = operation
        self._log: OperationLog | None = None
        self._failing = False
        self._broken: set[tuple[str, str]] = set()  # (point, baseline) that was warned of

    def begin(self, still_open: Collection[str] = ()) -> None:
        """Start a run: of the alerts of an earlier one only these are open."""
        self._log = self._kept(self._open, None)
        self._write(lambda books: books.begin(still_open))

    @property
    def log(self) -> OperationLog:
        """Raises HistoryError when the database could not be opened."""
        if self._log is None:
            raise HistoryError("the database of operation cannot be opened; see the daemon's log")
        return self._log

    def operation(self, point: str, promise: str) -> Operation:
        """What became of a point under a promise (``Point.promise``) before."""
        books = self._log
        return Operation() if books is None else self._kept(lambda: books.of(point, promise), Operation())

    def verdict(self, verdict: Verdict, point: Point) -> None:
        """Remember a window, and note what it did to an alert."""
        self.history.add(point.name, memory_of(verdict, point))
        if (event := verdict.event) is not None:
            level = logging.INFO if event.type == "clear" else logging.WARNING
            log.log(level, "%s: alert %s %s", point.name, event.alert_id, event.type)
            promise = point.promise(point.promised_by)
            self._write(lambda books: books.note(event, promise))
            self._save(point)

    def closed(self, alert_id: str, time_ns: int) -> None:
        """A person ended an alert of a machine."""
        self._write(lambda books: books.end(alert_id, time_ns))

    def minute(self, points: Iterable[Point]) -> None:
        """Write what has to survive a restart, and warn where a promise is broken; once a minute."""
        for point in points:
            self._save(point)
            self._warn(point)
        self.history.flush()

    def _save(self, point: Point) -> None:
        monitored_s = point.operation.monitored_s
        if point.baseline is not None and monitored_s > 0:
            promise = point.promise(point.promised_by)
            self._write(lambda books: books.save(point.name, promise, monitored_s, time.time_ns()))

    def _warn(self, point: Point) -> None:
        rate, baseline = point.false_alarm_rate, point.baseline
        if rate is None or baseline is None:
            return
        key = (point.name, point.promise(point.promised_by))
        if rate.kept is False and key not in self._broken:
            learned_s = sum(state.learned_s for state in baseline.states)
            log.warning("%s: its promise is %s", point.name, in_words(point.operation, rate, learned_s))
            self._broken.add(key)
        elif rate.kept:
            self._broken.discard(key)

    def _write(self, work: Callable[[OperationLog], None]) -> None:
        books = self._log
        if books is not None:
            self._kept(lambda: work(books), None)

    def _kept(self, work: Callable[[], T], otherwise: T) -> T:
        try:
            done = work()
        except HistoryError as error:
            if not self._failing:
                log.error("operation is not written down, monitoring goes on: %s", error)
            self._failing = True
            return otherwise
        self._failing = False
        return done
