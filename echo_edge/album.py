"""Album: the pictures of the newest alerts, as files in the state folder."""

from __future__ import annotations

import logging
from pathlib import Path

from echo_edge.evidence import Evidence
from echo_edge.pictures import draw
from echo_edge.records import Event
from echo_edge.store import StoreError, write_durably

log = logging.getLogger(__name__)

KEPT = 200  # at most 12 MB


class Album:
    """Keeps ``ALERT_ID-REV.png`` for ``open`` and ``update``; one thread uses it.

    A picture is drawn before its alert is handed on, because the message holds the file's name; that takes
    about 15 ms of one core.
    """

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.folder = folder
        self._kept = kept
        self._failing = False

    def keep(self, event: Event, evidence: Evidence, title: str | None = None) -> str | None:
        """Draw and store an event, and forget the oldest pictures; return the file's name.

        An alert must go out with or without its picture: a disk that takes none is logged, once until it does again.
        """
        path = self.folder / f"{event.alert_id}-{event.rev}.png"
        try:
            self._make_room()
            drawn = save_picture(path, event, evidence, title)
        except StoreError as error:
            if not self._failing:
                log.error("alerts go without a picture: %s", error)
            self._failing = True
            return None
        self._failing = False
        return path.name if drawn else None

    def _make_room(self) -> None:
        try:
            # a name that begins with a dot is what a power cut left of a picture
            for broken in self.folder.glob(".*.png.*"):
                broken.unlink(missing_ok=True)
            files = oldest(self.folder)
            for old in files[: max(0, len(files) - self._kept + 1)]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder}: old pictures stay: {error.strerror or error}") from error


def oldest(folder: Path) -> list[Path]:
    """Every picture, the oldest first."""
    return sorted(folder.glob("*.png"), key=lambda file: file.stat().st_mtime_ns)


def save_picture(
    path: Path, event: Event, evidence: Evidence, title: str | None = None, since: str | None = None
) -> bool:
    """``draw`` an event into a file; its folder is made if absent. False for ``clear``, which needs no picture.

    Raises:
        StoreError: the disk; there is no file, or the old one.
    """
    if event.type == "clear":
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(path, draw(event, evidence, title, since), 0o644)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error
    return True
