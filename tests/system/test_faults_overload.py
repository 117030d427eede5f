"""An encoder that is slower than real time: the newest windows are judged, the others counted, and it is told."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import START_S, Daemon, MosquittoSub
from tests.system.faults import LONG, PATIENCE, floods, resident_mb, teach
from tests.system.test_daemon import config

POINTS = ("a", "b", "c", "d")
SLOW_S = 3.0  # six times the hop
OVERLOADED_S = 600.0 if LONG else 5.0
GROWN_MB, RECOVERED_S = 20.0, 30.0


def lag_ms(heard: MosquittoSub, since_s: float) -> float:
    """How late the newest verdict of every point came, of those since then; infinite while one has none."""
    newest = [[m.payload for m in heard.on(f"/p/{point}/state") if m.at_s > since_s][-1:] for point in POINTS]
    late = [state.get("lag_ms", float("inf")) for states in newest for state in states]
    return max(late) if len(late) == len(POINTS) else float("inf")


@needs_mosquitto
@pytest.mark.timeout(120 if not LONG else 900)
def test_an_encoder_that_is_too_slow_drops_and_counts_windows_takes_no_memory_and_catches_up(tmp_path: Path) -> None:
    mood = tmp_path / "mood"
    devices = dict.fromkeys(POINTS, "{kind: simulator, rate_hz: 16000, seed: 5}")
    with Mosquitto(tmp_path / "broker") as broker, MosquittoSub(broker.port) as heard:
        daemon = Daemon(tmp_path / "daemon", config(broker.port, devices), {"MOOD": str(mood)})
        daemon.module = "tests.system.moody"
        teach(daemon, seed=5)
        begun_s = time.monotonic()
        with daemon:
            for point in POINTS:
                heard.wait_level(f"m/{point}", "normal", daemon)
            wait_for(lambda: lag_ms(heard, begun_s) < 2000, "verdicts in time", START_S)
            before_mb = most_mb = resident_mb(daemon.process.pid)
            mood.write_text(f"slow {SLOW_S}")
            overloaded_s = time.monotonic()
            while time.monotonic() - overloaded_s < OVERLOADED_S:
                time.sleep(0.5)
                most_mb = max(most_mb, resident_mb(daemon.process.pid))
            wait_for(lambda: bool(heard.on("/gw/alerts")), "the overload to be told", START_S)
            alert = heard.on("/gw/alerts")[0].payload
            mood.unlink()
            well_s = time.monotonic()
            wait_for(lambda: lag_ms(heard, well_s) < 2000, "verdicts in time", RECOVERED_S * PATIENCE)
            recovered_s = time.monotonic() - well_s
            lived_s = time.monotonic() - begun_s
            assert {heard.last(f"/p/{point}/state")["level"] for point in POINTS} == {"normal"}
            assert daemon.stop() == 0
        dropped = int(re.findall(r"overload: (\d+) windows dropped so far", daemon.log)[-1])  # told every ten seconds
        assert floods(daemon.log, lived_s) == {}
    grown_mb = most_mb - before_mb
    expected = OVERLOADED_S * len(POINTS) / 0.5 * (1 - 0.5 * 2 / SLOW_S)
    found = f"{dropped} windows dropped (about {expected:.0f} were too many), {grown_mb:+.1f} MB"
    print(f"{OVERLOADED_S:.0f} s of overload: {found}, in time again after {recovered_s:.1f} s")
    assert alert["kind"] == "monitor"
    assert "windows were not judged" in alert["text"]
    assert dropped > (0.5 * expected if LONG else 0)
    assert grown_mb < GROWN_MB
    assert not [m for point in POINTS for m in heard.alerts(f"m/{point}")]
