"""Stand-ins that speak other formats than EE1, and the table of all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sensors.machine import Machine
from sensors.picoquake import ERROR, RANGES_G, ROTATION_RANGE_DPS, STEPS
from sensors.picoquake_frames import (
    COMMAND,
    DEVICE_INFO,
    HANDSHAKE,
    START,
    STATUS,
    Splitter,
    encode_message,
    encode_samples,
    read_message,
)
from sensors.pty_accelerometer import PtyAccelerometer
from sensors.pty_sensor import PtySensor

IDLE, SAMPLING = 0, 1


class PtyPicoQuake(PtySensor):
    """A PicoQuake: silent but for its status until it is told to start."""

    STATUS_S = 0.5

    def __init__(
        self,
        machine: Machine,
        *,
        serial: str = "e6614c311b3a5f2d",
        link: Path | None = None,
        clock_ppm: float = 0.0,
    ) -> None:
        """``serial``: 16 hexadecimal digits; ``machine`` must have the rate that the driver will ask for."""
        super().__init__(machine, link=link, clock_ppm=clock_ppm)
        self.count, self.missed_samples, self.error_code = 0, 0, 0
        self._unique_id = bytes.fromhex(serial)
        self._range_g = 0
        self._splitter = Splitter()

    def frames(self, frames: int) -> list[bytes]:
        """Return a frame for each sample, once it was started."""
        if not self._range_g or self.error_code:
            return []
        step = self._range_g / STEPS
        stored = np.clip(np.rint(self.machine.samples(frames) / step), -STEPS, STEPS - 1)
        turns = np.rint(stored[:, ::-1] / 8) * (ROTATION_RANGE_DPS / STEPS)
        counts = np.arange(self.count, self.count + frames, dtype=np.uint64)
        self.count += frames
        wire = encode_samples(counts, np.concatenate((stored * step, turns), axis=1).astype(np.float32))
        length = len(wire) // frames
        return [wire[at : at + length] for at in range(0, len(wire), length)]

    def answer(self, data: bytes) -> bytes:
        """Say what it is; start and stop."""
        said = b""
        for kind, payload in self._splitter.push(data).others:
            if kind != COMMAND:
                continue
            fields = read_message(payload)
            command = fields.get(1, HANDSHAKE)
            if command == HANDSHAKE:
                said += encode_message(DEVICE_INFO, {1: self._unique_id, 2: b"1.2.0"})
            else:
                self._range_g = RANGES_G[int(fields.get(4, 0))] if command == START else 0
                self.begin()
        return said

    def status(self) -> bytes:
        """Say how it is."""
        state = ERROR if self.error_code else SAMPLING if self._range_g else IDLE
        return encode_message(STATUS, {1: state, 2: 31.5, 3: self.missed_samples, 4: self.error_code})

    def skip(self, frames: int) -> None:
        """Count samples that are not sent."""
        self.count += frames

    def begin(self) -> None:
        """Count anew."""
        self.count = 0


STAND_INS: dict[str, type[PtySensor]] = {
    "ee1": PtyAccelerometer,
    "picoquake": PtyPicoQuake,
}
"""By protocol."""
