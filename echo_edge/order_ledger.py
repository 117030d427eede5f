"""Ledger of orders, in ``state.db``: the counter of each key, and the orders of the past hour with their answers.

An order is written down before it is carried out, so that no crash makes it happen twice. Any thread may ask, which
costs memory only; the pipeline's thread alone writes.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from echo_edge.envelope import Payload
from echo_edge.errors import HistoryError, OrderRefusedError
from echo_edge.state_tables import StateTables

KEPT_S = 3600.0
MAX_ANSWER = 8192  # characters of an answer that is kept
TABLES = """
CREATE TABLE IF NOT EXISTS order_counter(key_id TEXT PRIMARY KEY, ctr INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS order_done(sender TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL,
    time_ns INTEGER NOT NULL, reply_to TEXT, answer TEXT, PRIMARY KEY (sender, id)) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Entry:
    """An order that was taken in."""

    digest: str
    reply_to: str | None
    """Where the answer was to go; None: to where all answers of its verb go."""

    since_s: float
    """Monotonic."""

    answer: Payload | None = None
    lost: bool = False
    """An earlier daemon did not come to answer it."""


class Ledger:
    """What was ordered.

    Raises:
        OrderRefusedError: ``failed``, here and wherever something is written: the database is locked, damaged or full.
    """

    def __init__(
        self,
        path: Path,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now_ns, self._monotonic_s = now_ns, monotonic_s
        self._lock = threading.Lock()
        with _refused():
            self._tables = StateTables(path, TABLES.split(";"))
        with self._transaction() as db:
            self._counters: dict[str, int] = dict(db.execute("SELECT key_id, ctr FROM order_counter"))
            rows = db.execute("SELECT sender, id, digest, time_ns, reply_to, answer FROM order_done").fetchall()
        self._entries = {(row[0], row[1]): self._loaded(*row[2:]) for row in rows}
        self._forget()

    def counter(self, key_id: str) -> int:
        """The highest that this key has used; 0 before the first."""
        with self._lock:
            return self._counters.get(key_id, 0)

    def count(self, key_id: str, ctr: int) -> bool:
        """Use a counter up; False when it is not higher than those before."""
        with self._lock:
            if ctr <= self._counters.get(key_id, 0):
                return False
            self._counters[key_id] = ctr
            return True

    def find(self, sender: str, id_: str) -> Entry | None:
        """The order of this id within the past hour."""
        with self._lock:
            self._forget()
            return self._entries.get((sender, id_))

    def admit(self, sender: str, id_: str, digest: str, reply_to: str | None) -> None:
        """Note that an order was taken in and will be answered."""
        with self._lock:
            self._entries[sender, id_] = Entry(digest, reply_to, self._monotonic_s())

    def dismiss(self, sender: str, id_: str) -> None:
        """It was not taken in after all, and may come again."""
        with self._lock:
            self._entries.pop((sender, id_), None)

    def begin(self, sender: str, id_: str | None, key: tuple[str, int] | None) -> None:
        """Write down, before anything is done, that an order is carried out; ``key`` is the key's id and counter."""
        now_ns = self._now_ns()
        with self._lock:
            entry = None if id_ is None else self._entries.get((sender, id_))
        if entry is None and key is None:
            return
        with self._transaction() as db:
            if key is not None:
                db.execute(
                    "INSERT INTO order_counter VALUES (?, ?)"
                    " ON CONFLICT (key_id) DO UPDATE SET ctr = max(ctr, excluded.ctr)",
                    key,
                )
            hour_ns = round(KEPT_S * 1e9)  # a clock that was set by more than this loses them, memory does not
            db.execute("DELETE FROM order_done WHERE time_ns NOT BETWEEN ? AND ?", (now_ns - hour_ns, now_ns + hour_ns))
            if entry is not None:
                db.execute(
                    "INSERT OR REPLACE INTO order_done VALUES (?, ?, ?, ?, ?, NULL)",
                    (sender, id_, entry.digest, now_ns, entry.reply_to),
                )

    def finish(self, sender: str, id_: str, answer: Payload) -> None:
        """Keep the answer, for whoever asks again."""
        text = json.dumps(answer)
        if len(text) > MAX_ANSWER:
            answer = {"ok": answer["ok"], "result": {"note": "done; the answer was too long to be kept"}}
            text = json.dumps(answer)
        with self._lock:
            if (entry := self._entries.get((sender, id_))) is not None:
                entry.answer = answer
        with self._transaction() as db:
            db.execute("UPDATE order_done SET answer = ? WHERE sender = ? AND id = ?", (text, sender, id_))

    def _loaded(self, digest: str, time_ns: int, reply_to: str | None, answer: str | None) -> Entry:
        age_s = min(max((self._now_ns() - time_ns) / 1e9, 0.0), KEPT_S)
        told = None if answer is None else json.loads(answer)
        return Entry(digest, reply_to, self._monotonic_s() - age_s, told, lost=answer is None)

    def _forget(self) -> None:
        old_s = self._monotonic_s() - KEPT_S
        for key in [key for key, entry in self._entries.items() if entry.since_s <= old_s]:
            del self._entries[key]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _refused(), self._tables.transaction() as db:
            yield db


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except (HistoryError, ValueError) as error:
        raise OrderRefusedError("failed", str(error)) from error
