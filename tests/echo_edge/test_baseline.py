"""Baselines: stored by version, checked by hash, and rebuilt to the same scores."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from echo_edge.baseline import Baseline, BaselineStore
from echo_edge.enroll import Enrollment
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.pipeline import Pipeline
from tests.world import POINT, machine_windows, make_config, make_embedder


def world() -> Pipeline:
    return Pipeline(make_config(), make_embedder())


def learned(pipeline: Pipeline, state: str = "run", active: Baseline | None = None, seed: int = 1) -> Baseline:
    enrollment = Enrollment(POINT, state, 30, "simulator:1")
    pipeline.learn(enrollment, machine_windows(30, seed=seed))
    return enrollment.finish(active)


def test_a_baseline_comes_back_with_bit_equal_scores(tmp_path: Path) -> None:
    before, after = world(), world()
    store = BaselineStore(tmp_path / "state.db")
    before.points[POINT].adopt(store.add(learned(before)))
    again = BaselineStore(tmp_path / "state.db").active(POINT)
    assert again is not None
    after.points[POINT].adopt(again)
    windows = machine_windows(5, fault="cavitation")
    scores = [[v.score for v in pipeline.step(windows)] for pipeline in (before, after)]
    assert scores[0] == scores[1]
    assert scores[0][0] is not None


def test_a_point_without_a_baseline_has_none(tmp_path: Path) -> None:
    assert BaselineStore(tmp_path / "state.db").active(POINT) is None


def test_the_newest_version_is_active_and_names_its_parent(tmp_path: Path) -> None:
    pipeline, store = world(), BaselineStore(tmp_path / "state.db")
    first = store.add(learned(pipeline, "idle"))
    second = store.add(learned(pipeline, "run", active=first, seed=2))
    active = store.active(POINT)
    assert active is not None
    assert (active.id, active.parent) == (second.id, first.id)
    assert [s.name for s in active.states] == ["idle", "run"]


def test_a_state_that_is_learned_again_replaces_the_old_one() -> None:
    pipeline = world()
    first = learned(pipeline)
    again = learned(pipeline, active=first, seed=2)
    assert [s.name for s in again.states] == ["run"]
    assert (again.states[0].held_out != first.states[0].held_out).any()


def test_states_made_with_another_model_are_not_carried_over() -> None:
    pipeline = world()
    first = learned(pipeline, "idle")
    foreign = replace(first, origin=replace(first.origin, model_sha256="f" * 64))
    assert [s.name for s in learned(pipeline, "run", active=foreign).states] == ["run"]


@pytest.mark.parametrize("column", ["vectors", "manifest", "sha256"])
def test_a_damaged_row_is_noticed_and_left_alone(tmp_path: Path, column: str) -> None:
    pipeline, store = world(), BaselineStore(tmp_path / "state.db")
    store.add(learned(pipeline))
    with sqlite3.connect(tmp_path / "state.db") as db:
        (value,) = db.execute(f"SELECT {column} FROM baseline").fetchone()
        data = bytearray(value if isinstance(value, bytes) else value.encode())
        data[len(data) // 2] ^= 1
        db.execute(f"UPDATE baseline SET {column} = ?", (bytes(data) if isinstance(value, bytes) else data.decode(),))
    db.close()
    with pytest.raises(BaselineError, match="bl_0001 is damaged"):
        store.active(POINT)


def test_a_database_that_is_none_is_named_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(BaselineError, match=r"state\.db: file is not a database"):
        BaselineStore(tmp_path / "state.db")


def test_too_little_material_is_refused() -> None:
    pipeline = world()
    enrollment = Enrollment(POINT, "run", 30, "simulator:1")
    with pytest.raises(EnrollError, match="no useful window"):
        enrollment.finish(None)
    pipeline.learn(enrollment, machine_windows(5))
    with pytest.raises(EnrollError, match="5 useful windows are too few"):
        enrollment.finish(None)
