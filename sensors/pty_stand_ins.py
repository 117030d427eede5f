"""Stand-ins that speak other formats than EE1, and the table of all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sensors.csv_columns import TIME_SPAN
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
from sensors.witmotion import (
    ACCELERATION,
    FULL_SCALE_G,
    RANGE_REGISTER,
    RATE_REGISTER,
    RATES_HZ,
    REGISTERS,
    encode,
    read_request,
)
from sensors.witmotion import STEPS as WIT_STEPS

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


class PtyWitMotion(PtySensor):
    """A WT901 that returns acceleration, rotation and angle; the machine must have one of its rates."""

    def __init__(
        self, machine: Machine, *, answers: bool = True, link: Path | None = None, clock_ppm: float = 0.0
    ) -> None:
        """``answers``: whether it tells its registers when asked; some units do not."""
        super().__init__(machine, link=link, clock_ppm=clock_ppm)
        self._answers = answers
        codes = {rate_hz: code for code, rate_hz in RATES_HZ.items()}
        if machine.rate_hz not in codes:
            raise ValueError(f"{machine.rate_hz} Hz is none of {', '.join(f'{rate_hz:g}' for rate_hz in codes)}")
        self._registers = {
            RATE_REGISTER: [codes[machine.rate_hz], 6, 0, 0],
            RANGE_REGISTER: [3, 0, 0, 0],
        }

    def frames(self, frames: int) -> list[bytes]:
        """Return three frames for each sample."""
        stored = np.clip(np.rint(self.machine.samples(frames) * (WIT_STEPS / FULL_SCALE_G)), -WIT_STEPS, WIT_STEPS - 1)
        wire = []
        for sample in stored.astype("<i2"):
            wire.append(encode(ACCELERATION, sample.tobytes() + b"\xc4\x09"))
            wire += [encode(kind, (sample // 2).tobytes() + b"\x00\x00") for kind in (0x52, 0x53)]
        return wire

    def answer(self, data: bytes) -> bytes:
        """Tell the registers that are asked for."""
        if not self._answers:
            return b""
        asked = (at for at in sorted(self._registers) if read_request(at) in data)
        return b"".join(encode(REGISTERS, np.array(self._registers[at], "<u2").tobytes()) for at in asked)

    def skip(self, frames: int) -> None:
        """Nothing counts them."""

    def begin(self) -> None:
        """Nothing counts."""


class PtyCsv(PtySensor):
    """A microcontroller that prints a header every second, and lines of time and axes."""

    def __init__(
        self,
        machine: Machine,
        *,
        header: str = "# unit=g scale=0.001 cols=t_us,ax,ay,az",
        timed: bool = True,
        link: Path | None = None,
        clock_ppm: float = 0.0,
    ) -> None:
        """``header``: may be empty; ``timed``: whether a line starts with the time."""
        super().__init__(machine, link=link, clock_ppm=clock_ppm)
        self._header, self._timed = header, timed
        self._index = 0

    def frames(self, frames: int) -> list[bytes]:
        """Return a line for each sample, in thousandths."""
        lines = []
        for sample in np.rint(self.machine.samples(frames) * 1000).astype(int):
            time_us = self._index * 1_000_000 // self.machine.rate_hz % TIME_SPAN
            numbers = [time_us, *sample] if self._timed else sample
            lines.append(",".join(map(str, numbers)).encode() + b"\r\n")
            self._index += 1
        return lines

    def answer(self, data: bytes) -> bytes:
        """Nothing answers."""
        return data[:0]

    def status(self) -> bytes:
        """Print the header."""
        return self._header.encode() + b"\r\n" if self._header else b""

    def skip(self, frames: int) -> None:
        """Let time pass."""
        self._index += frames

    def begin(self) -> None:
        """Let time begin anew."""
        self._index = 0


STAND_INS: dict[str, type[PtySensor]] = {
    "ee1": PtyAccelerometer,
    "picoquake": PtyPicoQuake,
    "witmotion": PtyWitMotion,
    "csv": PtyCsv,
}
"""By protocol."""
