"""Monitor: the pipeline thread. Takes mail, runs the pipeline's step, keeps baselines, tells the reporter."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from echo_edge import review_orders
from echo_edge.adaptation_job import AdaptationJob, Adapted
from echo_edge.baseline import Baseline, moved_settings
from echo_edge.baseline_orders import CHANGES_ACTIVE, run_verb
from echo_edge.baseline_store import BaselineStore
from echo_edge.books import Books
from echo_edge.capture import SensorStatus
from echo_edge.config import Config
from echo_edge.enroll import Enrollment, windows_needed
from echo_edge.envelope import timestamp
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.lineage import StoredLineage, VersionStore
from echo_edge.mailbox import Mailbox
from echo_edge.normal import FIRM_AFTER_S
from echo_edge.pipeline import Pipeline, Point
from echo_edge.records import Window
from echo_edge.report import Reporter
from echo_edge.review_orders import Desk
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
        self,
        pipeline: Pipeline,
        mailbox: Mailbox[SensorStatus],
        store: BaselineStore,
        reporter: Reporter,
        books: Books,
    ) -> None:
        super().__init__(name="pipeline", daemon=True)
        self.failure: BaseException | None = None
        self.heartbeat_s = time.monotonic()
        """When the thread last came round (monotonic); stale means that inference hangs."""

        self._pipeline = pipeline
        self._mailbox = mailbox
        self._store = store
        self._reporter = reporter
        self._books = books
        self._lineage = StoredLineage(store) if isinstance(store, VersionStore) else None
        self._adaptation: AdaptationJob | None = None
        for point in pipeline.points.values():
            point.remembered = books.history.on
        self._sensors: dict[str, SensorStatus] = {}
        self._infos: dict[str, SourceInfo] = {}  # of each device when it was last open
        self._learning: dict[str, Reply] = {}
        self._due_s: dict[str, float] = {}  # point -> when its next window is overdue, while its sensor is well
        self._refreshed_s = self.heartbeat_s

    def run(self) -> None:
        try:
            self._books.begin()
            self._load_baselines()
            self._reporter.begin()
            while not self._mailbox.closed:
                self.heartbeat_s = time.monotonic()
                self._round()
        except Exception as error:  # the thread's outermost line: the supervisor ends the process
            log.exception("the pipeline failed")
            self.failure = error
        finally:
            self._books.minute(self._pipeline.points.values())
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
            self._books.verdict(verdict, point)
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
            self._books.minute(self._pipeline.points.values())
            if self._adaptation is not None:
                self._adaptation.tick()

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
                promised_by = baseline.id if self._lineage is None else self._lineage.ancestor(baseline)
                point.adopt(baseline, self._books.operation(point.name, promised_by), promised_by)
        except (BaselineError, EnrollError) as error:  # this point only; the others carry on
            log.error("%s: not monitored: %s", point.name, error)
            point.refuse(str(error))

    # orders: each runs in this thread, posted through the mailbox

    def enroll_live(self, point: str, state: str, minutes: float, by: str, note: str, reply: Reply) -> None:
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
        watched.enrollment.author, watched.enrollment.note = by, note
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

    def review(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Note what a person says of an alert, or settle it; see ``review_orders``."""
        books = self._books
        result = review_orders.run_verb(Desk(books.log, books.history, books.examples, self._store), verb, args)
        point = self._pipeline.points.get(result.get("point", ""))
        if point is not None and point.baseline is not None:
            point.operation.faults = books.operation(point.name, point.promised_by).faults
        return result

    def adapts(self, config: Config) -> None:
        """Let the baselines of those machines grow that are configured so; before the thread starts."""
        if self._lineage is not None:
            self._adaptation = AdaptationJob(config, self._books.history, self._lineage, self._post_adapted)

    def _post_adapted(self, point: str, adapted: Adapted) -> None:
        if not self._mailbox.order(lambda: self._adapted(point, adapted)):
            log.warning("%s: too busy to be adapted; tried again tomorrow", point)

    def _adapted(self, name: str, adapted: Adapted) -> None:
        """Judge by what adaptation made, unless something happened while it was made."""
        point = self._pipeline.points[name]
        present = None if point.baseline is None else point.baseline.id
        if self._lineage is None or present != adapted.parent or point.open_alert or point.enrollment is not None:
            log.info("%s: not adapted: an alert, an enrollment or another baseline came in between", name)
            return
        try:
            baseline = self._lineage.keep(name, adapted)
        except BaselineError as error:
            log.error("%s: not adapted: %s", name, error)
            return
        if baseline is None:
            log.info("%s: proposed by adaptation, waits for a person: %s", name, adapted.why)
            return
        point.adopt(baseline, point.operation, point.promised_by)
        log.info("%s: adapted as %s: %s", name, baseline.id, adapted.why)

    def finish(self, enrollment: Enrollment, reply: Reply) -> None:
        """Store what was learned and judge by it from now on."""
        point = self._pipeline.points[enrollment.point]
        try:
            result = conclude(self._store, point, enrollment, point.baseline)
        except EnrollError as error:
            reply({"ok": False, "code": error.exit_code, "error": str(error)})
            return
        except BaselineError as error:  # the disk: the old baseline stays in force
            reply({"ok": False, "code": 1, "error": str(error)})
            return
        waits = "" if result["active"] else ", which another person must activate"
        log.info("%s: enrolled '%s' as %s%s", point.name, enrollment.state, result["baseline"], waits)
        reply({"ok": True, "result": result})

    def run_verb(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Change something about baselines; what is active then judges the point at once."""
        result = run_verb(self._store, verb, args)
        if verb in CHANGES_ACTIVE and (point := self._pipeline.points.get(args["point"])):
            self._load_baseline(point)
        return result


def conclude(store: BaselineStore, point: Point, enrollment: Enrollment, active: Baseline | None) -> dict[str, Any]:
    """Propose what was learned after ``active``; make it active and adopt it, unless another person must do so.

    Returns:
        What a person wants to know of it.
    """
    learned = enrollment.finish(active)
    author = enrollment.author
    baseline = store.propose(replace(learned, false_alarms=point.promises(learned)), author, enrollment.note)
    at_once = not store.needs_another_person(point.name)
    if at_once:
        store.activate(point.name, baseline.id, author, enrollment.note)
        point.adopt(baseline)
    rate = point.expected_rate(baseline)
    learned_s = sum(state.about()["learned_s"] for state in baseline.states)
    return {
        "baseline": baseline.id,
        "active": at_once,
        "parent": baseline.parent,
        "states": [state.name for state in baseline.states],
        "left_out": enrollment.left_out,
        "model": baseline.origin.model_name,
        "rate_hz": baseline.origin.rate_hz,
        "learned_s": round(learned_s, 3),
        "provisional": learned_s < FIRM_AFTER_S,
        "false_alarms_per_month": {k: round(v, 3) for k, v in asdict(rate).items() if k != "kept"},
        **asdict(enrollment.progress),
    }
