"""The daemon as a service manager sees it: ready, fed, reloaded, and what it leaves out so that the rest can work."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echo_edge.crashes import TIMES
from tests.broker import wait_for
from tests.system.daemon import START_S, Daemon, command
from tests.system.manager import Manager

NOBODY = 1  # a port on which no broker ever listens
CONFIG = f"""\
gateway: {{id: gw, outbox: {{max_mb: 4}}}}
mqtt: {{port: {NOBODY}}}
devices:
  acc: {{kind: simulator, rate_hz: 16000, seed: 5}}
machines:
  m: {{points: {{de: {{device: acc, window: {{length_s: 0.5, hop_s: 0.5}}}}}}}}
"""
SECOND = CONFIG.replace("de: {", "nde: {device: acc, window: {length_s: 0.5, hop_s: 0.5}}, de: {")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path / "notify") as manager:
        yield manager


def started(tmp_path: Path, manager: Manager, config: str = CONFIG) -> Daemon:
    return Daemon(tmp_path / "daemon", config, manager.env)


def status(daemon: Daemon) -> dict[str, Any]:
    """What the command says, asked with a configuration that is valid whatever is in the daemon's file."""
    good = daemon.config.with_name("good.yaml")
    good.write_text(CONFIG)
    told = command("status", good, "--json", env=daemon.env)
    assert told.returncode == 0, told.stderr
    return dict(json.loads(told.stdout))


def alarms(daemon: Daemon) -> str:
    return " ".join(alarm["text"] for alarm in status(daemon)["gateway"]["alarms"])


@pytest.mark.timeout(120)
def test_it_is_ready_without_a_broker_fed_while_it_works_and_keeps_what_works_when_a_reload_is_refused(
    tmp_path: Path, manager: Manager
) -> None:
    with started(tmp_path, manager) as daemon:
        wait_for(lambda: manager.count("READY=1") == 1, "READY", START_S)
        wait_for(lambda: manager.count("WATCHDOG=1") >= 2, "the watchdog to be fed", 20)
        wait_for(lambda: "NOT connected to the broker" in manager.status, "the status", 20)

        daemon.config.write_text(CONFIG.replace("rate_hz", "rate_khz"))
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: manager.count("READY=1") == 2, "the refused reload to end", 20)
        assert manager.count("RELOADING=1") == 1
        assert "configuration refused" in manager.status
        assert "rate_khz" in manager.status
        wait_for(lambda: "rate_khz" in alarms(daemon), "the alarm", 20)

        daemon.config.write_text(CONFIG.replace("id: gw", "id: another"))
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "gateway.id: is not changed by a reload" in manager.status, "the refused name", 20)

        daemon.config.write_text(SECOND)
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: manager.count("READY=1") == 4, "the reload", START_S)
        wait_for(lambda: "points: 2 " in manager.status, "both points", 20)
        assert "refused" not in manager.status
        assert daemon.stop() == 0
    assert manager.count("STOPPING=1") == 1


@pytest.mark.timeout(120)
def test_a_process_that_stands_still_feeds_no_watchdog(tmp_path: Path, manager: Manager) -> None:
    """The manager kills it then: tests/system/test_box.py shows that with a real one."""
    with started(tmp_path, manager) as daemon:
        wait_for(lambda: manager.count("WATCHDOG=1") >= 2, "the watchdog to be fed", START_S)
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        fed = manager.count("WATCHDOG=1")
        time.sleep(2.5)
        assert manager.count("WATCHDOG=1") == fed
        daemon.process.send_signal(signal.SIGCONT)
        wait_for(lambda: manager.count("WATCHDOG=1") > fed, "it to go on", 20)


@pytest.mark.timeout(180)
def test_a_point_at_work_in_three_kills_is_left_out_and_a_broken_file_leaves_the_last_that_worked(
    tmp_path: Path, manager: Manager
) -> None:
    daemon = started(tmp_path, manager)
    for life in range(TIMES):
        daemon.start()
        wait_for(lambda life=life: manager.count("READY=1") == life + 1, "READY", START_S)  # type: ignore[misc]
        daemon.process.send_signal(signal.SIGSTOP)
        note = daemon.state / "at-work"
        boot = note.read_bytes().split(b" ")[0]
        note.write_bytes((boot + b" point:m/de").ljust(256))  # where the kill would have to hit by chance
        os.kill(daemon.process.pid, signal.SIGKILL)
        daemon.process.wait(10)
    daemon.config.write_text("gateway: {id: gw}\n")
    with daemon:
        wait_for(lambda: manager.count("READY=1") == TIMES + 1, "READY in safe mode", START_S)
        wait_for(lambda: "m/de is not monitored" in alarms(daemon), "the alarm", 20)
        assert status(daemon)["points"][0]["level"] == "not_monitored"
        assert "configuration refused" in manager.status
        assert daemon.stop() == 0
    assert "at work was: point:m/de" in daemon.log
