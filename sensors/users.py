"""Which program uses a device: what /proc tells of other processes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def user_of(path: Path, proc: Path = Path("/proc")) -> str:
    """Return which other process has a file open, as far as /proc tells: ``iiod (pid 412)``; else an empty text.

    Processes come and go while they are looked at, and those of other users do not show what they have open.
    """
    real = os.path.realpath(path)
    with suppress(OSError):
        for process in proc.iterdir():
            number = process.name
            if number.isdigit() and number != str(os.getpid()) and _has_open(process / "fd", real):
                with suppress(OSError):
                    return f"{(process / 'comm').read_text('utf-8').strip()} (pid {number})"
    return ""


def _has_open(folder: Path, real: str) -> bool:
    with suppress(OSError):
        for link in folder.iterdir():
            with suppress(OSError):
                if str(link.readlink()) == real:
                    return True
    return False
