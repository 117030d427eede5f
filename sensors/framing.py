"""EE1: how a serial sensor's samples travel, and how they are found again among noise. Pure.

    frame  = 0x00 | COBS(header | payload | CRC-32C of both, little endian) | 0x00
    header = ``HEADER``: type, version, flags, channels, format, reserved, samples per channel, sequence, index, time

A data payload is samples by channels, interleaved, little endian. Every other payload is one JSON object. COBS frees
the frame of zeros, so a reader that lost its place finds it again at the next zero.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from cobs import cobs  # type: ignore[import-untyped]
from numpy.typing import NDArray

HEADER = struct.Struct("<BBBBBBHIIQ")
CRC = struct.Struct("<I")
VERSION = 1
DATA, INFO, STATUS, EVENT, ACK, COMMAND = 1, 2, 3, 4, 5, 6
GAP_BEFORE, CLIPPED, SYNCED, LAST = 1, 2, 4, 8
FORMATS = {"i16": 1, "i24": 2, "i32": 3, "f32": 4}
MAX_FRAME = 1 << 16  # bytes on the wire; the longest frame of a known sensor has 1,572

Stored = NDArray[np.int32] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DataFrame:
    """Samples as the sensor stored them."""

    samples: Stored
    """Shape (samples, channels), in stored units: the sensor's own scale is not applied."""

    index: int
    """Number of the first sample since the sensor's start, modulo 2**32."""

    sequence: int
    time_us: int
    """The sensor's own monotonic clock at the first sample: for drift, not for gaps."""

    flags: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """Everything that is not samples: info, status, event, acknowledgement, command."""

    kind: int
    body: dict[str, Any]
    sequence: int = 0


Frame = DataFrame | Message


def encode_data(samples: Stored, *, fmt: str, index: int, sequence: int = 0, time_us: int = 0, flags: int = 0) -> bytes:
    """Return the frame for samples of shape (samples, channels) in stored units; ``fmt`` is a key of ``FORMATS``."""
    frames, channels = samples.shape
    header = HEADER.pack(
        DATA, VERSION, flags, channels, FORMATS[fmt], 0, frames, sequence % (1 << 32), index % (1 << 32), time_us
    )
    return _seal(header + _pack(samples, fmt))


def encode_info(body: dict[str, Any], *, sequence: int = 0) -> bytes:
    """Return the frame that says what a sensor is (see ``ee1.read_card``)."""
    return encode_message(INFO, body, sequence=sequence)


def encode_message(kind: int, body: dict[str, Any], *, sequence: int = 0) -> bytes:
    """Return the frame for a JSON payload."""
    header = HEADER.pack(kind, VERSION, 0, 0, 0, 0, 0, sequence % (1 << 32), 0, 0)
    return _seal(header + json.dumps(body).encode())


class Decoder:
    """Finds frames in whatever arrives; holds at most ``MAX_FRAME`` bytes.

    Counts into ``counters``: ``bad_crc``, ``bad_frames`` (no COBS, too short, or contradicting itself) and
    ``garbage_bytes`` (bytes that belonged to no good frame).
    """

    def __init__(self, counters: Counter[str] | None = None) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._rest = bytearray()
        self._lost_place = False

    def push(self, data: bytes) -> list[Frame]:
        """Take what arrived; return the frames that became whole, in order."""
        frames = []
        *stretches, tail = data.split(b"\0")
        for stretch in stretches:
            self._extend(stretch)
            if (frame := self._finish()) is not None:
                frames.append(frame)
        self._extend(tail)
        return frames

    def _extend(self, stretch: bytes) -> None:
        if not self._lost_place:
            self._rest += stretch
            if len(self._rest) <= MAX_FRAME:
                return
            self._lost_place = True
            stretch = bytes(self._rest)
            self._rest.clear()
        self.counters["garbage_bytes"] += len(stretch)

    def _finish(self) -> Frame | None:
        """Judge the bytes between two zeros."""
        if self._lost_place:
            self._lost_place = False
            self.counters["bad_frames"] += 1
            return None
        sealed = bytes(self._rest)
        self._rest.clear()
        if not sealed:
            return None
        try:
            return _open(sealed)
        except _BadCrcError:
            self.counters["bad_crc"] += 1
        except ValueError:
            self.counters["bad_frames"] += 1
        self.counters["garbage_bytes"] += len(sealed)
        return None


class _BadCrcError(ValueError):
    pass


def _seal(content: bytes) -> bytes:
    return b"\0" + bytes(cobs.encode(content + CRC.pack(google_crc32c.value(content)))) + b"\0"


def _open(sealed: bytes) -> Frame:
    """Return the frame of one stretch; ValueError when it is none."""
    try:
        opened = cobs.decode(sealed)
    except cobs.DecodeError as error:
        raise ValueError(str(error)) from error
    if len(opened) < HEADER.size + CRC.size:
        raise ValueError("too short")
    content = opened[: -CRC.size]
    if google_crc32c.value(content) != CRC.unpack(opened[-CRC.size :])[0]:
        raise _BadCrcError
    kind, version, flags, channels, fmt, _, frames, sequence, index, time_us = HEADER.unpack_from(content)
    payload = content[HEADER.size :]
    if version != VERSION:
        raise ValueError("unknown version")
    if kind == DATA:
        return DataFrame(_unpack(payload, fmt, frames, channels), index, sequence, time_us, flags)
    try:
        body = json.loads(payload)
    except RecursionError as error:  # its other errors are ValueErrors
        raise ValueError("nested too deep") from error
    if not isinstance(body, dict):
        raise ValueError("not an object")
    return Message(kind, body, sequence)


def _pack(samples: Stored, fmt: str) -> bytes:
    if fmt == "i24":
        return samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return samples.astype({"i16": "<i2", "i32": "<i4", "f32": "<f4"}[fmt]).tobytes()


def _unpack_i24(payload: bytes) -> NDArray[Any]:
    wide = np.zeros((len(payload) // 3, 4), dtype=np.uint8)
    wide[:, 1:] = np.frombuffer(payload, dtype=np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0] >> 8  # the shift carries the sign down


UNPACK: dict[int, tuple[int, Callable[[bytes], NDArray[Any]]]] = {
    1: (2, lambda payload: np.frombuffer(payload, "<i2").astype(np.int32)),
    2: (3, _unpack_i24),
    3: (4, lambda payload: np.frombuffer(payload, "<i4")),
    4: (4, lambda payload: np.frombuffer(payload, "<f4")),
}


def _unpack(payload: bytes, fmt: int, frames: int, channels: int) -> Stored:
    if fmt not in UNPACK or not frames or not channels:
        raise ValueError("no samples, or an unknown format")
    width, unpack = UNPACK[fmt]
    if len(payload) != frames * channels * width:
        raise ValueError("the header promises another length")
    samples = unpack(payload)
    if not np.isfinite(samples).all():
        raise ValueError("samples that are not numbers")
    return samples.reshape(frames, channels)
