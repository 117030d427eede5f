"""Review: what people say of alerts. An item waits until an engineer accepts or dismisses it; no threshold moves."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

from echo_edge.audit import check_words
from echo_edge.baseline import Baseline
from echo_edge.errors import BaselineError, HistoryError
from echo_edge.history_reader import HistoryReader, Mask, Part, bounded
from echo_edge.memory import alert_number
from echo_edge.operation import Episode, OperationLog

Label = Literal["normal", "fault"]
Status = Literal["open", "accepted", "dismissed"]

BEFORE_NS = 60 * 10**9  # an alert opens within a minute of its first strange window
EPISODE_MB = 16  # of its vectors: some hundred windows tell what an episode was like


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was said, as it stands now."""

    id: int
    alert_id: str
    label: Label
    status: Status
    cause: str
    note: str
    by: str
    """Who said it."""

    said_ns: int
    settled_by: str = ""
    settled_note: str = ""
    settled_ns: int | None = None


class Reviews:
    """The table ``review``: rows are only added; a change of status is a row of its own.

    Every method raises HistoryError: no such item, settled already, or the database. What writes raises BaselineError
    when nobody is named, or a text cannot be kept.
    """

    def __init__(self, log: OperationLog) -> None:
        self._log = log

    def say(self, alert_id: str, label: Label, by: str, cause: str = "", note: str = "") -> Item:
        """Write down what a person says of an alert."""
        self.check(alert_id, by, cause, note)
        with self._log.transaction() as db:
            (item,) = db.execute("SELECT coalesce(max(item), 0) + 1 FROM review").fetchone()
            said = Item(item, alert_id, label, "open", cause, note, by, time.time_ns())
            db.execute(INSERT, (item, said.said_ns, alert_id, label, "open", cause, note, by))
        return said

    def check(self, alert_id: str, by: str, cause: str = "", note: str = "") -> Episode:
        """Insist that this may be said of an alert, and that there is one."""
        check_words(by, cause, note)
        return self._log.episode(alert_id)

    def settle(self, item: int, status: Status, by: str, note: str = "") -> Item:
        """Accept or dismiss an open item."""
        check_words(by, note)
        found = self.open_item(item)
        now_ns = time.time_ns()
        with self._log.transaction() as db:
            db.execute(INSERT, (item, now_ns, found.alert_id, found.label, status, found.cause, note, by))
        return replace(found, status=status, settled_by=by, settled_note=note, settled_ns=now_ns)

    def open_item(self, number: int) -> Item:
        """An item that is not settled yet."""
        found = self.item(number)
        if found.status != "open":
            raise HistoryError(f"item {number} was {found.status} by {found.settled_by}; say it anew with 'feedback'")
        return found

    def items(self) -> list[Item]:
        """Everything that was said, oldest first."""
        with self._log.transaction() as db:
            rows = db.execute(
                "SELECT item, time_ns, alert_id, label, status, cause, note, who FROM review ORDER BY seq"
            ).fetchall()
        found: dict[int, Item] = {}
        for item, time_ns, alert_id, label, status, cause, note, who in rows:
            if item in found:
                found[item] = replace(found[item], status=status, settled_by=who, settled_note=note, settled_ns=time_ns)
            else:
                found[item] = Item(item, alert_id, label, status, cause, note, who, time_ns)
        return list(found.values())

    def item(self, number: int) -> Item:
        found = {item.id: item for item in self.items()}
        if number not in found:
            raise HistoryError(f"there is no review item {number}; see 'echo-edge review list'")
        return found[number]


INSERT = "INSERT INTO review(item, time_ns, alert_id, label, status, cause, note, who) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def episode_parts(history: HistoryReader, episode: Episode) -> list[tuple[Part, Mask]]:
    """Which remembered windows an alert is made of: those while it was open, and the strange ones that opened it.

    Raises:
        HistoryError: the disk, or nothing is remembered of it any more.
    """
    parts, _ = history.parts(episode.point, episode.opened_ns - BEFORE_NS, episode.until_ns)
    number = alert_number(episode.alert_id)
    found = []
    for part in parts:
        own = (part.facts["alert"] == number).all(axis=1)
        opened_it = (part.facts["ratio"] > 1) & ~part.in_alert & (part.facts["start_ns"] < episode.opened_ns)
        if (mask := own | opened_it).any():
            found.append((part, mask))
    if not found:
        raise HistoryError(
            f"{episode.point}: the history holds no window of alert {episode.alert_id}; it is written once a minute, "
            "so try again soon; what is older than the history keeps is gone"
        )
    return found


def with_episode(baseline: Baseline, history: HistoryReader, episode: Episode) -> tuple[Baseline, int]:
    """A proposal: ``baseline`` with the windows of an alert that was normal added to the state they were nearest to.

    The thresholds stay. Returns the next version, not stored yet, and how many windows it has more.

    Raises:
        HistoryError: nothing is remembered of the alert any more.
        BaselineError: the alert was judged with another model, sensor or state.
    """
    picked = episode_parts(history, episode)
    for part, _ in picked:
        if difference := baseline.origin.difference(part.circumstances.origin):
            raise BaselineError(f"{episode.point}: baseline {baseline.id} was made with {difference} when it alarmed")
    names = [state.name for state in baseline.states]
    if episode.state not in names:
        raise BaselineError(f"{episode.point}: baseline {baseline.id} has no state '{episode.state}' (any more)")
    material, missing = history.material(bounded(picked, EPISODE_MB))
    if material is None:
        raise HistoryError(f"{episode.point}: the windows of alert {episode.alert_id} are gone ({dict(missing)})")
    return baseline.grown("history", {episode.state: material}), len(material)
