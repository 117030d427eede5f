"""An encoder that is slower than real time, or hangs: windows are dropped and counted, and who watches is told."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from echo_edge.daemon import EXIT_ENGINE, HUNG_AFTER_S
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.system.daemon import START_S, Daemon, MosquittoSub
from tests.system.faults import LONG, PATIENCE, floods, resident_mb, teach
from tests.system.manager import Manager
from tests.system.test_daemon import SIMULATED, config

pytestmark = [needs_mosquitto, pytest.mark.timeout(900 if LONG else 120)]
POINTS = ("a", "b", "c", "d")
SLOW_S = 3.0  # six times the hop
OVERLOADED_S = 600.0 if LONG else 4.0
IN_TIME_MS = 2000.0
GROWN_MB, RECOVERED_S = 20.0, 30.0
FED_S = 2.0  # the main loop turns once a second
READY_S = 10.0


class Bench:
    """A daemon that judges four points by an encoder of moods, heard by a broker and by a service manager."""

    def __init__(self, folder: Path) -> None:
        self.mood = folder / "mood"
        broker, self.manager = Mosquitto(folder / "broker"), Manager(folder / "notify")
        env = {**self.manager.env, "MOOD": str(self.mood)}
        self.daemon = Daemon(folder / "daemon", config(broker.port, dict.fromkeys(POINTS, SIMULATED)), env)
        self.daemon.module = "tests.system.moody"
        teach(self.daemon, seed=5)
        self._around = ExitStack()
        for running in (broker, self.manager):
            self._around.enter_context(running)
        self.heard = self._around.enter_context(MosquittoSub(broker.port))

    def start(self) -> float:
        """Seconds until it was ready."""
        begun_s = time.monotonic()
        self.daemon.start()
        wait_for(lambda: bool(self.manager.heard_s("READY=1", begun_s)), "READY", 2 * START_S)
        return self.manager.heard_s("READY=1", begun_s)[0] - begun_s

    def close(self) -> None:
        with self._around:
            self.daemon.process.kill()
            self.daemon.process.wait(5)

    def lag_ms(self, since_s: float) -> float:
        """How late the newest verdict of every point came, of those since then; infinite while one has none."""
        newest = [[m.payload for m in self.heard.on(f"/p/{p}/state") if m.at_s > since_s][-1:] for p in POINTS]
        late = [state.get("lag_ms", float("inf")) for states in newest for state in states]
        return max(late) if len(late) == len(POINTS) else float("inf")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    try:
        bench.start()
        for point in POINTS:
            bench.heard.wait_level(f"m/{point}", "normal", bench.daemon)
        yield bench
    finally:
        bench.close()


def test_too_slow_an_encoder_drops_and_counts_windows_takes_no_memory_and_catches_up(bench: Bench) -> None:
    daemon, heard, begun_s = bench.daemon, bench.heard, time.monotonic()
    wait_for(lambda: bench.lag_ms(begun_s) < IN_TIME_MS, "verdicts in time", START_S)
    before_mb = most_mb = resident_mb(daemon.process.pid)
    bench.mood.write_text(f"slow {SLOW_S}")
    overloaded_s = time.monotonic()
    while time.monotonic() - overloaded_s < OVERLOADED_S:
        time.sleep(0.5)
        most_mb = max(most_mb, resident_mb(daemon.process.pid))
    wait_for(lambda: bool(heard.on("/gw/alerts")), "the overload to be told", START_S)
    bench.mood.unlink()
    well_s = time.monotonic()
    wait_for(lambda: bench.lag_ms(well_s) < IN_TIME_MS, "verdicts in time", RECOVERED_S * PATIENCE)
    recovered_s = time.monotonic() - well_s
    dropped = int(re.findall(r"overload: (\d+) windows dropped so far", daemon.log)[-1])  # told every ten seconds
    expected = OVERLOADED_S * len(POINTS) / 0.5 * (1 - 0.5 * 2 / SLOW_S)
    found = f"{dropped} windows dropped (about {expected:.0f} were too many), {most_mb - before_mb:+.1f} MB"
    print(f"{OVERLOADED_S:.0f} s of overload: {found}, in time again after {recovered_s:.1f} s")
    alert = heard.on("/gw/alerts")[0].payload
    assert alert["kind"] == "monitor"
    assert "windows were not judged" in alert["text"]
    assert dropped > (0.5 * expected if LONG else 0)
    assert most_mb - before_mb < GROWN_MB
    assert {heard.last(f"/p/{point}/state")["level"] for point in POINTS} == {"normal"}
    assert not [m for point in POINTS for m in heard.alerts(f"m/{point}")]
    assert floods(daemon.log, time.monotonic() - begun_s) == {}


def test_a_daemon_whose_encoder_hangs_feeds_no_watchdog_and_ends_by_itself_where_nobody_watches(bench: Bench) -> None:
    manager, process = bench.manager, bench.daemon.process
    begun_s = time.monotonic()
    wait_for(lambda: len(manager.heard_s("WATCHDOG=1", begun_s)) > 1, "the watchdog to be fed", START_S)
    bench.mood.write_text("hang")
    hung_s = time.monotonic()
    time.sleep(FED_S + 1.5)
    fed_s = max(0.0, manager.heard_s("WATCHDOG=1")[-1] - hung_s)
    print(f"fed for {fed_s:.1f} s after it hung")
    assert fed_s < FED_S
    if LONG:
        assert process.wait(HUNG_AFTER_S + 20) == EXIT_ENGINE
        print(f"ended by itself {time.monotonic() - hung_s:.0f} s after it hung")
    process.send_signal(signal.SIGABRT)  # what a service manager does when the watchdog starves
    process.wait(5)
    bench.mood.unlink()
    if LONG:
        ready_s = bench.start()
        print(f"ready {ready_s:.1f} s after its restart")
        assert ready_s < READY_S
