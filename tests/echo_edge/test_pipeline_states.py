"""Several normal states of one point: told, gated by level or the best of all, from windows to verdicts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from echo_edge.baseline import Baseline
from echo_edge.enroll import Enrollment
from echo_edge.pipeline import Pipeline, Verdict
from echo_edge.records import OperatingState, PlantState, Window
from tests.world import POINT, machine_windows, make_config, make_embedder

S = 1_000_000_000


def world(off_taught: bool = False, **point: Any) -> Pipeline:
    """A point that knows ``idle`` and ``full``; states settle for two seconds."""
    made = pipeline(**point)
    made.points[POINT].adopt(taught(off_taught))
    return made


def pipeline(**point: Any) -> Pipeline:
    de = {"device": "acc", "window": {"length_s": 0.5, "hop_s": 0.5}, **point}
    told = {"settle_s": 2}
    return Pipeline(make_config(machines={"pump": {"operating_state": told, "points": {"de": de}}}), make_embedder())


@cache
def taught(off: bool) -> Baseline:
    teacher, baseline = pipeline(), None
    machines: dict[str, dict[str, Any]] = {"idle": {"load": 0.1}, "full": {"load": 1.0}} | (
        {"off": {"level": 0.001}} if off else {}
    )
    for state, machine in machines.items():
        enrollment = Enrollment(POINT, state, 60, "simulator:1")
        teacher.learn(enrollment, machine_windows(60, **machine))
        baseline = enrollment.finish(baseline)
    assert baseline is not None
    return baseline


class Line:
    """Windows of changing machines, one after the other in time."""

    def __init__(self, made: Pipeline) -> None:
        self.pipeline = made
        self.now_ns = 1_000 * S

    def hear(self, count: int, **machine: Any) -> list[Verdict]:
        windows: list[Window] = []
        for window in machine_windows(count, skip_s=50, **machine):
            windows.append(replace(window, time_ns=self.now_ns))
            self.now_ns += S // 2
        return self.pipeline.step(windows)

    def say(self, name: str | None) -> None:
        self.pipeline.points[POINT].hear(PlantState(name, self.now_ns))


def levels(verdicts: list[Verdict]) -> list[str]:
    return [verdict.level for verdict in verdicts]


def events(verdicts: list[Verdict]) -> list[str]:
    return [verdict.event.type for verdict in verdicts if verdict.event is not None]


def test_a_change_between_states_that_nobody_tells_is_no_news() -> None:
    line = Line(world())
    verdicts = [v for load in (0.1, 1.0, 0.1) for v in line.hear(8, load=load)]
    assert set(levels(verdicts)) == {"normal"}
    assert [v.operating_state for v in verdicts[::8]] == [OperatingState(s, "auto") for s in ("idle", "full", "idle")]


def test_a_machine_that_sounds_like_another_state_than_the_told_one_is_strange() -> None:
    line = Line(world())
    line.say("idle")
    assert events(line.hear(30, load=0.1)) == []
    verdicts = line.hear(30, load=1.0)
    assert events(verdicts) == ["open"]
    assert verdicts[-1].operating_state == OperatingState("idle", "mqtt")


def test_a_told_state_that_was_never_taught_is_unknown_and_raises_no_alert() -> None:
    line = Line(world())
    line.hear(5, load=0.1)
    line.say("run-40hz")
    verdicts = line.hear(30, fault="outer_race")
    assert set(levels(verdicts)) == {"unknown"}
    assert {v.operating_state for v in verdicts} == {OperatingState("run-40hz", "mqtt")}
    assert all(v.score is None and v.event is None for v in verdicts)
    line.say(None)
    assert levels(line.hear(6, load=0.1)) == ["not_monitored"] * 4 + ["normal"] * 2


def test_windows_before_a_change_do_not_count_towards_an_alert_after_it() -> None:
    line = Line(world(alert={"windows": 5, "strange_windows": 3}))
    line.hear(8, load=0.1)
    assert [v.strange_windows for v in line.hear(2, load=1.0, fault="outer_race")] == [1, 2]
    line.say("full")
    verdicts = line.hear(6, load=1.0, fault="outer_race")
    assert [v.strange_windows for v in verdicts] == [0] * 4 + [1, 2]
    assert verdicts[0].reason == "settling after the change to full"
    assert events(verdicts) == []
    assert events(line.hear(2, load=1.0, fault="outer_race")) == ["open"]


def test_an_open_alert_stays_open_over_a_change_and_clears_in_the_new_state() -> None:
    line = Line(world())
    assert events(line.hear(30, fault="outer_race")) == ["open"]
    line.say("full")
    verdicts = line.hear(4, load=1.0)
    assert set(levels(verdicts)) == {"not_monitored"}
    assert line.pipeline.points[POINT].open_alert is not None
    assert events(line.hear(30, load=1.0)) == ["clear"]


def test_a_silent_machine_is_off_and_a_start_settles() -> None:
    line = Line(world(off_below_db=-60))
    line.say("full")
    line.hear(8, load=1.0)
    verdicts = line.hear(10, load=1.0, level=0.001)
    assert set(levels(verdicts)) == {"not_monitored"}
    assert {v.reason for v in verdicts} == {"the machine is off, although full is told (mqtt)"}
    assert {v.operating_state for v in verdicts} == {OperatingState("off", "level")}
    assert levels(line.hear(8, load=1.0)) == ["not_monitored"] * 5 + ["normal"] * 3


def test_a_machine_that_was_taught_to_be_off_is_judged_while_it_is() -> None:
    verdicts = Line(world(off_taught=True, off_below_db=-60)).hear(10, level=0.001)
    assert levels(verdicts) == ["not_monitored"] * 5 + ["normal"] * 5
    assert verdicts[-1].operating_state == OperatingState("off", "level")


def test_a_machine_that_stopped_and_nobody_taught_it_is_unknown_and_not_strange() -> None:
    line = Line(world())
    line.hear(8, load=0.1)
    verdicts = line.hear(30, load=0.1, level=0.01)
    assert set(levels(verdicts)) == {"unknown"}
    assert verdicts[0].operating_state is None
    assert "teach that" in str(verdicts[0].reason)


def test_a_machine_that_stopped_although_it_is_told_to_run_is_strange() -> None:
    line = Line(world())
    line.say("full")
    line.hear(8, load=1.0)
    assert events(line.hear(30, load=1.0, level=0.001)) == ["open"]
