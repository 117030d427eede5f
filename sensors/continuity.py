"""Keep splices out: which block does not continue the one before it, and when its samples were taken. Pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sensors.block import Block

NS = 1_000_000_000
DRIFT = 500e-6  # how far a device's clock may run slow; crystals are within 100 ppm, cheap resonators within 500
STEP_NS = NS  # a larger disagreement is a stepped system clock or a stall, not jitter
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


class CaptureClock:
    """Turns arrival times, which jitter, into capture times, which do not.

    A block may arrive late for many reasons but never early, so the sample count carries the time and an early
    arrival corrects it at once; a late one moves it by ``DRIFT`` at most. The times grow within a run, unless the
    system clock itself is set back by more than a second.
    """

    def __init__(self, rate_hz: float) -> None:
        self._ns_per_frame = NS / rate_hz
        self._last_ns: int | None = None
        self._next_ns = 0.0
        self._anchored = False

    def restart(self) -> None:
        """Forget the sample count: the next block follows a gap."""
        self._anchored = False

    def stamp(self, arrival_ns: int, frames: int) -> int:
        """Return the capture time of the first of ``frames`` frames; the last had arrived at ``arrival_ns``."""
        length = frames * self._ns_per_frame
        heard = arrival_ns - length  # at the latest
        late = heard - self._next_ns
        keeps = self._anchored and abs(late) <= STEP_NS
        start = self._next_ns + min(late, DRIFT * length) if keeps else heard
        if self._last_ns is not None and self._last_ns - STEP_NS < start <= self._last_ns:
            start = self._last_ns + 1
        self._anchored = True
        self._next_ns = start + length
        self._last_ns = int(start)
        return self._last_ns


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

    def __init__(self, rate_hz: float, block_frames: int) -> None:
        self._clock = CaptureClock(rate_hz)
        self._block_frames = block_frames
        self._parts: list[NDArray[np.float32]] = []
        self._arrival_ns = 0
        self._gap = False
        self._lost = 0

    def push(
        self, samples: NDArray[np.float32], arrival_ns: int, *, gap: bool = False, lost_frames: int = 0
    ) -> list[Block]:
        """Take one frame's samples, shape (frames, channels); return the blocks that are complete.

        Args:
            arrival_ns: when the frame's last byte had arrived.
            gap: the frame does not continue the one before it.
            lost_frames: how many frames are missing before it, as far as known.
        """
        ready: list[Block] = []
        if gap or lost_frames:
            ready += self._flush()
            self._clock.restart()
            self._gap, self._lost = True, lost_frames
        self._parts.append(samples)
        self._arrival_ns = arrival_ns
        if sum(map(len, self._parts)) >= self._block_frames:
            ready += self._flush()
        return ready

    def _flush(self) -> list[Block]:
        if not self._parts:
            return []
        samples = np.concatenate(self._parts)
        time_ns = self._clock.stamp(self._arrival_ns, len(samples))
        block = Block(samples, time_ns, after_gap=self._gap, lost_frames=self._lost)
        self._parts, self._gap, self._lost = [], False, 0
        return [block]
