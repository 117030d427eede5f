"""A daemon without a broker is ready all the same, and what it finds meanwhile is delivered when there is one."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import START_S, Daemon, MosquittoSub
from tests.system.faults import LONG, PATIENCE, floods, teach
from tests.system.manager import Manager
from tests.system.test_daemon import config

FAULTY = "{kind: simulator, rate_hz: 16000, seed: 5, fault: cavitation}"
READY_S, FIRST_SCORE_S, DELIVERED_S = 10.0, 20.0, 60.0
STARTS = 10 if LONG else 0


def ready_s(manager: Manager, since_s: float) -> float:
    wait_for(lambda: bool(manager.heard_s("READY=1", since_s)), "READY", 2 * START_S)
    return manager.heard_s("READY=1", since_s)[0] - since_s


@needs_mosquitto
@pytest.mark.timeout(120 if not LONG else 600)
def test_without_a_broker_the_daemon_is_ready_at_once_and_what_it_found_is_delivered_later(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    with Manager(tmp_path / "notify") as manager:
        daemon = Daemon(tmp_path / "daemon", config(broker.port, {"bad": FAULTY}), manager.env)
        teach(daemon, seed=5)
        took_s = []
        for _ in range(STARTS):
            begun_s = time.monotonic()
            with daemon:
                took_s.append(ready_s(manager, begun_s))
        before, begun_s = len(daemon.log), time.monotonic()
        with daemon:
            took_s.append(ready_s(manager, begun_s))
            wait_for(
                lambda: re.search(r"alert \w+ open", daemon.log[before:]) is not None,
                "a verdict, and an alert",
                START_S,
            )
            found_s = time.monotonic() - begun_s
            with broker, MosquittoSub(broker.port) as heard:
                started_s = time.monotonic()
                wait_for(lambda: bool(heard.alerts("m/bad", "open")), "the alert", DELIVERED_S * PATIENCE)
                delivered_s = heard.alerts("m/bad", "open")[0].at_s - started_s
            assert daemon.stop() == 0
        assert "without a word" not in daemon.log, "each of them ended well"
        assert floods(daemon.log[before:], time.monotonic() - begun_s) == {}
    told = f"an alert after {found_s:.1f} s, delivered {delivered_s:.1f} s after the broker was there"
    print(f"without a broker, {len(took_s)} times: ready after at most {max(took_s):.1f} s, {told}")
    assert max(took_s) < READY_S * PATIENCE
    assert found_s < FIRST_SCORE_S * PATIENCE
    assert delivered_s < DELIVERED_S * PATIENCE
