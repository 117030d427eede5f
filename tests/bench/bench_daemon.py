"""The daemon with two streams: memory, start to first verdict, growth over ``--minutes``."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sensors import AlsaMicrophone, Machine, PtyAccelerometer
from tests.broker import Mosquitto, wait_for
from tests.system.daemon import Daemon, MosquittoSub

LENGTH_S = 5
TARGET_RSS_MB, TARGET_START_S, TARGET_GROWTH_MB = 400, 5 + LENGTH_S, 5

CONFIG = """\
gateway: {{id: bench}}
mqtt: {{port: {port}, state_interval_s: 0.2}}
devices:
  mic: {{kind: microphone, device: {device}, rate_hz: 48000}}
  acc: {{kind: accelerometer, port: {tty}}}
machines:
  pump:
    points:
      mic: {{device: mic, window: &w {{length_s: {length}, hop_s: {length}}}}}
      de: {{device: acc, channels: [x, y, z], window: *w}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long to watch for growth (default: 10)")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            AlsaMicrophone(Machine(1, 48_000, 1)) as mic,
            PtyAccelerometer(Machine(1, 25_600, 3)) as acc,
            Mosquitto(folder / "broker") as broker,
            MosquittoSub(broker.port) as heard,
        ):
            text = CONFIG.format(port=broker.port, device=mic.device, tty=acc.port, length=LENGTH_S)
            measure(Daemon(folder / "daemon", text, mic.env), heard, minutes)


def measure(daemon: Daemon, heard: MosquittoSub, minutes: float) -> None:
    with daemon:  # a first run, to enroll: a verdict needs something to judge by
        for point in ("mic", "de"):
            wait_for(lambda p=point: heard.hears(p), f"the sensor of {point}", 30)  # type: ignore[misc]
            daemon.enroll(f"pump/{point}", "--minutes", "1.01", timeout_s=120)
    heard.messages.clear()
    begun_s = time.monotonic()
    with daemon:
        first_s = []
        for point in ("mic", "de"):
            heard.wait_level(f"pump/{point}", "normal", daemon)
            first_s.append(next(m.at_s for m in heard.on(f"/p/{point}/state") if m.payload["level"] == "normal"))
        start_s = max(first_s) - begun_s
        time.sleep(3 * LENGTH_S)  # every buffer has been used once
        resident = [memory_mb(daemon)]
        cpu_s, watched_s = cpu_time_s(daemon), time.monotonic()
        for _ in track(range(max(1, round(minutes * 6))), "watching memory"):
            time.sleep(10)
            resident.append(memory_mb(daemon))
        load = (cpu_time_s(daemon) - cpu_s) / (time.monotonic() - watched_s)
        lag_ms = np.median([m.payload["lag_ms"] for m in heard.on("/state") if "lag_ms" in m.payload])
    third = max(1, len(resident) // 3)
    growth_mb = float(np.median(resident[-third:]) - np.median(resident[:third]))
    table = Table(
        "figure", "measured", "target", title=f"daemon, 48 kHz microphone + 3 x 25.6 kHz, {LENGTH_S} s windows"
    )
    table.add_row("resident memory", f"{max(resident):.0f} MB", f"< {TARGET_RSS_MB} MB")
    table.add_row("start to first verdict of both", f"{start_s:.1f} s", f"< {TARGET_START_S} s")
    table.add_row(f"growth over {minutes:g} min", f"{growth_mb:+.1f} MB", f"< {TARGET_GROWTH_MB} MB")
    table.add_row("verdict after the last sample", f"{lag_ms:.0f} ms", "")
    table.add_row("load", f"{load:.1%} of one core", "")
    Console().print(table)
    figures = {"rss_mb": max(resident), "start_s": start_s, "growth_mb": growth_mb, "minutes": minutes, "load": load}
    print(json.dumps({"daemon": figures}))


def memory_mb(daemon: Daemon) -> float:
    """Resident memory of the daemon and its sound process."""
    return sum(_kb(pid, "VmRSS") for pid in _family(daemon)) / 1024


def cpu_time_s(daemon: Daemon) -> float:
    ticks = 0
    for pid in _family(daemon):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def _family(daemon: Daemon) -> list[int]:
    pid = daemon.process.pid
    children = [int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    return [pid, *children]


def _kb(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


if __name__ == "__main__":
    main()
