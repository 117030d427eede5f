"""Audit log: who did what, when and why, in rows that are only added; each row's hash covers the one before.

The newest row's number and hash are signed (the *head*), so that rows taken away from the end are missed, too.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from echo_edge.errors import BaselineError
from echo_edge.signing import PublicKey, Purpose, SigningKey

TABLES = (
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,"
    " why TEXT NOT NULL, point TEXT NOT NULL, object TEXT NOT NULL, sha256 TEXT NOT NULL, previous TEXT NOT NULL,"
    " hash TEXT NOT NULL)",
    "CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'rows stay'); END",
    "CREATE TRIGGER audit_keeps_text BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'rows stay'); END",
    # INSERT OR REPLACE would delete without asking the first trigger
    "CREATE TRIGGER audit_grows_at_its_end BEFORE INSERT ON audit WHEN NEW.seq <= (SELECT max(seq) FROM audit)"
    " BEGIN SELECT RAISE(ABORT, 'rows are added at the end'); END",
    "CREATE TABLE audit_head(id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL,"
    " signature BLOB NOT NULL)",
)
FIRST = "0" * 64  # what stands for the hash before the first row
COLUMNS = "seq, time_ns, who, what, why, point, object, sha256, previous, hash"
MAX_TEXT = 500  # characters of a name, note or reason
BROKEN = "seal_broken"
CLOSED = "log.close"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row."""

    seq: int
    time_ns: int
    who: str
    what: str
    """Of a baseline ``propose``, ``import``, ``activate``, ``rollback``, ``reject``, ``label``, ``thin``; of a key
    ``trust``; ``order``, ``order_refused``, or what an order did; ``seal_broken``: see ``append``; ``log.close``: see
    ``Closed``."""

    why: str
    point: str
    """``machine/point``; empty where none is concerned."""

    object: str
    """A baseline's or a key's id, or an order's verb."""

    sha256: str
    """Of the baseline's manifest."""

    previous: str
    """Hash of the row before."""

    hash: str

    @property
    def whole(self) -> bool:
        """The row is as it was written."""
        return self.hash == _hash(list(astuple(self))[:-1])


@dataclass(frozen=True, slots=True)
class Closed:
    """Up to where old rows were moved out of the table (``audit_segments``)."""

    seq: int = 0
    hash: str = FIRST
    """Of that row."""

    digest: str = ""
    """Of the rows before it that stayed."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of the whole log found."""

    entries: int
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Breaks that were found and written down when the next row was added."""


def check_words(who: str, *texts: str) -> None:
    """Insist on a name, and on texts that can be kept.

    Raises:
        BaselineError: they are not.
    """
    for text in (who, *texts):
        if len(text) > MAX_TEXT or not text.isprintable():
            raise BaselineError(f"{text[:40]!r}: names and reasons are one line of at most {MAX_TEXT} characters")
    if not who.strip():
        raise BaselineError("nobody is named; say who does it with --by")


def append(
    db: sqlite3.Connection,
    key: SigningKey,
    who: str,
    what: str,
    why: str,
    point: str = "",
    object_: str = "",
    sha256: str = "",
) -> AuditEntry:
    """Add a row, in the caller's transaction.

    It follows the signed head. Where head and rows do not match, a row ``seal_broken`` says so first: a damaged log
    must not stop a person from mending things, and must not look whole again either.

    Raises:
        BaselineError: see ``check_words``.
    """
    check_words(who, why)
    head, last = _head(db), _last(db)
    seq, previous = (0, FIRST) if last is None else (last.seq, last.hash)
    if head is not None or last is not None:
        if head is None or not _sealed(head, key.public):
            why_broken = "the head is missing, damaged or signed with another key"
            entry = _insert(db, seq + 1, "echo-edge", BROKEN, why_broken, "", "", "", previous)
            seq, previous = entry.seq, entry.hash
        else:  # rows that do not lead to this hash are found by everyone who checks, now and later
            seq, previous = max(seq, head[0]), head[1]
    entry = _insert(db, seq + 1, who, what, why, point, object_, sha256, previous)
    signature = key.sign(Purpose.AUDIT_HEAD, _head_bytes(entry.seq, entry.hash))
    db.execute("INSERT OR REPLACE INTO audit_head VALUES (1, ?, ?, ?)", (entry.seq, entry.hash, signature))
    return entry


def entries(
    db: sqlite3.Connection, limit: int | None = None, point: str | None = None, before: int | None = None
) -> list[AuditEntry]:
    """The newest rows, of all points or of one, before that number or all, in order of time."""
    conditions = {"point = ?": point, "seq < ?": before}
    asked = {condition: value for condition, value in conditions.items() if value is not None}
    where = f" WHERE {' AND '.join(asked)}" if asked else ""
    rows = db.execute(
        f"SELECT {COLUMNS} FROM audit{where} ORDER BY seq DESC LIMIT ?",
        [*asked.values(), -1 if limit is None else limit],
    )
    return [entry_of(row) for row in rows][::-1]


def last_seq(db: sqlite3.Connection) -> int:
    """The number of the newest row; 0 in an empty log."""
    (seq,) = db.execute("SELECT coalesce(max(seq), 0) FROM audit").fetchone()
    return int(seq)


def entries_after(db: sqlite3.Connection, seq: int) -> list[AuditEntry]:
    """The rows behind this one, in order of time."""
    return [entry_of(row) for row in db.execute(f"SELECT {COLUMNS} FROM audit WHERE seq > ? ORDER BY seq", (seq,))]


def last_of(db: sqlite3.Connection, point: str, what: Sequence[str]) -> AuditEntry | None:
    """The newest row of a point about one of these."""
    row = db.execute(
        f"SELECT {COLUMNS} FROM audit WHERE point = ? AND what IN ({', '.join('?' * len(what))})"
        " ORDER BY seq DESC LIMIT 1",
        (point, *what),
    ).fetchone()
    return None if row is None else entry_of(row)


def verify(db: sqlite3.Connection, key: PublicKey | None) -> AuditReport:
    """Follow the chain from its first row, or from where it was closed, to the signed head."""
    rows, closed = entries(db), last_closed(db)
    report = AuditReport(len(rows))
    stayed = [row for row in rows if row.seq <= closed.seq]
    if closed.seq and digest(db, closed.seq) != closed.digest:
        report.problems.append(f"the entries up to {closed.seq} are not those that stayed when the log was closed")
    report.problems.extend(f"entry {row.seq} was changed" for row in stayed if not row.whole)
    report.notes.extend(f"entry {row.seq}: {row.why}" for row in stayed if row.what == BROKEN)
    seq, previous = closed.seq, closed.hash
    for row in rows[len(stayed) :]:
        if row.seq != seq + 1:
            report.problems.append(f"entries {seq + 1} to {row.seq - 1} are missing")
        if not row.whole:
            report.problems.append(f"entry {row.seq} was changed")
        elif row.previous != previous:
            report.problems.append(f"entry {row.seq} does not follow the one before it")
        if row.what == BROKEN:
            report.notes.append(f"entry {row.seq}: {row.why}")
        seq, previous = row.seq, row.hash
    head = _head(db)
    if head is None:
        if rows:
            report.problems.append("the signed head of the log is missing")
    elif key is None or not _sealed(head, key):
        report.problems.append("the head of the log is damaged, or signed with another key")
    elif (head[0], head[1]) != (seq, previous):
        report.problems.append(f"the log ends at entry {seq}, its signed head is entry {head[0]}: the end was changed")
    return report


def last_closed(db: sqlite3.Connection) -> Closed:
    """Where the log was closed last."""
    row = db.execute(f"SELECT {COLUMNS} FROM audit WHERE what = ? ORDER BY seq DESC LIMIT 1", (CLOSED,)).fetchone()
    if row is None:
        return Closed()
    entry = entry_of(row)
    return Closed(int(entry.object) if entry.object.isdecimal() else 0, entry.sha256, entry.why.rpartition(" ")[2])


def append_closed(db: sqlite3.Connection, key: SigningKey, closed: Closed) -> None:
    """Say where the log is closed now."""
    why = f"older entries are in a file; digest of those that stayed: {closed.digest}"
    append(db, key, "echo-edge", CLOSED, why, "", str(closed.seq), closed.hash)


def digest(db: sqlite3.Connection, upto: int) -> str:
    """One hash of the rows up to this number."""
    hashes = db.execute("SELECT hash FROM audit WHERE seq <= ? ORDER BY seq", (upto,))
    return hashlib.sha256(" ".join(str(hash_) for (hash_,) in hashes).encode()).hexdigest()


def forget(db: sqlite3.Connection, upto: int, stay: Sequence[str]) -> None:
    """Delete the rows up to this number but of these kinds, in the caller's transaction."""
    guard = next(sql for sql in TABLES if "audit_keeps_rows" in sql)
    db.execute("DROP TRIGGER audit_keeps_rows")
    db.execute(f"DELETE FROM audit WHERE seq <= ? AND what NOT IN ({', '.join('?' * len(stay))})", (upto, *stay))
    db.execute(guard)


def entry_of(row: Sequence[Any]) -> AuditEntry:
    """A row as read; a damaged one may hold anything, and its hash will tell."""
    seq, time_ns, *texts = row
    return AuditEntry(seq, time_ns if isinstance(time_ns, int) else -1, *(str(text) for text in texts))


def _insert(
    db: sqlite3.Connection,
    seq: int,
    who: str,
    what: str,
    why: str,
    point: str,
    object_: str,
    sha256: str,
    previous: str,
) -> AuditEntry:
    now_ns = time.time_ns()
    hash_ = _hash([seq, now_ns, who, what, why, point, object_, sha256, previous])
    entry = AuditEntry(seq, now_ns, who, what, why, point, object_, sha256, previous, hash_)
    db.execute(f"INSERT INTO audit({COLUMNS}) VALUES ({', '.join('?' * 10)})", astuple(entry))
    return entry


def _hash(told: list[Any]) -> str:
    return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()


def _last(db: sqlite3.Connection) -> AuditEntry | None:
    rows = entries(db, 1)
    return rows[0] if rows else None


def _head(db: sqlite3.Connection) -> tuple[Any, Any, Any] | None:
    row: tuple[Any, Any, Any] | None = db.execute("SELECT seq, hash, signature FROM audit_head").fetchone()
    return row


def _sealed(head: tuple[Any, Any, Any], key: PublicKey) -> bool:
    seq, hash_, signature = head
    return isinstance(signature, bytes) and key.signed(Purpose.AUDIT_HEAD, _head_bytes(seq, hash_), signature)


def _head_bytes(seq: object, hash_: object) -> bytes:
    return json.dumps([seq, hash_], default=repr).encode()
