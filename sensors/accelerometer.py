"""Accelerometers and other sensors that speak EE1 over a serial port."""

from __future__ import annotations

import errno
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import serial
from numpy.typing import NDArray
from serial.tools import list_ports

from sensors.block import Block
from sensors.continuity import BlockBuilder, SampleIndex
from sensors.errors import SensorFault, SensorUnavailable
from sensors.framing import COMMAND, GAP_BEFORE, INFO, DataFrame, Decoder, Message, encode_message
from sensors.source import BLOCK_S, Source, SourceInfo

INFO_S = 3.0
ASK_AGAIN_S = 0.5
READ_S = 0.1
WAIT_S = 0.5
SILENCE_S = 3.0
READ_BYTES = 1 << 14
PLAUSIBLE_GAP_S = 600.0  # a longer jump of the index is a restarted sensor


@dataclass(frozen=True)
class SensorCard:
    """What a sensor says of itself in an info frame, as far as the samples depend on it."""

    serial: str
    rate_num: int
    rate_den: int
    channels: int
    unit: str
    scale: tuple[float, ...]
    """Physical units per stored unit, one for each channel."""

    @classmethod
    def parse(cls, body: dict[str, Any]) -> SensorCard:
        """Read an info frame's JSON; ValueError says what is wrong with it."""
        try:
            scale = tuple(float(s) for s in body["scale"])
            channels = int(body.get("channels", len(scale)))
            rate = int(body["rate_num"]), int(body.get("rate_den", 1))
            card = cls(str(body["serial"]), *rate, channels, str(body["unit"]), scale)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"incomplete: {type(error).__name__} {error}") from error
        if not card.serial or min(rate) < 1 or card.rate_hz < 1:
            raise ValueError("no serial number or no rate")
        if channels < 1 or len(scale) != channels or not all(math.isfinite(s) and s != 0 for s in scale):
            raise ValueError(f"{len(scale)} scales for {channels} channels, or a scale that is none")
        return card

    @property
    def rate_hz(self) -> int:
        """Samples per second, to the nearest whole one."""
        return round(self.rate_num / self.rate_den)


class Accelerometer(Source):
    """A sensor on a serial port, calibrated by what it says of itself."""

    def __init__(self, name: str, *, port: str, protocol: str = "ee1", baud: int = 115_200) -> None:
        """Nothing is opened yet.

        Args:
            port: a path, best one under ``/dev/serial/by-id``.
            protocol: ``ee1`` is the only one so far.
            baud: means nothing to a sensor with its own USB.
        """
        super().__init__(name)
        if protocol != "ee1":
            raise ValueError(f"no protocol {protocol!r}; there is: ee1")
        self._path = port
        self._baud = baud
        self._port: serial.Serial | None = None
        self._ready: list[Block] = []

    def open(self) -> SourceInfo:
        """Open the port and ask the sensor what it is."""
        self.close()
        try:
            self._port = serial.Serial(self._path, self._baud, timeout=READ_S, write_timeout=1.0, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise SensorUnavailable(self.name, _why(self._path, error)) from error
        try:
            card = self._ask()
        except (SensorFault, SensorUnavailable) as error:
            self.close()
            raise SensorUnavailable(self.name, error.message) from error
        self._card = card
        self._scale = np.array(card.scale)
        rate = card.rate_num / card.rate_den
        self._index = SampleIndex(plausible_frames=round(PLAUSIBLE_GAP_S * rate))
        self._blocks = BlockBuilder(rate, max(1, round(BLOCK_S * rate)))
        self._ready = []
        self._heard_s = time.monotonic()
        return SourceInfo(card.rate_hz, card.channels, card.unit, f"ee1:{card.serial}")

    def read(self) -> Block | None:
        """Wait for the next block."""
        if self._port is None:
            raise SensorFault(self.name, "not open")
        deadline = time.monotonic() + WAIT_S
        while not self._ready:
            for frame in self._decoder.push(self._receive()):
                self._take(frame)
            now = time.monotonic()
            if now - self._heard_s > SILENCE_S:
                raise SensorFault(self.name, f"no valid samples from {self._path} for {SILENCE_S:.0f} s")
            if not self._ready and now > deadline:
                return None
        return self._ready.pop(0)

    def close(self) -> None:
        """Close the port."""
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except OSError:  # the device is gone, and with it the port
                return

    def _ask(self) -> SensorCard:
        """Ask for the info frame until it comes."""
        self._decoder = Decoder(self.counters)
        received, asked_s = 0, -math.inf
        deadline = time.monotonic() + INFO_S
        while (now := time.monotonic()) < deadline:
            if now - asked_s > ASK_AGAIN_S:
                self._send({"cmd": "info"})
                asked_s = now
            data = self._receive()
            received += len(data)
            for frame in self._decoder.push(data):
                if isinstance(frame, Message) and frame.kind == INFO:
                    try:
                        card = SensorCard.parse(frame.body)
                    except ValueError as error:
                        raise SensorUnavailable(self.name, f"the sensor's own description is {error}") from error
                    self._send({"cmd": "start"})
                    return card
        if not received:
            raise SensorUnavailable(self.name, f"{self._path} is silent: nothing came within {INFO_S:.0f} s")
        raise SensorUnavailable(
            self.name, f"{received} bytes came from {self._path} but no EE1 info frame: check baud and protocol"
        )

    def _take(self, frame: DataFrame | Message) -> None:
        if isinstance(frame, Message):
            if frame.kind == INFO:
                self._check_same(frame.body)
            return
        if frame.samples.shape[1] != self._card.channels:
            raise SensorFault(self.name, f"sends {frame.samples.shape[1]} channels, announced {self._card.channels}")
        lost = self._index.push(frame.index, len(frame.samples))
        gap = lost != 0 or bool(frame.flags & GAP_BEFORE)
        self.counters["gaps"] += gap
        self.counters["lost_frames"] += lost or 0
        samples: NDArray[np.float32] = (frame.samples * self._scale).astype(np.float32)
        self._heard_s = time.monotonic()
        self._ready += self._blocks.push(samples, time.time_ns(), gap=gap, lost_frames=lost or 0)

    def _check_same(self, body: dict[str, Any]) -> None:
        try:
            card = SensorCard.parse(body)
        except ValueError as error:
            raise SensorFault(self.name, f"the sensor's own description is {error}") from error
        if card != self._card:
            raise SensorFault(self.name, f"became another sensor: was {self._card}, is {card}")

    def _receive(self) -> bytes:
        """Return what arrived, waiting for something at most ``READ_S``."""
        port = self._port
        assert port is not None
        try:
            return port.read(1) + port.read(min(port.in_waiting, READ_BYTES))
        except (OSError, TypeError) as error:  # TypeError: pyserial, when the port vanishes within a call
            raise SensorFault(self.name, f"{self._path} failed: {error}") from error

    def _send(self, body: dict[str, Any]) -> None:
        assert self._port is not None
        try:
            self._port.write(encode_message(COMMAND, body))
        except OSError as error:
            raise SensorFault(self.name, f"{self._path} failed: {error}") from error


def _why(path: str, error: Exception) -> str:
    """Say why a port did not open and what would mend it."""
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"no permission for {path}: add the user to group dialout"
    if not Path(path).exists():
        there = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        return f"no port {path}; serial ports here: {there}"
    if "exclusively" in str(error):
        return f"{path} is in use by another program"
    return f"{path} did not open: {error}"
