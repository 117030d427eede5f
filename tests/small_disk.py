"""A small file system in memory, and how to take all that is left of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mounted on ``folder``, with options such as ``size=20m``; skips where this user may not mount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def free(disk: Path) -> int:
    """Blocks that can still be taken."""
    return os.statvfs(disk).f_bavail


def fill(disk: Path) -> None:
    """Take every byte."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while ballast.write(b"x" * size):
                    pass
    assert free(disk) == 0
