"""History: what every point remembers of its own past, hour by hour in files that are only appended to.

``FOLDER/MACHINE/POINT/20260503T08-0.facts`` and ``.vectors``: the hour (UTC) in which windows began, and a number that
rises where sensor, gain, model or baseline changed within the hour. One thread writes; anyone may read meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from echo_edge.errors import HistoryError
from echo_edge.history_reader import HOUR_FILE, HistoryReader, by_time, hour_of, number_of, start_of
from echo_edge.memory import Circumstances, Memory
from echo_edge.record_file import append, mend, read_header

log = logging.getLogger(__name__)

DAY_NS = 24 * 3600 * 10**9
FLUSH_WINDOWS = 64
FLUSH_S = 60.0
ROOM = 0.95  # of ``max_mb`` is left when too much was kept, so that the folder is not looked through every minute


class History(HistoryReader):
    """The history of all points of a gateway.

    Args:
        folder: made when the first window is written.
        keep_days: older hours are deleted; 0 remembers nothing.
        max_mb: of all files together (10 ** 6 bytes). Beyond, the oldest hour's vectors go first, its facts last.
    """

    def __init__(self, folder: Path, keep_days: float = 30.0, max_mb: float = 2000.0) -> None:
        super().__init__(folder)
        self._keep_ns = int(keep_days * DAY_NS)
        self._max_bytes = int(max_mb * 1e6)
        self._waiting: list[tuple[str, Memory]] = []
        self._flushed_s = time.monotonic()
        self._parts: dict[tuple[str, str], list[Circumstances | None]] = {}  # (point, hour) -> by number
        self._size = 0
        self._retained_hour = ""
        self._begun_s = time.monotonic()
        self._newest_ns = max(
            (start_of(file[1]) for file in self._files() if HOUR_FILE.fullmatch(file[2].stem)), default=0
        )
        self._failing = False
        self.lost = 0
        """Windows that were not written since the daemon started."""

        self.rests = False
        """True while nothing is to be written, for want of room; see ``disk_guard``."""

    @property
    def on(self) -> bool:
        return self._keep_ns > 0

    # written by one thread; nothing here raises

    def add(self, point: str, memory: Memory) -> None:
        """Remember a window; it reaches the disk within a minute or 64 windows."""
        if not self.on:
            return
        self._waiting.append((point, memory))
        if len(self._waiting) >= FLUSH_WINDOWS or time.monotonic() - self._flushed_s >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits. A disk that is full or broken costs these windows, and nothing else."""
        waiting, self._waiting = self._waiting, []
        self._flushed_s = time.monotonic()
        if self.rests:
            self.lost += len(waiting)
            return
        groups: dict[tuple[str, str], list[Memory]] = defaultdict(list)
        for point, memory in waiting:
            groups[point, hour_of(memory.start_ns)].append(memory)
        failed = False
        for (point, hour), memories in groups.items():
            try:
                self._write(point, hour, memories)
            except (OSError, ValueError, HistoryError) as error:
                self.lost += len(memories)
                failed = True
                if not self._failing:
                    log.error("history: not written, monitoring goes on: %s", error)
                self._failing = True
        if groups and self._failing and not failed:
            log.warning("history: written again; %d windows were lost so far", self.lost)
            self._failing = False
        if self.on:
            self._retain()

    def oldest(self) -> list[tuple[Path, int]]:
        """Files that may be given up for room, and their bytes: all but those of the newest 24 hours, vectors before
        facts, the oldest first."""
        files = [file for file in self._files() if HOUR_FILE.fullmatch(file[2].stem)]
        # not by the clock alone: one that was not set yet would keep everything, and what is worth more would go
        newest_ns = max([time.time_ns(), *(start_of(name) for _, name, *_ in files)])
        newest_day = hour_of(newest_ns - DAY_NS)
        return [(path, size) for _, name, path, size in files if name < newest_day]

    def _files(self) -> list[tuple[bool, str, Path, int]]:
        """Every file and its size, in the order in which they may go."""
        files = ((path, path.stat().st_size) for path in self._folder.glob("*/*/*-*.*"))
        return sorted((path.suffix != ".vectors", path.name, path, size) for path, size in files)

    def _write(self, point: str, hour: str, memories: Sequence[Memory]) -> None:
        by_part: dict[int, list[Memory]] = defaultdict(list)
        for memory in memories:
            by_part[self._part(point, hour, memory.circumstances)].append(memory)
        for number, together in by_part.items():
            stem = self._folder / point / f"{hour}-{number}"
            header = together[0].circumstances.header()
            if together[0].embedding is not None:  # vectors first: facts without vectors are told apart, not missed
                vectors = np.concatenate([memory.vectors() for memory in together])
                self._size += append(stem.with_suffix(".vectors"), header, vectors)
            facts = np.concatenate([memory.facts() for memory in together])
            self._size += append(stem.with_suffix(".facts"), header, facts)

    def _part(self, point: str, hour: str, circumstances: Circumstances) -> int:
        """The number of the hour's file for these circumstances."""
        folder = self._folder / point
        if (point, hour) not in self._parts:
            self._parts = {key: parts for key, parts in self._parts.items() if key[0] != point}  # of the last hour
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            numbers = {number_of(path) for path in by_time(folder.glob(f"{hour}-*.*"))}
            stems = [folder / f"{hour}-{number}" for number in range(max(numbers, default=-1) + 1)]
            self._parts[point, hour] = [_mended(stem) for stem in stems]
        parts = self._parts[point, hour]
        if circumstances not in parts:
            parts.append(circumstances)
        return parts.index(circumstances)

    def _believable_ns(self) -> int:
        """The time, but no later than a day after the newest of before, and what we have run since.

        A clock that is years ahead for a moment would have everything deleted.
        """
        ran_ns = round((time.monotonic() - self._begun_s) * 1e9)
        return min(time.time_ns(), self._newest_ns + DAY_NS + ran_ns) if self._newest_ns else time.time_ns()

    def _retain(self) -> None:
        """Delete what is too old, or too much; looks at the folder once an hour, and when it has grown too large."""
        now_ns = self._believable_ns()
        hour = hour_of(now_ns)
        if hour == self._retained_hour and self._size <= self._max_bytes:
            return
        self._retained_hour = hour
        oldest = hour_of(now_ns - self._keep_ns) if now_ns > self._keep_ns else ""
        try:
            kept = []
            for file in self._files():
                if file[1] < oldest:
                    file[2].unlink(missing_ok=True)
                else:
                    kept.append(file)
            self._size = sum(size for *_, size in kept)
            if self._size <= self._max_bytes:
                return
            for *_, path, size in kept:
                if self._size <= ROOM * self._max_bytes:
                    break
                path.unlink(missing_ok=True)
                self._size -= size
        except OSError as error:
            log.error("history: old hours cannot be deleted: %s", error)


def _mended(stem: Path) -> Circumstances | None:
    """What is in an hour's files from before this process; None where they must not be added to."""
    try:
        found = Circumstances.of_header(read_header(stem.with_suffix(".facts"))[0])
        cut = mend(stem.with_suffix(".facts"), found.facts_dtype)
        if (vectors := stem.with_suffix(".vectors")).exists():
            cut += mend(vectors, found.vectors_dtype)
    except (OSError, HistoryError) as error:
        log.warning("history: begun anew beside a file that cannot be continued: %s", error)
        return None
    if cut:
        log.warning("%s: %d bytes of an unfinished record were cut off", stem, cut)
    return found
