"""A vibration meter: its readings are published with their units, and nothing is judged by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensors import PtyVibrationMeter
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub, command
from tests.system.test_daemon import config

pytestmark = needs_mosquitto


@pytest.mark.timeout(90)
def test_readings_are_published_and_a_lost_meter_is_told(tmp_path: Path) -> None:
    with (
        PtyVibrationMeter() as meter,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        device = f"{{kind: vibration_meter, port: {meter.port}, velocity_scale_mm_s: 0.001, rate_hz: 2}}"
        with Daemon(tmp_path / "daemon", config(broker.port, {"fan": device})) as daemon:
            wait_for(lambda: bool(heard.last("/p/fan/features")), "the readings", 30)
            features = heard.last("/p/fan/features")["features"]
            assert features["temperature_c"] == pytest.approx(26.5, abs=1)
            assert features["velocity_x_mm_s"] == pytest.approx(1.2, abs=0.1)
            assert heard.last("/p/fan/features")["calibration"] == "unverified"
            wait_for(lambda: "not a waveform" in heard.last("/p/fan/state").get("reason", ""), "why nothing is judged")
            assert heard.last("/p/fan/state")["level"] == "not_monitored"
            assert heard.last("/p/fan/quality")["state"] == "ok"
            refused = command("enroll", "start", daemon.config, "m/fan", "--minutes", "1", env=daemon.env)
            assert refused.returncode == 3
            assert "measures indicators, not a waveform" in refused.stderr
            meter.unplug()
            wait_for(lambda: heard.last("/p/fan/quality")["state"] == "lost", "the lost meter", 10)
            told = len(heard.on("/p/fan/features"))
            assert daemon.stop() == 0
    assert len(heard.on("/p/fan/features")) == told
