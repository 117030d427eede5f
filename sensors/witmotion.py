"""WitMotion's standard protocol ("55"): acceleration frames are the samples, two registers tell the rest of the card.

    frame = 0x55 | type | 8 bytes | sum      the sum is the low byte of the ten bytes before it

Up to 200 samples a second: not a waveform sensor. The format counts nothing: a frame that never came leaves no trace
but time (``SampleClock`` notices lateness that stays). Whenever bytes had to be dropped the next sample is marked as a
gap, because nobody can say what they were. An 8-bit sum lets one in 256 of heavily damaged frames pass; a single wrong
byte never. Outside of the rhythm of frames one is believed only when another follows it.

Sources: WITMOTION/WitStandardProtocol_JY901 (``ESP32/main/REG.h``: registers, types, rates); WT901 datasheet v20-0702,
5.1.2 (acceleration = raw / 32768 * 16 g, whatever the range register says).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sensors.protocol import Protocol, ProtocolError, Samples, SensorCard

FRAME = 11
HEAD, ACCELERATION, REGISTERS = 0x55, 0x51, 0x5F
TYPES = (*range(0x50, 0x5B), REGISTERS)
KNOWN = np.isin(np.arange(256), TYPES)
RATE_REGISTER, RANGE_REGISTER = 0x03, 0x21
RATES_HZ = {1: 0.2, 2: 0.5, 3: 1.0, 4: 2.0, 5: 5.0, 6: 10.0, 7: 20.0, 8: 50.0, 9: 100.0, 10: 125.0, 11: 200.0}
MOST_RATE_CODE, MOST_BAUD_CODE, MOST_RANGE_CODE = 13, 9, 3  # 12 and 13: once, never
FULL_SCALE_G, STEPS = 16.0, 32768
ASKS = 3  # so often without an answer: this unit does not answer
ENOUGH_FRAMES = 20


def encode(kind: int, payload: bytes) -> bytes:
    """Return one frame; ``payload`` has 8 bytes."""
    body = bytes([HEAD, kind]) + payload
    return body + bytes([sum(body) & 0xFF])


def read_request(register: int) -> bytes:
    """Return what makes a unit send four registers from this one on; it changes nothing."""
    return bytes([0xFF, 0xAA, 0x27, register & 0xFF, register >> 8])


class WitMotion(Protocol):
    """Three axes of acceleration in g."""

    name = "witmotion"

    def __init__(self, counters: Counter[str] | None = None, *, rate_hz: float | None = None) -> None:
        """``rate_hz``: what the unit returns, for one that does not answer; checked against one that does."""
        super().__init__(counters)
        self._rate_hz = rate_hz
        self._told_hz: float | None = None
        self._range_code: int | None = None
        self._asks = 0
        self._accelerations = 0
        self._rest = b""
        self._in_step = False
        self._gap = False

    def ask(self) -> bytes:
        """Ask for one register at a time: the answer does not say which it is."""
        self._asks += 1
        return read_request(RATE_REGISTER if self._told_hz is None else RANGE_REGISTER)

    def why_unknown(self) -> str:
        """Say what would help."""
        if not self._accelerations:
            return "it sends no acceleration: switch it on in the unit's return content"
        return "it does not answer what its return rate is: give rate_hz"

    def push(self, data: bytes) -> list[Samples]:
        """Take what arrived."""
        runs = []
        for frames_nb in self._stretches(self._rest + data):
            self.good_frames += len(frames_nb)
            for reply in frames_nb[frames_nb[:, 1] == REGISTERS]:
                self._registers([int(v) for v in reply[2:10].copy().view("<u2")])
            raw = frames_nb[frames_nb[:, 1] == ACCELERATION, 2:8].copy().view("<i2")
            self._accelerations += len(raw)
            if self.card is not None and len(raw):
                runs.append(Samples((raw * (FULL_SCALE_G / STEPS)).astype(np.float32), self._gap))
                self._gap = False
        self._introduce()
        return runs

    def _stretches(self, data: bytes) -> Iterator[NDArray[np.uint8]]:
        """Yield the frames of ``data`` as stretches of shape (frames, 11) without a break; keep what is not whole."""
        array = np.frombuffer(data, np.uint8)
        good_n = valid(array)
        at = 0
        while True:
            if not self._in_step:
                start, self._in_step = find_step(good_n, at)
                self.counters["garbage_bytes"] += start - at
                at = start
            if not self._in_step:
                break
            in_step_n = good_n[at::FRAME]
            frames = len(in_step_n) if in_step_n.all() else int(in_step_n.argmin())
            if frames:
                yield array[at : at + frames * FRAME].reshape(frames, FRAME)
                at += frames * FRAME
            if at + FRAME > len(array):
                break
            self._in_step, self._gap = False, True
            self.counters["bad_frames"] += 1
        self._rest = data[at:]

    def _registers(self, values: list[int]) -> None:
        """Take four registers; which they are follows from what was asked, and from what can stand there."""
        code, after = values[:2]
        if self._told_hz is None and 1 <= code <= MOST_RATE_CODE and 1 <= after <= MOST_BAUD_CODE:
            told_hz = RATES_HZ.get(code)
            if told_hz is None or told_hz < 1:
                raise ProtocolError(f"its return rate is {told_hz or 'none'}: set one of 1 to 200 Hz in the unit")
            if self._rate_hz is not None and told_hz != self._rate_hz:
                raise ProtocolError(f"returns {told_hz:g} samples per second, rate_hz says {self._rate_hz:g}")
            self._told_hz, self._asks = told_hz, 0
        elif self._told_hz is not None and code <= MOST_RANGE_CODE and max(values[1:]) <= 1:
            self._range_code = code

    def _introduce(self) -> None:
        """Make the card as soon as enough is known."""
        rate_hz = self._told_hz or self._rate_hz
        if self.card is not None or rate_hz is None or not self._accelerations:
            return
        if self._told_hz is None:
            known = self._asks >= ASKS and self._accelerations >= min(ENOUGH_FRAMES, 2 * rate_hz)
        else:
            known = self._range_code is not None or self._asks >= ASKS
        if known:
            self._gap = False
            self.card = SensorCard(
                identity="",  # its serial number is in registers that not every unit has, and their answer has no name
                rate_hz=rate_hz,
                channels=3,
                unit="g",
                full_scale=(FULL_SCALE_G,) * 3,
                lsb=(FULL_SCALE_G / STEPS,) * 3,
                gravity=True,
                settings=() if self._range_code is None else (("range register", str(self._range_code)),),
            )


def valid(array: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say of every position, shape (len - 10,), whether a whole frame of a known type starts there."""
    if len(array) < FRAME:
        return np.zeros(0, np.bool_)
    sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(array[:-1], dtype=np.int64)))
    good_n = (array[: -FRAME + 1] == HEAD) & KNOWN[array[1 : len(array) - FRAME + 2]]
    good_n &= (sums[FRAME - 1 :] - sums[: -FRAME + 1]) & 0xFF == array[FRAME - 1 :]
    return np.asarray(good_n)


def find_step(good_n: NDArray[np.bool_], at: int) -> tuple[int, bool]:
    """Find the rhythm again.

    Args:
        good_n: where a frame could start.
        at: where to look from.
    Returns:
        Where the first frame starts that another one follows, and True; or from where on it is too early to tell.
    """
    for start in at + np.flatnonzero(good_n[at:]):
        after = start + FRAME
        if after >= len(good_n):
            return int(start), False
        if good_n[after]:
            return int(start), True
    return max(at, len(good_n)), False
