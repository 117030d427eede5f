"""Sessions: the guided enrollments of a gateway, at most one per point. Belongs to the pipeline thread.

What takes long (reading recordings, the self-test) runs in a thread of its own and comes back through the mailbox, so
that live windows never wait.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from echo_edge.audit import check_words
from echo_edge.baseline import Baseline
from echo_edge.baseline_store import BaselineStore
from echo_edge.capture import SensorStatus
from echo_edge.enroll import recorded_batches
from echo_edge.enroll_orders import EnrollAccept, EnrollExtend, EnrollOrder, EnrollStart, EnrollStatus
from echo_edge.errors import BaselineError, EchoEdgeError, EnrollError, RecordingError
from echo_edge.history_reader import HistoryReader
from echo_edge.mailbox import Mailbox
from echo_edge.normal import FIRM_AFTER_S
from echo_edge.pipeline import Pipeline, Point
from echo_edge.records import Window
from echo_edge.self_test import SelfTest, Subject, self_test
from echo_edge.session import EnrollSession, Request, World
from echo_edge.speech import SpeechWatch
from sensors import SourceInfo

log = logging.getLogger(__name__)

UNNAMED = "unknown"
RETRY_S = 0.05  # a full mailbox is tried again so soon
Tell = Callable[[str, dict[str, Any]], None]
"""Publishes a point's progress."""


class Sessions:
    """Starts sessions, feeds them, runs their tests, and keeps what they make.

    Args:
        tell: is told a point's progress whenever it changed.
        adopted: is told of a point that judges by another baseline from now on.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        store: BaselineStore,
        history: HistoryReader,
        mailbox: Mailbox[SensorStatus],
        tell: Tell,
        adopted: Callable[[Point], None],
    ) -> None:
        self._pipeline, self._store, self._history, self._mailbox = pipeline, store, history, mailbox
        self._tell, self._adopted = tell, adopted
        self._sessions: dict[str, EnrollSession] = {}
        self._sensors: dict[str, SensorStatus] = {}
        self._results: dict[str, dict[str, Any]] = {}  # session -> what a person wants to know of what it made
        self.progress: dict[str, dict[str, Any]] = {}
        """Point -> progress of its newest session; each is replaced as a whole, so any thread may read."""

    def busy(self, point: str) -> bool:
        """True while the point is being enrolled."""
        return point in self._sessions

    def check(self, order: EnrollOrder) -> None:
        """Refuse what cannot be done now; nothing is changed.

        Raises:
            EnrollError: refused; its exit code says why.
        """
        if order.point not in self._pipeline.points:
            raise EnrollError(f"no point '{order.point}'; known are {', '.join(self._pipeline.points)}", 2)
        if isinstance(order, EnrollStart):
            self._check_start(order)
        elif isinstance(order, EnrollStatus):
            if order.point not in self.progress:
                raise EnrollError(f"{order.point}: is not being enrolled", 6)
        else:
            session = self._named(order.point, order.session)
            if isinstance(order, EnrollAccept):
                session.check_accept(order.by or session.request.author, healthy=order.healthy)
            elif isinstance(order, EnrollExtend):
                session.check_extend()

    def _check_start(self, order: EnrollStart) -> None:
        if (running := self._sessions.get(order.point)) is not None:
            raise EnrollError(f"{order.point} is being enrolled already, in session {running.id}: {running.phase}", 6)
        try:
            check_words(order.by or UNNAMED, order.note)  # now, and not when all has been learned
        except BaselineError as error:
            raise EnrollError(str(error), 2) from error
        sensor = self._sensors.get(self._pipeline.points[order.point].config.device)
        if order.files or order.past_ns or sensor is None:
            return
        if sensor.state in {"lost", "ended"}:
            raise EnrollError(f"{order.point}: its sensor {sensor.device} is {sensor.state}: {sensor.reason}", 3)
        if order.point in sensor.refused:
            raise EnrollError(f"{order.point}: {sensor.refused[order.point]}", 3)

    def handle(self, order: EnrollOrder) -> dict[str, Any]:
        """Do what somebody asked for, and return the progress after it.

        Raises:
            EnrollError: refused; its exit code says why.
            BaselineError: it cannot be stored; the session waits on.
        """
        self.check(order)
        if isinstance(order, EnrollStart):
            self._start(order)
        elif not isinstance(order, EnrollStatus):
            session = self._named(order.point, order.session)
            if isinstance(order, EnrollAccept):
                session.accept(order.by or session.request.author, healthy=order.healthy)
            elif isinstance(order, EnrollExtend):
                session.extend(order.minutes)
                self._pipeline.points[order.point].learner = session
            else:
                session.reject(order.by, order.why)
        self._look(order.point)
        return self.progress[order.point]

    def _named(self, point: str, name: str) -> EnrollSession:
        session = self._sessions.get(point)
        if session is None or session.id != name:
            now = f"it is {session.id} now" if session else "there is none"
            raise EnrollError(f"{point}: session {name} is over; {now}", 6)
        return session

    def _start(self, order: EnrollStart) -> None:
        point = self._pipeline.points[order.point]
        request = Request(
            point=order.point,
            state=order.state,
            how="history" if order.past_ns else "recordings" if order.files else "live",
            minutes=order.minutes,
            author=order.by or UNNAMED,
            note=order.note,
            healthy=order.healthy,
            two_person=self._store.needs_another_person(point.name),
        )
        name = secrets.token_hex(4)
        world = World(
            point.config, point.target_per_month, lambda: point.baseline, partial(self._keep, name), SpeechWatch().check
        )
        session = EnrollSession(name, request, world, time.monotonic())
        if order.past_ns:
            self._sessions[point.name] = session
            _thread(f"enroll:{point.name}", partial(self._read_past, session, order.past_ns), self._post)
        elif order.files:
            try:
                identity, batches = recorded_batches(point.config, point.name, order.files, order.scale)
            except RecordingError as error:
                raise EnrollError(str(error), 4) from error
            session.source_is(identity)
            self._sessions[point.name] = session
            _thread(f"enroll:{point.name}", partial(self._feed, session, batches), self._post)
        else:
            self._begin_live(session, point)
            self._sessions[point.name] = session
            point.learner = session
        log.info("%s: session %s begins to learn '%s' (%s)", point.name, name, order.state, request.how)

    def _begin_live(self, session: EnrollSession, point: Point) -> None:
        sensor = self._sensors.get(point.config.device)
        if sensor is None or sensor.state == "opening":
            session.sensor_lost("the sensor is being opened")
        elif sensor.info is not None:
            self._is_open(session, sensor, sensor.info)

    @staticmethod
    def _is_open(session: EnrollSession, sensor: SensorStatus, info: SourceInfo) -> None:
        session.sensor_back(info, sensor.settings)
        if sensor.rate_ppm is not None:
            session.rate_is(sensor.rate_ppm)

    # what happens to them

    def sensor(self, status: SensorStatus, point: Point, moved: str | None) -> None:
        """A point's device came, went, or has another gain: ``moved`` says in words what differs."""
        self._sensors[status.device] = status
        session = self._sessions.get(point.name)
        if session is None or session.request.how != "live":
            return
        if moved:
            session.sensor_changed(f"the gain changed ({moved})")
        if refused := status.refused.get(point.name):
            session.fail(EnrollError(f"{point.name}: {refused}", 3))
        elif status.state == "ended":
            session.fail(EnrollError(f"{point.name}: {status.reason or 'the sensor ended'}", 3))
        elif status.state == "lost":
            why = f"its sensor {status.device} is lost: {status.reason or 'it is opened again'}"
            if session.has_heard:
                session.sensor_lost(why)
            else:  # there is nothing to lose, and somebody waits
                session.fail(EnrollError(f"{point.name}: {why}", 3))
        elif status.state == "ok" and status.info is not None:
            self._is_open(session, status, status.info)

    def tick(self) -> None:
        """Let time pass, run what is to be tested, and tell what is news."""
        for name, session in list(self._sessions.items()):
            session.tick(time.monotonic())
            self._look(name)

    def _look(self, point: str) -> None:
        session = self._sessions.get(point)
        if session is None:
            return
        if job := session.job():
            _thread(f"enroll:{point}", partial(self._test, session, *job), self._post)
        watched = self._pipeline.points[point]
        if session.phase not in {"sensor_check", "machine_check", "collecting"} and watched.learner is session:
            watched.learner = None
        progress = session.progress | {"point": point}
        if session.over:
            if result := self._results.pop(session.id, None):
                progress |= {"result": result}
            del self._sessions[point]
            log.info("%s: session %s is over: %s", point, session.id, session.reason or session.phase)
        if progress != self.progress.get(point):
            self.progress[point] = progress
            self._tell(point, progress)

    def _keep(self, name: str, baseline: Baseline, by: str) -> tuple[Baseline, bool]:
        """Store a baseline and judge by it from now on, unless another person must activate it."""
        point = self._pipeline.points[baseline.point]
        session = self._sessions[point.name]
        author, note = session.request.author, session.request.note
        stored = self._store.propose(replace(baseline, false_alarms=point.promises(baseline)), author, note)
        in_force = not session.request.two_person or by.casefold() != author.casefold()
        if in_force:
            self._store.activate(point.name, stored.id, by, note)
            point.adopt(stored)
            self._adopted(point)
        how = f"accepted by {by}" if in_force else "waits for another person to activate it"
        log.info("%s: '%s' enrolled as %s, %s", point.name, session.request.state, stored.id, how)
        self._results[name] = summary(point, session, stored, in_force)
        return stored, in_force

    # in threads of their own

    def _post(self, work: Callable[[], None]) -> bool:
        """Have the pipeline thread do something; False once there is none."""
        while not self._mailbox.order(work):
            if self._mailbox.closed:
                return False
            time.sleep(RETRY_S)
        return True

    def _test(self, session: EnrollSession, number: int, subject: Subject) -> None:
        result: SelfTest | EnrollError
        try:
            result = self_test(subject)
        except EnrollError as error:
            result = error
        except BaselineError as error:  # of this point alone: the others go on being monitored
            result = EnrollError(str(error), 5)
        self._post(partial(session.tested, number, result))

    def _read_past(self, session: EnrollSession, span_ns: tuple[int, int]) -> None:
        try:
            past = self._history.read(session.request.point, *span_ns, model_sha256=self._pipeline.model_sha256)
        except EchoEdgeError as error:
            self._post(partial(session.fail, EnrollError(str(error), 4)))
            return
        self._post(partial(session.take, past))

    def _feed(self, session: EnrollSession, batches: Iterator[list[Window]]) -> None:
        """Read recordings, one batch ahead of the pipeline."""
        learned = threading.Semaphore(2)

        def learn(batch: list[Window]) -> None:
            try:
                if not session.over:
                    self._pipeline.learn(session, batch)
            finally:
                learned.release()

        try:
            for batch in batches:
                while not learned.acquire(timeout=1):
                    if self._mailbox.closed:
                        return
                if session.over or not self._post(partial(learn, batch)):
                    return
            self._post(session.material_ends)
        except EchoEdgeError as error:
            self._post(partial(session.fail, EnrollError(str(error), 4)))


def _thread(name: str, work: Callable[[], None], post: Callable[[Callable[[], None]], bool]) -> None:
    """Run work beside the pipeline; what it does not expect ends the pipeline, which says so."""

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the thread's outermost line: the pipeline thread raises it
            post(partial(_again, error))

    threading.Thread(target=run, name=name, daemon=True).start()


def _again(error: Exception) -> None:
    raise error


def summary(point: Point, session: EnrollSession, baseline: Baseline, in_force: bool) -> dict[str, Any]:
    """What a person wants to know of the baseline that a session made."""
    rate = point.expected_rate(baseline)
    learned_s = sum(state.learned_s for state in baseline.states)
    return {
        "baseline": baseline.id,
        "active": in_force,
        "parent": baseline.parent,
        "states": [state.name for state in baseline.states],
        "left_out": session.enrollment.left_out,
        "model": baseline.origin.model_name,
        "rate_hz": baseline.origin.rate_hz,
        "learned_s": round(learned_s, 3),
        "provisional": learned_s < FIRM_AFTER_S,
        "false_alarms_per_month": {k: round(v, 3) for k, v in asdict(rate).items() if k != "kept"},
        "point": point.name,
        "state": session.request.state,
        "useful": session.enrollment.useful,
        "excluded": dict(session.enrollment.excluded),
    }
