"""The file ``state.db``: its tables, its transactions, and what becomes of a file from another version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from echo_edge import audit
from echo_edge.database_trouble import trouble
from echo_edge.errors import BaselineError

VERSION = 1  # PRAGMA user_version; 0 with a table ``baseline`` is what came before versions were counted
TABLES = (
    # the vectors last: a row's first columns are read without them
    "CREATE TABLE baseline(number INTEGER PRIMARY KEY AUTOINCREMENT, point TEXT NOT NULL, manifest BLOB NOT NULL,"
    " signature BLOB NOT NULL, vectors BLOB NOT NULL)",
    "CREATE TRIGGER baseline_keeps_rows BEFORE DELETE ON baseline BEGIN SELECT RAISE(ABORT, 'rows stay'); END",
    "CREATE TRIGGER baseline_keeps_text BEFORE UPDATE ON baseline BEGIN SELECT RAISE(ABORT, 'rows stay'); END",
    "CREATE TABLE active(point TEXT PRIMARY KEY, baseline TEXT NOT NULL, since_ns INTEGER NOT NULL,"
    " manifest_sha256 TEXT NOT NULL, audit_seq INTEGER NOT NULL, signature BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE trusted_key(key_id TEXT PRIMARY KEY, public_key BLOB NOT NULL, added_ns INTEGER NOT NULL,"
    " signature BLOB NOT NULL) WITHOUT ROWID",
    *audit.TABLES,
)
OF_OLD = "baseline_unsigned"
"""Where the rows of a version without signatures are kept; nobody is judged by them."""


class StateDb:
    """Opens the database and makes its tables when it is new.

    Raises:
        BaselineError: here and in every transaction: locked, damaged, full, not to be written, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connected() as db:
            db.execute("PRAGMA journal_mode=WAL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self.change() as db:
                self._make_tables(db)
        with self.read() as db:
            self._check(db)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of things, whatever is written meanwhile."""
        with self._connected() as db, _transaction(db, "BEGIN"):
            yield db

    @contextmanager
    def change(self, *, keep: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that is stored whole at its end, or not at all; never where it is not to be kept."""
        with self._connected() as db, _transaction(db, "BEGIN IMMEDIATE", "COMMIT" if keep else "ROLLBACK"):
            yield db

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=2, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous=FULL")
                db.execute("PRAGMA trusted_schema=OFF")
                db.text_factory = _text
                yield db
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: a message that quotes a damaged schema
            raise BaselineError(f"{self._path}: {'; '.join(trouble(error, self._path))}") from error

    def _check(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise BaselineError(f"{self._path}: written by another version of echo-edge ({version}); update this one")
        ours = [sql.split("(")[0].split()[2] for sql in TABLES if sql.startswith("CREATE TABLE")]
        found = db.execute(
            f"SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name IN ({', '.join('?' * len(ours))})", ours
        )
        # a trigger less, and the audit log would no longer be one
        if sorted(sql for (sql,) in found) != sorted(TABLES):
            raise BaselineError(f"{self._path}: its tables are not ours, or damaged; move the file away to begin anew")

    @staticmethod
    def _make_tables(db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA user_version").fetchone() != (0,):
            return  # another process was faster
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        last = 0
        if "baseline" in tables:
            (last,) = db.execute("SELECT coalesce(max(id), 0) FROM baseline").fetchone()
            db.execute(f"ALTER TABLE baseline RENAME TO {OF_OLD}")
        for sql in TABLES:
            db.execute(sql)
        if last:  # an id is never given twice
            db.execute("INSERT INTO sqlite_sequence(name, seq) VALUES ('baseline', ?)", (last,))
        db.execute(f"PRAGMA user_version = {VERSION}")


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str, end: str = "COMMIT") -> Iterator[None]:
    db.execute(begin)
    try:
        yield
    except BaseException:
        if db.in_transaction:  # a full disk ends it by itself
            db.execute("ROLLBACK")
        raise
    db.execute(end)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")  # damaged text must fail the row's hash or signature, not the query


def has_unsigned(db: sqlite3.Connection, point: str) -> bool:
    """True when a version without signatures enrolled this point."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (OF_OLD,)).fetchone() is None:
        return False
    return db.execute(f"SELECT 1 FROM {OF_OLD} WHERE point = ? LIMIT 1", (point,)).fetchone() is not None
