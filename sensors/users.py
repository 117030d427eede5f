"""Which program uses a device: what /proc tells of other processes."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def user_of(path: Path) -> str:
    """Return which other process has a file open, as far as /proc tells: ``iiod (pid 412)``; else an empty text."""
    real = os.path.realpath(path)
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        process = link.parts[2]
        with suppress(OSError):  # another user's process, or one that ended meanwhile
            if process != str(os.getpid()) and str(link.readlink()) == real:
                return f"{(Path('/proc') / process / 'comm').read_text('utf-8').strip()} (pid {process})"
    return ""
