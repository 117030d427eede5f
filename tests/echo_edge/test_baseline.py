"""A baseline's values: what a next version keeps, what too little material gives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from echo_edge.enroll import Enrollment
from echo_edge.errors import EnrollError
from tests.baselines import learned, same, world
from tests.world import POINT, machine_windows


def test_a_state_that_is_learned_again_replaces_the_old_one() -> None:
    pipeline = world()
    first = learned(pipeline)
    again = learned(pipeline, active=first, seed=2)
    assert [s.name for s in again.states] == ["run"]
    assert not same(again, first)


def test_a_next_version_keeps_the_other_states_and_how_they_were_learned() -> None:
    pipeline = world()
    first = replace(learned(pipeline, "idle"), id="bl_0001")
    second = learned(pipeline, "run", active=first, seed=2)
    assert [s.name for s in second.states] == ["idle", "run"]
    assert second.learned["idle"] == first.learned["idle"]
    assert (second.learned["run"].how, second.learned["run"].windows) == ("live", 30)
    assert second.parent == "bl_0001"


def test_states_made_with_another_model_are_not_carried_over() -> None:
    pipeline = world()
    first = learned(pipeline, "idle")
    foreign = replace(first, origin=replace(first.origin, model_sha256="f" * 64))
    assert [s.name for s in learned(pipeline, "run", active=foreign).states] == ["run"]


def test_the_table_of_promises_has_a_lower_threshold_for_more_false_alarms() -> None:
    table = learned().false_alarms
    assert [row.target for row in table] == [0.1, 1.0, 10.0]
    thresholds = [row.thresholds["run"] for row in table]
    assert thresholds == sorted(thresholds, reverse=True)
    estimates = [row.estimated for row in table]  # of 15 s of signal: far above the targets, and said so
    assert estimates == sorted(estimates)


def test_too_little_material_is_refused() -> None:
    pipeline = world()
    enrollment = Enrollment(POINT, "run", 30, "simulator:1")
    with pytest.raises(EnrollError, match="no useful window"):
        enrollment.finish(None)
    pipeline.learn(enrollment, machine_windows(5))
    with pytest.raises(EnrollError, match="5 useful windows are too few"):
        enrollment.finish(None)


def test_thresholds_that_count_windows_are_not_kept_when_windows_come_otherwise() -> None:
    origin = learned().origin
    assert origin.difference(replace(origin, hop_s=0.25)) == "hop_s 0.5 s, the point now has 0.25 s"
