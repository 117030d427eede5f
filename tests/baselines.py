"""Small baselines for tests: learned by the real pipeline from an invented machine, and compared bit by bit."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from echo_edge.baseline import Baseline
from echo_edge.baseline_store import BaselineStore
from echo_edge.enroll import Enrollment
from echo_edge.pipeline import Pipeline
from tests.world import POINT, machine_windows, make_config, make_embedder

GATEWAY = "gw"
OTHER_POINT = "pump/nde"


def world(width: int = 16) -> Pipeline:
    return Pipeline(make_config(), make_embedder(width))


def learned(
    pipeline: Pipeline | None = None, state: str = "run", active: Baseline | None = None, **machine: Any
) -> Baseline:
    """What an enrollment of 15 s of an invented machine makes; nothing is stored."""
    pipeline = pipeline or world()
    enrollment = Enrollment(POINT, state, 30, "simulator:1")
    pipeline.learn(enrollment, machine_windows(30, **machine))
    baseline = enrollment.finish(active)
    return replace(baseline, false_alarms=pipeline.points[POINT].promises(baseline))


@cache
def small(seed: int, point: str = POINT) -> Baseline:
    """One of a few KB, of any point."""
    return replace(learned(world(width=2), seed=seed), point=point)


def same(one: Baseline, other: Baseline) -> bool:
    """Both would judge every window alike, to the last bit."""
    alike = [s.name for s in one.states] == [s.name for s in other.states] and one.origin == other.origin
    pairs = zip(one.states, other.states, strict=True) if alike else ()
    return alike and all(
        a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a)
        for a, b in ((x.arrays(), y.arrays()) for x, y in pairs)
    )


def make_store(folder: Path, gateway: str = GATEWAY, two_person: tuple[str, ...] = ()) -> BaselineStore:
    folder.mkdir(exist_ok=True)
    return BaselineStore(folder / "state.db", gateway, two_person)


def enroll(store: BaselineStore, baseline: Baseline, by: str = "lang") -> Baseline:
    """Propose and activate, as a technician with ``approval: local`` does."""
    return store.activate(baseline.point, store.propose(baseline, by).id, by)


def sql(folder: Path, text: str, *values: object) -> list[tuple[object, ...]]:
    """What somebody with another program does to the file; the triggers that stand in the way are put back."""
    db = sqlite3.connect(folder / "state.db", isolation_level=None)
    triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    rows = db.execute(text, values).fetchall()
    for _, trigger in triggers:
        db.execute(trigger)
    db.close()
    return rows
