"""Does a process grow? Memory, descriptors and threads of the daemon's processes, and the slopes of these."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import theilslopes

EVERY_S = 5.0
WARM_UP_SHARE, WARM_UP_MOST_S = 0.3, 300.0
FEWEST = 24  # samples after the warm-up, two minutes: fewer tell no slope
MB = 1e6
QUANTITIES = {"rss_mb": "memory, MB", "descriptors": "open descriptors", "threads": "threads"}


@dataclass(frozen=True, slots=True)
class Slope:
    """A robust line through the samples of one quantity after the warm-up; per hour."""

    per_h: float
    low: float
    high: float
    """95 % confidence, as if the samples were independent: it is wider in truth."""


@dataclass
class Process:
    """What was seen of one process."""

    pid: int
    what: str
    times_s: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in QUANTITIES})

    @property
    def lived_s(self) -> float:
        return self.times_s[-1] - self.times_s[0]

    def settled(self, quantity: str) -> tuple[list[float], list[float]]:
        """Times and values after the warm-up."""
        ends_s = self.times_s[0] + min(WARM_UP_SHARE * self.lived_s, WARM_UP_MOST_S)
        first = next(i for i, at_s in enumerate(self.times_s) if at_s >= ends_s)
        return self.times_s[first:], self.values[quantity][first:]

    def slope(self, quantity: str) -> Slope | None:
        """None: too few samples."""
        times_s, values = self.settled(quantity)
        if len(values) < FEWEST:
            return None
        per_s, _, low, high = theilslopes(np.array(values), np.array(times_s), 0.95)
        return Slope(*(float(x) * 3600 for x in (per_s, low, high)))


def look(pid: int) -> dict[str, float]:
    """What one process uses now."""
    folder = Path(f"/proc/{pid}")
    pages = int((folder / "statm").read_text("ascii").split()[1])
    return {
        "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / MB,
        "descriptors": sum(1 for _ in (folder / "fd").iterdir()),
        "threads": sum(1 for _ in (folder / "task").iterdir()),
    }


def children(pid: int) -> dict[int, str]:
    """Pid -> the program's last two words, of all processes below."""
    parents, found = dict[int, int](), dict[int, str]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    below = [pid]
    while below:
        parent = below.pop()
        for child in (c for c, p in parents.items() if p == parent):
            with suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                found[child] = next((w.decode() for w in words if w.startswith(b"sensors.")), "child")
            below.append(child)
    return found


class Sampler:
    """Looks at a process and those below it every ``EVERY_S``; a context manager with a thread of its own."""

    def __init__(self, pid: Callable[[], int]) -> None:
        """``pid``: of the process that counts now."""
        self.processes: dict[int, Process] = {}
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            pid = self._pid()
            for number, what in {pid: "daemon", **children(pid)}.items():
                with suppress(OSError, IndexError):  # it ended meanwhile
                    seen = look(number)
                    process = self.processes.setdefault(number, Process(number, what))
                    process.times_s.append(time.monotonic())
                    for name, value in seen.items():
                        process.values[name].append(value)
