"""Alerts of now and of the past, put together from what is kept of them: alert files, pictures and ``state.db``."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from echo_edge.alert_files import ALERT_ID, AlertFile, alert_path, read_alert
from echo_edge.database_trouble import trouble
from echo_edge.envelope import Payload, subject, timestamp
from echo_edge.errors import HistoryError, OrderRefusedError
from echo_edge.operation import Episode, OperationLog
from echo_edge.review import Item, Reviews

PICTURE = re.compile(r"[0-9a-f]{32}-\d{1,9}\.png")


@contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write; raises HistoryError when there is no such database, or it cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2)) as db:
            yield db
    except sqlite3.Error as error:
        raise HistoryError(f"{path.name}: {'; '.join(trouble(error, path))}") from error


class PastLog(OperationLog):
    """The log of operation for who only reads it: no table is made."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with opened_to_read(self._path) as db:
            yield db


@dataclass(slots=True)
class _Alert:
    """What is known of one, from everywhere."""

    alert_id: str
    episode: Episode | None = None
    file: AlertFile | None = None
    stands: Payload | None = None
    """The daemon's own message, while somebody has to know of it."""

    items: list[Item] = field(default_factory=list)

    @property
    def message(self) -> Payload | None:
        of_file = None if self.file is None else self.file.message
        if of_file is None or (self.stands is not None and self.stands["rev"] > of_file["rev"]):
            return self.stands
        return of_file

    @property
    def opened(self) -> str:
        message = self.message
        if message is not None:
            return str(message["opened"])
        return "" if self.episode is None else timestamp(self.episode.opened_ns)


class AlertReadings:
    """Reads in any thread, and changes nothing.

    Args:
        evidence: folder of pictures and alert files.
        database: ``state.db``.
        standing: newest message of every alert that somebody has to know of, by any key; from any thread.
    """

    def __init__(self, evidence: Path, database: Path, standing: Callable[[], Mapping[str, Payload]]) -> None:
        self._evidence, self._log, self._standing = evidence, PastLog(database), standing

    def alerts(self, point: str | None, limit: int) -> dict[str, Any]:
        """The newest, of a point or of all. Where something could not be read ``problems`` says so."""
        problems: list[str] = []
        found = self._found(point, limit, problems)
        newest = sorted(found, key=lambda alert: alert.opened, reverse=True)[:limit]
        pictures = self._pictures()
        told: dict[str, Any] = {"alerts": [_told(alert, pictures.get(alert.alert_id, [])) for alert in newest]}
        return told | ({"problems": problems} if problems else {})

    def alert(self, alert_id: str) -> dict[str, Any]:
        """One of them, with its newest message (null where that is kept no longer) and what happened to it."""
        if not ALERT_ID.fullmatch(alert_id):
            raise OrderRefusedError("bad_args", "is the whole id of an alert: 32 of 0-9, a-f", "args.alert_id")
        problems: list[str] = []
        alert = _Alert(alert_id, stands=self._stands().get(alert_id))
        alert.file = self._file(alert_path(self._evidence, alert_id), problems)
        try:
            alert.episode = self._log.find(alert_id)
        except HistoryError as error:
            problems.append(str(error))
        if alert.message is None and alert.episode is None:
            if problems:
                raise HistoryError("; ".join(problems))
            raise OrderRefusedError("refused", f"nothing is kept of alert '{alert_id}' (any more)", "args.alert_id")
        self._add_items({alert_id: alert}, problems)
        told = _told(alert, self._pictures(alert_id).get(alert_id, [])) | {
            "message": alert.message,
            "unlike": None if alert.file is None else alert.file.unlike,
            "steps": _steps(alert),
        }
        return told | ({"problems": problems} if problems else {})

    def _found(self, point: str | None, limit: int, problems: list[str]) -> list[_Alert]:
        found: dict[str, _Alert] = {}
        try:
            for episode in self._log.episodes(point, limit):
                found[episode.alert_id] = _Alert(episode.alert_id, episode)
        except HistoryError as error:
            problems.append(str(error))
        for path in self._evidence.glob("*.json"):
            if ALERT_ID.fullmatch(path.stem) and (kept := self._file(path, problems)) is not None:
                found.setdefault(path.stem, _Alert(path.stem)).file = kept
        for alert_id, message in self._stands().items():
            found.setdefault(alert_id, _Alert(alert_id)).stands = message
        self._add_items(found, problems)
        return [alert for alert in found.values() if point is None or _point(alert) == point]

    def _stands(self) -> dict[str, Payload]:
        return {message["alert_id"]: message for message in self._standing().values()}

    def _file(self, path: Path, problems: list[str]) -> AlertFile | None:
        try:
            return read_alert(path)
        except FileNotFoundError:
            return None
        except (HistoryError, OSError) as error:
            problems.append(str(error))
            return None

    def _add_items(self, found: Mapping[str, _Alert], problems: list[str]) -> None:
        try:
            for item in Reviews(self._log).items():
                if item.alert_id in found:
                    found[item.alert_id].items.append(item)
        except HistoryError as error:
            problems.append(str(error))

    def _pictures(self, alert_id: str = "*") -> dict[str, list[str]]:
        """Alert -> names, the oldest first."""
        found: dict[str, list[str]] = {}
        for path in self._evidence.glob(f"{alert_id}-*.png"):
            if PICTURE.fullmatch(path.name):
                found.setdefault(path.name[:32], []).append(path.name)
        return {of: sorted(names, key=lambda name: int(name[33:-4])) for of, names in found.items()}


def _point(alert: _Alert) -> str | None:
    """None: it is the gateway's own."""
    if alert.message is not None:
        return subject(alert.message)[1] or None
    return None if alert.episode is None else alert.episode.point


def _told(alert: _Alert, pictures: list[str]) -> dict[str, Any]:
    message = alert.message or {}
    said = next((item for item in reversed(alert.items) if item.status != "dismissed"), None)
    # what no longer stands is over, also where its end was not seen
    active = alert.stands is not None and message.get("state") == "active"
    return {
        "alert_id": alert.alert_id,
        "point": _point(alert),
        "kind": message.get("kind", "machine"),  # of others nothing but their message is kept
        "severity": message.get("severity"),
        "state": "active" if active else "cleared",
        "opened": alert.opened,
        "until": None if active else _until(alert),
        "text": message.get("text"),
        "ack": message.get("ack"),
        "shelved_until": message.get("shelved_until") if active else None,
        "verdict": None if said is None else said.label,
        "cause": None if said is None else said.cause or None,
        "note": None if said is None else said.note or None,
        "pictures": pictures,
    }


def _until(alert: _Alert) -> str | None:
    """When it cleared; None where that is not known."""
    cleared = [step for step in ([] if alert.file is None else alert.file.steps) if step["what"] == "cleared"]
    if cleared:
        return str(cleared[-1]["ts"])
    return None if alert.episode is None else timestamp(alert.episode.until_ns)


def _steps(alert: _Alert) -> list[dict[str, Any]]:
    """Oldest first: what its messages told, and what people said of it."""
    empty = {"by": None, "note": None}
    if alert.file is not None:
        steps = [dict(step) for step in alert.file.steps]
    elif alert.episode is not None:
        steps = [{"ts": timestamp(alert.episode.opened_ns), "what": "opened", **empty}]
        if not alert.episode.open:
            steps.append({"ts": timestamp(alert.episode.until_ns), "what": "cleared", **empty})
    else:
        steps = [{"ts": alert.opened, "what": "opened", **empty}]
    for item in alert.items:
        said = {"by": item.by, "note": item.note or None, "verdict": item.label, "cause": item.cause or None}
        steps.append({"ts": timestamp(item.said_ns), "what": "feedback", **said})
        if item.settled_ns is not None:
            settled = {"by": item.settled_by, "note": item.settled_note or None}
            steps.append({"ts": timestamp(item.settled_ns), "what": item.status, **settled})
    return sorted(steps, key=lambda step: str(step["ts"]))
