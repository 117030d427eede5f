"""Reading the history: facts of a stretch of time, and the vectors of those windows that are wanted, in bounded memory.

Shape suffixes: W = windows.
"""

from __future__ import annotations

import calendar
import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.errors import HistoryError
from echo_edge.material import Material
from echo_edge.memory import LEVELS, Circumstances
from echo_edge.normal_state import seconds_heard
from echo_edge.past import Past
from echo_edge.record_file import Records, intact, read_header, read_records

log = logging.getLogger(__name__)

HOUR_FILE = re.compile(r"\d{8}T\d{2}-\d+")
STRETCH = 64  # windows that are left out or taken together, so that those taken still have their neighbours
READ_MB = 256  # of vectors that one reading holds in memory

Measured = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Part:
    """The facts of one file."""

    path: Path
    circumstances: Circumstances
    facts: Records
    """Shape (W,), undamaged ones within the span that was asked for."""

    damaged: int

    def is_level(self, level: str) -> Mask:
        """Shape (W,)."""
        return np.asarray(self.facts["level"] == LEVELS.index(level))

    @property
    def away(self) -> Mask:
        """Shape (W,): True where the sensor was not as it should be, or the machine off or settling."""
        return self.is_level("not_monitored") | self.is_level("resting")

    @property
    def in_alert(self) -> Mask:
        """Shape (W,): True where an alert was open."""
        return np.asarray(np.any(self.facts["alert"] != 0, axis=1))


class HistoryReader:
    """What is in a folder of history; reads only, in any thread or process.

    Args:
        folder: as ``History`` takes it; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def parts(self, point: str, from_ns: int, to_ns: int) -> tuple[list[Part], int]:
        """The facts of all windows that begin and end within the span, in order of time, and how many are damaged.

        Raises:
            HistoryError: the disk.
        """
        found, damaged = [], 0
        for part in self.walk(point, from_ns, to_ns):
            if isinstance(part, HistoryError):
                damaged += 1
                continue
            damaged += part.damaged
            if len(part.facts):
                found.append(part)
        return found, damaged

    def walk(self, point: str, from_ns: int, to_ns: int) -> Iterator[Part | HistoryError]:
        """The same, one file after the other, so that only one is in memory; an error stands for one that is damaged.

        Raises:
            HistoryError: the disk.
        """
        first, last = hour_of(max(from_ns, 0)), hour_of(to_ns)
        try:
            for path in by_time((self._folder / point).glob("*-*.facts")):
                if not first <= path.stem.partition("-")[0] <= last:
                    continue
                try:
                    yield _facts(path, from_ns, to_ns)
                except HistoryError as error:
                    log.warning("%s", error)
                    yield error
                except FileNotFoundError:  # too old by now
                    continue
        except OSError as error:
            raise HistoryError(f"{point}: its history cannot be read: {error}") from error

    def read(self, point: str, from_ns: int, to_ns: int, *, model_sha256: str, max_mb: float = READ_MB) -> Past:
        """The windows of a stretch of time that a baseline of this model may learn from.

        Args:
            max_mb: of vectors; of more, whole stretches of ``STRETCH`` windows are left out, evenly over the time.

        Raises:
            HistoryError: the disk.
        """
        parts, damaged = self.parts(point, from_ns, to_ns)
        excluded = Counter({"damaged": damaged})
        usable: list[tuple[Part, Mask]] = []
        newest: Circumstances | None = None
        for part in reversed(parts):
            good = np.zeros(len(part.facts), np.bool_)
            if part.circumstances.origin.model_sha256 != model_sha256:
                excluded["other_model"] += len(good)
                continue
            unusable = part.away
            good = ~unusable & ~part.in_alert
            excluded["not_monitored"] += int(unusable.sum())
            excluded["alert_open"] += int((part.in_alert & ~unusable).sum())
            if not good.any():
                continue
            newest = newest or part.circumstances
            reason = _difference(part.circumstances, newest)
            if not part.path.with_suffix(".vectors").exists():
                reason = "vectors_gone"
            if reason:
                excluded[reason] += int(good.sum())
            else:
                usable.insert(0, (part, good))
        times = [part.facts[good] for part, good in usable]
        heard = sum(len(facts) for facts in times)
        heard_s = 0.0
        if heard:
            starts, ends = (np.concatenate([facts[name] for facts in times]) for name in ("start_ns", "end_ns"))
            order = np.argsort(starts, kind="stable")
            heard_s = seconds_heard(starts[order], ends[order])
        material, missing = self.material(bounded(usable, max_mb))
        excluded += missing
        return Past(
            material,
            None if newest is None else newest.origin,
            "" if newest is None else newest.identity,
            {} if newest is None else newest.settings,
            heard,
            heard_s,
            {reason: n for reason, n in sorted(excluded.items()) if n},
        )

    def material(self, picked: Sequence[tuple[Part, Mask]]) -> tuple[Material | None, Counter[str]]:
        """The vectors of some windows, in order of time, and why others could not be had.

        Args:
            picked: parts of equal circumstances except for the baseline, and which of their windows.

        Raises:
            HistoryError: the disk.
        """
        missing: Counter[str] = Counter()
        picked = [(part, mask) for part, mask in picked if mask.any()]
        if not picked:
            return None, missing
        wanted = sum(int(mask.sum()) for _, mask in picked)
        shapes = picked[0][0].circumstances.shapes
        held: dict[str, NDArray[Any]] = {
            "bands": np.empty((wanted, *shapes["bands"]), np.float16),
            "spectrum": np.empty((wanted, *shapes["spectrum"]), np.float16),
            "picture": np.empty((wanted, *shapes["picture"]), np.uint8),
        }
        facts: list[Measured] = []
        count = 0
        for part, mask in picked:
            rows = part.facts[mask]
            rows = rows[np.unique(rows["start_ns"], return_index=True)[1]]  # a clock that is set back repeats times
            began = count
            try:
                for records, at in _matching(part, rows["start_ns"]):
                    upto = count + len(records)
                    for name, array in held.items():
                        array[count:upto] = records[name]
                    facts.append(_measured(rows[at]))
                    count = upto
            except FileNotFoundError:
                missing["vectors_gone"] += len(rows)
                continue
            except HistoryError as error:
                log.warning("%s", error)
            except OSError as error:
                raise HistoryError(f"{part.path}: cannot be read: {error}") from error
            missing["damaged"] += len(rows) - (count - began)
        if not count:
            return None, missing
        start_ns, end_ns, level_db, indicators = (np.concatenate(columns) for columns in zip(*facts, strict=True))
        bands, spectrum, picture = (array[:count] for array in held.values())
        indicator_names = picked[0][0].circumstances.indicators
        material = Material(bands, spectrum, indicators, picture, level_db, start_ns, end_ns, indicator_names)
        if np.any(np.diff(start_ns) < 0):  # two sets of circumstances took turns within the hour
            material = material.pick(np.argsort(start_ns, kind="stable"))
        return material, missing


def hour_of(time_ns: int) -> str:
    """The hour, UTC, as files are named: ``20260503T08``; sorts as time does."""
    return datetime.fromtimestamp(time_ns // 10**9, timezone.utc).strftime("%Y%m%dT%H")


def start_of(name: str) -> int:
    """When the hour began that a file is named by."""
    return calendar.timegm(time.strptime(name[:11], "%Y%m%dT%H")) * 10**9


def number_of(path: Path) -> int:
    """A file's number within its hour."""
    return int(path.stem.partition("-")[2])


def by_time(paths: Iterable[Path]) -> list[Path]:
    """Files of hours in their order; what somebody else put there is left alone."""
    return sorted(
        (path for path in paths if HOUR_FILE.fullmatch(path.stem)), key=lambda path: (path.name[:11], number_of(path))
    )


def bounded(picked: Sequence[tuple[Part, Mask]], max_mb: float) -> list[tuple[Part, Mask]]:
    """Of too many windows, whole stretches at even distances over the time."""
    count = sum(int(mask.sum()) for _, mask in picked)
    if not count:
        return []
    shapes = picked[0][0].circumstances.shapes
    each = sum(int(np.prod(shapes[name])) * size for name, size in (("bands", 2), ("spectrum", 2), ("picture", 1)))
    if (most := int(max_mb * 2**20) // each) >= count:
        return list(picked)
    stretches = -(-count // STRETCH)
    keep = np.zeros(stretches, np.bool_)
    keep[np.linspace(0, stretches - 1, max(1, most // STRETCH)).astype(np.int64)] = True
    thinned, before = [], 0
    for part, mask in picked:
        number = before + np.cumsum(mask) - 1  # of each window that is wanted
        thinned.append((part, mask & keep[(number // STRETCH).clip(0, stretches - 1)]))
        before += int(mask.sum())
    return thinned


def _facts(path: Path, from_ns: int, to_ns: int) -> Part:
    about, offset = read_header(path)
    circumstances = Circumstances.of_header(about)
    found, damaged = [np.empty(0, circumstances.facts_dtype)], 0
    for records in read_records(path, offset, circumstances.facts_dtype):
        whole = intact(records)
        damaged += int((~whole).sum())
        found.append(records[whole & (records["start_ns"] >= from_ns) & (records["end_ns"] <= to_ns)])
    return Part(path, circumstances, np.concatenate(found), damaged)


def _matching(part: Part, start_ns: NDArray[np.int64]) -> Iterator[tuple[Records, NDArray[np.int64]]]:
    """Undamaged vectors of the windows that began at these rising times, and which of them each is."""
    path = part.path.with_suffix(".vectors")
    _, offset = read_header(path)
    left = np.ones(len(start_ns), np.bool_)
    for records in read_records(path, offset, part.circumstances.vectors_dtype):
        at = np.searchsorted(start_ns, records["start_ns"]).clip(max=len(start_ns) - 1)
        rows = np.flatnonzero((start_ns[at] == records["start_ns"]) & left[at])
        rows = rows[intact(records[rows])]
        rows = np.sort(rows[np.unique(at[rows], return_index=True)[1]])
        left[at[rows]] = False
        yield records[rows], at[rows]


def _measured(facts: Records) -> Measured:
    return (
        facts["start_ns"],
        facts["end_ns"],
        facts["level_db"].astype(np.float64),
        facts["indicators"].astype(np.float64),
    )


def _difference(one: Circumstances, newest: Circumstances) -> str | None:
    """Why windows cannot be learned together with the newest ones; the name of a reason of ``Past.excluded``."""
    for name in ("origin", "identity", "shapes", "indicators"):
        if getattr(one, name) != getattr(newest, name):
            return "other_sensor"
    return "other_gain" if one.settings != newest.settings else None
