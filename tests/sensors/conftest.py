"""Small worlds for the drivers' tests, and the check that none of them leaves anything behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sensors.source import Source


def open_files() -> list[str]:
    """Return what this process has open, without the files that libraries keep for good."""
    opened = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith(("pipe:", "/dev/pts", "/dev/ptmx", "/tmp")):
            opened.append(target)
    return sorted(opened)


def children() -> set[int]:
    """Return the processes that this one started and that still exist, zombies included."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # the thread ended meanwhile
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before = open_files(), children()
    yield
    assert open_files() == before[0]
    assert children() <= before[1]


def collect(source: Source, frames: int) -> NDArray[np.float32]:
    """Read at least ``frames`` frames and fail on any gap."""
    parts: list[NDArray[np.float32]] = []
    while sum(len(part) for part in parts) < frames:
        block = source.read()
        if block is not None:
            assert not block.after_gap
            parts.append(block.samples)
    return np.concatenate(parts)
