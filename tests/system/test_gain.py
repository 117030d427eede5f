"""Somebody turns the gain of a microphone: that is told as what it is, and no machine is blamed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sensors import Machine, PulseMicrophone
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub
from tests.system.test_daemon import config

pytestmark = needs_mosquitto


@pytest.mark.timeout(120)
def test_a_gain_that_is_turned_and_set_back_raises_no_alarm_and_says_what_it_was(tmp_path: Path) -> None:
    with (
        PulseMicrophone(16_000) as microphone,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        microphone.play_machine(Machine(1, 16_000, 1, level=0.3))
        devices = {"mic": "{kind: microphone, device: default, rate_hz: 16000}"}
        with Daemon(tmp_path / "daemon", config(broker.port, devices), microphone.env) as daemon:
            wait_for(lambda: heard.hears("mic"), "the microphone", 30)
            daemon.enroll("m/mic", "--minutes", "0.15")
            heard.wait_level("m/mic", "normal", daemon)
            assert microphone.control("set-source-volume", "vmic.monitor", "50%") == 0
            state = heard.wait_level("m/mic", "not_monitored", daemon)
            assert "gain_changed, Capture Volume was 100 %, is 50 % (set it back, or enroll again)" in state["reason"]
            quality = heard.last("/p/mic/quality")
            assert (quality["state"], quality["reasons"][-1]) == ("degraded", "gain_changed")
            assert quality["findings"][-1]["advice"] == "set it back, or enroll again"
            assert microphone.control("set-source-volume", "vmic.monitor", "100%") == 0
            heard.wait_level("m/mic", "normal", daemon)
            wait_for(lambda: heard.last("/p/mic/quality")["reasons"] == [], "the finding to go", 10)
            assert daemon.stop() == 0
    assert "settings changed: Capture Volume was 100 %, is 50 %" in daemon.log
    assert not heard.on("/alert")
