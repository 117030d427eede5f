"""What an error of SQLite means for a database of ours, and what mends it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from echo_edge.outbox_file import kind_of
from echo_edge.store import AS_SERVICE, free_bytes, may_use

DAMAGED = "put a backup back, or move the file away to begin anew"


def trouble(error: Exception, path: Path, *, room: int | None = None, may_use: bool | None = None) -> tuple[str, str]:
    """What is wrong with this database, and the mend; nobody is told to move away what is whole.

    Args:
        room: bytes that are free on its disk; absent, it is asked.
        may_use: whether this user may use the file and its folder; absent, they are asked.
    """
    kind = kind_of(error)
    if kind == "disk_full" or (kind == "io_error" and (_room(path) if room is None else room) == 0):
        return f"the disk is full ({error})", f"free space on the disk of {path.parent}"
    if kind != "damaged" and not (_may_use(path) if may_use is None else may_use):
        return f"this user may not use it ({error})", AS_SERVICE
    if "locked" in str(error):
        return str(error), "another program has it open: wait, or stop that"
    if kind == "storage_ro":
        return str(error), "mount its disk for writing, or replace it"
    if kind == "io_error":
        return str(error), "look at the disk's health"
    return str(error), f"look at the disk's health, then {DAMAGED}"


def _room(path: Path) -> int | None:
    with suppress(OSError):
        return free_bytes(path.parent)
    return None


def _may_use(path: Path) -> bool:
    return may_use(path.parent) and (not path.exists() or os.access(path, os.R_OK | os.W_OK))
