"""Crashes: which part was at work when the process ended without a word, and what is left out after the third time.

``at-work`` in the runtime folder holds the part that is worked on now. It is mapped into memory: a note costs no call
into the kernel, and what was noted outlives a kill. ``crashes.json`` in the state folder remembers the last ends.
"""

from __future__ import annotations

import json
import logging
import mmap
import time
from collections.abc import Callable
from pathlib import Path

from echo_edge.errors import EchoEdgeError
from echo_edge.store import runtime_folder, write_durably

log = logging.getLogger(__name__)

WITHIN_S, TIMES = 600.0, 3
SIZE = 256
UNKNOWN = "nothing in particular"
End = tuple[float, str, str]  # seconds since the machine was switched on, which time it was, the part at work


class Crashes:
    """Entered at the start of the daemon; left without ``ended_well`` it counts as a crash, like a kill."""

    def __init__(
        self, folder: Path, now_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    ) -> None:
        """``folder`` is the state's; ``now_s`` seconds since the machine was switched on."""
        self._at_work = runtime_folder(folder) / "at-work"
        self._record = folder / "crashes.json"
        self._now_s = now_s
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        self._map: mmap.mmap | None = None
        self.ended_well = False
        self.suspect = ""
        """The part at work in each of the last three ends within ten minutes, such as ``point:pump-12/de``."""

    @property
    def sentence(self) -> str:
        """What ``suspect`` means, for a person."""
        kind, _, name = self.suspect.partition(":")
        left_out = {
            "point": f"{name} is not monitored: its baseline was in use",
            "engine": f"the CPU serves: engine {name} was in use",
        }.get(kind, f"nothing is left out: {self.suspect} was at work")
        return f"{left_out} when the daemon ended {TIMES} times within {WITHIN_S / 60:.0f} min; see the log"

    def leaves_out(self, kind: str) -> str:
        """Name of what is left out of this kind, ``point`` or ``engine``; empty when nothing is."""
        suspected, _, name = self.suspect.partition(":")
        return name if suspected == kind else ""

    def note(self, part: str) -> None:
        """Say what is worked on from now on."""
        if self._map is not None:
            self._map[:] = self._line(part)

    def __enter__(self) -> Crashes:
        now_s = self._now_s()
        known = self._ends()
        ends = [end for end in known if end[1] == self._boot and 0 <= now_s - end[0] < WITHIN_S]
        part = self._left_behind()
        if part is not None:
            log.error("the daemon before this one ended without a word; at work was: %s", part)
            ends.append((now_s, self._boot, part))
        if ends != known:
            self._keep(ends)
        parts = {part for _, _, part in ends[-TIMES:]}
        if len(ends) >= TIMES and len(parts) == 1:
            self.suspect = parts.pop()
            log.error("safe mode: %s", self.sentence)
        self._open()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None
        if self.ended_well or isinstance(error, EchoEdgeError):  # the latter says by itself what is wrong
            self._at_work.unlink(missing_ok=True)
        if self.ended_well:
            self._record.unlink(missing_ok=True)

    def _line(self, part: str) -> bytes:
        return f"{self._boot} {part}".encode()[:SIZE].ljust(SIZE)

    def _open(self) -> None:
        try:
            self._at_work.write_bytes(self._line(""))
            with self._at_work.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
        except OSError as error:  # a full disk: monitoring goes on without
            log.warning("%s: %s", self._at_work, error.strerror)

    def _left_behind(self) -> str | None:
        """What a process was at that did not end well; None when none did, or the power failed."""
        try:
            boot, _, part = self._at_work.read_bytes().decode("utf-8", "replace").partition(" ")
        except OSError:
            return None
        return (part.strip() or UNKNOWN) if boot == self._boot else None

    def _ends(self) -> list[End]:
        try:
            return [(float(at_s), str(boot), str(part)) for at_s, boot, part in json.loads(self._record.read_bytes())]
        except (OSError, ValueError, TypeError):
            return []

    def _keep(self, ends: list[End]) -> None:
        try:
            write_durably(self._record, json.dumps(ends[-TIMES:]).encode())
        except OSError as error:
            log.warning("%s: %s", self._record, error.strerror)
