"""The tables of ``outbox.db`` and what is done with them: events until the broker has them, and alerts that are open.

One thread owns it; nothing here waits, retries or looks into a payload. No transaction is larger than the log, whose
size is fixed.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from echo_edge import outbox_file
from echo_edge.envelope import Payload
from echo_edge.outbox_file import PAGE_BYTES
from echo_edge.outgoing import CRITICAL, REST, WARNING, Row

log = logging.getLogger(__name__)

VERSION = 1
MAX_PAYLOAD_BYTES = 8192
RESERVE_SHARE = 0.2  # of the pages: below, the less severe give way; only critical events may use them
LAST_PAGES = 16  # of the reserve, for lives and for settling
KEPT_SENT = 10_000
KEPT_DEAD = 1000
AT_ONCE = 200  # rows that one transaction takes away or changes
CLOCK_WAS_SET_NS = 1_577_836_800 * 10**9  # 2020: before, nobody had told the machine the time

_STRICT = " STRICT"  # not every SQLite knows it
_TABLES = (
    "CREATE TABLE alert(seq INTEGER PRIMARY KEY AUTOINCREMENT, rank INTEGER NOT NULL, topic TEXT NOT NULL,"
    " created_ns INTEGER NOT NULL, hour INTEGER NOT NULL, waits INTEGER NOT NULL, sent_ns INTEGER,"
    f" payload BLOB NOT NULL CHECK(length(payload) <= {MAX_PAYLOAD_BYTES}))",
    "CREATE TABLE life(alert TEXT PRIMARY KEY, payload TEXT NOT NULL)",
    "CREATE TABLE dead(seq INTEGER PRIMARY KEY, reason INTEGER NOT NULL, at_ns INTEGER NOT NULL, topic TEXT NOT NULL,"
    " payload BLOB NOT NULL)",
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
_INDEXES = (
    "CREATE INDEX to_send ON alert(rank, seq) WHERE sent_ns IS NULL",
    "CREATE INDEX sent ON alert(seq) WHERE sent_ns IS NOT NULL",
)
_ROW_BYTES = 100  # of a row beside payload and topic, and of its place in an index
_TOO_LARGE_SEQ = 1 << 53  # JSON's whole numbers end there

Life = tuple[str, Payload | None]
"""Key of an open alert, and what must be known of it; None: it is over."""


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
    life: Life | None


class NoRoomError(Exception):
    """There is no page left that these events may use."""


class OutboxDb:
    """Opens the file, and makes it when there is none.

    Args:
        path: of the file; its folder exists.
        max_mb: the size that a new file gets.
        synchronous: of SQLite; anything but FULL is for showing that less is not enough.

    Raises:
        sqlite3.Error, OSError: here and in every method: full, read-only, damaged, of another version.
    """

    epoch: str
    """Of this file; with the number it makes an event's id."""

    lost: int
    """Events given up since the file was made."""

    untold: Loss | None
    """Those of them that no event has told of yet."""

    hours: int
    """For how long processes with this file have been running."""

    next_seq: int
    """The number that the next event gets."""

    def __init__(self, path: Path, max_mb: float, synchronous: str = "FULL") -> None:
        self._path = path
        if not path.exists():
            outbox_file.make(path, int(max_mb * 1e6 / PAGE_BYTES), _make_tables)
        outbox_file.reserve_log(path)
        self._db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            self._open(synchronous)
            self._check()
            self._take_stock()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close; the place of the log is kept."""
        outbox_file.keep_log(self._path)
        with suppress(sqlite3.Error):
            self._db.close()

    def lives(self) -> dict[str, Payload]:
        """What was last known of the alerts that are open."""
        known = {}
        for key, text in self._db.execute("SELECT alert, payload FROM life"):
            try:
                known[key] = json.loads(text)
            except ValueError:  # this one only
                log.error("what was stored of the alert of %s cannot be read; it begins anew", key)
        return known

    def make_room(self, entries: Sequence[Entry]) -> list[int]:
        """See to room for events: what was sent goes first, then dead letters, then what waits, as far as it may.

        An event pushes out what is as severe as itself or less, the least severe and of them the oldest first; nothing
        pushes out a critical one.

        Returns:
            Numbers of the events that were given up; ``lost`` and ``untold`` count them.
        """
        goal = self._reserve + _pages(entries)
        victims = (REST,) if any(entry.rank == REST for entry in entries) else (REST, WARNING)
        evicted: list[int] = []
        more = True
        while more and self._free < goal:
            gone, waiting = Counter[str](), list[int]()
            with self._change():
                while self._free < goal and gone.total() < AT_ONCE:
                    kind, seqs = self._next_out(victims)
                    if not (more := bool(seqs)):
                        break
                    self._delete("dead" if kind == "dead" else "alert", seqs)
                    gone[kind] += len(seqs)
                    waiting += seqs if kind == "waiting" else ()
                lost, untold = self._lose(waiting)
            self.lost, self.untold = lost, untold
            self._sent -= gone["sent"]
            self._dead -= gone["dead"]
            self._waiting -= gone["waiting"]
            evicted += waiting
        return evicted

    def is_short(self, entries: Sequence[Entry]) -> bool:
        """``make_room`` would have something to do."""
        return self._free < self._reserve + _pages(entries)

    def insert(self, entries: Sequence[Entry], lives: Iterable[Life] = (), *, told: bool = False) -> Loss | None:
        """Put events on disk, all or none, and before them lives whose events could not be put there.

        Args:
            told: the first event says what ``untold`` says now.

        Returns:
            What was given up for them.

        Raises:
            NoRoomError: critical ones may use the reserve but for the last of it, others not.
        """
        before = self.untold
        evicted = self.make_room(entries)
        last = all(entry.rank == CRITICAL for entry in entries)
        if self._free < _pages(entries) + (LAST_PAGES if last else self._reserve):
            raise NoRoomError("what fills it was not delivered and is as severe as what comes")
        told = told and self.untold == before
        with self._change():
            for life in lives:
                self._set_life(life)
            for entry in entries:
                self._db.execute(
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
                if entry.life is not None:
                    self._set_life(entry.life)
            if told:
                self._db.execute("DELETE FROM meta WHERE name = 'untold'")
        self._waiting += len(entries)
        self.next_seq = max(self.next_seq, *(entry.seq + 1 for entry in entries))
        self.untold = None if told else self.untold
        return _loss(evicted)

    def set_lives(self, lives: Iterable[Life]) -> None:
        """Store lives whose events could not be stored."""
        with self._change():
            for life in lives:
                self._set_life(life)

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
        """Note what the broker took, and put aside what it will never take (seq, reason); forget the oldest of each.

        At most ``AT_ONCE`` together.
        """
        kept, letters, settled = 0, 0, 0
        with self._change():
            # one statement: the lock of the interpreter is fought for at each
            if self._free > self._reserve:
                kept = self._db.execute(
                    f"UPDATE alert SET sent_ns = ? WHERE seq IN ({_marks(sent)}) AND sent_ns IS NULL", (now_ns, *sent)
                ).rowcount
                letters = sum(self._put_aside(seq, reason, now_ns) for seq, reason in dead)
                settled = kept + letters
            else:  # what is kept in spite of the reserve would be the first to go
                seqs = [*sent, *(seq for seq, _ in dead)]
                settled = self._db.execute(
                    f"DELETE FROM alert WHERE seq IN ({_marks(seqs)}) AND sent_ns IS NULL", seqs
                ).rowcount
            kept -= self._trim("alert", " WHERE sent_ns IS NOT NULL", self._sent + kept - KEPT_SENT)
            letters -= self._trim("dead", "", self._dead + letters - KEPT_DEAD)
        self._sent += kept
        self._dead += letters
        self._waiting -= settled

    def replay(self, from_seq: int) -> int:
        """Owe again what was sent, from this number on; return how many."""
        count = 0
        asked = "SELECT seq FROM alert WHERE seq >= ? AND sent_ns IS NOT NULL LIMIT ?"
        while seqs := self._column(asked, min(max(from_seq, 0), _TOO_LARGE_SEQ), AT_ONCE):
            with self._change():
                self._db.execute(f"UPDATE alert SET sent_ns = NULL WHERE seq IN ({_marks(seqs)})", seqs)
            self._sent -= len(seqs)
            self._waiting += len(seqs)
            count += len(seqs)
        return count

    def hour(self, max_age_hours: int) -> Loss | None:
        """Another hour of running went by: give up what has waited for too many of them.

        Hours of running, not of the clock: it may be set by years, either way.
        """
        with self._change():
            self._note("hours", str(self.hours + 1))
        self.hours += 1
        gone: list[int] = []
        while old := self._column(
            "SELECT seq FROM alert WHERE sent_ns IS NULL AND hour + ? < ? LIMIT ?",
            max_age_hours,
            self.hours - 1,
            AT_ONCE,
        ):
            with self._change():
                self._delete("alert", old)
                lost, untold = self._lose(old)
            self.lost, self.untold = lost, untold
            self._waiting -= len(old)
            gone += old
        return _loss(gone)

    def forget_after(self, seq: int, untold: Loss | None) -> None:
        """Drop what a commit that failed has left after all: it went another way, its numbers were given to nobody.

        Args:
            untold: the loss as it was before that commit.
        """
        with self._change():
            self._db.execute("DELETE FROM alert WHERE seq > ?", (seq,))
            self._db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'alert'", (seq,))
            if untold is not None and self.untold is None:
                self._note_untold(untold)
        self._take_stock()

    def waiting(self) -> int:
        """How many events wait."""
        return self._waiting

    def oldest_ns(self) -> int | None:
        """When the oldest event that waits was made; None: there is none, or the clock was not set then."""
        first = (
            "SELECT created_ns FROM alert INDEXED BY to_send WHERE sent_ns IS NULL AND rank = ? ORDER BY seq LIMIT 1"
        )
        found = [made_ns for rank in (CRITICAL, WARNING, REST) for made_ns in self._column(first, rank)]
        return min((made_ns for made_ns in found if made_ns >= CLOCK_WAS_SET_NS), default=None)

    def dead(self) -> int:
        """How many events were put aside, and are kept."""
        return self._dead

    @property
    def used_bytes(self) -> int:
        """Taken by what waits; what was sent gives way, and has its share by number."""
        used = self._pages - self._free
        gives_way = used * (self._sent + self._dead) // max(1, self._waiting + self._sent + self._dead)
        return (used - gives_way) * PAGE_BYTES

    @property
    def free_bytes(self) -> int:
        """Room for more, above the reserve."""
        return max(0, (self._pages - self._reserve) * PAGE_BYTES - self.used_bytes)

    def _open(self, synchronous: str) -> None:
        for pragma in (
            "locking_mode=EXCLUSIVE",  # the log's index is in memory then: no third file that needs room
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            "wal_autocheckpoint=64",
            "journal_size_limit=-1",
            "temp_store=MEMORY",
            "trusted_schema=OFF",
            "cell_size_check=ON",
        ):
            self._db.execute(f"PRAGMA {pragma}").fetchall()

    def _check(self) -> None:
        if (version := self._number("PRAGMA user_version")) != VERSION:
            raise sqlite3.DatabaseError(f"written by another version of echo-edge: {version} instead of {VERSION}")
        if (found := self._db.execute("PRAGMA integrity_check(1)").fetchone()) != ("ok",):
            raise sqlite3.DatabaseError(str(found[0]))
        tables = self._db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence'")
        if sorted(str(sql).removesuffix(_STRICT) for (sql,) in tables) != sorted((*_TABLES, *_INDEXES)):
            raise sqlite3.DatabaseError("its tables are not ours")
        # what a failed sync has left in the log alone must not be built upon
        self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        self._pages = self._number("PRAGMA page_count")
        self._reserve = int(RESERVE_SHARE * self._pages)
        self._number(f"PRAGMA max_page_count={self._pages}")  # it is not kept in the file

    def _take_stock(self) -> None:
        meta = {str(name): str(value) for name, value in self._db.execute("SELECT name, value FROM meta")}
        try:
            self.epoch, self.lost = meta["epoch"], int(meta.get("lost", "0"))
            self.hours = int(meta.get("hours", "0"))
            untold = [int(number) for number in meta.get("untold", "").split()]
            self.untold = Loss(*untold) if untold else None
        except (KeyError, ValueError, TypeError) as error:
            raise sqlite3.DatabaseError(f"its notes on itself are not ours: {error!r}") from error
        seqs = self._column("SELECT seq FROM sqlite_sequence UNION ALL SELECT max(seq) FROM alert")
        self.next_seq = max((seq for seq in seqs if isinstance(seq, int)), default=0) + 1
        if not re.fullmatch("[0-9a-f]{16}", self.epoch) or not 0 < self.next_seq < _TOO_LARGE_SEQ:
            raise sqlite3.DatabaseError(f"{self.epoch!r}, {self.next_seq}: these are not our epoch and number")
        self._waiting = self._number("SELECT count(*) FROM alert WHERE sent_ns IS NULL")
        self._sent = self._number("SELECT count(*) FROM alert WHERE sent_ns IS NOT NULL")
        self._dead = self._number("SELECT count(*) FROM dead")

    def _next_out(self, victims: Sequence[int]) -> tuple[str, list[int]]:
        """What has to go next, a few at a time, and of which kind it is."""
        if seqs := self._column("SELECT seq FROM alert WHERE sent_ns IS NOT NULL ORDER BY seq LIMIT 8"):
            return "sent", seqs
        if seqs := self._column("SELECT seq FROM dead ORDER BY seq LIMIT 8"):
            return "dead", seqs
        for rank in victims:
            if seqs := self._column(
                "SELECT seq FROM alert INDEXED BY to_send WHERE sent_ns IS NULL AND rank = ? ORDER BY seq LIMIT 8", rank
            ):
                return "waiting", seqs
        return "waiting", []

    def _put_aside(self, seq: int, reason: int, now_ns: int) -> int:
        found = self._db.execute("SELECT topic, payload FROM alert WHERE seq = ? AND sent_ns IS NULL", (seq,))
        if (row := found.fetchone()) is None:
            return 0
        self._delete("alert", [seq])
        self._db.execute("INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?)", (seq, reason, now_ns, *row))
        return 1

    def _trim(self, table: str, where: str, excess: int) -> int:
        if excess <= 0:
            return 0
        oldest = f"SELECT seq FROM {table}{where} ORDER BY seq LIMIT ?"
        return self._db.execute(f"DELETE FROM {table} WHERE seq IN ({oldest})", (excess,)).rowcount

    def _delete(self, table: str, seqs: Sequence[int]) -> None:
        self._db.execute(f"DELETE FROM {table} WHERE seq IN ({_marks(seqs)})", seqs)

    def _set_life(self, life: Life) -> None:
        key, known = life
        if known is None:
            self._db.execute("DELETE FROM life WHERE alert = ?", (key,))
        else:
            self._db.execute("INSERT OR REPLACE INTO life VALUES (?, ?)", (key, json.dumps(known)))

    def _lose(self, seqs: Sequence[int]) -> tuple[int, Loss | None]:
        """Note that these were given up; return what ``lost`` and ``untold`` become with the commit."""
        if (loss := _loss(seqs, self.untold)) is not None and seqs:
            self._note("lost", str(self.lost + len(seqs)))
            self._note_untold(loss)
        return self.lost + len(seqs), loss

    def _note_untold(self, loss: Loss) -> None:
        self._note("untold", f"{loss.events} {loss.first_seq} {loss.last_seq}")

    def _note(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @property
    def _free(self) -> int:
        return self._number("PRAGMA freelist_count")

    @contextmanager
    def _change(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if self._db.in_transaction:  # a full disk ends it by itself
                    self._db.execute("ROLLBACK")
            raise

    def _column(self, sql: str, *arguments: int) -> list[int]:
        return [row[0] for row in self._db.execute(sql, arguments)]

    def _number(self, sql: str) -> int:
        (value,) = self._db.execute(sql).fetchone()
        return int(value)


def _make_tables(db: sqlite3.Connection) -> None:
    strict = _STRICT if sqlite3.sqlite_version_info >= (3, 37) else ""
    for sql in (*(f"{table}{strict}" for table in _TABLES), *_INDEXES):
        db.execute(sql)
    db.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_hex(8),))
    db.execute(f"PRAGMA user_version={VERSION}")


def _loss(seqs: Sequence[int], before: Loss | None = None) -> Loss | None:
    if not seqs:
        return before
    if before is None:
        return Loss(len(seqs), min(seqs), max(seqs))
    return Loss(before.events + len(seqs), min(before.first_seq, *seqs), max(before.last_seq, *seqs))


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _pages(entries: Iterable[Entry]) -> int:
    """Pages that events need at most: rows of just over half a page fill each only by half; and those that split."""
    size_bytes = sum(len(entry.payload) + len(entry.topic) + _ROW_BYTES + _life_bytes(entry.life) for entry in entries)
    return 2 * size_bytes // (PAGE_BYTES - 100) + 4


def _life_bytes(life: Life | None) -> int:
    return 0 if life is None or life[1] is None else len(json.dumps(life[1])) + len(life[0])
