"""Streams of every protocol whose samples tell their own number, for the fuzzer and the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensors.framing import STATUS, encode_data, encode_info, encode_message
from sensors.picoquake import STEPS
from sensors.picoquake_frames import DEVICE_INFO, encode_samples
from sensors.picoquake_frames import STATUS as PICOQUAKE_STATUS
from sensors.picoquake_frames import encode_message as encode_picoquake
from sensors.protocol import Protocol
from sensors.protocols import make_protocol
from sensors.witmotion import ACCELERATION, REGISTERS, encode

FIRST = 1_000_000  # number of the first sample: no sensor just switched on
EE1_FRAME = 40  # samples


def rows(first: int, count: int) -> NDArray[np.int64]:
    """Return samples, shape (count, 3), whole numbers that tell which sample it is and are hard to confuse."""
    n = np.arange(first, first + count)
    return np.stack((n % 1000, n // 1000 % 1000, n * 31 % 997), axis=1)


def number(row: NDArray[np.float64]) -> int | None:
    """Return which sample a row is, None when it is none: a damaged one."""
    if not np.array_equal(row, np.rint(row)):
        return None
    x, y, z = (int(v) for v in row)
    n = x + 1000 * y
    n += 1_000_000 * (FIRST // 1_000_000)
    return n if 0 <= x < 1000 and 0 <= y < 1000 and n * 31 % 997 == z else None


@dataclass(frozen=True)
class Format:
    """One protocol's streams."""

    name: str
    lsb: float
    frame_samples: int
    frame: Callable[[int], bytes]
    """What carries the samples from this number on."""

    introduction: bytes
    """What makes the card known."""

    interlude: bytes
    """What else a sensor says now and then."""

    most_held: int
    """Bytes that the parser may keep."""

    def introduced(self) -> Protocol:
        """Return a protocol whose card is known."""
        protocol = make_protocol(self.name)
        protocol.ask()
        protocol.push(self.introduction)
        protocol.ask()
        protocol.push(self.interlude)
        assert protocol.card is not None
        return protocol

    def stream(self, first: int, frames: int) -> bytes:
        """Return ``frames`` frames, from sample ``first`` on."""
        return b"".join(self.frame(first + i * self.frame_samples) for i in range(frames))


def held(protocol: Protocol) -> int:
    """Return how many bytes a parser keeps for later."""
    holder = getattr(protocol, "_decoder", getattr(protocol, "_splitter", protocol))
    return len(holder._rest)


def ee1_frame(first: int) -> bytes:
    stored = rows(first, EE1_FRAME).astype(np.int32)
    return encode_data(stored, fmt="i24", index=first, sequence=first // EE1_FRAME, time_us=first)


def picoquake_frame(first: int) -> bytes:
    values = np.concatenate((rows(first, 1) * (16 / STEPS), [[0.0, 1.0, -250.0]]), axis=1)
    values[:, 3:] = np.rint(values[:, 3:] * (STEPS / 2000)) * (2000 / STEPS)
    return encode_samples(np.array([first], np.uint64), values.astype(np.float32))


def witmotion_frame(first: int) -> bytes:
    payload = np.append(rows(first, 1), 2500).astype("<i2").tobytes()
    return encode(ACCELERATION, payload) + encode(0x52, payload)


def csv_frame(first: int) -> bytes:
    x, y, z = rows(first, 1)[0]
    return b"%d,%d,%d,%d\n" % (first * 1000 % (1 << 32), x, y, z)


EE1_INFO = encode_info({"serial": "A", "rate_num": 4000, "unit": "g", "scale": [1.0] * 3})
CSV_HEADER = b"# unit=g scale=1 cols=t_us,ax,ay,az\n"
FORMATS = {
    f.name: f
    for f in (
        Format("ee1", 1.0, EE1_FRAME, ee1_frame, EE1_INFO, EE1_INFO + encode_message(STATUS, {"dropped": 0}), 1 << 16),
        Format(
            "picoquake",
            16 / STEPS,
            1,
            picoquake_frame,
            encode_picoquake(DEVICE_INFO, {1: bytes(range(1, 9)), 2: b"1.2.0"}),
            encode_picoquake(PICOQUAKE_STATUS, {1: 1, 2: 31.5}),
            256,
        ),
        Format(
            "witmotion",
            16 / STEPS,
            1,
            witmotion_frame,
            witmotion_frame(0) * 2 + encode(REGISTERS, np.array([11, 6, 0, 0], "<u2").tobytes()),
            encode(REGISTERS, np.array([3, 0, 0, 0], "<u2").tobytes()),
            21,
        ),
        Format(
            "csv",
            1.0,
            1,
            csv_frame,
            CSV_HEADER + b"".join(map(csv_frame, range(FIRST - 60, FIRST - 20))),
            CSV_HEADER,
            256,
        ),
    )
}
