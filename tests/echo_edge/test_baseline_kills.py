"""Enrollments that are killed at any instant leave the old baseline or the new one, whole, and a whole audit log.

20 kills; with ECHO_EDGE_TORTURE=1 it is 500.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.baselines import enroll, make_store, same, small
from tests.world import POINT

KILLS = 500 if os.environ.get("ECHO_EDGE_TORTURE") else 20
LONGEST_S = 0.3  # a loop of the victim takes a tenth of it


def victim(folder: Path, ready: Connection) -> None:
    """Propose and activate two baselines in turn until killed."""
    store = make_store(folder)
    pair = small(1), small(2)  # those of the store are thinned out in time
    ready.send("ready")
    for turn in range(1_000_000):
        enroll(store, pair[turn % 2], by=f"turn {turn}")


@pytest.mark.timeout(60 if KILLS == 20 else 1200)
def test_a_kill_at_any_instant_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    pair, store = (small(1), small(2)), make_store(tmp_path)
    for one in pair:
        enroll(store, one)
    rng, left = random.Random(7), Counter[str]()
    # one process that has imported everything, and forks a victim within milliseconds
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.echo_edge.test_baseline_kills"])
    newest = "bl_0002"
    for kill in range(KILLS):
        ours, theirs = context.Pipe()
        process = context.Process(target=victim, args=(tmp_path, theirs))
        process.start()
        ours.recv()
        time.sleep(rng.uniform(0, LONGEST_S))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for end in (ours, theirs):
            end.close()
        active = store.active(POINT)
        assert active is not None, f"kill {kill}"
        assert any(same(active, one) for one in pair), f"kill {kill}: {active.id} is a mixture"
        assert active.id >= newest, f"kill {kill}: {active.id} after {newest}"
        newest = active.id
        report = store.verify_audit()
        assert (report.problems, report.notes) == ([], []), f"kill {kill}"
        last = store.list(POINT)[-1]
        left["a proposal that nobody activated" if last.status == "proposed" else "the newest active"] += 1
    print(f"{KILLS} kills among {newest} enrollments left {dict(left)}")
    assert left["the newest active"]
