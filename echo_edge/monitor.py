"""Monitor: the pipeline thread. Takes mail, runs the pipeline's step, keeps baselines, tells the reporter."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from echo_edge import alert_orders, lineage, review_orders
from echo_edge.adaptation_job import FIRST_AFTER_S, AdaptationJob
from echo_edge.alert_life import Action
from echo_edge.alert_orders import Wanted
from echo_edge.baseline import Baseline, moved_settings
from echo_edge.baseline_orders import CHANGES_ACTIVE, run_verb
from echo_edge.baseline_store import BaselineStore
from echo_edge.books import Books
from echo_edge.capture import SensorStatus
from echo_edge.config import Config
from echo_edge.durations import Durations
from echo_edge.envelope import timestamp
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.mailbox import Mailbox
from echo_edge.pipeline import Pipeline, Point
from echo_edge.records import Answer
from echo_edge.report import Reporter
from echo_edge.review_orders import Desk
from echo_edge.session import NO_WINDOW, PATIENCE_S
from echo_edge.sessions import Sessions
from echo_edge.standing import Standing

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
REFRESH_S = 60.0  # what ages by itself (gaps of the last hour) is told again this often


class Monitor(threading.Thread):
    """Everything after the mailbox belongs to this thread, so nothing in it is locked."""

    def __init__(
        self,
        pipeline: Pipeline,
        mailbox: Mailbox[SensorStatus],
        store: BaselineStore,
        reporter: Reporter,
        books: Books,
        left_out: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``left_out``: point -> why its baseline is not loaded at the start."""
        super().__init__(name="pipeline", daemon=True)
        self._left_out = left_out
        self.failure: BaseException | None = None
        self.heartbeat_s = time.monotonic()
        """When the thread last came round (monotonic); stale means that inference hangs."""

        self.busy_s = self.signal_s = 0.0
        """Time spent on judging so far, and how much time the windows judged stand for."""

        self.steps = Durations()
        """Of the steps that had windows to judge."""

        self.scored = dict.fromkeys(pipeline.points, 0)
        self.unscored = dict.fromkeys(pipeline.points, 0)
        """Point -> windows with a score so far, and without one."""

        self.proven = False
        """True once a window of noise has gone the whole way to a score at every point."""

        self._pipeline = pipeline
        self._mailbox = mailbox
        self._store = store
        self._reporter = reporter
        self._books = books
        self._adaptation: AdaptationJob | None = None
        self.chores: list[Callable[[], None]] = []
        """Done in every round, about once a second."""

        self.standing = Standing(store.path, pipeline.points, books.operation, reporter.baseline)
        for point in pipeline.points.values():
            point.remembered = books.history.on
        self.sessions = Sessions(pipeline, store, books.history, mailbox, reporter.enroll, reporter.baseline)
        self._due_s: dict[str, float] = {}  # point -> when its next window is overdue, while its sensor is well
        self._refreshed_s = self.heartbeat_s
        self._looked_s = 0.0

    def run(self) -> None:
        try:
            self._books.begin(self._reporter.restore(self._pipeline.points))
            self.standing.begin()
            self._load_baselines()
            self._pipeline.prove()
            self.proven = True
            self._reporter.begin()
            for point in self._pipeline.points.values():
                if point.muted is not None:
                    self._reporter.muted(point)
            self._tell_baselines()
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
        began_s = time.monotonic()
        verdicts = self._pipeline.step(mail.windows)
        took_s = time.monotonic() - began_s
        self.busy_s += took_s
        if verdicts:
            self.steps.add(took_s)
        for verdict in verdicts:
            point = self._pipeline.points[verdict.window.point]
            self.signal_s += point.config.window.hop_s
            (self.unscored if verdict.score is None else self.scored)[point.name] += 1
            self._due_s[point.name] = self._overdue_s(point)
            self._reporter.verdict(verdict, point)
            self._books.verdict(verdict, point)
        # after the windows: they came before the report, and a sensor that is lost must not look well again
        for status in mail.reports:
            self._sensor(status)
        if self.heartbeat_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = self.heartbeat_s
            self._look()
        if self.heartbeat_s - self._refreshed_s > REFRESH_S:
            self._refreshed_s = self.heartbeat_s
            self._reporter.refresh()
            self._books.minute(self._pipeline.points.values())
            self._tell_baselines()
        if self._adaptation is not None:
            self._adaptation.tick()
        self.sessions.tick()
        self.standing.tick()
        for chore in self.chores:
            chore()
        self._pipeline.at_work("")

    @property
    def points(self) -> Mapping[str, Point]:
        """What is kept of each point; for this thread alone."""
        return self._pipeline.points

    def _look(self) -> None:
        """What happens without anything coming in."""
        for name, point in self._pipeline.points.items():
            overdue = self.heartbeat_s > self._due_s.get(name, math.inf)
            if overdue:  # a verdict of long ago must not pass for one of now
                self._reporter.unmonitored(name, point.muted or NO_WINDOW)
            self._reporter.look(point, NO_WINDOW if overdue else None)
            if point.muted_until_ns is not None and time.time_ns() >= point.muted_until_ns:
                self._mute(point, None, "")

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
            self.heartbeat_s = time.monotonic()  # a large one takes a second, and they are many
            if point.name in self._left_out:
                point.refuse(self._left_out[point.name])
            else:
                self._pipeline.at_work(f"point:{point.name}")
                self._load_baseline(point)
        self._pipeline.at_work("")

    def _load_baseline(self, point: Point) -> None:
        try:
            baseline = self._store.active(point.name)
            if baseline is not None:
                promised_by = lineage.ancestor(self._store, baseline)
                operation = self._books.operation(point.name, point.promise(promised_by))
                point.adopt(baseline, operation, promised_by)
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

    def answer_alert(
        self,
        alert_id: str,
        action: Action,
        by: str,
        note: str = "",
        until_ns: int | None = None,
        expect_rev: int | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Acknowledge, shelve or clear an alert of any kind; see ``alert_orders.answer``."""
        wanted = Wanted(alert_id, action, Answer(by, note, time.time_ns()), until_ns, expect_rev, dry_run)
        return alert_orders.answer(self._pipeline.points, self._reporter.alerts, self._books, wanted)

    def mute(self, machine: str, until_ns: int | None, by: str, note: str = "") -> dict[str, Any]:
        """Planned work at a machine: its points are not monitored until then; None ends it.

        Raises:
            OrderError: there is no such machine, or the end has passed.
        """
        points = alert_orders.to_mute(self._pipeline.points, machine, until_ns, Answer(by, note, time.time_ns()))
        for point in points:
            self._mute(point, until_ns, by)
        until = "no longer" if until_ns is None else f"until {timestamp(until_ns)}"
        log.warning("%s: muted %s by %s: %s", machine, until, by, note or "no reason given")
        told = {} if until_ns is None else {"muted_until": timestamp(until_ns)}
        return {"machine": machine, "points": [point.name for point in points], **told}

    def _mute(self, point: Point, until_ns: int | None, by: str) -> None:
        point.mute(until_ns, by, time.time_ns())
        self._reporter.muted(point)

    def state_of(self, point: str) -> dict[str, Any]:
        """What is told, known and heard of a point's operating state."""
        return self._pipeline.points[point].about_state()

    def review(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Note what a person says of an alert, or settle it; see ``review_orders``."""
        books = self._books
        result = review_orders.run_verb(Desk(books.log, books.history, books.examples, self._store), verb, args)
        point = self._pipeline.points.get(result.get("point", ""))
        if point is not None and point.baseline is not None:
            point.operation.faults = books.operation(point.name, point.promise(point.promised_by)).faults
        return result

    def adapts(self, config: Config, first_after_s: float = FIRST_AFTER_S) -> None:
        """Let the baselines of those machines grow that are configured so; before the thread starts."""
        post = self._post_grown
        self._adaptation = AdaptationJob(config, self._books.history, self._store, post, first_after_s)

    def _post_grown(self, grown: Baseline) -> None:
        if not self._mailbox.order(lambda: self._grown(grown)):
            log.warning("%s: too busy to be adapted; tried again tomorrow", grown.point)

    def _grown(self, grown: Baseline) -> None:
        """Judge by what adaptation made, unless something happened while it was made."""
        name, point = grown.point, self._pipeline.points[grown.point]
        present = None if point.baseline is None else point.baseline.id
        if present != grown.parent or point.open_alert or self.sessions.busy(name):
            log.info("%s: not adapted: an alert, an enrollment or another baseline came in between", name)
            return
        try:
            baseline = lineage.keep(self._store, grown)
        except BaselineError as error:
            log.error("%s: not adapted: %s", name, error)
            return
        if baseline is None:
            log.info("%s: proposed by adaptation, waits for a person: %s", name, lineage.why(grown))
            return
        point.adopt(baseline, point.operation, point.promised_by)
        self._reporter.baseline(point)
        log.info("%s: adapted as %s: %s", name, baseline.id, baseline.note)

    def run_verb(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        """Change something about baselines; what is active then judges the point at once."""
        result = run_verb(self._store, verb, args)
        if verb in CHANGES_ACTIVE and (point := self._pipeline.points.get(args["point"])):
            self._load_baseline(point)
            self._reporter.baseline(point)
        return result
