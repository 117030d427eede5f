"""Remember: what the pipeline said of a window is what is kept of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from echo_edge.memory import Memory
from echo_edge.operating import StateWatch
from echo_edge.pipeline import Pipeline
from echo_edge.records import Window
from echo_edge.remember import memory_of
from tests.echo_edge.test_pipeline import enrolled
from tests.world import POINT, broken, machine_windows, make_config, make_embedder


def remembered(world: Pipeline, windows: list[Window]) -> list[Memory]:
    point = world.points[POINT]
    return [memory_of(world.step([window])[0], point) for window in windows]


def test_a_point_that_was_never_enrolled_remembers_what_it_may_be_taught_later() -> None:
    world = Pipeline(make_config(), make_embedder())
    assert remembered(world, machine_windows(1))[0].embedding is None
    world.points[POINT].remembered = True
    (memory,) = remembered(world, machine_windows(1))
    assert (memory.level, memory.ratio, memory.circumstances.baseline) == ("unjudged", None, "")
    assert memory.embedding is not None
    assert memory.circumstances.indicators == memory.embedding.indicator_names


def test_a_verdict_is_kept_with_its_state_ratio_and_baseline() -> None:
    world = Pipeline(make_config(), make_embedder())
    world.points[POINT].adopt(replace(enrolled(world), id="bl_0003"))
    window = machine_windows(1, skip_s=50)[0]
    (verdict,) = world.step([window])
    memory = memory_of(verdict, world.points[POINT])
    assert verdict.score is not None
    assert (memory.level, memory.state, memory.circumstances.baseline) == ("normal", "run", "bl_0003")
    assert memory.ratio == pytest.approx(verdict.score.value / verdict.score.threshold)
    assert (memory.start_ns, memory.end_ns) == (window.time_ns, window.end_ns)


def test_a_window_of_a_broken_sensor_leaves_only_that_it_was_so() -> None:
    world = Pipeline(make_config(), make_embedder())
    enrolled(world)
    (memory,) = remembered(world, [broken(machine_windows(1)[0], np.nan)])
    assert (memory.level, memory.finding, memory.embedding) == ("not_monitored", True, None)


def test_a_moved_gain_is_remembered_as_no_verdict_and_must_not_teach() -> None:
    world = Pipeline(make_config(), make_embedder())
    baseline = replace(enrolled(world), settings={"gain": "12 dB"})
    point = world.points[POINT]
    point.adopt(baseline)
    point.settings = {"gain": "18 dB"}
    (memory,) = remembered(world, machine_windows(1))
    assert (memory.level, memory.embedding is not None) == ("not_monitored", True)


def test_a_machine_that_is_off_rests_and_says_nothing_against_its_sensor() -> None:
    world = Pipeline(make_config(), make_embedder())
    enrolled(world)
    world.points[POINT].states = StateWatch(POINT, off_below_db=100.0)
    assert [memory.level for memory in remembered(world, machine_windows(2))] == ["resting", "resting"]


def test_what_a_baseline_of_other_indicators_cannot_judge_may_teach_the_next_one() -> None:
    world = Pipeline(make_config(), make_embedder())
    (state,) = enrolled(world).states
    known = replace(state, indicator_names=("another",))
    world.points[POINT].adopt(replace(enrolled(world), states=(known,)))
    assert remembered(world, machine_windows(1))[0].level == "unjudged"


def test_what_a_stale_baseline_cannot_judge_may_still_teach_the_next_one() -> None:
    world = Pipeline(make_config(), make_embedder())
    enrolled(world)
    (memory,) = remembered(world, machine_windows(1, unit="full scale"))
    assert memory.level == "unjudged"


def test_every_window_of_an_alert_carries_its_id_the_clearing_one_too() -> None:
    world = Pipeline(make_config(), make_embedder())
    enrolled(world)
    ill = remembered(world, machine_windows(10, fault="outer_race"))
    well = remembered(world, machine_windows(20, skip_s=50))
    ids = [memory.alert_id for memory in ill + well]
    assert ids[0] == ""
    assert len({*ids}) == 2
    assert ids[9] != ""
    assert ids[-1] == ""
    last = max(i for i, id_ in enumerate(ids) if id_)
    assert (ill + well)[last].level == "normal"
