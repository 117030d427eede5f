"""Guided enrollment of one normal state: one state machine for command line, MQTT and page. Pure; time is told to it.

    sensor_check -> machine_check -> collecting -> testing -> deciding -> accepted | proposed
                                         ^---------- extend ---'
    and from anywhere: rejected, failed, expired

Only ``accept`` leads to a baseline, and only by the ``keep`` that it was given. Windows of the two checks are learned,
too, when they are good, so that ten minutes take ten minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from echo_edge.baseline import Baseline, Origin
from echo_edge.config import PointConfig
from echo_edge.enroll import Enrollment, windows_needed
from echo_edge.errors import EnrollError
from echo_edge.past import Past
from echo_edge.records import Embedding, Window
from echo_edge.self_test import Check, SelfTest, Subject
from echo_edge.session_checks import MachineCheck, SensorCheck
from echo_edge.signal_checks import Finding
from sensors import SourceInfo

SENSOR_CHECK_S, MACHINE_CHECK_S = 10.0, 30.0
EXPIRES_S = 3600.0  # without a step forward, or without an answer: nothing is changed then
PATIENCE_S = 5.0  # beyond a window and two hops: a busy machine is late sometimes
NO_WINDOW = "no whole window comes: samples are lost, or the gateway is overloaded"
STEPS = {"sensor_check": 1, "machine_check": 2, "collecting": 3, "testing": 4, "deciding": 5}
LISTENING = ("sensor_check", "machine_check", "collecting")
ENDS = ("accepted", "proposed", "rejected", "failed", "expired")

How = Literal["live", "recordings", "history"]


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to teach."""

    point: str
    state: str
    how: How = "live"
    minutes: float = 10.0
    """Of useful signal, where it comes from the live sensor."""

    author: str = ""
    note: str = ""
    healthy: bool = False
    """The author vouches that the machine is well, however unlike before it sounds."""

    two_person: bool = False
    """Accepting only proposes: a second person activates."""


@dataclass(frozen=True, slots=True)
class World:
    """What a session is told of its surroundings."""

    config: PointConfig
    target_per_month: float
    active: Callable[[], Baseline | None]
    """The baseline in force now."""

    keep: Callable[[Baseline, str], tuple[Baseline, bool]]
    """Store what was accepted, by whom; True when it is in force now, False when another person must activate it. What
    it raises leaves the session as it was."""

    unlearnable: Callable[[Window], Finding | None] = lambda _: None
    """Why a good window must not be learned all the same (somebody speaks); sees every good window, in order."""


class EnrollSession:
    """One guided enrollment.

    Every event may come in any order; what does not fit the phase is ignored, or refused with an ``EnrollError`` where
    somebody waits for an answer.
    """

    def __init__(self, session: str, request: Request, world: World, now_s: float) -> None:
        self.id = session
        self.request = request
        self.phase = "sensor_check"
        self.paused: str | None = None
        self.code: int | None = None
        """Exit code, once it is over."""

        self.reason: str | None = None
        self.baseline: str | None = None
        self.self_test: SelfTest | None = None
        window = world.config.window
        needed = 0
        if request.how == "live":
            needed = windows_needed(request.minutes, window.length_s, window.hop_s)
        self.enrollment = Enrollment(request.point, request.state, needed)
        self.enrollment.how = request.how
        self._world = world
        self._sensor = SensorCheck(world.active(), live=request.how == "live", hop_s=window.hop_s)
        self._machine = MachineCheck(world.active())
        self._now_s = self._heard_s = self._forward_s = now_s
        self._round = 0  # of collecting and testing; an answer to an earlier round is ignored
        self._job_taken = True
        self._lost = False
        self._changed: str | None = None
        # a short enrollment has short checks
        self._sensor_windows = self._check_windows(SENSOR_CHECK_S, 6)
        self._machine_windows = self._check_windows(MACHINE_CHECK_S, 2)

    def _check_windows(self, seconds: float, part: int) -> int:
        window, needed = self._world.config.window, self.enrollment.needed
        whole = max(1, round((seconds - window.length_s) / window.hop_s) + 1)
        return min(whole, max(1, needed // part)) if needed else whole

    @property
    def over(self) -> bool:
        return self.phase in ENDS

    @property
    def has_heard(self) -> bool:
        """Any window at all."""
        return bool(self.enrollment.useful or self.enrollment.excluded)

    # what comes from the sensor

    def hear(self, window: Window, embedding: Embedding | None, findings: tuple[Finding, ...], origin: Origin) -> None:
        """Take in one window; ``embedding`` is None when a finding says that it must not be learned."""
        if self.phase not in LISTENING:
            return
        self._heard_s, self.paused = self._now_s, None
        if embedding is not None and (finding := self._world.unlearnable(window)):
            embedding, findings = None, (finding, *findings)
        try:
            if self.phase == "sensor_check":
                self._sensor.hear(window, findings)
            self.enrollment.hear(window, embedding, findings, origin)
        except EnrollError as error:
            self.fail(error)
            return
        if embedding is not None:
            self._forward_s = self._now_s
            if self.phase != "collecting":
                self._machine.hear(window, embedding)
        self._go_on()

    def _go_on(self) -> None:
        """Leave every phase that is done."""
        if self.phase == "sensor_check" and self._sensor.windows >= self._sensor_windows:
            self._end_sensor_check()
        if self.phase == "machine_check" and self._machine.windows >= self._machine_windows:
            self._machine.finish()
            self._enter("collecting")
        if self.phase == "collecting" and self.enrollment.complete:
            self._test()

    def _end_sensor_check(self) -> None:
        try:
            self._sensor.finish()
        except EnrollError as error:
            self.fail(EnrollError(f"{self.request.point}: {error}", error.exit_code))
            return
        self._enter("machine_check")

    def sensor_lost(self, reason: str) -> None:
        """No samples come for a while: wait, and keep what was learned."""
        if self.phase in LISTENING:
            self.paused, self._lost = reason, True

    def sensor_back(self, info: SourceInfo, settings: dict[str, str] | None = None) -> None:
        """The sensor is open; to be told again does no harm.

        Args:
            settings: what its level depends on, as it is now; see ``SourceInfo.settings``.
        """
        if self.phase not in LISTENING or self.request.how != "live":
            return
        if self._lost:
            self.paused, self._heard_s, self._lost = None, self._now_s, False
        before, known = self.enrollment.identity, self.enrollment.settings
        if before not in {"", info.identity}:
            self.fail(
                EnrollError(f"another sensor, {info.identity}, was plugged in while it was learned; start again", 3)
            )
            return
        self.enrollment.identity = info.identity
        self.enrollment.settings = dict(settings or info.settings or known)
        self._sensor.opened(info)

    def rate_is(self, ppm: float) -> None:
        """The sensor's measured rate differs from the announced one by so many parts per million."""
        self._sensor.rate_ppm = ppm

    def sensor_changed(self, what: str) -> None:
        """Gain, range or mixer moved: what was learned before and after does not belong together."""
        if self.phase in LISTENING and self.request.how == "live":
            self.fail(EnrollError(f"{self.request.point}: {what} while it was learned; start again", 3))
        elif not self.over:
            self._changed = what  # what was learned stays whole, nothing may be added to it

    # what comes from elsewhere

    def source_is(self, identity: str) -> None:
        """Which recordings it is learned from."""
        self.enrollment.identity = identity

    def take(self, past: Past) -> None:
        """Learn what was kept of past hours; it was checked when it was heard."""
        if self.phase not in LISTENING:
            return
        enrollment = self.enrollment
        enrollment.excluded.update(past.excluded)
        if past.material is None or past.origin is None:
            reasons = ", ".join(f"{n} {reason}" for reason, n in past.excluded.items()) or "nothing was heard"
            self.fail(EnrollError(f"{self.request.point}: no window of that time can be learned: {reasons}", 4))
            return
        enrollment.take(past.material, past.origin, past.heard, past.heard_s)
        enrollment.identity, enrollment.settings = past.identity, dict(past.settings)
        self._forward_s = self._now_s
        self.material_ends()

    def material_ends(self) -> None:
        """No more comes from the recordings or the past: test what there is."""
        if self.phase == "sensor_check" and self._sensor.windows:
            self._end_sensor_check()
        if self.phase in LISTENING:
            self._machine.finish()
            self._test()

    def fail(self, error: EnrollError) -> None:
        """End it without a change."""
        if not self.over:
            self._end("failed", error.exit_code, str(error))

    # the self-test: its caller runs it, in a thread of its own where windows must not wait

    def job(self) -> tuple[int, Subject] | None:
        """What is to be tested now, with the number of its round; None when nothing is, or it was taken before."""
        if self.phase != "testing" or self._job_taken:
            return None
        self._job_taken = True
        enrollment, config, active = self.enrollment, self._world.config, self._world.active()
        try:
            material = enrollment.material()
        except EnrollError as error:
            self.fail(error)
            return None
        if enrollment.origin is None:
            raise RuntimeError("there is material without an origin")
        learned_with = enrollment.origin, enrollment.settings, material.indicator_names
        fits = active is not None and active.difference(*learned_with) is None
        names = {enrollment.state}
        kept = tuple(s for s in active.states if s.name not in names) if active is not None and fits else ()
        return self._round, Subject(
            point=self.request.point,
            state=enrollment.state,
            material=material,
            learned_s=enrollment.learned_s,
            useful=enrollment.useful,
            rate_hz=enrollment.origin.rate_hz,
            kept=kept,
            active=active if fits else None,
            target_per_month=self._world.target_per_month,
            hop_s=config.window.hop_s,
            alert=config.alert,
        )

    def tested(self, number: int, result: SelfTest | EnrollError) -> None:
        """The answer to ``job``."""
        if self.phase != "testing" or number != self._round:
            return
        if isinstance(result, EnrollError):
            self.fail(result)
            return
        self.self_test = result
        if result.passed:
            self._enter("deciding")
        else:
            bad = "; ".join(f"{c.text} ({c.advice})" for c in result.checks if c.severity == "bad")
            self._end("failed", 5, f"{self.request.point}: the self-test says no: {bad}")

    # what a person decides

    def accept(self, by: str, *, healthy: bool = False) -> Baseline:
        """Put what was learned in force, or propose it where two persons are asked for.

        Raises:
            EnrollError: as ``check_accept``.
            BaselineError: it cannot be stored; the session waits on.
        """
        test = self.check_accept(by, healthy=healthy)
        enrollment = self.enrollment
        enrollment.checks = tuple(asdict(check) for check in self.checks)
        enrollment.self_test = test.about()
        stored, in_force = self._world.keep(enrollment.finish(self._world.active(), test.state), by)
        self.baseline = stored.id
        self._end("accepted" if in_force else "proposed", 0, None)
        return stored

    def check_accept(self, by: str, *, healthy: bool = False) -> SelfTest:
        """Insist that it may be accepted by this person; return the test that it passed.

        Raises:
            EnrollError: there is nothing to accept (6), or somebody must say that the machine is healthy (5).
        """
        test = self.self_test
        if self.phase != "deciding" or test is None:
            raise EnrollError(f"{self.request.point}: nothing to accept: the session is {self.phase}", 6)
        other = by.casefold() != self.request.author.casefold()
        second_person = self.request.two_person or (by and self.request.author and other)
        if test.doubtful and not (healthy or self.request.healthy or second_person):
            (doubt,) = [c for c in test.checks if c.check == "unlike_before"]
            raise EnrollError(f"{self.request.point}: {doubt.text}; {doubt.advice} (--healthy)", 5)
        return test

    def extend(self, minutes: float) -> None:
        """Listen for longer, then test again; raises as ``check_extend``."""
        self.check_extend()
        window = self._world.config.window
        self.enrollment.needed = self.enrollment.useful + max(1, round(minutes * 60 / window.hop_s))
        self.self_test = None
        self._heard_s = self._now_s
        self._enter("collecting")

    def check_extend(self) -> None:
        """Insist that more may be learned.

        Raises:
            EnrollError: it is not waiting for a decision (6), not learned from the live sensor (2), or another
                gain came since (3).
        """
        if self.phase != "deciding":
            raise EnrollError(f"{self.request.point}: nothing to extend: the session is {self.phase}", 6)
        if self.request.how != "live":
            raise EnrollError(f"{self.request.point}: there is nothing more in {self.enrollment.identity}", 2)
        if self._changed is not None:
            raise EnrollError(f"{self.request.point}: {self._changed} since; accept it, or start again", 3)

    def reject(self, by: str, why: str = "") -> None:
        """End it without a change.

        Raises:
            EnrollError: it is over already (6).
        """
        if self.over:
            raise EnrollError(f"{self.request.point}: nothing to stop: the session is {self.phase}", 6)
        self._end("rejected", 1, f"stopped by {by or 'somebody'}" + (f": {why}" if why else ""))

    def tick(self, now_s: float) -> None:
        """Let time pass; ``now_s`` is monotonic."""
        self._now_s = now_s
        if self.over:
            return
        if now_s - self._forward_s > EXPIRES_S:
            waited = "for a decision" if self.phase == "deciding" else f"in {self.phase}"
            self._end(
                "expired", 1, f"{self.request.point}: waited {EXPIRES_S / 60:.0f} min {waited}; nothing was changed"
            )
        elif self._overdue(now_s):
            self.paused = NO_WINDOW

    def _overdue(self, now_s: float) -> bool:
        """No window came for too long, and nothing else explains it."""
        window = self._world.config.window
        patience_s = window.length_s + 2 * window.hop_s + PATIENCE_S
        live = self.phase in LISTENING and self.request.how == "live" and self.paused is None
        return live and now_s - self._heard_s > patience_s

    def _test(self) -> None:
        self._round += 1
        self._job_taken = False
        self.paused = None  # nothing is waited for any more
        self._enter("testing")

    def _enter(self, phase: str) -> None:
        self.phase, self._forward_s = phase, self._now_s

    def _end(self, phase: str, code: int, reason: str | None) -> None:
        self.phase, self.code, self.reason, self.paused = phase, code, reason, None

    @property
    def checks(self) -> tuple[Check, ...]:
        tested = self.self_test.checks if self.self_test else ()
        return (*self._sensor.checks, *self._machine.checks, *tested)

    @property
    def _seconds_left(self) -> int | None:
        """Until enough is heard, or until nobody's decision counts any more."""
        if self.phase == "deciding":
            return max(0, round(EXPIRES_S - (self._now_s - self._forward_s)))
        if self.phase in LISTENING and self.enrollment.needed:
            missing = self.enrollment.needed - self.enrollment.useful
            return round(missing * self._world.config.window.hop_s)
        return None

    @property
    def progress(self) -> dict[str, Any]:
        """All that a face shows, ready for JSON; what is not known is left out."""
        request, enrollment = self.request, self.enrollment
        told = {
            "session": self.id,
            "normal_state": request.state,
            "how": request.how,
            "by": request.author or None,
            "note": request.note or None,
            "phase": self.phase,
            "step": STEPS.get(self.phase, 6),
            "steps": 6,
            "useful": enrollment.useful,
            "needed": enrollment.needed or None,
            "excluded": dict(enrollment.excluded),
            "paused": self.paused,
            "checks": [asdict(check) for check in self.checks],
            "spectrum": self._machine.spectrum or None,
            "self_test": self.self_test.about() if self.self_test else None,
            "healthy_asked": True if self.self_test and self.self_test.doubtful and not request.healthy else None,
            "seconds_left": self._seconds_left,
            "code": self.code,
            "reason": self.reason,
            "baseline": self.baseline,
        }
        return {name: value for name, value in told.items() if value is not None}
