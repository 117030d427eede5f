"""Indicators that the daemon computes from a waveform arrive over MQTT, enrolled or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub

pytestmark = needs_mosquitto

CONFIG = """\
gateway: {{id: gw-hall3, outbox: {{max_mb: 4}}}}
mqtt: {{port: {port}, state_interval_s: 0.5}}
devices:
  acc1: {{kind: simulator, rate_hz: 25600, channels: 3, fault: outer_race}}
machines:
  pump-12:
    shaft_hz: 29.5
    vibration_class: medium
    points:
      de:
        device: acc1
        channels: [x, y, z]
        window: {{length_s: 2, hop_s: 2}}
        bearing: {{rolling_elements: 9, ball_diameter_mm: 7.94, pitch_diameter_mm: 39.04}}
"""


@pytest.mark.timeout(90)
def test_a_point_that_nobody_enrolled_tells_velocity_zone_and_the_line_of_its_broken_bearing(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
        Daemon(tmp_path / "daemon", CONFIG.format(port=broker.port)),
    ):
        wait_for(lambda: len(heard.on("/p/de/features")) > 1, "two messages of features", 40)
        told = heard.last("/p/de/features")
        assert heard.last("/p/de/state")["reason"] == "not enrolled yet"
    print(json.dumps(told, indent=2))
    features = told["features"]
    assert features["velocity_rms_x_mm_s"] == pytest.approx(1.9, abs=0.3)
    assert (told["zone"], told["calibration"]) == ("B", "sensor")
    for axis in "xyz":
        assert features[f"envelope_bpfo_{axis}_db"] > features[f"envelope_bpfi_{axis}_db"] + 10
