"""Small tables in ``state.db`` beside the baselines: made where they are missing, changed in whole transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from echo_edge.database_trouble import trouble
from echo_edge.errors import HistoryError


class StateTables:
    """Base of those who keep some.

    Args:
        path: of the database.
        tables: statements that make them, and change nothing where they are there.

    Raises:
        HistoryError: here and in every transaction: locked, damaged, full or not to be written.
    """

    def __init__(self, path: Path, tables: Sequence[str]) -> None:
        self._path = path
        with self.transaction() as db:
            db.execute("PRAGMA journal_mode=WAL")
            for table in tables:
                db.execute(table)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Stored whole at its end, or not at all."""
        try:
            with closing(sqlite3.connect(self._path, timeout=2)) as db, db:
                db.execute("PRAGMA synchronous=FULL")
                yield db
        except sqlite3.Error as error:
            raise HistoryError(f"{self._path}: {'; '.join(trouble(error, self._path))}") from error
