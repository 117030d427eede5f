"""Windower: blocks of one device -> gap-free windows of one point. Pure: it knows no thread, queue or clock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from echo_edge.frontend import SPEC, frame_count
from echo_edge.records import Limits, Window
from sensors import FULL_SCALE, Block

CLOCK_STEP_NS = 1_000_000_000  # a larger difference between samples and clock is a step of the clock: follow at once
CLOCK_SMOOTHING = 100  # a smaller one is jitter and drift: follow slowly, one part in so many per block


class Windower:
    """Cuts overlapping or adjoining windows; whatever spans a gap is thrown away.

    Args:
        point: ``machine/point``.
        channels: which columns of the blocks belong to the point.
        rate_hz: the device's native rate.
        length_s: seconds per window.
        unit: physical unit of the samples.
        limits: what the sensor can deliver.
        hop_s: seconds between window starts; a number of samples is kept exact over years by rounding each start
            from the count of windows, not by adding up rounded hops.

    Raises:
        ValueError: the window is too short or too long for the encoder at this rate.
    """

    def __init__(
        self,
        point: str,
        channels: list[int],
        rate_hz: int,
        length_s: float,
        hop_s: float,
        unit: str = FULL_SCALE,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.point = point
        self.unit, self.limits = unit, limits
        self.rate_hz = rate_hz
        self._channels = channels
        self._length = round(length_s * rate_hz)
        self._hop = hop_s * rate_hz
        if (frames := frame_count(self._length, rate_hz)) > SPEC.max_frames:
            raise ValueError(f"{frames} frames of 10 ms are more than the {SPEC.max_frames} that the encoder takes")
        self._restart()

    def _restart(self) -> None:
        self._parts: list[NDArray[np.float32]] = []
        self._held = 0  # samples in _parts
        self._first = 0  # index of the first held sample since the last gap
        self._windows = 0  # windows cut since the last gap
        self._anchor_ns = 0  # capture time of sample 0 since the last gap

    def push(self, block: Block) -> list[Window]:
        """Add a block; return the windows it completes, in order."""
        if block.after_gap:
            self._restart()
        drift_ns = block.time_ns - self._time_ns(self._first + self._held)
        fresh = not self._held and not self._windows
        # a block may be dated too late and never too early, so an earlier date corrects what came before at once
        at_once = fresh or drift_ns < 0 or drift_ns > CLOCK_STEP_NS
        self._anchor_ns += drift_ns if at_once else drift_ns // CLOCK_SMOOTHING
        self._parts.append(np.ascontiguousarray(block.samples[:, self._channels].T))
        self._held += block.samples.shape[0]
        done: list[Window] = []
        while (start := round(self._windows * self._hop)) + self._length <= self._first + self._held:
            joined = self._joined()
            offset = start - self._first
            samples = joined[:, offset : offset + self._length].copy()
            done.append(Window(self.point, samples, self.rate_hz, self._time_ns(start), self.unit, self.limits))
            self._windows += 1
            self._forget(joined, round(self._windows * self._hop))
        return done

    def _time_ns(self, index: int) -> int:
        # samples are the clock: block times jitter by scheduling, sample counts do not
        return self._anchor_ns + index * 1_000_000_000 // self.rate_hz

    def _joined(self) -> NDArray[np.float32]:
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts, axis=1)]
        return self._parts[0]

    def _forget(self, joined: NDArray[np.float32], until: int) -> None:
        drop = min(until - self._first, self._held)
        self._parts = [joined[:, drop:]]
        self._held -= drop
        self._first += drop
