"""Microphones and other sound inputs, by PortAudio in a child process that can be killed when a device stalls."""

from __future__ import annotations

import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sensors import portaudio_child
from sensors.block import Block
from sensors.child import Child
from sensors.continuity import LateOverflowFilter, SampleClock
from sensors.errors import SensorFault, SensorUnavailable
from sensors.portaudio_child import HEADER
from sensors.soundcards import card_of, stable_name
from sensors.source import BLOCK_S, Source, SourceInfo

OPEN_S = 10.0  # a sound server may have to start first
WAIT_S = 0.5
STALL_S = 2.0  # with WAIT_S a stall is told within 3 s of the last sample
PACE_BLOCKS = 100  # blocks over which a device that runs away from its own rate is noticed
RUNAWAY = 2.0


def start_child(name: str, order: dict[str, Any]) -> tuple[Child, dict[str, Any], bytes]:
    """Give a child process its order; return it with its first answer and what followed the answer.

    Raises:
        SensorUnavailable: it cannot be carried out; the child is gone.
    """
    spec = find_spec("sounddevice")
    if spec is None or spec.origin is None:
        raise SensorUnavailable(name, "the Python package sounddevice is not installed")
    order = {**order, "path": [str(Path(spec.origin).parent)]}
    try:
        child = Child([sys.executable, "-I", str(Path(portaudio_child.__file__)), json.dumps(order)])
    except OSError as error:
        raise SensorUnavailable(name, f"no process for the sound device: {error}") from error
    try:
        answer, rest = _first_line(name, child)
        if "error" in answer:
            raise SensorUnavailable(name, answer["error"])
    except SensorUnavailable:
        child.stop()
        raise
    return child, answer, rest


def _first_line(name: str, child: Child) -> tuple[dict[str, Any], bytes]:
    received = b""
    deadline = time.monotonic() + OPEN_S
    while b"\n" not in received:
        data = child.receive(max(0.0, deadline - time.monotonic()))
        if data is None:
            raise SensorUnavailable(name, f"the sound device did not open within {OPEN_S:.0f} s")
        if not data:
            raise SensorUnavailable(name, f"the sound process ended: {child.last_words()}")
        received += data
    line, _, rest = received.partition(b"\n")
    answer: dict[str, Any] = json.loads(line)
    return answer, rest


class Microphone(Source):
    """A sound input at its native rate."""

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        rate_hz: int | None = None,
        channels: int = 1,
        scale: float = 1.0,
        unit: str = "full scale",
    ) -> None:
        """Nothing is opened yet.

        Args:
            name: the device's name in the configuration.
            device: PortAudio's exact name, a part of it that fits one device only, or ``usb:VVVV:PPPP[:SERIAL]``;
                None is the system's default. Never a number: numbers change from boot to boot.
            rate_hz: None is the device's own default.
            scale: physical unit per full scale.
            unit: what the samples are after scaling.
        """
        super().__init__(name)
        self._order = {"do": "capture", "device": device, "rate_hz": rate_hz, "channels": channels, "block_s": BLOCK_S}
        self._device = device
        self._channels = channels
        self._scale = np.float32(scale)
        self._unit = unit
        self._child: Child | None = None

    @property
    def rate_ppm(self) -> float | None:
        """Measured minus nominal rate in parts per million."""
        return None if self._child is None else self._clock.rate_ppm

    def open(self) -> SourceInfo:
        """Start the child process and wait until its stream runs."""
        self.close()
        card = card_of(self._device, self.name) if self._device and self._device.startswith("usb:") else None
        return self._begin(*start_child(self.name, {**self._order, "card": card}))

    def _begin(self, child: Child, opened: dict[str, Any], rest: bytes) -> SourceInfo:
        self._child = child
        self._received = bytearray(rest)
        self._filter = LateOverflowFilter()
        self._clock = SampleClock(opened["rate_hz"])
        self._heard_s = self._pace_from_s = time.monotonic()
        self._paced = 0
        self._block_s = opened["block_frames"] / opened["rate_hz"]
        return SourceInfo(opened["rate_hz"], opened["channels"], self._unit, stable_name(opened["name"]))

    def read(self) -> Block | None:
        """Wait for the next block that is known to be free of splices."""
        if self._child is None:
            raise SensorFault(self.name, "not open")
        while True:
            if (frame := self._frame()) is not None:
                block, overflowed = frame
                self._check_pace()
                if (good := self._filter.push(block, overflowed=overflowed)) is not None:
                    self.counters["gaps"] += good.after_gap
                    self.counters["lost_frames"] += good.lost_frames
                    return good
                continue
            data = self._child.receive(WAIT_S)
            if data:
                self._received += data
                self._heard_s = time.monotonic()
            elif data is not None:
                raise SensorFault(self.name, f"the sound process ended: {self._child.last_words()}")
            elif time.monotonic() - self._heard_s > STALL_S:
                raise SensorFault(self.name, f"stalled: no samples for {STALL_S:.0f} s")
            else:
                return None

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _frame(self) -> tuple[Block, bool] | None:
        """Take one whole frame out of what was received."""
        if len(self._received) < HEADER.size:
            return None
        arrival_ns, frames, overflowed = HEADER.unpack_from(self._received)
        end = HEADER.size + frames * self._channels * 4
        if len(self._received) < end:
            return None
        flat = np.frombuffer(bytes(self._received[HEADER.size : end]), dtype="<f4")
        del self._received[:end]
        samples = flat.reshape(frames, self._channels) * self._scale
        self.counters["overflows"] += bool(overflowed)
        block = self._clock.block(samples, arrival_ns, after_gap=bool(overflowed))
        if self._clock.jumps:
            self.counters["jumps"] = self._clock.jumps
        if not np.isfinite(samples).all():
            raise SensorFault(self.name, "the sound device delivered samples that are not numbers")
        return block, bool(overflowed)

    def _check_pace(self) -> None:
        """Refuse a device that delivers samples it cannot have recorded, as a broken driver does."""
        self._paced += 1
        if self._paced < PACE_BLOCKS:
            return
        took_s = self._heard_s - self._pace_from_s
        if took_s * RUNAWAY < self._paced * self._block_s:
            raise SensorFault(self.name, f"delivers {self._paced * self._block_s:.0f} s of samples in {took_s:.1f} s")
        self._pace_from_s, self._paced = self._heard_s, 0
