"""What the bytes of an IIO buffer mean, and which scans are missing between them. Pure.

A scan is one sample of every channel that is switched on. Sources: the kernel's
``Documentation/ABI/testing/sysfs-bus-iio`` (the ``type`` of a scan element) and ``iio_compute_scan_bytes`` in
``drivers/iio/industrialio-buffer.c`` (index order, each element aligned to its own size, and since Linux 5.5 the whole
scan to the largest of them).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TYPE = re.compile(r"(le|be):([su])(\d+)/(\d+)(?:[Xx](\d+))?>>(\d+)\s*")
STORAGE_BITS = (8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class ScanElement:
    """One channel of a scan, as its ``index`` and ``type`` describe it."""

    name: str
    """As sysfs calls it: ``in_accel_x``, ``in_timestamp``."""

    index: int
    big_endian: bool
    signed: bool
    bits: int
    storage_bits: int
    shift: int
    repeat: int = 1

    @classmethod
    def parse(cls, name: str, index: int, text: str) -> ScanElement:
        """Return the element that a ``type`` such as ``le:s12/16>>4`` describes.

        Raises:
            ValueError: it is none, or its bits do not fit where they are stored.
        """
        if (match := TYPE.fullmatch(text)) is None:
            raise ValueError(f"{name} has the type {text.strip()!r}, not one like 'le:s16/16>>0'")
        bits, storage_bits, shift = int(match[3]), int(match[4]), int(match[6])
        repeat = int(match[5] or 1)
        if storage_bits not in STORAGE_BITS or not 1 <= bits <= storage_bits - shift or repeat < 1:
            raise ValueError(f"{name} has the type {text.strip()!r}, whose bits do not fit")
        return cls(name, index, match[1] == "be", match[2] == "s", bits, storage_bits, shift, repeat)

    @property
    def size(self) -> int:
        """Bytes in the scan, which are also its alignment."""
        return self.storage_bits // 8 * self.repeat

    @property
    def largest(self) -> int:
        """The largest raw value by magnitude."""
        return 1 << (self.bits - 1) if self.signed else (1 << self.bits) - 1

    def raw(self, stored: NDArray[np.generic]) -> NDArray[np.int64]:
        """Return the integers that lie in stored words: shifted down, cut to ``bits``, sign extended."""
        words = stored.astype(np.uint64)
        up, down = np.uint64(64 - self.bits - self.shift), np.uint64(64 - self.bits)
        high = words << up  # the value's own top bit on top: shifting down again extends it, or not
        return high.view(np.int64) >> down.astype(np.int64) if self.signed else (high >> down).astype(np.int64)


class ScanFormat:
    """The layout of a scan."""

    def __init__(self, elements: Sequence[ScanElement]) -> None:
        """``elements``: every channel that is switched on, in any order."""
        self.elements = {element.name: element for element in sorted(elements, key=lambda e: e.index)}
        offsets, end = [], 0
        for element in self.elements.values():
            start = _aligned(end, element.size)
            offsets.append(start)
            end = start + element.size
        self.scan_bytes = _aligned(end, max(element.size for element in elements))
        self._dtype = np.dtype(
            {
                "names": list(self.elements),
                "formats": [_stored(element) for element in self.elements.values()],
                "offsets": offsets,
                "itemsize": self.scan_bytes,
            }
        )

    def decode(self, data: bytes) -> dict[str, NDArray[np.int64]]:
        """Return the raw values of each element.

        Args:
            data: whole scans.

        Returns:
            For each name shape (scans,), or (scans, repeat) for an element that repeats.
        """
        scans = np.frombuffer(data, self._dtype)
        return {name: element.raw(scans[name]) for name, element in self.elements.items()}


def _aligned(offset: int, size: int) -> int:
    return -(-offset // size) * size


def _stored(element: ScanElement) -> str | tuple[str, tuple[int]]:
    word = f"{'>' if element.big_endian else '<'}u{element.storage_bits // 8}"
    return word if element.repeat == 1 else (word, (element.repeat,))


class TimestampGaps:
    """Finds the scans that are missing, by the time that the kernel gave to each.

    An interrupt that was served late dates one scan late and the next ones rightly: 1.6 periods, then 0.4. That is no
    loss. After a loss every scan stays late. So a step of more than ``STEP`` periods counts only when none of the
    ``AHEAD`` scans after it has caught up. A single scan lost right after one that was dated late by more than half a
    period looks like jitter; ``SampleClock`` notices a loss of 15 ms and more.
    """

    STEP = 1.5
    AHEAD = 4
    LONGEST_S = 60.0  # a longer step, or one backward, is a clock that was set: a gap of unknown length
    OFF = 0.2  # how far a sensor's own oscillator may be from its nominal rate; the cheap ones promise 15 percent

    def __init__(self, rate_hz: float) -> None:
        self._nominal_ns = self._period_ns = 1e9 / rate_hz
        self._before_ns: NDArray[np.int64] = np.zeros(0, np.int64)

    def push(self, times_ns: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Judge the scans that follow those judged before.

        Args:
            times_ns: shape (n,). The last ``AHEAD`` are only looked at: give them again, before what comes next.

        Returns:
            For each gap the position of the first scan after it, and how many are missing (0: not known).
        """
        judged = max(0, len(times_ns) - self.AHEAD)
        first = len(self._before_ns)  # without a scan before it there is no step to the first one
        all_ns = np.concatenate([self._before_ns, times_ns])
        steps_ns = np.diff(all_ns)[: first + judged - 1] if judged else all_ns[:0]
        if len(steps_ns) >= 2 * self.AHEAD:
            median_ns = float(np.median(steps_ns))
            self._period_ns = min(max(median_ns, (1 - self.OFF) * self._nominal_ns), (1 + self.OFF) * self._nominal_ns)
        if judged:
            self._before_ns = times_ns[judged - 1 : judged].copy()
        gaps = []
        for step in np.flatnonzero((steps_ns > self.STEP * self._period_ns) | (steps_ns < 0)):
            lost = self._lost(all_ns[step : step + 2 + self.AHEAD])
            if lost is not None:
                gaps.append((int(step) + 1 - first, lost))
        return gaps

    def _lost(self, times_ns: NDArray[np.int64]) -> int | None:
        """Return how many scans are missing after the first of these times, None when the later ones caught up."""
        if not 0 <= times_ns[1] - times_ns[0] <= self.LONGEST_S * 1e9:
            return 0
        late = (times_ns[1:] - times_ns[0]) / self._period_ns - np.arange(1, len(times_ns))
        least = float(late.min())
        return round(least) if least > self.STEP - 1 else None
