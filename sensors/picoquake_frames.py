"""PicoQuake's frames: how they lie between zeros, and what is in them. Pure; knows no sensor and no order.

    frame = 0x00 | id | COBS(payload) | 0x00      ids: 1 sample, 2 status, 3 device info, 4 command
    sample = count u64, acceleration x y z in g, rotation x y z in degrees per second: 6 f32, little endian

The other payloads are flat protobuf messages of numbers and bytes: thirty lines below, where the protobuf package would
be a dependency with a compiled core. Source: PLab-SI/PicoQuake, ``msg/messages.proto`` and
``python/picoquake/interface.py``.

Shape suffixes: N = frames, B = bytes of a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from cobs import cobs  # type: ignore[import-untyped]
from numpy.typing import NDArray

SAMPLE, STATUS, DEVICE_INFO, COMMAND = 1, 2, 3, 4
HANDSHAKE, START, STOP = 0, 1, 2
SAMPLE_TYPE = np.dtype([("count", "<u8"), ("acceleration", "<f4", 3), ("rotation", "<f4", 3)])
SEALED = SAMPLE_TYPE.itemsize + 1  # COBS adds one byte to anything shorter than 254
MAX_FRAME = 256  # bytes; the longest has 36

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # protobuf's wire types


def encode_samples(counts: NDArray[np.uint64], values: NDArray[np.float32]) -> bytes:
    """Return a frame for each sample; ``values`` has shape (n, 6), as in the module's docstring."""
    samples = np.zeros(len(counts), SAMPLE_TYPE)
    samples["count"], samples["acceleration"], samples["rotation"] = counts, values[:, :3], values[:, 3:]
    return b"".join(encode(SAMPLE, sample.tobytes()) for sample in samples)


def encode(kind: int, payload: bytes) -> bytes:
    """Return one frame."""
    return b"\0" + bytes([kind]) + bytes(cobs.encode(payload)) + b"\0"


def encode_message(kind: int, fields: Mapping[int, int | float | bytes]) -> bytes:
    """Return a frame of a protobuf message; a field that is zero is left out, as proto3 does."""
    payload = b""
    for number, value in fields.items():
        if not value:
            continue
        if isinstance(value, float):
            payload += bytes([number << 3 | FIXED32]) + struct.pack("<f", value)
        elif isinstance(value, int):
            payload += bytes([number << 3 | VARINT]) + _varint(value)
        else:
            payload += bytes([number << 3 | BYTES]) + _varint(len(value)) + value
    return encode(kind, payload)


def read_message(payload: bytes) -> dict[int, int | float | bytes]:
    """Return the fields of a protobuf message by number.

    Raises:
        ValueError: it is none.
    """
    fields: dict[int, int | float | bytes] = {}
    at = 0
    while at < len(payload):
        key, at = _read_varint(payload, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            fields[number], at = _read_varint(payload, at)
            continue
        if wire_type == BYTES:
            length, at = _read_varint(payload, at)
        else:
            length = {FIXED32: 4, FIXED64: 8}.get(wire_type, len(payload))
        value, at = payload[at : at + length], at + length
        if at > len(payload):
            raise ValueError("ends within a field")
        fields[number] = struct.unpack("<f", value)[0] if wire_type == FIXED32 else value
    return fields


@dataclass(frozen=True, slots=True)
class Found:
    """What lay between the zeros."""

    samples: NDArray[np.void]
    """Shape (n,), of ``SAMPLE_TYPE``: whole frames, their contents not judged."""

    others: list[tuple[int, bytes]]
    """Id and payload of every other frame."""

    bad_frames: int
    garbage_bytes: int


class Splitter:
    """Finds frames in whatever arrives; holds at most ``MAX_FRAME`` bytes.

    Sample frames all have one length, so they are opened together: 4,000 a second would cost a loop over frames
    most of a slow core.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._lost_place = False

    def push(self, data: bytes) -> Found:
        """Take what arrived; return what became whole."""
        whole = self._rest + data
        end = whole.rfind(b"\0") + 1
        self._rest = whole[end:]
        whole = whole[:end]
        garbage = bad = 0
        if whole and self._lost_place:  # the end of something endless
            start = whole.index(b"\0")
            whole, garbage, bad, self._lost_place = whole[start:], start, 1, False
        if len(self._rest) > MAX_FRAME:
            garbage, self._rest, self._lost_place = garbage + len(self._rest), b"", True
        found = self._open(whole)
        return Found(found.samples, found.others, found.bad_frames + bad, found.garbage_bytes + garbage)

    def _open(self, whole: bytes) -> Found:
        """Open every frame of ``whole``, which ends with a zero or is empty."""
        array = np.frombuffer(whole, np.uint8)
        ends_n = np.flatnonzero(array == 0)
        starts_n = np.concatenate((np.zeros(1, np.intp), ends_n + 1))[:-1]
        lengths_n = ends_n - starts_n
        is_sample_n = lengths_n == 1 + SEALED
        is_sample_n[is_sample_n] = array[starts_n[is_sample_n]] == SAMPLE
        sealed_nb = array[starts_n[is_sample_n][:, None] + np.arange(1, 1 + SEALED)]
        opened_nb, good_n = open_cobs(sealed_nb)
        samples = opened_nb[good_n].view(SAMPLE_TYPE)[:, 0]
        bad = len(good_n) - len(samples)
        garbage = bad * (1 + SEALED)
        others = []
        for i in np.flatnonzero(~is_sample_n & (lengths_n > 0)):
            frame = whole[starts_n[i] : ends_n[i]]
            try:
                others.append((frame[0], bytes(cobs.decode(frame[1:]))))
            except cobs.DecodeError:
                bad, garbage = bad + 1, garbage + len(frame)
        return Found(samples, others, bad, garbage)


def open_cobs(sealed_nb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Open frames of one length together.

    Args:
        sealed_nb: shape (N, B), without a zero, B at most 255.
    Returns:
        The contents, shape (N, B - 1), and which of the frames are whole, shape (N,).
    Source: S. Cheshire, M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7 (1999):
    each code byte tells how far the next one is, and stands for a zero.
    """
    opened_nb = sealed_nb[:, 1:].copy()
    length = sealed_nb.shape[1]
    at_n = sealed_nb[:, 0].astype(np.intp)
    inside = np.flatnonzero(at_n < length)
    while len(inside):  # no byte is zero, so every turn moves on
        codes = at_n[inside]
        opened_nb[inside, codes - 1] = 0
        codes += sealed_nb[inside, codes]
        at_n[inside] = codes
        inside = inside[codes < length]
    return opened_nb, at_n == length


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _read_varint(payload: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(payload):
            raise ValueError("ends within a number")
        value |= (payload[at] & 0x7F) << shift
        at += 1
        if payload[at - 1] < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
