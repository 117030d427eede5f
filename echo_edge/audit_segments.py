"""Closed parts of the audit log: old rows in files of their own, so that the table does not grow for ever.

A row ``log.close`` says up to where the log was closed, with the hash of that last row and a digest of the rows that
stay in the table (those that tell what became of baselines and keys). It stands in the chain that the signed head ends,
so the chain goes on from it, and leads back through the files: each begins where the one before ended.
"""

from __future__ import annotations

import gzip
import json
import logging
import sqlite3
from dataclasses import astuple
from itertools import pairwise
from pathlib import Path

from echo_edge import audit
from echo_edge.audit import AuditEntry, Closed
from echo_edge.signing import SigningKey
from echo_edge.store import write_durably

log = logging.getLogger(__name__)

ENTRIES = 5000  # of one file
FILES = 200  # that are kept, the newest
MOST_AT_ONCE = 5  # entries of one transaction
STAY = ("propose", "import", "activate", "rollback", "reject", "label", "trust", "thin", audit.BROKEN)
"""Rows that the daemon reads again; a person makes them, so they are few."""


def close_old(db: sqlite3.Connection, key: SigningKey, folder: Path, entries: int = ENTRIES) -> None:
    """Close the oldest part of the log where it is longer than two, in the caller's transaction.

    A log that does not verify is left whole, for a person to look at.

    Raises:
        OSError: the file cannot be written; nothing was changed.
    """
    closed = audit.last_closed(db)
    length = audit.last_seq(db) - closed.seq
    if length < 2 * entries or length % (entries // 10) > MOST_AT_ONCE:  # what fails is not tried with every entry
        return
    if problems := audit.verify(db, key.public).problems:
        log.error("the audit log is not closed, it does not verify: %s", problems[0])
        return
    upto = closed.seq + entries
    rows = [one for one in audit.entries_after(db, closed.seq) if one.seq <= upto]
    text = "".join(json.dumps(astuple(row), separators=(",", ":")) + "\n" for row in rows)
    folder.mkdir(exist_ok=True, mode=0o700)
    write_durably(folder / f"{closed.seq + 1:09d}-{upto:09d}.jsonl.gz", gzip.compress(text.encode(), mtime=0))
    audit.forget(db, upto, STAY)
    audit.append_closed(db, key, Closed(upto, rows[-1].hash, audit.digest(db, upto)))
    for old in files(folder)[:-FILES]:
        old.unlink(missing_ok=True)


def files(folder: Path) -> list[Path]:
    """The closed parts, the oldest first."""
    return sorted(folder.glob("*-*.jsonl.gz"))


def read(path: Path) -> list[AuditEntry]:
    """The rows of a closed part.

    Raises:
        ValueError, OSError, EOFError: damaged, or not to be read.
    """
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    return [audit.entry_of(json.loads(line)) for line in lines]


def verify(folder: Path, closed: Closed) -> list[str]:
    """Follow the chain from where the table begins back through the files; returns what is wrong.

    The oldest files may be gone.
    """
    problems: list[str] = []
    seq, hash_ = closed.seq, closed.hash
    for path in reversed(files(folder)):
        try:
            rows = read(path)
            ends = (rows[-1].seq, rows[-1].hash)
        except (ValueError, OSError, EOFError, IndexError, TypeError) as error:
            return [*problems, f"{path.name}: cannot be read: {error}"]
        follow = all(b.previous == a.hash and b.seq == a.seq + 1 for a, b in pairwise(rows))
        if ends != (seq, hash_) or not follow or not all(row.whole for row in rows):
            problems.append(f"{path.name}: is not what was closed there, or another part of the log is missing")
        seq, hash_ = rows[0].seq - 1, rows[0].previous
    if closed.seq and not files(folder):
        problems.append(f"the closed part up to entry {closed.seq} is missing")
    return problems
