"""A stand-in that speaks EE1: says what it is when asked, streams a machine from the moment it is plugged in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cobs import cobs  # type: ignore[import-untyped]

from sensors.framing import ACK, COMMAND, STATUS, Decoder, Message, encode_data, encode_info, encode_message
from sensors.machine import Machine
from sensors.pty_sensor import FRAME_S, PtySensor

__all__ = ["FRAME_S", "SCALE", "PtyAccelerometer"]

RANGE_G = 16.0
BITS = {"i16": 16, "i24": 24}
SCALE = RANGE_G / (1 << 15)  # the machine's unit per stored unit: +-16 g in 16 bits


class PtyAccelerometer(PtySensor):
    """An EE1 sensor."""

    def __init__(
        self,
        machine: Machine,
        *,
        serial: str = "SIM-1",
        fmt: str = "i16",
        link: Path | None = None,
        clock_ppm: float = 0.0,
    ) -> None:
        """``fmt``: ``i16`` or ``i24``; the rest as every ``PtySensor``."""
        super().__init__(machine, link=link, clock_ppm=clock_ppm)
        self._fmt, self._most = fmt, 1 << (BITS[fmt] - 1)
        self._scale = RANGE_G / self._most
        self.info: dict[str, Any] = {
            "serial": serial,
            "fw": "1.0",
            "sensor": "invented",
            "rate_num": machine.rate_hz,
            "rate_den": 1,
            "unit": machine.unit,
            "channels": machine.channels,
            "scale": [self._scale] * machine.channels,
            "range": RANGE_G,
        }
        self.index = 0
        self._sequence = 0
        self._decoder = Decoder()

    def break_crc(self) -> None:
        """Damage the checksum of the next frame."""

        def damage(frames: list[bytes]) -> list[bytes]:
            content = bytearray(cobs.decode(frames[0][1:-1]))
            content[-1] ^= 1
            return [b"\0" + cobs.encode(bytes(content)) + b"\0", *frames[1:]]

        self._troubles.append(damage)

    def announce(self, **changes: Any) -> None:
        """Change what the sensor says of itself, and say it."""
        self.info = {**self.info, **changes}
        self.send(encode_info(self.info))

    def frames(self, frames: int) -> list[bytes]:
        """Return one data frame."""
        stored = np.rint(self.machine.samples(frames).astype(np.float64) / self._scale)
        stored = np.clip(stored, -self._most, self._most - 1).astype(np.int32)
        time_us = self.index * 1_000_000 // self.machine.rate_hz
        frame = encode_data(stored, fmt=self._fmt, index=self.index, sequence=self._sequence, time_us=time_us)
        self.index += frames
        self._sequence += 1
        return [frame]

    def answer(self, data: bytes) -> bytes:
        """Say what it is, or acknowledge."""
        said = b""
        for message in self._decoder.push(data):
            if isinstance(message, Message) and message.kind == COMMAND:
                asked_info = message.body.get("cmd") == "info"
                said += encode_info(self.info) if asked_info else encode_message(ACK, message.body)
        return said

    def status(self) -> bytes:
        """Say that nothing was dropped."""
        return encode_message(STATUS, {"dropped": 0})

    def skip(self, frames: int) -> None:
        """Count samples that are not sent."""
        self.index += frames

    def begin(self) -> None:
        """Count anew."""
        self.index = 0
