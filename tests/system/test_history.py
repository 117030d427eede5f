"""The real daemon remembers, and takes what people say of its alerts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echo_edge.history_reader import HistoryReader
from echo_edge.operation import OperationLog
from echo_edge.records import Event, Score
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub, command

pytestmark = needs_mosquitto

ALERT = "ab" * 16
CONFIG = """
gateway: {{id: gw, outbox: {{max_mb: 4}}}}
mqtt: {{port: {port}, state_interval_s: 0.2}}
devices: {{acc: {{kind: simulator, rate_hz: 16000, seed: 5}}}}
machines: {{m: {{points: {{de: {{device: acc, window: {{length_s: 0.5, hop_s: 0.5}}}}}}}}}}
"""


@pytest.mark.timeout(90)
def test_windows_are_remembered_before_and_after_an_enrollment_and_feedback_goes_through_the_daemon(
    tmp_path: Path,
) -> None:
    daemon = Daemon(tmp_path / "daemon", CONFIG.format(port=0))
    score = Score("m/de", 1, 2, 9.0, 5.0, "run", 0, (), "bl_0001", True, {"echo": 9.0})
    OperationLog(daemon.state / "state.db").note(
        Event("m/de", ALERT, 1, "open", "warning", 2, 2, 9.0, 2, score), "bl_0001"
    )
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        daemon.config.write_text(CONFIG.format(port=broker.port))
        with daemon:
            wait_for(lambda: heard.hears("de"), "the sensor")
            daemon.enroll("m/de", "--minutes", "0.1")
            heard.wait_level("m/de", "normal", daemon)
            assert heard.last("/p/de/state")["score"]["false_alarms_per_month"]["kept"] is True
            said = command("feedback", daemon.config, ALERT, "fault", "--by", "m.lang", "--json", env=daemon.env)
            assert said.returncode == 0, said.stderr + daemon.log
            assert json.loads(said.stdout)["by"] == "m.lang"
            unknown = command("review", "dismiss", daemon.config, "7", env=daemon.env)
            assert (unknown.returncode, "there is no review item 7" in unknown.stderr) == (1, True), unknown.stderr
            nameless = command("review", "dismiss", daemon.config, "1", "--by", " ", env=daemon.env)
            assert (nameless.returncode, "nobody is named" in nameless.stderr) == (1, True), nameless.stderr
            refused = command("review", "accept", daemon.config, "1", env=daemon.env)
            assert (refused.returncode, "the history holds no window" in refused.stderr) == (1, True), refused.stderr
            assert daemon.stop() == 0
    parts, damaged = HistoryReader(daemon.state / "history").parts("m/de", 0, 2**62)
    assert damaged == 0
    unjudged = sum(int(part.is_level("unjudged").sum()) for part in parts)
    normal = sum(int(part.is_level("normal").sum()) for part in parts)
    assert unjudged >= 12
    assert normal >= 1
    assert parts[-1].circumstances.indicators[0] == "velocity_rms_mm_s"
    log = OperationLog(daemon.state / "state.db")
    assert log.of("m/de", "bl_0001").monitored_s >= 0.5
    assert log.of("m/de", "bl_0001").faults == 1
    assert not log.episode(ALERT).open
