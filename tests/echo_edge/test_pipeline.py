"""Pipeline: from windows of an invented machine to verdicts, without threads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from echo_edge.baseline import Baseline
from echo_edge.enroll import Enrollment
from echo_edge.errors import EnrollError
from echo_edge.pipeline import Pipeline, Point, Verdict
from echo_edge.records import Limits
from tests.world import POINT, RATE_HZ, broken, machine_windows, make_config, make_embedder


def enrolled(pipeline: Pipeline, state: str = "run", **machine: float) -> Baseline:
    enrollment = Enrollment(POINT, state, 60, "simulator:1")
    pipeline.learn(enrollment, machine_windows(60, **machine))
    point = pipeline.points[POINT]
    baseline = enrollment.finish(point.baseline)
    point.adopt(baseline)
    return baseline


def pipeline() -> Pipeline:
    return Pipeline(make_config(), make_embedder())


def events(verdicts: list[Verdict]) -> list[str]:
    return [v.event.type for v in verdicts if v.event is not None]


def test_a_healthy_machine_stays_normal() -> None:
    world = pipeline()
    enrolled(world)
    verdicts = world.step(machine_windows(60, skip_s=100))
    assert {v.level for v in verdicts} == {"normal"}
    assert events(verdicts) == []


@pytest.mark.parametrize("fault", ["outer_race", "inner_race", "cavitation"])
def test_a_faulty_machine_raises_an_alert_and_a_mended_one_clears_it(fault: str) -> None:
    world = pipeline()
    enrolled(world)
    assert events(world.step(machine_windows(10, fault=fault))) == ["open"]
    assert world.points[POINT].open_alert is not None
    assert events(world.step(machine_windows(10, skip_s=50))) == ["clear"]


def test_a_point_that_was_never_enrolled_has_no_score_and_says_so() -> None:
    (verdict,) = pipeline().step(machine_windows(1))
    assert (verdict.level, verdict.score, verdict.reason) == ("not_monitored", None, "not enrolled yet")


@pytest.mark.parametrize(
    ("value", "flaw"),
    [(np.nan, "not_finite"), (np.inf, "not_finite"), (1e18, "out_of_range"), (0.0, "silence"), (1.5, "stuck")],
)
def test_a_window_of_dead_or_impossible_samples_is_not_judged(value: float, flaw: str) -> None:
    world = pipeline()
    enrolled(world)
    good, bad = machine_windows(2, skip_s=50)
    verdicts = world.step([good, broken(bad, value)])
    assert [v.level for v in verdicts] == ["normal", "not_monitored"]
    assert not verdicts[0].findings
    assert [(f.check, f.bad) for f in verdicts[1].findings] == [(flaw, True)]
    assert verdicts[1].score is None


def test_a_baseline_of_another_sampling_rate_is_not_used() -> None:
    world = pipeline()
    enrolled(world)
    (verdict,) = world.step(machine_windows(1, rate_hz=2 * RATE_HZ))
    assert verdict.level == "not_monitored"
    assert f"was made with rate_hz {RATE_HZ} Hz, the point now has {2 * RATE_HZ} Hz" in (verdict.reason or "")


def test_a_baseline_in_another_unit_is_not_used() -> None:
    world = pipeline()
    enrolled(world)
    (verdict,) = world.step(machine_windows(1, unit="full scale"))
    assert verdict.level == "not_monitored"
    assert "samples in g, the point's are now in full scale" in (verdict.reason or "")


def test_a_baseline_of_another_model_is_not_used() -> None:
    baseline = enrolled(pipeline())
    other = Pipeline(make_config(), make_embedder(width=24))
    other.points[POINT].adopt(baseline)
    object.__setattr__(other.points[POINT], "_model_sha256", "1" * 64)
    (verdict,) = other.step(machine_windows(1))
    assert verdict.level == "not_monitored"
    assert "was made with model fake" in (verdict.reason or "")


def test_a_second_state_is_learned_beside_the_first() -> None:
    world = pipeline()
    enrolled(world, "idle", load=0.1)
    enrolled(world, "full", load=1.0)
    idle, full = world.step([*machine_windows(1, skip_s=50, load=0.1), *machine_windows(1, skip_s=50, load=1.0)])
    assert (idle.level, idle.score and idle.score.state) == ("normal", "idle")
    assert (full.level, full.score and full.score.state) == ("normal", "full")


def test_states_that_the_new_baseline_cannot_hold_are_named() -> None:
    world = pipeline()
    old = enrolled(world)
    enrollment = Enrollment(POINT, "other", 0)
    world.learn(enrollment, machine_windows(30, unit="Pa"))
    assert [s.name for s in enrollment.finish(old).states] == ["other"]
    assert enrollment.left_out == "run: made with samples in g, the point's are now in Pa"


def test_live_windows_are_learned_and_bad_ones_are_left_out() -> None:
    world = pipeline()
    enrollment = Enrollment(POINT, "run", 20, "simulator:1")
    world.points[POINT].learner = enrollment
    windows = machine_windows(25)
    world.step([broken(windows[0], np.nan), *windows[1:20]])
    assert not enrollment.complete
    world.step(windows[20:21])
    assert (enrollment.useful, enrollment.complete) == (20, True)
    assert enrollment.excluded == {"not_finite": 1}


class Leaver:
    """Hears one window and goes away."""

    def __init__(self, point: Point) -> None:
        self._point = point

    def hear(self, *_: object) -> None:
        self._point.learner = None


def test_a_learner_that_leaves_within_a_batch_leaves_the_other_machine_its_own_score() -> None:
    points = {"de": {"device": "acc", "window": {"length_s": 0.5, "hop_s": 0.5}}}
    config = make_config(machines={"pump": {"points": points}, "fan": {"points": points}})
    world = Pipeline(config, make_embedder())
    fan = Enrollment("fan/de", "run", 0, "simulator:2")
    world.learn(fan, machine_windows(60, point="fan/de", seed=2))
    world.points["fan/de"].adopt(fan.finish(None))
    world.points[POINT].learner = Leaver(world.points[POINT])
    (well,) = machine_windows(1, point="fan/de", seed=2, skip_s=60)
    alone = world.step([well])[0].score
    batch = world.step([*machine_windows(3), well])
    assert world.points[POINT].learner is None
    assert batch[-1].score is not None
    assert alone is not None
    assert batch[-1].score.value == pytest.approx(alone.value, rel=1e-5)


class Eager(Enrollment):
    """Is adopted as soon as it is complete."""

    def __init__(self, point: Point) -> None:
        super().__init__(point.name, "run", 20)
        self._of = point

    def hear(self, *heard: Any) -> None:
        super().hear(*heard)
        if self.complete:
            self._of.learner = None
            self._of.adopt(self.finish(None))


def test_the_window_that_completes_an_enrollment_is_not_judged_by_itself() -> None:
    world = pipeline()
    point = world.points[POINT]
    point.learner = Eager(point)
    verdicts = world.step(machine_windows(21))
    assert [v.level for v in verdicts] == ["not_monitored"] * 20 + ["normal"]
    assert verdicts[-1].score is not None
    assert verdicts[-1].score.value > 0


def test_a_long_enrollment_keeps_whole_minutes_within_its_memory_and_all_of_its_time() -> None:
    world = pipeline()
    whole, bounded = Enrollment(POINT, "run", 0), Enrollment(POINT, "run", 0, max_bytes=1 << 20)
    windows = machine_windows(6 * 120)
    for enrollment in (whole, bounded):
        world.learn(enrollment, windows)
    kept = bounded.material()
    minutes = np.unique(kept.start_ns // 60_000_000_000)
    assert kept.nbytes <= 1.5 * (1 << 20) < whole.material().nbytes  # the minute that is not over yet comes on top
    assert (np.diff(minutes) > 1).any()
    assert len(kept) == 120 * len(minutes)
    assert bounded.learned_s == pytest.approx(360)
    assert (bounded.useful, bounded.finish(None).states[0].learned_s) == (720, pytest.approx(360))


def test_an_enrollment_from_a_dead_sensor_is_refused() -> None:
    world = pipeline()
    enrollment = Enrollment(POINT, "run", 60, "simulator:1")
    with pytest.raises(EnrollError, match="most windows are unusable") as refused:
        world.learn(enrollment, [broken(w, 0.0) for w in machine_windows(20)])
    assert refused.value.exit_code == 3


def test_the_same_windows_give_the_same_verdicts() -> None:
    def play() -> list[float]:
        world = pipeline()
        enrolled(world)
        return [v.score.value for v in world.step(machine_windows(10, fault="outer_race")) if v.score]

    assert play() == play()


def test_windows_judged_together_score_as_if_judged_alone() -> None:
    world = pipeline()
    enrolled(world)
    windows = machine_windows(4, skip_s=50)
    together = [v.score.value for v in world.step(windows) if v.score]
    alone = [v.score.value for w in windows for v in world.step([w]) if v.score]
    assert together == pytest.approx(alone, rel=1e-5)


def test_a_window_that_was_itself_learned_is_as_ordinary_as_can_be() -> None:
    world = pipeline()
    enrolled(world)
    (verdict,) = world.step(machine_windows(1))
    assert verdict.score is not None
    # not 0: a vector may round another way than it did in the bank
    assert max(verdict.score.rarities[part] for part in ("echo", "spectrum")) < 0.05


def test_a_moved_gain_is_told_as_such_and_never_judged() -> None:
    world = pipeline()
    enrollment = Enrollment(POINT, "run", 60, "usb:1:2")
    enrollment.settings = {"Mic Capture Volume": "12.0 dB", "Boost": "off"}
    world.learn(enrollment, machine_windows(60))
    point = world.points[POINT]
    point.adopt(enrollment.finish(None))
    point.settings = {"Mic Capture Volume": "12.0 dB", "Boost": "off", "unrelated": "new"}
    assert point.gain_change is None
    point.settings = {"Mic Capture Volume": "18.0 dB", "Boost": "off"}
    verdicts = world.step(machine_windows(20, skip_s=50, level=2.0))
    assert events(verdicts) == []
    assert {v.level for v in verdicts} == {"not_monitored"}
    assert "Mic Capture Volume was 12.0 dB, is 18.0 dB" in str(verdicts[0].reason)
    assert [(f.check, f.bad) for f in point.sensor_findings] == [("gain_changed", True)]
    point.settings = {}  # the sensor does not tell any more: that alone is no change
    assert [v.level for v in world.step(machine_windows(1, skip_s=90))] == ["normal"]


def test_a_state_learned_at_another_gain_does_not_stand_beside_the_old_ones() -> None:
    world = pipeline()
    first, second = (Enrollment(POINT, state, 60) for state in ("run", "idle"))
    first.settings, second.settings = {"range": "16 g"}, {"range": "8 g"}
    for enrollment in (first, second):
        world.learn(enrollment, machine_windows(60))
    baseline = second.finish(first.finish(None))
    assert [state.name for state in baseline.states] == ["idle"]
    assert second.left_out == "run: made with another gain: range was 16 g, is 8 g"


def test_a_clipped_window_that_still_tells_something_is_judged_with_a_warning() -> None:
    world = pipeline()
    enrolled(world)
    (window,) = machine_windows(1, skip_s=50)
    samples = window.samples.copy()
    samples[0, 100:108] = 16.0
    limited = replace(window, samples=samples, limits=Limits(full_scale=(16.0,)))
    (verdict,) = world.step([limited])
    assert verdict.score is not None
    assert [(f.check, f.bad) for f in verdict.findings] == [("clipping", False)]


def test_another_sensor_than_the_enrolled_one_is_told_and_not_judged() -> None:
    world = pipeline()
    enrolled(world)
    point = world.points[POINT]
    point.identity = "simulator:1"
    assert point.sensor_findings == ()
    point.identity = "simulator:2"
    (finding,) = point.sensor_findings
    assert (finding.check, finding.text) == ("sensor_changed", "enrolled with simulator:1, this is simulator:2")
    (verdict,) = world.step(machine_windows(1, skip_s=90))
    assert (verdict.level, verdict.score) == ("not_monitored", None)
    assert "enroll again, or plug the old one in" in str(verdict.reason)


def test_a_mixer_that_cannot_be_read_is_told_as_long_as_the_gain_is_not_watched() -> None:
    world = pipeline()
    enrollment = Enrollment(POINT, "run", 60)
    enrollment.settings = {"mixer": "the mixer cannot be read"}
    world.learn(enrollment, machine_windows(60))
    point = world.points[POINT]
    point.adopt(enrollment.finish(None))
    point.settings = {"Capture Volume": "100 %"}
    assert [(f.check, f.bad) for f in point.sensor_findings] == [("gain_unknown", False)]


def test_windows_that_the_gain_moved_within_are_not_judged() -> None:
    world = pipeline()
    enrolled(world)
    point = world.points[POINT]
    before, after = machine_windows(1, skip_s=50, level=2.0), machine_windows(1, skip_s=90)
    point.gain_moved(before[0].end_ns)
    (verdict,) = world.step(before)
    assert (verdict.level, verdict.reason) == ("not_monitored", "the gain has just moved")
    (later,) = after
    assert [v.level for v in world.step([replace(later, time_ns=before[0].end_ns)])] == ["normal"]
