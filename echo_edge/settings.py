"""Settings that persons order and that outlive a restart: targets of points, planned work at machines.

In ``state.db``; one process writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from echo_edge.state_tables import StateTables

TABLES = (
    "CREATE TABLE IF NOT EXISTS target(point TEXT PRIMARY KEY, per_month REAL NOT NULL, until_ns INTEGER,"
    " who TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS mute(machine TEXT PRIMARY KEY, until_ns INTEGER NOT NULL, who TEXT NOT NULL,"
    " note TEXT NOT NULL) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Target:
    """The false alarms per month that a person accepts at a point, in place of the configured ones."""

    per_month: float
    until_ns: int | None
    """When the configured ones return; None: they do not by themselves."""

    by: str


@dataclass(frozen=True, slots=True)
class Mute:
    """Planned work at a machine."""

    until_ns: int
    by: str
    note: str


class Settings(StateTables):
    """Tables ``target`` and ``mute``. Every method raises HistoryError when the database cannot be used."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, TABLES)

    def forget(self, now_ns: int) -> None:
        """Take out what has ended."""
        with self.transaction() as db:
            for table in ("target", "mute"):
                db.execute(f"DELETE FROM {table} WHERE until_ns <= ?", (now_ns,))

    def targets(self, now_ns: int) -> dict[str, Target]:
        """Point -> target, of those that have not ended."""
        with self.transaction() as db:
            rows = db.execute(
                "SELECT point, per_month, until_ns, who FROM target WHERE until_ns IS NULL OR until_ns > ?", (now_ns,)
            ).fetchall()
        return {point: Target(*rest) for point, *rest in rows}

    def set_target(self, points: list[str], target: Target | None) -> None:
        """Keep the target of these points; None: the configured one holds again."""
        with self.transaction() as db:
            for point in points:
                db.execute("DELETE FROM target WHERE point = ?", (point,))
                if target is not None:
                    row = (point, target.per_month, target.until_ns, target.by)
                    db.execute("INSERT INTO target VALUES (?, ?, ?, ?)", row)

    def mutes(self, now_ns: int) -> dict[str, Mute]:
        """Machine -> planned work, of what has not ended."""
        with self.transaction() as db:
            rows = db.execute("SELECT machine, until_ns, who, note FROM mute WHERE until_ns > ?", (now_ns,)).fetchall()
        return {machine: Mute(*rest) for machine, *rest in rows}

    def set_mute(self, machine: str, mute: Mute | None) -> None:
        """Keep a machine's planned work; None: it is over."""
        with self.transaction() as db:
            db.execute("DELETE FROM mute WHERE machine = ?", (machine,))
            if mute is not None:
                db.execute("INSERT INTO mute VALUES (?, ?, ?, ?)", (machine, mute.until_ns, mute.by, mute.note))
