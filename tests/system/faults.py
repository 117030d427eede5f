"""What tests of faults share: a daemon that knows its machines, memory that is measured, a log that is counted."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

from echo_edge.assembly import make_embedder
from echo_edge.baseline_store import open_store
from echo_edge.config_file import load_config
from echo_edge.enroll import Enrollment
from echo_edge.pipeline import Pipeline
from echo_edge.windows import Windower
from sensors import Block, Machine
from tests.system.daemon import Daemon

LONG = os.environ.get("ECHO_EDGE_TORTURE") == "1"
PATIENCE = 1 if LONG else 4
"""How much longer than promised something may take: the long forms measure, the short ones share their machine."""

TAUGHT_WINDOWS = 40
LINES_PER_MINUTE = 10


def teach(daemon: Daemon, seed: int, rate_hz: int = 16_000) -> None:
    """Enroll every point from a healthy machine, while no daemon runs: what would take it as long as it hears."""
    config = load_config(daemon.config)
    pipeline, store = Pipeline(config, make_embedder(config)), open_store(config, daemon.state)
    for name, point in config.points().items():
        window = point.window
        machine = Machine(seed, rate_hz, 1)
        windower = Windower(name, [0], rate_hz, window.length_s, window.hop_s, machine.unit)
        seconds = window.length_s + TAUGHT_WINDOWS * window.hop_s
        enrollment = Enrollment(name, "run", 0)  # of no sensor in particular: any may hear the machine
        pipeline.learn(enrollment, windower.push(Block(machine.samples(round(seconds * rate_hz)), 0, after_gap=True)))
        store.activate(name, store.propose(enrollment.finish(None), "lang").id, "lang")


def resident_mb(pid: int) -> float:
    """Memory of a process that is its own."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1e3


def floods(log: str, seconds: float) -> dict[str, int]:
    """Causes that made more lines than ten a minute, and ten for the first; numbers in a line make no other cause."""
    causes = Counter(re.sub(r"[0-9a-f]*\d[0-9a-f]*", "N", line) for line in log.splitlines())
    allowed = LINES_PER_MINUTE * max(1.0, seconds / 60)
    return {cause: count for cause, count in causes.items() if count > allowed}
