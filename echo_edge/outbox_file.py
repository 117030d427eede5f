"""The place of ``outbox.db`` on disk: it and its log are made with their final size, so that a full disk stops nothing.

A plain database on a full disk cannot even delete. So every page is filled once and freed again before the first event,
and the log (``-wal``) is as long as it will ever be. SQLite deletes the log when it closes; a second name,
``outbox.room``, keeps its place for the next start.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

PAGE_BYTES = 4096
LOG_PAGES = 1024  # checkpoints come every 64; the rest is for the largest transaction
LOG_BYTES = 32 + LOG_PAGES * (24 + PAGE_BYTES)
ASIDE = 3  # damaged files that are kept, the newest
_HEAD_BYTES = 32  # of the log; without it SQLite takes the log for empty
_COPY_ON_WRITE = ("bcachefs", "btrfs", "zfs")


def make(path: Path, pages: int, make_tables: Callable[[sqlite3.Connection], None]) -> None:
    """Put a new file in place: whole, or not at all.

    Args:
        pages: its size.

    Raises:
        sqlite3.Error, OSError: no room, read-only, broken; nothing is left behind.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        disk = os.statvfs(path.parent)
        if disk.f_bavail * disk.f_frsize < pages * PAGE_BYTES + LOG_BYTES:  # not to fill it in vain
            raise OSError(errno.ENOSPC, f"no space left for {pages * PAGE_BYTES / 1e6:.0f} MB", str(path))
        fresh.touch(0o600)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
            # nothing to lose yet: no journal, no sync
            for pragma in (f"page_size={PAGE_BYTES}", "auto_vacuum=NONE", "journal_mode=OFF", "synchronous=OFF"):
                db.execute(f"PRAGMA {pragma}")
            _fill_up(db, pages)
            make_tables(db)
            db.execute("PRAGMA journal_mode=WAL")
        _sync(fresh)
        _log(path).unlink(missing_ok=True)  # of a file that somebody took away: it must not be applied to this one
        _sync(fresh.replace(path).parent)
    except BaseException:
        for part in ("", "-wal"):
            with suppress(OSError):
                fresh.with_name(fresh.name + part).unlink(missing_ok=True)
        raise


def _fill_up(db: sqlite3.Connection, pages: int) -> None:
    db.execute("CREATE TABLE pad(filling BLOB)")
    while db.execute("PRAGMA page_count").fetchone()[0] < pages:
        db.execute("INSERT INTO pad VALUES (zeroblob(32768))")
    db.execute("DROP TABLE pad")


def reserve_log(path: Path) -> None:
    """Give the log its size, before SQLite opens it.

    Raises:
        OSError: no room, read-only, broken.
    """
    log, room = _log(path), _room(path)
    if room.exists():
        if log.exists():  # killed while it closed: two names of one file, or a log that is newer
            room.unlink()
        else:
            with room.open("r+b") as file:  # what was in it is in the database
                file.write(bytes(_HEAD_BYTES))
                file.flush()
                os.fsync(file.fileno())
            room.rename(log)
    if log.exists() and log.stat().st_size >= LOG_BYTES:
        return
    log.touch(0o600)
    with log.open("ab") as file:
        while (missing := LOG_BYTES - file.tell()) > 0:
            file.write(bytes(min(missing, 1 << 20)))
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def keep_log(path: Path) -> None:
    """Give the log a second name, so that its place outlives the closing of the database."""
    with suppress(OSError):  # no file system must have that; then the next start needs room
        _room(path).hardlink_to(_log(path))


def move_aside(path: Path, mark: str) -> Path:
    """Make way for a new file; the old one and its log are kept under a name that ends in ``mark``.

    Raises:
        OSError: read-only, broken.
    """
    aside, number = path.with_name(f"{path.name}.corrupt-{mark}"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{mark}-{number}")
    with suppress(FileNotFoundError):
        _log(path).rename(_log(aside))
    path.rename(aside)
    forget_aside(path, ASIDE)
    return aside


def forget_aside(path: Path, kept: int) -> int:
    """Delete the files that were moved aside, but so many of the newest; returns the bytes that were freed.

    Raises:
        OSError: read-only, broken.
    """
    aside = [old for old in path.parent.glob(f"{path.name}.corrupt-*") if not old.name.endswith("-wal")]
    aside.sort(key=lambda old: old.stat().st_ctime_ns, reverse=True)  # when it was moved, whatever its name says
    freed = 0
    for old in (part for database in aside[kept:] for part in (database, _log(database)) if part.exists()):
        freed += old.stat().st_size
        old.unlink(missing_ok=True)
    return freed


def kind_of(error: Exception) -> str:
    """Say what an error of SQLite or the system means: ``disk_full``, ``storage_ro``, ``io_error`` or ``damaged``."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return "disk_full"
        return "storage_ro" if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) else "io_error"
    text = str(error).lower()
    if "is full" in text:
        return "disk_full"
    if "readonly" in text:
        return "storage_ro"
    return "io_error" if any(word in text for word in ("i/o error", "unable to open", "locked")) else "damaged"


def copies_on_write(path: Path) -> str | None:
    """The name of the file system, where it puts every change in a new place: there a full disk stops everything."""
    best, name = "", None
    with suppress(OSError, UnicodeDecodeError):
        here = str(path.resolve())
        for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
            _, folder, kind, *_ = line.split(" ")
            inside = here == folder or here.startswith(folder.rstrip("/") + "/")
            if inside and len(folder) >= len(best):
                best, name = folder, kind
    return name if name in _COPY_ON_WRITE else None


def _log(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _room(path: Path) -> Path:
    return path.with_suffix(".room")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
