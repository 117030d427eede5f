"""Alert files: the newest message of each of the newest alerts, and how it came to that, beside the pictures.

The outbox forgets what was sent; a person who asks a week later what was heard then reads it here.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echo_edge.envelope import Payload
from echo_edge.errors import HistoryError
from echo_edge.payload import encode
from echo_edge.plain_files import read_plainly
from echo_edge.store import write_durably

log = logging.getLogger(__name__)

KEPT = 200  # at most 3 MB
MAX_BYTES = 1 << 18
MAX_STEPS = 100  # the first, and the newest
ALERT_ID = re.compile(r"[0-9a-f]{32}")
DONE = {
    "open": "opened",
    "update": "updated",
    "escalate": "worse",
    "ack": "acknowledged",
    "shelve": "shelved",
    "clear": "cleared",
}
"""Type of a message -> what is said to have happened."""


@dataclass(frozen=True, slots=True)
class AlertFile:
    """What is kept of one alert."""

    message: Payload
    """The newest, but for what the outbox adds to it: ``seq``, ``id``, ``durable``."""

    steps: list[dict[str, Any]]
    """Oldest first: ``ts``, ``what`` (see ``DONE``), ``by`` and ``note`` (None where no person did it), ``severity``
    and ``until`` (the end of a shelving)."""

    unlike: Payload | None = None
    """``evidence`` of the newest message above the threshold: that of a clearing tells of a machine that is well."""


class AlertFiles:
    """Keeps them; one thread uses it."""

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self._folder, self._kept = folder, kept
        self._failing = False

    def keep(self, message: Payload) -> None:
        """Note a step that was handed on already. A disk that takes none is logged, once until it does again."""
        path = alert_path(self._folder, message["alert_id"])
        try:
            before = _known(path)
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            steps = _shortened([*([] if before is None else before.steps), step_of(message)])
            now = AlertFile(message, steps, _unlike(message) or (None if before is None else before.unlike))
            write_durably(path, encode(asdict(now)))
            if before is None:
                self._forget()
        except (OSError, HistoryError, ValueError) as error:
            if not self._failing:
                log.error("what became of alerts is not kept beside their pictures: %s", error)
            self._failing = True
        else:
            self._failing = False

    def _forget(self) -> None:
        files = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
        for old in files[: max(0, len(files) - self._kept)]:
            old.unlink(missing_ok=True)


def alert_path(folder: Path, alert_id: str) -> Path:
    """Raises ValueError when that is no id of an alert."""
    if not ALERT_ID.fullmatch(alert_id):
        raise ValueError(f"'{alert_id[:40]}' is no id of an alert")
    return folder / f"{alert_id}.json"


def read_alert(path: Path) -> AlertFile:
    """Read what ``AlertFiles`` wrote; in any thread.

    Raises:
        FileNotFoundError: nothing is kept of this alert.
        HistoryError: it is damaged.
        OSError: the disk.
    """
    try:
        told = json.loads(read_plainly(path, MAX_BYTES))
        message, steps = dict(told["message"]), [dict(step) for step in told["steps"]]
        unlike = told.get("unlike")  # files of before have none
        found = AlertFile(message, steps, None if unlike is None else dict(unlike))
        if found.message["alert_id"] != path.stem:
            raise ValueError("it is of another alert")
        for name in ("kind", "severity", "state", "opened", "text", "rev", "ts"):
            found.message[name]  # a KeyError says which is missing
    except (ValueError, KeyError, TypeError) as error:
        raise HistoryError(f"{path.name}: is damaged: {error}") from error
    return found


def step_of(message: Payload) -> dict[str, Any]:
    """What a message tells that happened."""
    return {
        "ts": message["ts"],
        "what": DONE[message["type"]],
        "by": message.get("by"),
        "note": message.get("note"),
        "severity": message["severity"],
        "until": message.get("shelved_until") if message["type"] == "shelve" else None,
    }


def _unlike(message: Payload) -> Payload | None:
    ratio = message.get("score", {}).get("ratio")
    return message.get("evidence") if ratio is not None and ratio >= 1 else None


def _known(path: Path) -> AlertFile | None:
    try:
        return read_alert(path)
    except FileNotFoundError:
        return None
    except HistoryError as error:
        log.warning("%s; it is begun anew", error)
        return None


def _shortened(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of news that follow on each other the newest is enough."""
    if len(steps) > 1 and steps[-1]["what"] == steps[-2]["what"] == "updated":
        del steps[-2]
    return steps if len(steps) <= MAX_STEPS else [steps[0], *steps[-MAX_STEPS + 1 :]]
