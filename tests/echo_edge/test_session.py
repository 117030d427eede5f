"""Guided enrollment: the phases, what each one says, and that nothing but an acceptance changes anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from echo_edge.baseline import Baseline
from echo_edge.embedder import Embedder
from echo_edge.envelope import Envelope
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.past import Past
from echo_edge.payload import load_schema
from echo_edge.payload_enroll import enroll_payload
from echo_edge.pipeline import Pipeline
from echo_edge.records import Window
from echo_edge.self_test import Check, SelfTest, self_test
from echo_edge.session import EXPIRES_S, LISTENING, EnrollSession, Request, World
from echo_edge.signal_checks import Finding
from sensors import SourceInfo
from tests.world import POINT, RATE_HZ, broken, machine_windows, make_config, make_embedder

MINUTES = 0.5  # 60 windows of half a second
INFO = SourceInfo(RATE_HZ, 1, "g", "ee1:A7", calibration="sensor", settings={"range": "16 g"})


class Bench:
    """A session on a point without daemon: windows go through the real pipeline, what is kept lands in ``stored``."""

    def __init__(
        self,
        request: Request | None = None,
        active: Baseline | None = None,
        embedder: Embedder | None = None,
        unlearnable: Callable[[Window], Finding | None] = lambda _: None,
    ) -> None:
        self.stored: list[tuple[Baseline, str]] = []
        self.active = active
        self.disk_full = False
        config = make_config()
        self.pipeline = Pipeline(config, embedder or make_embedder())
        world = World(config.points()[POINT], 1.0, lambda: self.active, self._keep, unlearnable)
        request = request or Request(POINT, "run", minutes=MINUTES, author="m.lang")
        self.session = EnrollSession("00c0ffee", request, world, 0.0)
        if request.how == "live":
            self.session.sensor_back(INFO)

    def _keep(self, baseline: Baseline, by: str) -> tuple[Baseline, bool]:
        if self.disk_full:
            raise BaselineError("the disk is full")
        stored = replace(baseline, id=f"bl_{len(self.stored) + 1:04d}")
        self.stored.append((stored, by))
        in_force = not self.session.request.two_person or by != self.session.request.author
        if in_force:
            self.active = stored
        return stored, in_force

    def hear(self, windows: Sequence[Window]) -> Bench:
        self.pipeline.learn(self.session, windows)
        return self

    def test(self) -> Bench:
        """What the daemon does in a thread of its own."""
        if job := self.session.job():
            number, subject = job
            try:
                self.session.tested(number, self_test(subject))
            except EnrollError as error:
                self.session.tested(number, error)
        return self


def learned(**machine: float) -> Baseline:
    bench = Bench().hear(machine_windows(61, **machine)).test()
    return bench.session.accept("m.lang")


def severities(checks: Sequence[Check]) -> dict[str, str]:
    return {check.check: check.severity for check in checks}


def test_ten_minutes_of_good_windows_take_ten_minutes_and_pass_every_phase() -> None:
    bench = Bench(Request(POINT, "run", minutes=1.0))
    session, phases = bench.session, []
    for heard, window in enumerate(machine_windows(120), 1):
        bench.hear([window])
        if not phases or phases[-1][0] != session.phase:
            phases.append((session.phase, heard))
    assert phases == [("sensor_check", 1), ("machine_check", 20), ("collecting", 60), ("testing", 120)]
    bench.test()
    assert session.phase == "deciding"
    assert bench.stored == []
    assert session.accept("m.lang").id == "bl_0001"
    assert (session.phase, session.code, session.progress["baseline"]) == ("accepted", 0, "bl_0001")


def test_progress_tells_a_bar_every_check_and_the_figures() -> None:
    bench = Bench().hear(machine_windows(20))
    told = bench.session.progress
    assert (told["phase"], told["step"], told["useful"], told["needed"]) == ("machine_check", 2, 20, 60)
    assert told["seconds_left"] == 20
    assert {c["check"]: c["severity"] for c in told["checks"]} == {
        **dict.fromkeys(("silence", "stuck", "clipping", "dc", "level", "rate", "gap", "identity"), "ok"),
        "calibration": "ok",
    }
    assert [band["hz"][1] for band in told["spectrum"]][-1] == RATE_HZ / 2
    bench.hear(machine_windows(40, skip_s=10)).test()
    test = bench.session.progress["self_test"]
    assert test["passed"]
    assert test["supports_one_in"] == 60
    assert [row["target"] for row in test["table"]] == [0.1, 1, 10]
    thresholds = [row["threshold"] for row in test["table"]]
    assert thresholds == sorted(thresholds, reverse=True)
    assert test["text"].startswith("leave-block-out: 0 alerts in 30 s. estimated ")


def test_a_dead_sensor_ends_the_sensor_check_with_3_and_says_what_to_do() -> None:
    session = Bench().hear([broken(w, 0.0) for w in machine_windows(20)]).session
    assert (session.phase, session.code) == ("failed", 3)
    assert "silence: nothing but zeros" in str(session.reason)
    assert "muted, switched off or not connected?" in str(session.reason)


def test_a_few_bad_windows_are_left_out_and_counted() -> None:
    windows = machine_windows(62)
    bench = Bench().hear(
        [*windows[:3], broken(windows[3], np.nan), *windows[4:30], broken(windows[30], 0.0), *windows[31:]]
    )
    assert bench.session.phase == "testing"
    assert bench.session.progress["excluded"] == {"not_finite": 1, "silence": 1}


def test_a_sensor_that_is_lost_pauses_with_the_reason_and_nothing_is_lost() -> None:
    bench = Bench().hear(machine_windows(40))
    session = bench.session
    session.sensor_lost("unplugged")
    session.tick(600)
    assert (session.progress["paused"], session.progress["useful"]) == ("unplugged", 40)
    session.sensor_back(INFO)
    assert "paused" not in session.progress
    bench.hear(machine_windows(20, skip_s=30)).test()
    assert session.phase == "deciding"
    assert session.progress["useful"] == 60


def test_windows_that_do_not_come_pause_it_and_one_that_comes_goes_on() -> None:
    bench = Bench().hear(machine_windows(2))
    bench.session.tick(7.0)
    assert bench.session.paused is not None
    assert "no whole window comes" in bench.session.paused
    bench.hear(machine_windows(1, skip_s=5))
    assert bench.session.paused is None


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda s: s.sensor_changed("the gain changed (Mic was 0 dB, is 6 dB)"), "Mic was 0 dB, is 6 dB"),
        (lambda s: s.sensor_back(replace(INFO, identity="ee1:B2")), "another sensor, ee1:B2"),
    ],
)
def test_another_gain_or_sensor_ends_it_with_3(what, said) -> None:
    session = Bench().hear(machine_windows(40)).session
    what(session)
    assert (session.phase, session.code) == ("failed", 3)
    assert said in str(session.reason)


def test_another_rate_ends_it_with_3() -> None:
    session = Bench().hear(machine_windows(40)).hear(machine_windows(1, rate_hz=2 * RATE_HZ)).session
    assert (session.phase, session.code) == ("failed", 3)


@pytest.mark.parametrize("before", [27, 30, 33])
@pytest.mark.parametrize(
    "change", [{"load": 1.0}, {"shaft_hz": 50.0, "load": 0.2}], ids=["a load step", "a speed step"]
)
def test_a_machine_that_changes_while_it_is_learned_is_refused_with_5(change: dict[str, float], before: int) -> None:
    bench = (
        Bench().hear(machine_windows(before, load=0.2)).hear(machine_windows(60 - before, skip_s=15, **change)).test()
    )
    assert (bench.session.phase, bench.session.code) == ("failed", 5)
    assert "the machine changed while it was learned" in str(bench.session.reason)
    assert bench.stored == []


def test_repeated_material_teaches_nothing_and_ends_with_4() -> None:
    (window,) = machine_windows(1)
    same = [replace(window, time_ns=i * 500_000_000) for i in range(60)]
    session = Bench().hear(same).test().session
    assert (session.phase, session.code) == ("failed", 4)


def test_extending_listens_on_and_tests_again() -> None:
    bench = Bench().hear(machine_windows(60)).test()
    bench.session.extend(0.1)
    assert (bench.session.phase, bench.session.progress["needed"]) == ("collecting", 72)
    bench.hear(machine_windows(12, skip_s=30)).test()
    assert bench.session.phase == "deciding"
    assert bench.session.accept("m.lang").states[0].learned_s == pytest.approx(36)


def test_a_gain_that_moves_while_a_decision_is_waited_for_must_not_be_learned_on() -> None:
    session = Bench().hear(machine_windows(60)).test().session
    session.sensor_changed("the gain changed (range was 16 g, is 8 g)")
    with pytest.raises(EnrollError, match="gain changed") as refused:
        session.extend(0.1)
    assert (refused.value.exit_code, session.phase) == (3, "deciding")
    assert session.accept("m.lang").settings == INFO.settings


def test_an_answer_of_an_earlier_test_does_not_count() -> None:
    bench = Bench().hear(machine_windows(60))
    first = bench.session.job()
    assert first is not None
    bench.session.tested(*(first[0], self_test(first[1])))
    bench.session.extend(0.1)
    bench.hear(machine_windows(12, skip_s=30))
    bench.session.tested(first[0], EnrollError("late"))
    assert bench.session.phase == "testing"


def test_a_rejection_changes_nothing_and_names_who_and_why() -> None:
    bench = Bench().hear(machine_windows(60)).test()
    bench.session.reject("m.lang", "the coupling was loose")
    assert (bench.session.phase, bench.session.reason) == ("rejected", "stopped by m.lang: the coupling was loose")
    assert bench.stored == []
    with pytest.raises(EnrollError, match="nothing to accept") as refused:
        bench.session.accept("m.lang")
    assert refused.value.exit_code == 6


@pytest.mark.parametrize("heard", [0, 30, 60])
def test_an_hour_without_a_step_forward_or_an_answer_returns_to_what_was(heard: int) -> None:
    bench = Bench().hear(machine_windows(60)[:heard]).test()
    bench.session.tick(EXPIRES_S - 1)
    assert not bench.session.over
    bench.session.tick(EXPIRES_S + 1)
    assert (bench.session.phase, bench.stored) == ("expired", [])


def test_what_cannot_be_stored_leaves_the_decision_open() -> None:
    bench = Bench().hear(machine_windows(60)).test()
    bench.disk_full = True
    with pytest.raises(BaselineError):
        bench.session.accept("m.lang")
    assert bench.session.phase == "deciding"
    bench.disk_full = False
    assert bench.session.accept("m.lang").id == "bl_0001"


def test_what_the_baseline_in_force_would_call_strange_needs_somebody_who_vouches_for_it() -> None:
    old = learned(load=0.2)
    faulty = machine_windows(60, fault="outer_race")
    bench = Bench(active=old).hear(faulty).test()
    assert bench.session.progress["healthy_asked"]
    with pytest.raises(EnrollError, match="is it really healthy") as refused:
        bench.session.accept("m.lang")
    assert (refused.value.exit_code, bench.session.phase) == (5, "deciding")
    assert bench.session.accept("a.second.person").id == "bl_0001"
    vouched = Bench(Request(POINT, "run", minutes=MINUTES, healthy=True), active=old).hear(faulty).test()
    assert vouched.session.accept("").parent == old.id


@pytest.mark.parametrize(("by", "phase"), [("m.lang", "proposed"), ("a.weber", "accepted")])
def test_another_state_is_added_and_where_two_must_agree_one_only_proposes(by: str, phase: str) -> None:
    request = Request(POINT, "idle", minutes=MINUTES, author="m.lang", two_person=True)
    bench = Bench(request, active=learned())
    stored = bench.hear(machine_windows(60, skip_s=50, load=0.1)).test().session.accept(by)
    assert [state.name for state in stored.states] == ["run", "idle"]
    assert bench.session.phase == phase


@pytest.mark.parametrize(("gain", "severity"), [(1.0, "warning"), (10.0, "ok")])
def test_a_machine_that_is_hardly_louder_than_when_it_is_off_is_told(gain: float, severity: str) -> None:
    off = Bench(Request(POINT, "off", minutes=MINUTES, author="m.lang")).hear(machine_windows(60)).test()
    bench = Bench(active=off.session.accept("m.lang"))
    bench.hear([replace(one, samples=gain * one.samples) for one in machine_windows(60, skip_s=50)]).test()
    assert severities(bench.session.checks)["ambient"] == severity


@pytest.mark.parametrize("state", ["run", "idle"])
def test_what_was_learned_with_other_indicators_is_left_out_and_can_be_learned_anew(state: str) -> None:
    old = learned()
    known = replace(old.states[0], indicator_names=(*old.states[0].indicator_names[:-1], "bpfo_de"))
    bench = Bench(Request(POINT, state, minutes=MINUTES, author="m.lang"), active=replace(old, states=(known,)))
    stored = bench.hear(machine_windows(60)).test().session.accept("m.lang")
    assert [one.name for one in stored.states] == [state]
    assert "bpfo_de" in str(bench.session.enrollment.left_out)


def test_what_was_checked_and_tested_is_part_of_the_baseline() -> None:
    told = learned().learned["run"]
    assert (told.how, told.windows, told.self_test["passed"]) == ("live", 60, True)
    assert {"level", "machine", "halves"} <= {check["check"] for check in told.checks}


def test_recordings_end_by_themselves_and_cannot_be_extended() -> None:
    bench = Bench(Request(POINT, "run", how="recordings"))
    bench.session.source_is("recordings: n0.wav")
    bench.hear(machine_windows(40))
    bench.session.material_ends()
    bench.test()
    assert bench.session.phase == "deciding"
    with pytest.raises(EnrollError, match=r"nothing more in recordings: n0\.wav") as refused:
        bench.session.extend(1)
    assert refused.value.exit_code == 2
    short = Bench(Request(POINT, "run", how="recordings"))
    short.hear(machine_windows(5)).session.material_ends()
    assert (short.test().session.phase, short.session.code) == ("failed", 4)


def test_kept_windows_of_past_hours_teach_at_once() -> None:
    source = Bench().hear(machine_windows(59)).session.enrollment
    past = Past(source.material(), source.origin, "ee1:A7", {"range": "16 g"}, 59, source.learned_s, {"alert_open": 3})
    bench = Bench(Request(POINT, "run", how="history"))
    bench.session.take(past)
    assert bench.test().session.phase == "deciding"
    assert bench.session.progress["excluded"] == {"alert_open": 3}
    kept = bench.session.accept("m.lang")
    assert (kept.identity, kept.settings, kept.learned["run"].how) == ("ee1:A7", {"range": "16 g"}, "history")
    empty = Bench(Request(POINT, "run", how="history"))
    empty.session.take(replace(past, material=None))
    assert (empty.session.code, "3 alert_open" in str(empty.session.reason)) == (4, True)


def test_windows_in_which_somebody_speaks_are_left_out_and_say_nothing_against_the_sensor() -> None:
    spoken = Finding("speech", True, "somebody seems to speak", "be silent")
    bench = Bench(unlearnable=lambda window: spoken if window.time_ns < 20e9 else None)
    bench.hear(machine_windows(100)).test()
    assert bench.session.phase == "deciding"
    assert bench.session.progress["excluded"] == {"speech": 40}


def test_a_clock_that_is_set_back_takes_nothing_from_what_was_learned() -> None:
    bench = Bench().hear(machine_windows(40)).hear(machine_windows(20, skip_s=20)).test()
    assert bench.session.accept("").states[0].learned_s == pytest.approx(30)


def test_a_machine_that_stands_still_is_asked_about() -> None:
    bench = Bench(active=learned()).hear(machine_windows(60, skip_s=50, level=0.05))
    assert severities(bench.session.checks)["quiet"] == "warning"


ENVELOPE, SCHEMA = Envelope("gw"), jsonschema.Draft202012Validator(load_schema("enroll"))
WINDOWS = machine_windows(30)
EMBEDDER = make_embedder()


class AnyOrder(RuleBasedStateMachine):
    """Any events in any order: only an acceptance changes anything, and it always comes to an end."""

    @initialize(how=st.sampled_from(["live", "recordings"]))
    def begin(self, how: str) -> None:
        self.bench = Bench(Request(POINT, "run", how=how, minutes=0.1, author="a"), embedder=EMBEDDER)  # type: ignore[arg-type]
        self.session = self.bench.session
        self.now_s, self.at, self.accepted = 0.0, 0, 0
        self.jobs: list[int] = []

    @rule(count=st.integers(1, 8), bad=st.booleans())
    def windows_come(self, count: int, bad: bool) -> None:
        for _ in range(count):
            window = replace(WINDOWS[self.at % len(WINDOWS)], time_ns=self.at * 500_000_000)
            self.bench.hear([broken(window, 0.0) if bad else window])
            self.at += 1

    @rule(back=st.booleans(), other=st.booleans())
    def sensor_goes_or_comes(self, back: bool, other: bool) -> None:
        if back:
            self.session.sensor_back(replace(INFO, identity="ee1:B2") if other else INFO)
        else:
            self.session.sensor_lost("unplugged")

    @rule()
    def gain_moves(self) -> None:
        self.session.sensor_changed("the gain changed")

    @rule()
    def recordings_end(self) -> None:
        self.session.material_ends()

    @rule()
    def job_is_taken(self) -> None:
        if job := self.session.job():
            self.jobs.append(job[0])

    @rule(bad=st.booleans(), old=st.booleans())
    def test_answers(self, bad: bool, old: bool) -> None:
        if self.jobs:
            result = EnrollError("too little") if bad else RESULT
            self.session.tested(self.jobs[0 if old else -1], result)

    @rule(by=st.sampled_from(["a", "b"]), disk_full=st.booleans())
    def somebody_accepts(self, by: str, disk_full: bool) -> None:
        self.bench.disk_full = disk_full
        try:
            self.session.accept(by)
            self.accepted += 1
        except (EnrollError, BaselineError):
            pass

    @rule(minutes=st.sampled_from([0.01, 1.0]))
    def somebody_extends(self, minutes: float) -> None:
        with suppress(EnrollError):
            self.session.extend(minutes)

    @rule()
    def somebody_rejects(self) -> None:
        was_over = self.session.over
        try:
            self.session.reject("a")
        except EnrollError:
            assert was_over

    @rule(seconds=st.sampled_from([0.5, 5.0, 100.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.session.tick(self.now_s)

    @invariant()
    def nothing_but_an_acceptance_changes_the_baseline(self) -> None:
        if hasattr(self, "session"):
            assert len(self.bench.stored) == self.accepted <= 1
            assert (self.session.phase in {"accepted", "proposed"}) == (self.accepted == 1)

    @invariant()
    def progress_can_always_be_told(self) -> None:
        if hasattr(self, "session"):
            told = self.session.progress
            assert ("code" in told) == self.session.over
            assert ("paused" not in told) or self.session.phase in LISTENING
            SCHEMA.validate(enroll_payload(ENVELOPE, POINT, 0, told | {"point": POINT}))

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.session.tick(self.now_s + 2 * EXPIRES_S)
            assert self.session.over


def test_what_is_tested_waits_for_no_sensor() -> None:
    session = Bench(Request(POINT, "run", how="live", minutes=0.1, author="a"), embedder=EMBEDDER).session
    session.sensor_lost("unplugged")
    session.material_ends()
    assert session.phase == "testing"
    assert "paused" not in session.progress


def any_result() -> SelfTest:
    job = Bench().hear(machine_windows(60)).session.job()
    assert job is not None
    return self_test(job[1])


RESULT = any_result()


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
