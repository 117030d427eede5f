"""A fault that was enrolled as normal: it is written down, and can be taken back, always and whole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from echo_edge.baseline import Baseline
from echo_edge.baseline_rows import GENERATIONS
from echo_edge.errors import BaselineError
from echo_edge.pipeline import Pipeline
from tests.baselines import learned, make_store, same, world
from tests.system.faults import LONG
from tests.world import POINT, machine_windows

ROUNDS = 300 if LONG else 24
STRANGE, USUAL = machine_windows(10, fault="cavitation"), machine_windows(5, skip_s=20)


def judged(baseline: Baseline) -> tuple[list[float], bool]:
    """Scores of a healthy and a faulty machine under this baseline, and whether the fault is an alert."""
    pipeline: Pipeline = world(width=2)
    pipeline.points[POINT].adopt(baseline)
    verdicts = pipeline.step([*USUAL, *STRANGE])
    alerts = [v.event for v in verdicts if v.event is not None]
    return [v.score.value for v in verdicts if v.score is not None], bool(alerts)


def test_every_enrollment_of_a_fault_can_be_taken_back_to_the_last_bit(tmp_path: Path) -> None:
    chance, store = random.Random(9), make_store(tmp_path)
    healthy = learned(world(width=2))
    poison = [learned(world(width=2), fault=fault) for fault in ("cavitation", "outer_race")]
    first = store.activate(POINT, store.propose(healthy, "lang").id, "lang")
    before = judged(first)
    assert before[1], "the fault is an alert"
    assert not judged(poison[0])[1], "and would be none"
    in_force, taken_back = [first], 0
    for number in range(ROUNDS):
        if len(in_force) <= GENERATIONS and (chance.random() < 0.5 or len(in_force) == 1):
            wanted = store.propose(chance.choice([healthy, *poison]), f"mallory {number}")
            in_force.append(store.activate(POINT, wanted.id, f"mallory {number}"))
        else:
            in_force.pop()
            back = store.rollback(POINT, "vogt", f"poisoned in round {number}")
            assert back.id == in_force[-1].id
            taken_back += 1
        active = store.active(POINT)
        assert active is not None
        assert same(active, in_force[-1]), f"round {number}"
    while len(in_force) > 1:
        in_force.pop()
        store.rollback(POINT, "vogt", "poisoned")
        taken_back += 1
    active = store.active(POINT)
    assert active is not None
    assert same(active, healthy)
    assert judged(active) == before, "it judges as it did, to the last bit"
    with pytest.raises(BaselineError, match="no baseline was active before"):
        store.rollback(POINT, "vogt")
    report = store.verify_audit()
    assert (report.problems, report.notes) == ([], [])
    who = [row.who for row in store.audit()]
    assert who.count("vogt") == taken_back
    print(f"{taken_back} of {taken_back} enrollments taken back in {ROUNDS} rounds, to the last bit")
