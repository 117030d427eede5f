"""Monitor: the pipeline thread. Takes mail, runs the pipeline's step, keeps baselines, tells the reporter."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from echo_edge.baseline import BaselineStore, moved_settings
from echo_edge.capture import SensorStatus
from echo_edge.enroll import Enrollment, windows_needed
from echo_edge.envelope import timestamp
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.mailbox import Mailbox
from echo_edge.normal import FIRM_AFTER_S
from echo_edge.pipeline import Pipeline, Point
from echo_edge.records import Window
from echo_edge.report import Reporter
from sensors import SourceInfo

log = logging.getLogger(__name__)

PATIENCE_S = 5.0  # beyond a window's length and two hops: a busy machine is late sometimes
NO_WINDOW = "no whole window comes: samples are lost, or the gateway is overloaded"
REFRESH_S = 60.0  # what ages by itself (gaps of the last hour) is told again this often

Reply = Callable[[dict[str, Any]], None]
"""Takes one message of the answer to an order; the last one holds ``ok``."""


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
        self._sensors: dict[str, SensorStatus] = {}
        self._infos: dict[str, SourceInfo] = {}  # of each device when it was last open
        self._learning: dict[str, Reply] = {}
        self._due_s: dict[str, float] = {}  # point -> when its next window is overdue, while its sensor is well
        self._refreshed_s = self.heartbeat_s

    def run(self) -> None:
        try:
            self._load_baselines()
            self._reporter.begin()
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
            if (reply := self._learning.get(point.name)) and point.enrollment is not None:
                reply({"progress": asdict(point.enrollment.progress)})
        # after the windows: they came before the report, and a sensor that is lost must not look well again
        for status in mail.reports:
            self._sensor(status)
        for name, due_s in self._due_s.items():
            if self.heartbeat_s > due_s:  # a verdict of long ago must not pass for one of now
                self._reporter.unmonitored(name, NO_WINDOW)
        if self.heartbeat_s - self._refreshed_s > REFRESH_S:
            self._refreshed_s = self.heartbeat_s
            self._reporter.refresh()

    def _overdue_s(self, point: Point) -> float:
        window = point.config.window
        return self.heartbeat_s + window.length_s + 2 * window.hop_s + PATIENCE_S

    def _sensor(self, status: SensorStatus) -> None:
        self._sensors[status.device] = status
        if status.info is not None:
            self._infos[status.device] = status.info
        for name, point in self._pipeline.points.items():
            if point.config.device != status.device:
                continue
            identity = status.info.identity if status.info is not None else point.identity
            moved = moved_settings(point.settings, status.settings)
            if moved:
                point.gain_moved(time.time_ns())
            other = point.identity not in {"", identity}
            point.settings, point.identity = status.settings or point.settings, identity
            if status.state != "ok" or name in status.refused:
                self._due_s.pop(name, None)
            else:
                self._due_s.setdefault(name, self._overdue_s(point))
            self._reporter.sensor(status, point)
            if name not in self._learning or point.enrollment is None:
                continue
            problem = status.reason if status.state == "ended" else status.refused.get(name)
            if moved:
                problem = f"the gain changed while it was learned ({moved}); start again"
            if other:
                problem = f"another sensor, {identity}, was plugged in while it was learned; start again"
            if problem:
                point.enrollment = None
                point.on_enroll_failed(EnrollError(f"{name}: {problem}", 3))

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

    def enroll_live(self, point: str, state: str, minutes: float, reply: Reply) -> None:
        """Begin to learn a normal state from the point's own stream."""
        if point not in self._pipeline.points:
            reply(
                {"ok": False, "code": 2, "error": f"no point '{point}'; known are {', '.join(self._pipeline.points)}"}
            )
            return
        watched = self._pipeline.points[point]
        sensor = self._sensors.get(watched.config.device)
        if point in self._learning:
            reply({"ok": False, "code": 6, "error": f"{point} is being enrolled already"})
            return
        if sensor is not None and sensor.state in {"lost", "ended"}:
            why = f"its sensor {watched.config.device} is {sensor.state}: {sensor.reason}"
            reply({"ok": False, "code": 3, "error": f"{point}: {why}"})
            return
        if sensor is not None and point in sensor.refused:
            reply({"ok": False, "code": 3, "error": f"{point}: {sensor.refused[point]}"})
            return
        window = watched.config.window
        needed = windows_needed(minutes, window.length_s, window.hop_s)

        def done(enrollment: Enrollment) -> None:
            del self._learning[point]
            if info := self._infos.get(watched.config.device):
                enrollment.identity, enrollment.settings = info.identity, watched.settings
            self.finish(enrollment, reply)

        def failed(error: EnrollError) -> None:
            del self._learning[point]
            reply({"ok": False, "code": error.exit_code, "error": str(error)})

        self._learning[point] = reply
        watched.on_enrolled, watched.on_enroll_failed = done, failed
        watched.enrollment = Enrollment(point, state, needed)
        reply({"progress": asdict(watched.enrollment.progress)})

    def cancel(self, point: str, reply: Reply) -> None:
        """Forget an unfinished enrollment; the active baseline was never touched."""
        if self._learning.get(point) is reply:
            del self._learning[point]
            self._pipeline.points[point].enrollment = None
            log.info("%s: enrollment cancelled", point)

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

    def learn(self, enrollment: Enrollment, windows: Sequence[Window]) -> None:
        """Add recorded windows to an enrollment."""
        self._pipeline.learn(enrollment, windows)

    def finish(self, enrollment: Enrollment, reply: Reply) -> None:
        """Store what was learned and judge by it from now on."""
        point = self._pipeline.points[enrollment.point]
        try:
            baseline = self._store.add(enrollment.finish(point.baseline))
        except EnrollError as error:
            reply({"ok": False, "code": error.exit_code, "error": str(error)})
            return
        except BaselineError as error:  # the disk: the old baseline stays in force
            reply({"ok": False, "code": 1, "error": str(error)})
            return
        point.adopt(baseline)
        log.info("%s: enrolled '%s' as %s", point.name, enrollment.state, baseline.id)
        reply({"ok": True, "result": summary(point, enrollment)})


def summary(point: Point, enrollment: Enrollment) -> dict[str, Any]:
    """What a person wants to know of the enrollment that a point has just adopted."""
    baseline, rate = point.baseline, point.false_alarm_rate
    if baseline is None or rate is None:
        raise BaselineError(f"{point.name}: nothing was adopted")
    learned_s = sum(state.learned_s for state in baseline.states)
    return {
        "baseline": baseline.id,
        "parent": baseline.parent,
        "states": [state.name for state in baseline.states],
        "left_out": enrollment.left_out,
        "model": baseline.origin.model_name,
        "rate_hz": baseline.origin.rate_hz,
        "learned_s": round(learned_s, 3),
        "provisional": learned_s < FIRM_AFTER_S,
        "false_alarms_per_month": {k: round(v, 3) for k, v in asdict(rate).items()},
        **asdict(enrollment.progress),
    }
