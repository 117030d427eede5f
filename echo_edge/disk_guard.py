"""Disk guard: when the disk runs full, the least valuable goes first, and the history rests before nothing is left.

In the pipeline's thread, which owns what is deleted here; a little at a time, so that no window waits for it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from echo_edge import album, examples, outbox_file
from echo_edge.history import History

log = logging.getLogger(__name__)

LEAST_BYTES, LEAST_SHARE = 200e6, 0.02
MOST_SHARE = 0.2  # on a small disk 200 MB would be always missing
ROOMY, TIGHT = 1.25, 1.1  # floors that are free: below the one the history gives way, below the other it rests
CALM_S, BUSY_S = 30.0, 5.0  # between two looks
FILES_AT_ONCE = 100


class Usage(Protocol):
    """Of a disk, as ``shutil.disk_usage`` tells it, in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


def floor_bytes(total_bytes: float) -> float:
    """What should stay free: 200 MB or 2 % of the disk, whichever is more, and never more than a fifth of it."""
    return min(max(LEAST_BYTES, LEAST_SHARE * total_bytes), MOST_SHARE * total_bytes)


class DiskGuard:
    """Keeps the floor, as far as what is ours can.

    Below it go, the oldest first: damaged files of the outbox (all but the newest), the history except its
    newest day, examples of faults, pictures of alerts. The history gives way earlier, and where that is not enough it
    writes nothing for a while: it must not be what brings a disk below the floor.

    Args:
        outbox: its file, beside which damaged ones lie; the disk is the one that it is on.
        history: of all points.
        examples, pictures: folders.
        usage: tells how full the disk of a path is.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        outbox: Path,
        history: History,
        examples: Path,
        pictures: Path,
        usage: Callable[[Path], Usage] = shutil.disk_usage,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox, self._history, self._examples, self._pictures = outbox, history, examples, pictures
        self._usage, self._now_s = usage, now_s
        self._due_s = now_s()
        self._short = False

    def tick(self) -> None:
        """Look, when it is time to, and make room; about once a second."""
        if self._now_s() < self._due_s:
            return
        try:
            usage = self._usage(self._outbox.parent)
            floor = floor_bytes(usage.total)
            missing, wanted = floor - usage.free, ROOMY * floor - usage.free
            self._due_s = self._now_s() + (BUSY_S if wanted > 0 else CALM_S)
            self._rest(usage.free, floor)
            if wanted > 0:
                self._make_room(missing, wanted)
        except OSError as error:  # told as a trouble by the supervisor
            self._due_s = self._now_s() + CALM_S
            log.debug("no room is made: %s", error)

    def _rest(self, free: float, floor: float) -> None:
        if free < TIGHT * floor and not self._history.rests:
            log.warning("the disk is nearly full: the history rests; monitoring and alerts go on")
            self._history.rests = True
        elif free >= ROOMY * floor and self._history.rests:
            log.warning("the disk has room again: the history goes on")
            self._history.rests = False

    def _make_room(self, missing: float, wanted: float) -> None:
        """Give up so many bytes: ``wanted`` of the history, ``missing`` of whatever there is."""
        freed, files = float(outbox_file.forget_aside(self._outbox, 1)) if missing > 0 else 0.0, 0
        for path, size, needed in self._candidates(missing, wanted):
            if freed >= needed or files >= FILES_AT_ONCE:
                break
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            freed, files = freed + size, files + 1
        if files and not self._short:
            log.warning("the disk is nearly full: the oldest of what is kept is deleted; see docs/retention.md")
        self._short = files > 0

    def _candidates(self, missing: float, wanted: float) -> Iterator[tuple[Path, int, float]]:
        """What may go, its bytes, and for how many it does; the least valuable first."""
        yield from ((path, size, wanted) for path, size in self._history.oldest())
        yield from ((path, size, missing) for path, size in examples.oldest(self._examples))
        yield from ((path, path.stat().st_size, missing) for path in album.oldest(self._pictures))
