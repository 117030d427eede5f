"""Operation log: how long each point was monitored under which baseline, and its alerts, in ``state.db``.

It survives restarts, so that months of operation can be held against a promise per month. One process writes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from echo_edge.errors import HistoryError
from echo_edge.promise import Operation
from echo_edge.records import Event
from echo_edge.state_tables import StateTables

TABLES = """
CREATE TABLE IF NOT EXISTS operation(point TEXT NOT NULL, baseline TEXT NOT NULL, monitored_s REAL NOT NULL,
    PRIMARY KEY (point, baseline)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS episode(alert_id TEXT PRIMARY KEY, point TEXT NOT NULL, baseline TEXT NOT NULL,
    state TEXT NOT NULL, opened_ns INTEGER NOT NULL, until_ns INTEGER NOT NULL, open INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS review(seq INTEGER PRIMARY KEY AUTOINCREMENT, item INTEGER NOT NULL,
    time_ns INTEGER NOT NULL, alert_id TEXT NOT NULL, label TEXT NOT NULL, status TEXT NOT NULL, cause TEXT NOT NULL,
    note TEXT NOT NULL, who TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS forgotten(point TEXT NOT NULL, baseline TEXT NOT NULL, alerts INTEGER NOT NULL,
    faults INTEGER NOT NULL, PRIMARY KEY (point, baseline)) WITHOUT ROWID;
"""
KEPT, AT_ONCE = 10_000, 1000  # alerts, of all points; how many are forgotten together
NEWEST_LABEL = """
SELECT label FROM review AS newest WHERE newest.alert_id = episode.alert_id AND newest.status != 'dismissed'
    AND NOT EXISTS (SELECT 1 FROM review AS later WHERE later.item = newest.item AND later.status = 'dismissed')
    ORDER BY seq DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Episode:
    """The life of one alert, as far as it is known."""

    alert_id: str
    point: str
    baseline: str
    """The one whose thresholds it was measured by; ``bl_0007@0.5`` where that was for an ordered target."""

    state: str
    """The normal state that it was compared with when it opened."""

    opened_ns: int
    until_ns: int
    """When it cleared; the latest time at which it was known to be open where it did not, or not yet."""

    open: bool


class OperationLog(StateTables):
    """Tables ``operation`` (counters), ``episode`` (alerts), ``review`` (what people said of them) and ``forgotten``
    (counts of alerts that are in ``episode`` no longer).

    Every method raises HistoryError when the database is locked, damaged, full or not to be written.
    """

    def __init__(self, path: Path, kept: int = KEPT) -> None:
        """Of more alerts than ``kept`` the oldest are forgotten; a promise goes on counting them."""
        self._kept = kept
        super().__init__(path, TABLES.split(";"))

    def of(self, point: str, baseline: str) -> Operation:
        """What is known of a point under a baseline; new counters where nothing is."""
        with self.transaction() as db:
            row = db.execute(
                "SELECT monitored_s FROM operation WHERE point = ? AND baseline = ?", (point, baseline)
            ).fetchone()
            alerts, faults = db.execute(
                f"SELECT count(*), coalesce(sum(({NEWEST_LABEL}) = 'fault'), 0) FROM episode"
                " WHERE point = ? AND baseline = ?",
                (point, baseline),
            ).fetchone()
            more = db.execute(
                "SELECT alerts, faults FROM forgotten WHERE point = ? AND baseline = ?", (point, baseline)
            ).fetchone()
        old_alerts, old_faults = more or (0, 0)
        return Operation(0.0 if row is None else row[0], alerts + old_alerts, faults + old_faults)

    def save(self, point: str, baseline: str, monitored_s: float, now_ns: int) -> None:
        """Write a point's time, and that an alert that is open is open still."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO operation VALUES (?, ?, ?)", (point, baseline, monitored_s))
            db.execute("UPDATE episode SET until_ns = ? WHERE point = ? AND open", (now_ns, point))

    def note(self, event: Event, promised_by: str) -> None:
        """Write an alert's opening, news or end; ``promised_by`` is the baseline whose promise it counts against."""
        row = (event.alert_id, event.point, promised_by, event.score.state, event.opened_ns, event.time_ns)
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO episode VALUES (?, ?, ?, ?, ?, ?, 1)", row)
            db.execute(
                "UPDATE episode SET until_ns = ?, open = ? WHERE alert_id = ?",
                (event.time_ns, event.type != "clear", event.alert_id),
            )
            if db.execute("SELECT count(*) FROM episode").fetchone()[0] > self._kept:
                _forget(db, min(AT_ONCE, max(1, self._kept // 10)))

    def end(self, alert_id: str, time_ns: int) -> None:
        """A person ended an alert."""
        with self.transaction() as db:
            db.execute("UPDATE episode SET until_ns = ?, open = 0 WHERE alert_id = ?", (time_ns, alert_id))

    def begin(self, still_open: Collection[str] = ()) -> None:
        """Note that a new run begins: of the alerts of an earlier one only these are open."""
        kept = json.dumps(sorted(still_open))
        with self.transaction() as db:
            db.execute(
                "UPDATE episode SET open = 0 WHERE open AND alert_id NOT IN (SELECT value FROM json_each(?))", (kept,)
            )

    def episode(self, alert_id: str) -> Episode:
        """Raises HistoryError when there is no such alert, and names the latest ones."""
        if (found := self.find(alert_id)) is None:
            latest = ", ".join(f"{e.alert_id} ({e.point})" for e in self.episodes()[-3:]) or "none so far"
            raise HistoryError(f"there is no alert '{alert_id}'; the latest: {latest}")
        return found

    def find(self, alert_id: str) -> Episode | None:
        with self.transaction() as db:
            row = db.execute(f"{SELECT} WHERE alert_id = ?", (alert_id,)).fetchone()
        return None if row is None else _episode(row)

    def episodes(self, point: str | None = None, newest: int = -1) -> list[Episode]:
        """The newest alerts, or all, of a point, or of all points, oldest first."""
        with self.transaction() as db:
            rows = db.execute(
                f"{SELECT} WHERE ? IN (point, '') ORDER BY opened_ns DESC LIMIT ?", (point or "", newest)
            ).fetchall()
        return [_episode(row) for row in reversed(rows)]


SELECT = "SELECT alert_id, point, baseline, state, opened_ns, until_ns, open FROM episode"


def _forget(db: sqlite3.Connection, count: int) -> None:
    """Leave nothing of the oldest alerts that are over but how many there were, and how many were faults."""
    rows = db.execute("SELECT alert_id FROM episode WHERE NOT open ORDER BY opened_ns LIMIT ?", (count,))
    oldest = json.dumps([alert_id for (alert_id,) in rows])
    of_oldest = "alert_id IN (SELECT value FROM json_each(?))"
    db.execute(
        f"INSERT INTO forgotten SELECT point, baseline, count(*), coalesce(sum(({NEWEST_LABEL}) = 'fault'), 0)"
        f" FROM episode WHERE {of_oldest} GROUP BY point, baseline"
        " ON CONFLICT (point, baseline) DO UPDATE"
        " SET alerts = alerts + excluded.alerts, faults = faults + excluded.faults",
        (oldest,),
    )
    db.execute(f"DELETE FROM review WHERE {of_oldest}", (oldest,))
    db.execute(f"DELETE FROM episode WHERE {of_oldest}", (oldest,))


def _episode(row: tuple[str, str, str, str, int, int, int]) -> Episode:
    return Episode(*row[:6], bool(row[6]))
