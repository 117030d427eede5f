"""Days of windows in minutes: memory, descriptors and threads stay as they were after the first of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import Mosquitto, Subscriber, needs_mosquitto
from tests.system.daemon import Daemon
from tests.system.faults import LONG, teach
from tests.system.test_daemon import SIMULATED, config

POINTS = ("a", "b")
A_DAY = 17_280  # windows of 5 s
WINDOWS, PARTS = (40_000, 10) if LONG else (480, 3)
GROWN_MB_A_DAY = 1.0


@needs_mosquitto
@pytest.mark.timeout(1800 if LONG else 60)
def test_what_the_daemon_holds_does_not_grow_with_what_it_hears(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port, "echo-edge/+/+/m/+/p/+/alert"):
        daemon = Daemon(tmp_path / "daemon", config(broker.port, dict.fromkeys(POINTS, SIMULATED)))
        teach(daemon, seed=5)
        module = [sys.executable, "-m", "tests.system.fast_replay"]
        command = [*module, str(daemon.config), str(daemon.state), str(WINDOWS), str(PARTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    held = [json.loads(line) for line in done.stdout.splitlines()]
    first, last = held[max(1, PARTS // 5) - 1], held[-1]
    heard = WINDOWS * (PARTS - max(1, PARTS // 5)) // PARTS
    grown_mb = last["mb"] - first["mb"]
    print(*held, sep="\n")
    print(f"{heard} windows after the first {WINDOWS - heard}: {grown_mb:+.2f} MB")
    assert last["alerts"] > first["alerts"], "alerts came and went"
    assert [part["descriptors"] for part in held[1:]] == [first["descriptors"]] * (PARTS - 1)
    assert [part["threads"] for part in held[1:]] == [first["threads"]] * (PARTS - 1)
    allowed_mb = GROWN_MB_A_DAY * heard / A_DAY if LONG else 4.0
    assert grown_mb < allowed_mb
