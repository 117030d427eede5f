"""Days of windows in minutes, and reloads: memory, descriptors and threads stay as they were after the first."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from echo_edge.operator_keys import make_key, write_key
from tests.broker import Mosquitto, Subscriber, needs_mosquitto, wait_for
from tests.system.daemon import START_S, Daemon
from tests.system.faults import LONG, resident_mb, teach
from tests.system.test_daemon import SIMULATED, config

POINTS = ("a", "b")
A_DAY = 17_280  # windows of 5 s
WINDOWS, PARTS = (40_000, 10) if LONG else (480, 3)
GROWN_MB_A_DAY = 1.0
NOBODY = 1  # a port on which no broker ever listens
RELOADS = 16 if LONG else 2
SETTLED = 6  # after so many the heap has its holes
GROWN_MB_BY_RELOADS = 5.0  # the heap is cut up a little more; a daemon that stays is 40 MB


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


@pytest.mark.timeout(600 if LONG else 120)
def test_a_reload_leaves_nothing_of_the_daemon_before(tmp_path: Path) -> None:
    write_key(tmp_path / "console.key", make_key(ed25519=False))
    operators = f"{{console: {{role: viewer, key_file: {tmp_path / 'console.key'}}}}}"
    orders = f"orders: {{mqtt: true, operators: {operators}}}\n"  # they know every part, and the publisher knows them
    daemon = Daemon(tmp_path / "daemon", config(NOBODY, {"a": SIMULATED}) + orders, {"MALLOC_ARENA_MAX": "2"})
    daemon.module = "tests.system.counted"
    held_mb = []
    with daemon:
        for number in range(RELOADS + 1):
            wait_for(lambda n=number: daemon.log.count("ready: ") > n, f"start {number}; {daemon.log[-800:]}", START_S)  # type: ignore[misc]
            held_mb.append(resident_mb(daemon.process.pid))
            if number < RELOADS:
                daemon.process.send_signal(signal.SIGHUP)
        assert daemon.stop() == 0
    left = [line for line in daemon.log.splitlines() if line.startswith("left of ")]
    print("MB after each start:", *held_mb)
    assert left == [f"left of {number} before:" for number in range(RELOADS + 1)]
    if LONG:  # right after a start it may be less
        assert max(held_mb[SETTLED:]) - max(held_mb[:SETTLED]) < GROWN_MB_BY_RELOADS
