"""The file ``outbox.db``: events until the broker has them, and the alerts that are open.

One thread owns it; nothing here waits or retries. A plain database on a full disk cannot even delete. So the file has
its final size from the start: its pages are filled once and freed again, SQLite is told never to grow it, and the
write-ahead log is grown once to more than any transaction needs. Closing deletes that log; a file ``outbox.room`` then
keeps its place until the next start.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from echo_edge.envelope import Payload
from echo_edge.outgoing import CRITICAL, REST, WARNING, Row

log = logging.getLogger(__name__)

VERSION = 1
PAGE_BYTES = 4096
PAD_BYTES, PADS_AT_ONCE = (
    32768 - 200,
    8,
)  # freed in small steps: one large delete would leave a log as large as the file
LOG_PAGES = 800  # more than the largest transaction and what is not checkpointed yet
ROOM_BYTES = (LOG_PAGES + 100) * (PAGE_BYTES + 24) + 65536  # the log with its frames' heads, and its index
MAX_PAYLOAD_BYTES = 8192
RESERVE_SHARE = 0.2  # of the pages: below, the less severe give way; only critical events may use them
LAST_PAGES = 16  # of the reserve, for lives and for settling
KEPT_SENT = 10_000
KEPT_DEAD = 1000

TABLES = """
CREATE TABLE alert(seq INTEGER PRIMARY KEY AUTOINCREMENT, rank INTEGER NOT NULL, topic TEXT NOT NULL,
    created_ns INTEGER NOT NULL, hour INTEGER NOT NULL, waits INTEGER NOT NULL, sent_ns INTEGER, payload BLOB NOT NULL);
CREATE INDEX to_send ON alert(rank, seq) WHERE sent_ns IS NULL;
CREATE INDEX sent ON alert(seq) WHERE sent_ns IS NOT NULL;
CREATE TABLE life(alert TEXT PRIMARY KEY, payload TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE dead(seq INTEGER PRIMARY KEY, reason INTEGER NOT NULL, at_ns INTEGER NOT NULL, topic TEXT NOT NULL,
    payload BLOB NOT NULL);
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE pad(filling BLOB);
"""


@dataclass(frozen=True, slots=True)
class Loss:
    """Events that were given up."""

    events: int
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One event on its way in; its payload is complete."""

    seq: int
    rank: int
    topic: str
    created_ns: int
    waits: bool
    payload: bytes
    life: tuple[str, Payload | None] | None


class NoRoomError(Exception):
    """There is no page left, not even for a critical event."""


class OutboxDb:
    """Opens the file, and makes it when it is new.

    Args:
        path: of the file; its folder exists.
        max_mb: the size that a new file gets.
        synchronous: of SQLite; anything but FULL is for showing that less is not enough.

    Raises:
        sqlite3.Error, OSError: here and in every method: full, read-only, damaged, of another version.
    """

    def __init__(self, path: Path, max_mb: float, synchronous: str = "FULL") -> None:
        self._room = path.with_suffix(".room")
        self._room.unlink(missing_ok=True)
        if not path.exists():
            _make(path, max_mb)
        self._db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            self._open(synchronous)
        except BaseException:
            self.close()
            raise

    def _open(self, synchronous: str) -> None:
        db = self._db
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        db.execute("PRAGMA wal_autocheckpoint=64")
        db.execute("PRAGMA journal_size_limit=-1")
        db.execute("PRAGMA temp_store=MEMORY")
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA cell_size_check=ON")
        if self._number("PRAGMA user_version") != VERSION:
            raise sqlite3.DatabaseError("written by another version of echo-edge")
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(str(found[0]))
        self._pages = self._number("PRAGMA page_count")
        db.execute(f"PRAGMA max_page_count={self._pages}")  # it is not kept in the file
        self.epoch = str(self._meta("epoch"))
        self.lost, self.hours = self._count_of("lost"), self._count_of("hours")
        self._sent = self._number("SELECT count(*) FROM alert WHERE sent_ns IS NOT NULL")
        self._grow_log()
        self._next_seq = self._number("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'alert'") + 1

    def _free_pads(self) -> None:
        while self._db.execute(f"DELETE FROM pad WHERE rowid IN (SELECT rowid FROM pad LIMIT {PADS_AT_ONCE})").rowcount:
            pass

    def _grow_log(self) -> None:
        """Write one transaction as large as any will be, so that the log has its size while there is room for it."""
        pads = LOG_PAGES * PAGE_BYTES // PAD_BYTES
        self._free_pads()  # of a start that was cut short here
        if self._free > LOG_PAGES + LAST_PAGES:
            self._db.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
                " INSERT INTO pad SELECT zeroblob(?) FROM n",
                (pads, PAD_BYTES),
            )
            self._free_pads()
        else:
            self._db.execute(
                "UPDATE alert SET waits = waits WHERE seq IN (SELECT seq FROM alert LIMIT ?)", (LOG_PAGES,)
            )

    def close(self) -> None:
        """Close; the place of the log that goes with it is kept by a file, as far as there is any."""
        with suppress(sqlite3.Error):
            self._db.close()
        with suppress(OSError), self._room.open("wb") as room:
            os.posix_fallocate(room.fileno(), 0, ROOM_BYTES)

    @property
    def next_seq(self) -> int:
        """The number that the next event gets."""
        return self._next_seq

    def lives(self) -> dict[str, Payload]:
        """What was last known of the alerts that are open."""
        known = {}
        for key, text in self._db.execute("SELECT alert, payload FROM life"):
            try:
                known[key] = json.loads(text)
            except ValueError:  # this one only
                log.error("what was stored of the alert of %s cannot be read; it begins anew", key)
        return known

    def insert(self, entries: Sequence[Entry]) -> Loss | None:
        """Put events on disk, all or none; the least severe and oldest that wait give way for them.

        Returns:
            What was given up for them.

        Raises:
            NoRoomError: not even for a critical one.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            pages = sum(_pages_of(entry) for entry in entries)
            lost = self._make_room(pages, min(entry.rank for entry in entries))
            for entry in entries:
                db.execute(
                    "INSERT INTO alert(seq, rank, topic, created_ns, hour, waits, payload)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        entry.seq,
                        entry.rank,
                        entry.topic,
                        entry.created_ns,
                        self.hours,
                        entry.waits,
                        entry.payload,
                    ),
                )
                self._set_life(entry.life)
            self._count(lost)
            db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._sent -= self._trimmed
        self._next_seq = max(self._next_seq, *(entry.seq + 1 for entry in entries))
        return self._loss(lost)

    def set_lives(self, lives: Iterable[tuple[str, Payload | None]]) -> None:
        """Store lives whose events could not be stored."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for life in lives:
                self._set_life(life)
            self._db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def front(self, count: int, without: Collection[str], after: tuple[int, int] = (-1, -1)) -> list[Row]:
        """The next rows to send after this one (rank, seq), of topics that are not held."""
        where = f" AND topic NOT IN ({_marks(without)})" if without else ""
        rows = self._db.execute(
            "SELECT seq, rank, topic, payload, waits FROM alert INDEXED BY to_send"
            f" WHERE sent_ns IS NULL AND (rank, seq) > (?, ?){where} ORDER BY rank, seq LIMIT ?",
            (*after, *without, count),
        )
        return [
            Row(self.epoch, seq, rank, topic, payload, bool(waits), True) for seq, rank, topic, payload, waits in rows
        ]

    def settle(self, sent: Sequence[int], dead: Sequence[tuple[int, int]], now_ns: int) -> None:
        """Note what the broker took, and put aside what it will never take (seq, reason); forget the oldest of each."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            # one statement: the lock of the interpreter is fought for at each
            settled = db.execute(
                f"UPDATE alert SET sent_ns = ? WHERE seq IN ({_marks(sent)}) AND sent_ns IS NULL", (now_ns, *sent)
            ).rowcount
            for seq, reason in dead:
                db.execute(
                    "INSERT OR REPLACE INTO dead SELECT seq, ?, ?, topic, payload FROM alert WHERE seq = ?",
                    (reason, now_ns, seq),
                )
                db.execute("DELETE FROM alert WHERE seq = ?", (seq,))
            if dead:
                db.execute(
                    f"DELETE FROM dead WHERE seq NOT IN (SELECT seq FROM dead ORDER BY seq DESC LIMIT {KEPT_DEAD})"
                )
            extra = max(0, self._sent + settled - KEPT_SENT)
            if extra:
                oldest = "SELECT seq FROM alert WHERE sent_ns IS NOT NULL ORDER BY seq LIMIT ?"
                db.execute(f"DELETE FROM alert WHERE seq IN ({oldest})", (extra,))
            db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._sent += settled - extra

    def replay(self, from_seq: int) -> int:
        """Owe again what was sent, from this number on; return how many."""
        count = 0
        while seqs := self._db.execute(  # in steps: the log has its size
            "SELECT seq FROM alert WHERE seq >= ? AND sent_ns IS NOT NULL LIMIT 200", (from_seq,)
        ).fetchall():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("UPDATE alert SET sent_ns = NULL WHERE seq = ?", seqs)
            self._db.execute("COMMIT")
            count += len(seqs)
        self._sent -= count
        return count

    def hour(self, max_age_hours: int) -> Loss | None:
        """Another hour of running went by: give up what has waited for too many of them.

        Hours of running, not of the clock: it may be set by years, either way.
        """
        db = self._db
        lost = [
            seq
            for (seq,) in db.execute(
                "SELECT seq FROM alert WHERE sent_ns IS NULL AND hour < ? LIMIT 200", (self.hours - max_age_hours,)
            )
        ]
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany("DELETE FROM alert WHERE seq = ?", [(seq,) for seq in lost])
            db.execute("INSERT OR REPLACE INTO meta VALUES ('hours', ?)", (self.hours + 1,))
            self._count(lost)
            db.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self.hours += 1
        return self._loss(lost)

    def waiting(self) -> int:
        """How many events wait; looks at each."""
        return self._number("SELECT count(*) FROM alert WHERE sent_ns IS NULL")

    def oldest_ns(self) -> int | None:
        """When the oldest event that waits was made."""
        first = (
            "SELECT created_ns FROM alert INDEXED BY to_send WHERE sent_ns IS NULL AND rank = ? ORDER BY seq LIMIT 1"
        )
        found = [self._db.execute(first, (rank,)).fetchone() for rank in (CRITICAL, WARNING, REST)]
        return min((row[0] for row in found if row is not None), default=None)

    def dead(self) -> int:
        return self._number("SELECT count(*) FROM dead")

    @property
    def free_bytes(self) -> int:
        """Room above the reserve, sent rows counted as free."""
        free = self._free + self._sent  # about a page each
        return max(0, free - int(RESERVE_SHARE * self._pages)) * PAGE_BYTES

    @property
    def usable_bytes(self) -> int:
        """All room above the reserve."""
        return (self._pages - int(RESERVE_SHARE * self._pages)) * PAGE_BYTES

    @property
    def _free(self) -> int:
        return self._number("PRAGMA freelist_count")

    def _make_room(self, pages: int, rank: int) -> list[int]:
        """Free so many pages beside the reserve; return the numbers of those that gave way unsent.

        Nothing gives way to what is less severe.
        """
        db, lost, trimmed = self._db, list[int](), 0
        goal = pages + int(RESERVE_SHARE * self._pages)
        while self._free < goal:
            oldest = db.execute("SELECT seq FROM alert WHERE sent_ns IS NOT NULL ORDER BY seq LIMIT 64").fetchall()
            if not oldest:
                oldest = self._evictable(REST) or (self._evictable(WARNING) if rank <= WARNING else [])
                if not oldest:
                    break
                lost += [seq for (seq,) in oldest]
            else:
                trimmed += len(oldest)
            db.executemany("DELETE FROM alert WHERE seq = ?", oldest)
        if self._free < pages + (LAST_PAGES if rank == CRITICAL else int(RESERVE_SHARE * self._pages)):
            raise NoRoomError("the outbox is full of alarms that were not delivered")
        self._trimmed = trimmed
        return lost

    def _evictable(self, rank: int) -> list[tuple[int]]:
        return self._db.execute(
            "SELECT seq FROM alert INDEXED BY to_send WHERE sent_ns IS NULL AND rank = ? ORDER BY seq LIMIT 1", (rank,)
        ).fetchall()

    def _set_life(self, life: tuple[str, Payload | None] | None) -> None:
        if life is None:
            return
        key, known = life
        if known is None:
            self._db.execute("DELETE FROM life WHERE alert = ?", (key,))
        else:
            self._db.execute("INSERT OR REPLACE INTO life VALUES (?, ?)", (key, json.dumps(known)))

    def _count(self, lost: Sequence[int]) -> None:
        if lost:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('lost', ?)", (self.lost + len(lost),))

    def _loss(self, lost: Sequence[int]) -> Loss | None:
        """After the commit."""
        self.lost += len(lost)
        return Loss(len(lost), min(lost), max(lost)) if lost else None

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _meta(self, name: str) -> object:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def _count_of(self, name: str) -> int:
        found = self._meta(name)
        return found if isinstance(found, int) else 0

    def _number(self, sql: str) -> int:
        (value,) = self._db.execute(sql).fetchone()
        return int(value)


def _make(path: Path, max_mb: float) -> None:
    """Put a new file in place: its tables, and every page that it will ever have, freed again.

    It is whole before it has its name: a start that is cut short leaves none.
    """
    new = path.with_suffix(".new")
    for left in (new, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        left.unlink(missing_ok=True)  # a log of another file would be read into this one
    free = os.statvfs(path.parent)
    if free.f_bavail * free.f_frsize < max_mb * 1e6 + ROOM_BYTES:
        raise OSError(errno.ENOSPC, f"no space left for {max_mb:g} MB", str(path))
    new.touch(mode=0o600)
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum=NONE")
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("PRAGMA synchronous=OFF")
        for table in TABLES.split(";"):
            db.execute(table)
        db.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_hex(8),))
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        for _ in range(max(0, int(max_mb * 1e6 / PAGE_BYTES) - pages) * PAGE_BYTES // PAD_BYTES):
            db.execute("INSERT INTO pad VALUES (zeroblob(?))", (PAD_BYTES,))
        db.execute("DELETE FROM pad")
        db.execute(f"PRAGMA user_version={VERSION}")
    for made in (new, path.parent):
        handle = os.open(made, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if made == new:
            new.rename(path)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _pages_of(entry: Entry) -> int:
    """Pages that an event may need at most: its own, and those that split above it."""
    life = 0 if entry.life is None else 2
    return len(entry.payload) // (PAGE_BYTES - 200) + 2 + life
