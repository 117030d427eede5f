"""The plant tells a machine's state over MQTT: a change settles, an untaught state is no alarm, a person overrules."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sensors import Machine, PtyAccelerometer
from tests.broker import HOST, Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub, command
from tests.system.test_daemon import config

pytestmark = needs_mosquitto
TOLD = 'operating_state: {topic: plant/m/state, settle_s: 2, values: {"1": run}}'


def tell(port: int, payload: str) -> None:
    program = shutil.which("mosquitto_pub")
    assert program is not None
    told = [program, "-h", HOST, "-p", str(port), "-r", "-q", "1", "-t", "plant/m/state", "-m", payload]
    subprocess.run(told, check=True, timeout=10)


@pytest.mark.timeout(120)
def test_states_are_told_settle_and_raise_no_alarm_while_nobody_taught_them(tmp_path: Path) -> None:
    machine = Machine(1, 16_000, 3)
    with (
        PtyAccelerometer(machine) as sensor,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        text = config(broker.port, {"de": f"{{kind: accelerometer, port: {sensor.port}}}"})
        daemon = Daemon(tmp_path / "daemon", text.replace("    points:", f"    {TOLD}\n    points:"))
        with daemon:
            wait_for(lambda: heard.hears("de"), "the sensor", 30)
            tell(broker.port, "1")
            daemon.enroll("m/de", "--minutes", "0.1")
            state = heard.wait_level("m/de", "normal", daemon)
            assert state["operating_state"] == {"name": "run", "source": "mqtt"}

            tell(broker.port, "run-40hz")
            state = heard.wait_level("m/de", "unknown", daemon)
            assert state["operating_state"] == {"name": "run-40hz", "source": "mqtt"}
            assert state["reason"].endswith("`echo-edge enroll start CONFIG m/de --state run-40hz`")
            machine.set_fault("outer_race")
            time.sleep(2)
            machine.set_fault(None)
            time.sleep(1)
            assert heard.last("/p/de/state")["level"] == "unknown"

            before = len(heard.on("/p/de/state"))
            tell(broker.port, json.dumps({"name": "1"}))
            heard.wait_level("m/de", "normal", daemon)
            reasons = [m.payload.get("reason") for m in heard.on("/p/de/state")[before:]]
            assert "settling after the change to run" in reasons

            done = command("state", "set", daemon.config, "m/de", "washing", "--minutes", "5", env=daemon.env)
            assert (done.returncode, "Nobody taught it" in done.stdout) == (0, True), done.stderr
            assert heard.wait_level("m/de", "unknown", daemon)["operating_state"]["source"] == "order"
            shown = command("state", "show", daemon.config, "m/de", "--json", env=daemon.env)
            assert [told["source"] for told in json.loads(shown.stdout)["told"]] == ["order", "mqtt"]
            done = command("state", "clear", daemon.config, "m/de", env=daemon.env)
            assert done.stdout.strip() == "m/de: run (mqtt)."
            heard.wait_level("m/de", "normal", daemon)
            assert daemon.stop() == 0
        alone = command("state", "clear", daemon.config, "m/de", env=daemon.env)
        assert alone.returncode == 1
        assert "no daemon answers there" in alone.stderr
    assert not heard.on("/alert")
