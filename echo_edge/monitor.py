"""Monitor: the pipeline thread. Takes mail, runs the pipeline's step, keeps baselines, tells the reporter."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from echo_edge.baseline import BaselineStore, moved_settings
from echo_edge.capture import SensorStatus
from echo_edge.envelope import timestamp
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.mailbox import Mailbox
from echo_edge.pipeline import Pipeline, Point
from echo_edge.report import Reporter
from echo_edge.session import NO_WINDOW, PATIENCE_S
from echo_edge.sessions import Sessions

log = logging.getLogger(__name__)

REFRESH_S = 60.0  # what ages by itself (gaps of the last hour) is told again this often


class Monitor(threading.Thread):
    """Everything after the mailbox belongs to this thread, so nothing in it is locked."""

    def __init__(
        self, pipeline: Pipeline, mailbox: Mailbox[SensorStatus], store: BaselineStore, reporter: Reporter
    ) -> None:
        super().__init__(name="pipeline", daemon=True)
        self.failure: BaseException | None = None
        self.heartbeat_s = time.monotonic()
        """When the thread last came round (monotonic); stale means that inference hangs."""

        self._pipeline = pipeline
        self._mailbox = mailbox
        self._store = store
        self._reporter = reporter
        self.sessions = Sessions(pipeline, store, mailbox, reporter.enroll, reporter.baseline)
        self._due_s: dict[str, float] = {}  # point -> when its next window is overdue, while its sensor is well
        self._refreshed_s = self.heartbeat_s

    def run(self) -> None:
        try:
            self._load_baselines()
            self._reporter.begin()
            self._tell_baselines()
            while not self._mailbox.closed:
                self.heartbeat_s = time.monotonic()
                self._round()
        except Exception as error:  # the thread's outermost line: the supervisor ends the process
            log.exception("the pipeline failed")
            self.failure = error
        finally:
            self._reporter.end()

    def _round(self) -> None:
        mail = self._mailbox.take(timeout_s=1.0)
        for order in mail.orders:
            order()
        for name, said in mail.states.items():  # before the windows: they may be the first of the new state
            self._pipeline.points[name].hear(said)
        for verdict in self._pipeline.step(mail.windows):
            point = self._pipeline.points[verdict.window.point]
            self._due_s[point.name] = self._overdue_s(point)
            self._reporter.verdict(verdict, point)
            if verdict.event is not None:
                log.warning("%s: alert %s %s", point.name, verdict.event.alert_id, verdict.event.type)
        # after the windows: they came before the report, and a sensor that is lost must not look well again
        for status in mail.reports:
            self._sensor(status)
        for name, due_s in self._due_s.items():
            if self.heartbeat_s > due_s:  # a verdict of long ago must not pass for one of now
                self._reporter.unmonitored(name, NO_WINDOW)
        if self.heartbeat_s - self._refreshed_s > REFRESH_S:
            self._refreshed_s = self.heartbeat_s
            self._reporter.refresh()
            self._tell_baselines()
        self.sessions.tick()

    def _overdue_s(self, point: Point) -> float:
        window = point.config.window
        return self.heartbeat_s + window.length_s + 2 * window.hop_s + PATIENCE_S

    def _sensor(self, status: SensorStatus) -> None:
        for name, point in self._pipeline.points.items():
            if point.config.device != status.device:
                continue
            identity = status.info.identity if status.info is not None else point.identity
            moved = moved_settings(point.settings, status.settings)
            if moved:
                point.gain_moved(time.time_ns())
            point.settings, point.identity = status.settings or point.settings, identity
            if status.state != "ok" or name in status.refused:
                self._due_s.pop(name, None)
            else:
                self._due_s.setdefault(name, self._overdue_s(point))
            self._reporter.sensor(status, point)
            self.sessions.sensor(status, point, moved)

    def _tell_baselines(self) -> None:
        for point in self._pipeline.points.values():
            self._reporter.baseline(point)

    def _load_baselines(self) -> None:
        for point in self._pipeline.points.values():
            self._load_baseline(point)

    def _load_baseline(self, point: Point) -> None:
        try:
            baseline = self._store.active(point.name)
            if baseline is not None:
                point.adopt(baseline)
        except (BaselineError, EnrollError) as error:  # this point only; the others carry on
            log.error("%s: not monitored: %s", point.name, error)
            point.refuse(str(error))

    # orders: each runs in this thread, posted through the mailbox

    def tell_state(self, point: str, name: str | None, until_ns: int | None) -> None:
        """Take a person's word for the state of a point; None: nobody's word any more."""
        states, now_ns = self._pipeline.points[point].states, time.time_ns()
        if name is None:
            states.forget("order", now_ns)
            log.info("%s: no operating state by order any more", point)
        else:
            states.tell(name, "order", now_ns, until_ns)
            until = "it is cleared" if until_ns is None else timestamp(until_ns)
            log.info("%s: operating state %s by order, until %s", point, name, until)

    def state_of(self, point: str) -> dict[str, Any]:
        """What is told, known and heard of a point's operating state."""
        return self._pipeline.points[point].about_state()
