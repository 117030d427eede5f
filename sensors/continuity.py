"""Keep splices out: which block does not continue the one before it, and when its samples were taken.

Pure but for ``wall_offset_ns``, which reads the clocks and can be replaced.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sensors.block import Block

NS = 1_000_000_000
DRIFT = 500e-6  # how far a device's clock may run slow; crystals are within 100 ppm, cheap resonators within 500
STEP_NS = NS  # later is no jitter
OFFSET_JITTER_NS = 1_000_000  # two clocks are never read at the same instant; a smaller change is no step
INDEX_SPAN = 1 << 32


class LateOverflowFilter:
    """Drops the block that holds a splice, which PortAudio names one read too late.

    On ALSA an overrun is noticed inside the wait of one read and remembered; the *next* ``Pa_ReadStream`` reports it
    before it waits (PortAudio ``src/hostapi/alsa/pa_linux_alsa.c``: ``ReadStream`` tests ``stream->overrun`` at its
    top, ``PaAlsaStream_HandleXrun`` sets it from within ``PaAlsaStream_WaitForFrames``). So the splice lies in the
    block before the report, and every block is held back until the next read has spoken for it.
    """

    def __init__(self) -> None:
        self._held: Block | None = None

    def push(self, block: Block, *, overflowed: bool) -> Block | None:
        """Take the newest block; return the one before it once it is known to be whole."""
        before, self._held = self._held, block
        if not overflowed:
            return before
        lost = 0 if before is None else len(before.samples) + before.lost_frames
        self._held = replace(block, after_gap=True, lost_frames=lost)
        return None


def wall_offset_ns() -> int:
    """Return what the system clock is ahead of the monotonic one now; changes when the system clock is set."""
    return time.time_ns() - time.monotonic_ns()


class SampleClock:
    """Turns arrivals, which jitter, into blocks with a capture time and a running index, and measures the rate.

    A block may arrive late for many reasons but never early, so the sample count carries the time and an early
    arrival corrects it at once; a late one moves it by ``DRIFT`` at most. All of it happens on the monotonic clock:
    the system clock may start in 1970 or be set, and no sample comes or goes with that.

    A device that stays late although nobody reported a gap has lost samples in silence: the block at hand is then
    marked ``after_gap`` and ``jumps`` counts it. So is, at once, the first block after a pause of more than
    ``STEP_NS``: either samples are missing or nobody read for so long.
    """

    def __init__(self, rate_hz: float, offset_ns: Callable[[], int] = wall_offset_ns) -> None:
        self.jumps = 0
        self._rate_hz = rate_hz
        self._ns_per_frame = NS / rate_hz
        self._offset_now_ns = offset_ns
        self._offset_ns = offset_ns()
        self._index = 0
        self._meter: RateMeter | None = None
        self._ppm: float | None = None
        self._arrival_ns = 0
        self._next_ns = 0.0
        self._last_ns = 0

    @property
    def rate_ppm(self) -> float | None:
        """Measured minus nominal rate in parts per million; None before ``RateMeter.FIRST_S`` without a gap."""
        ppm = None if self._meter is None else self._meter.rate_ppm()
        self._ppm = self._ppm if ppm is None else ppm
        return self._ppm

    def block(
        self, samples: NDArray[np.float32], arrival_ns: int, *, after_gap: bool = False, lost_frames: int = 0
    ) -> Block:
        """Return the next block.

        Args:
            samples: shape (frames, channels).
            arrival_ns: monotonic time at which the last of them had arrived.
            after_gap: the samples do not continue the ones before.
            lost_frames: how many are missing in between, as far as known.
        """
        frames = len(samples)
        if self._meter is not None and not after_gap:
            stalled = arrival_ns - self._arrival_ns - frames * self._ns_per_frame > STEP_NS
            if self._meter.push(arrival_ns, frames) or stalled:
                after_gap = True
                self.jumps += 1
        self._arrival_ns = arrival_ns
        start = self._start(arrival_ns, frames * self._ns_per_frame, fresh=after_gap or self._meter is None)
        if after_gap or self._meter is None:
            self._meter = RateMeter(self._rate_hz, arrival_ns)
        if abs((offset := self._offset_now_ns()) - self._offset_ns) > OFFSET_JITTER_NS:
            self._offset_ns = offset
        self._index += lost_frames
        block = Block(samples, start + self._offset_ns, after_gap, lost_frames, self._index, start)
        self._index += frames
        return block

    def _start(self, arrival_ns: int, length_ns: float, *, fresh: bool) -> int:
        heard = arrival_ns - length_ns  # at the latest
        late = heard - self._next_ns
        # a device that is slower than ``DRIFT`` is followed in steps
        start = heard if fresh or late > STEP_NS else self._next_ns + min(late, DRIFT * length_ns)
        start = max(start, self._last_ns + 1)
        self._next_ns, self._last_ns = start + length_ns, int(start)
        return self._last_ns


class RateMeter:
    """Counts samples against the monotonic clock: how fast a device really is, and whether it lost some in silence.

    How late a block arrives is never negative, so of every second the least late arrival counts; a line through
    those of the last ten minutes rises by the rate's error. Blocks that were all late (a busy machine) lie off the
    line and are left out of it.
    """

    BUCKET_S = 1.0
    FIRST_S = 20  # buckets before a rate is told: 0.1 ms of jitter are then some 3 ppm
    KEPT = 600
    JUMP_S = 0.015  # of lateness that stays, or eight times its jitter: what a loaded machine adds passes again
    YOUNG, YOUNG_JUMP_S = 13, 0.1  # with few buckets the jitter is hardly known
    JUMP_BUCKETS = 3  # for how long it must stay
    LINE_BUCKETS = 3  # before a line can be drawn

    def __init__(self, rate_hz: float, start_ns: int) -> None:
        """``start_ns``: monotonic time at which counting starts: the arrival of a sample that is not counted."""
        self._rate_hz = rate_hz
        self._start_ns = start_ns
        self._frames = 0
        self._least_s = math.inf
        self._bucket_ends_s = self.BUCKET_S
        self._at_s: deque[float] = deque(maxlen=self.KEPT)
        self._late_s: deque[float] = deque(maxlen=self.KEPT)

    def push(self, arrival_ns: int, frames: int) -> bool:
        """Count a block; True when samples must have been lost before it without a report."""
        self._frames += frames
        at_s = (arrival_ns - self._start_ns) / NS
        self._least_s = min(self._least_s, at_s - self._frames / self._rate_hz)
        if at_s < self._bucket_ends_s:
            return False
        self._at_s.append(at_s)
        self._late_s.append(self._least_s)
        self._least_s, self._bucket_ends_s = math.inf, at_s + self.BUCKET_S
        return self._jumped()

    def rate_ppm(self) -> float | None:
        """Return the measured minus the nominal rate in parts per million, None as long as too little was heard."""
        if len(self._at_s) < self.FIRST_S:
            return None
        slope, _, _ = self._line(np.array(self._at_s), np.array(self._late_s))
        return -slope * 1e6

    def _jumped(self) -> bool:
        newest = self.JUMP_BUCKETS
        if len(self._at_s) < self.LINE_BUCKETS + newest:
            return False
        at_s, late_s = np.array(self._at_s), np.array(self._late_s)
        slope, offset, jitter_s = self._line(at_s[:-newest], late_s[:-newest])
        risen_s = (late_s[-newest:] - (slope * at_s[-newest:] + offset)).min()
        least_s = self.YOUNG_JUMP_S if len(at_s) < self.YOUNG else self.JUMP_S
        return bool(risen_s > max(least_s, 8 * jitter_s))

    @staticmethod
    def _line(at_s: NDArray[np.float64], late_s: NDArray[np.float64]) -> tuple[float, float, float]:
        """Return slope, offset and jitter of the lateness over time."""
        slope, offset = np.polyfit(at_s, late_s, 1)
        off = late_s - (slope * at_s + offset)
        near = off <= 3 * np.median(np.abs(off)) + 1e-6  # what lies far above the line was not the device
        if 2 <= near.sum() < len(near):
            slope, offset = np.polyfit(at_s[near], late_s[near], 1)
        jitter = np.median(np.abs(late_s - (slope * at_s + offset)))
        return float(slope), float(offset), float(jitter)


class SampleIndex:
    """Follows a device's 32-bit sample index and says what is missing."""

    def __init__(self, *, plausible_frames: int = INDEX_SPAN // 2) -> None:
        """``plausible_frames``: a longer jump is a restarted device, not that many lost samples."""
        self._plausible_frames = plausible_frames
        self._next: int | None = None

    def push(self, index: int, frames: int) -> int | None:
        """Take the index of a frame's first sample; return how many samples are missing before it.

        Returns:
            0 when it continues the one before (and for the first), None when the device began to count anew.
        """
        lost = 0 if self._next is None else (index - self._next) % INDEX_SPAN
        self._next = (index + frames) % INDEX_SPAN
        return lost if lost <= self._plausible_frames else None


class BlockBuilder:
    """Joins a device's short frames into blocks of about ``block_frames``, and never across a gap."""

    def __init__(self, clock: SampleClock, block_frames: int) -> None:
        self._clock = clock
        self._block_frames = block_frames
        self._parts: list[NDArray[np.float32]] = []
        self._held = 0
        self._arrival_ns = 0
        self._gap = False
        self._lost = 0

    def push(
        self, samples: NDArray[np.float32], arrival_ns: int, *, gap: bool = False, lost_frames: int = 0
    ) -> list[Block]:
        """Take one frame's samples, shape (frames, channels); return the blocks that are complete.

        Args:
            arrival_ns: monotonic time at which the frame's last byte had arrived.
            gap: the frame does not continue the one before it.
            lost_frames: how many frames are missing before it, as far as known.
        """
        ready: list[Block] = []
        if gap or lost_frames:
            ready += self._flush()
            self._gap, self._lost = True, lost_frames
        self._parts.append(samples)
        self._held += len(samples)
        self._arrival_ns = arrival_ns
        if self._held >= self._block_frames:
            ready += self._flush()
        return ready

    def _flush(self) -> list[Block]:
        if not self._parts:
            return []
        samples = np.concatenate(self._parts)
        block = self._clock.block(samples, self._arrival_ns, after_gap=self._gap, lost_frames=self._lost)
        self._parts, self._held, self._gap, self._lost = [], 0, False, 0
        return [block]
