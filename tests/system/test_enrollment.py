"""Guided enrollment through the real daemon: what a technician does to it, and what may go wrong meanwhile."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from echo_edge.enroll_command import EnrollDesk, until_decision
from echo_edge.errors import EnrollError
from sensors import Machine, PtyAccelerometer
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub, command
from tests.system.test_daemon import SIMULATED, WINDOW
from tests.system.test_daemon import config as usual_config

pytestmark = needs_mosquitto


def config(port: int, devices: dict[str, str]) -> str:
    """Short windows, so that there are enough of them soon."""
    return usual_config(port, devices).replace(WINDOW, "window: {length_s: 0.25, hop_s: 0.25}")


def desk(daemon: Daemon, point: str = "m/de") -> EnrollDesk:
    """What the command line uses, without the second that its process takes to start."""
    return EnrollDesk(daemon.state, point, alone=False)


def baselines(daemon: Daemon) -> int:
    with closing(sqlite3.connect(daemon.state / "state.db")) as db:
        return int(db.execute("SELECT count(*) FROM baseline").fetchone()[0])


@pytest.mark.timeout(120)
def test_a_technician_closes_the_terminal_pulls_the_cable_comes_back_extends_and_accepts(tmp_path: Path) -> None:
    link = tmp_path / "usb-sensor"

    def plug() -> PtyAccelerometer:
        sensor = PtyAccelerometer(Machine(1, 8000, 3), serial="SIM-1", link=link)
        sensor.__enter__()
        return sensor

    sensor = plug()
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        devices = config(broker.port, {"de": f"{{kind: accelerometer, port: {link}}}"})
        try:
            with Daemon(tmp_path / "daemon", devices) as daemon:
                wait_for(lambda: heard.hears("de"), "the sensor", 30)
                wait_for(lambda: heard.last("/p/de/baseline").get("baseline", "") is None, "no baseline, retained")
                arguments = ["start", daemon.config, "m/de", "--minutes", "0.2", "--by", "m.lang", "--json"]
                with subprocess.Popen(daemon.command("enroll", *arguments), stdout=subprocess.PIPE) as terminal:
                    assert terminal.stdout is not None
                    session = json.loads(terminal.stdout.readline())["progress"]["session"]
                    terminal.kill()
                again = command("enroll", "start", daemon.config, "m/de", env=daemon.env)
                assert again.returncode == 6
                assert f"is being enrolled already, in session {session}" in again.stderr
                wait_for(lambda: heard.last("/p/de/enroll").get("useful", 0) >= 10, "some windows", 20)

                sensor.unplug()
                wait_for(lambda: "lost" in heard.last("/p/de/enroll").get("paused", ""), "the pause", 10)
                useful = heard.last("/p/de/enroll")["useful"]
                sensor = plug()
                wait_for(lambda: heard.last("/p/de/enroll").get("useful", 0) > useful, "more windows", 30)
                assert "paused" not in heard.last("/p/de/enroll")

                wait_for(lambda: heard.last("/p/de/enroll").get("phase") == "deciding", "the self-test", 40)
                told = heard.last("/p/de/enroll")
                assert (told["session"], told["by"], told["self_test"]["passed"]) == (session, "m.lang", True)
                assert heard.last("/p/de/state")["level"] == "not_monitored"
                assert baselines(daemon) == 0
                office = desk(daemon)
                assert office.ask("extend", session=session, minutes=0.05)["phase"] == "collecting"
                wait_for(lambda: office.ask("status")["phase"] == "deciding", "the second self-test", 30)
                with pytest.raises(EnrollError, match="session deadbeef is over") as refused:
                    office.ask("accept", session="deadbeef")
                assert refused.value.exit_code == 6
                done = command("enroll", "accept", daemon.config, "m/de", "--by", "m.lang", "--json", env=daemon.env)
                accepted = json.loads(done.stdout)["result"]
                assert (accepted["baseline"], accepted["states"], accepted["provisional"]) == ("bl_0001", ["run"], True)
                heard.wait_level("m/de", "normal", daemon)
                wait_for(lambda: heard.last("/p/de/enroll")["session"] is None, "the end to be told")
                assert heard.last("/p/de/enroll")["last"]["phase"] == "accepted"
                assert heard.last("/p/de/baseline")["baseline"] == "bl_0001"
                assert daemon.stop() == 0
        finally:
            sensor.unplug()


@pytest.mark.timeout(90)
def test_a_rejection_and_a_killed_daemon_leave_the_old_baseline_in_force(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        daemon = Daemon(tmp_path / "daemon", config(broker.port, {"good": SIMULATED}))
        with daemon:
            wait_for(lambda: "good: ok" in daemon.log, "the daemon to start", 30)
            daemon.enroll("m/good", "--minutes", "0.1")
            office = desk(daemon, "m/good")

            def to_decision() -> str:
                session = str(office.ask("start", minutes=0.05)["session"])
                assert until_decision(office, session, lambda _: None)["phase"] == "deciding"
                return session

            rejected = office.ask("reject", session=to_decision(), why="a loose foot", by="a")
            assert rejected["reason"] == "stopped by a: a loose foot"
            session = to_decision()
            daemon.process.kill()
            daemon.process.wait(5)
        with daemon:
            assert heard.wait_level("m/good", "normal", daemon)["baseline"] == "bl_0001"
            wait_for(lambda: heard.last("/p/good/enroll").get("session", "") is None, "no session, retained")
            with pytest.raises(EnrollError, match="there is none"):
                office.ask("accept", session=session)
            assert baselines(daemon) == 1
