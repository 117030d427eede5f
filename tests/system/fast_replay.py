"""The daemon's parts under windows as fast as they are judged; what it holds after each part of them, as JSON lines.

Started as ``python -m tests.system.fast_replay CONFIG STATE WINDOWS PARTS``: a machine that is well, then faulty, then
well again, over and over, at every point; alerts open and clear and are delivered, history is written.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from echo_edge.assembly import Parts, wire
from echo_edge.capture import SensorStatus
from echo_edge.config_file import load_config
from echo_edge.records import Window
from echo_edge.windows import Windower
from sensors import Block, Machine, SourceInfo
from tests.system.faults import resident_mb

RATE_HZ, SEED = 16_000, 5
CYCLE = 40  # windows of health and then of a fault


def cycle() -> list[Window]:
    """Windows of one point, of half a second each; the second half of them with a fault."""
    machine = Machine(SEED, RATE_HZ, 1)
    windower = Windower("", [0], RATE_HZ, 0.5, 0.5, machine.unit)
    found = []
    for fault in (None, "cavitation"):
        machine.set_fault(fault, 1.0)
        found += windower.push(Block(machine.samples(CYCLE // 2 * RATE_HZ // 2), 0, after_gap=fault is None))
    return found


def replay(parts: Parts, points: list[str], windows: int, first: int) -> None:
    """Judge so many windows, one after the other at each point."""
    heard, begin_ns = cycle(), time.time_ns()
    info = SourceInfo(RATE_HZ, 1, heard[0].unit, f"simulator:{SEED}")
    for number in range(first, first + windows // len(points)):
        window = heard[number % CYCLE]
        for point in points:
            parts.mailbox.put(replace(window, point=point, time_ns=begin_ns + number * 500_000_000))
        if number % CYCLE == 0:
            parts.mailbox.report("sim", SensorStatus("sim", "ok", info=info))
        while parts.mailbox.waiting:
            time.sleep(0.0005)
        assert parts.monitor.failure is None


def main(config_file: Path, folder: Path, windows: int, parts_count: int) -> None:
    config = load_config(config_file)
    parts = wire(config, folder, [], None)
    parts.outbox.start()
    parts.monitor.start()
    parts.publisher.start()
    points = list(config.points())
    done = 0
    for _ in range(parts_count):
        replay(parts, points, windows // parts_count, done)
        done += windows // parts_count // len(points)
        while parts.outbox.status.waiting:
            time.sleep(0.01)
        gc.collect()
        held = {
            "mb": resident_mb(os.getpid()),
            "descriptors": len(list(Path("/proc/self/fd").iterdir())),
            "threads": threading.active_count(),
            "objects": len(gc.get_objects()),
            "alerts": parts.publisher.counters.events_accepted,
        }
        print(json.dumps(held), flush=True)
    parts.mailbox.close()
    parts.monitor.join(10)
    parts.publisher.stop()
    parts.outbox.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
