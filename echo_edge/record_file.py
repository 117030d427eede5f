"""Record file: a header that says what follows, then records of one size, each under its own CRC. Only appended to.

Layout: ``MAGIC``, length and CRC-32C of the header (two little-endian uint32), the header as JSON, then the records;
the last field of a record is the CRC-32C of the fields before. What a killed process or a full disk leaves behind is
at worst a torn last record: the size tells it, and it is cut off before the next one is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import DTypeLike, NDArray

from echo_edge.errors import HistoryError

MAGIC = b"EEREC1\r\n"
PREFIX = len(MAGIC) + 8
MAX_HEADER_BYTES = 65536
BATCH_BYTES = 4 << 20  # read at once, so that memory does not depend on the size of a file

Records = NDArray[np.void]


def record_dtype(fields: list[tuple[str, str, tuple[int, ...]]]) -> np.dtype[np.void]:
    """The packed type of a record with these fields, and its CRC behind them."""
    wanted: DTypeLike = [*fields, ("crc", "<u4")]
    return np.dtype(wanted)


def seal(records: Records) -> Records:
    """Fill in the CRC of every record; returns the same records."""
    records["crc"] = _crcs(records)
    return records


def append(path: Path, about: dict[str, Any], records: Records) -> int:
    """Add sealed records to a file, which is made with this header if there is none. Returns the bytes added.

    Raises:
        OSError: the disk; the file ends as it did before.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        data = (b"" if before else _head(about)) + records.tobytes()
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(descriptor, data[written:], before + written)
        except OSError:
            os.ftruncate(descriptor, before)  # needs no room
            raise
    finally:
        os.close(descriptor)
    return len(data)


def mend(path: Path, dtype: np.dtype[np.void]) -> int:
    """Cut off torn or unfinished records at the end of a file. Returns the bytes that were cut off.

    Raises:
        HistoryError: its header cannot be read.
        OSError: the disk.
    """
    _, offset = read_header(path)
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        whole = (size - offset) // dtype.itemsize
        while whole:  # after a power cut the size may be right and the last bytes not
            file.seek(offset + (whole - 1) * dtype.itemsize)
            last = np.frombuffer(file.read(dtype.itemsize), dtype)
            if intact(last)[0]:
                break
            whole -= 1
        end = offset + whole * dtype.itemsize
        if end < size:
            file.truncate(end)
    return size - end


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """What a file says of itself, and where its first record begins.

    Raises:
        HistoryError: not such a file, or damaged.
        OSError: the disk.
    """
    with path.open("rb") as file:
        prefix = file.read(PREFIX)
        length, crc = (int(n) for n in np.frombuffer(prefix[len(MAGIC) :], "<u4")) if len(prefix) == PREFIX else (0, 0)
        if not prefix.startswith(MAGIC) or not 0 < length <= MAX_HEADER_BYTES:
            raise HistoryError(f"{path}: is no file of records")
        body = file.read(length)
    if len(body) < length or google_crc32c.value(body) != crc:
        raise HistoryError(f"{path}: its header is damaged")
    about: dict[str, Any] = json.loads(body)
    return about, PREFIX + length


def read_records(path: Path, offset: int, dtype: np.dtype[np.void]) -> Iterator[Records]:
    """All whole records of a file, damaged ones included, a few megabytes at a time; a torn last one is left out.

    Raises:
        OSError: the disk.
    """
    at_once = max(1, BATCH_BYTES // dtype.itemsize) * dtype.itemsize
    with path.open("rb") as file:
        file.seek(offset)
        while data := file.read(at_once):
            whole = len(data) // dtype.itemsize
            if whole:
                yield np.frombuffer(data, dtype, whole)


def intact(records: Records) -> NDArray[np.bool_]:
    """Shape (R,): True for each record that is as it was written."""
    return np.asarray(_crcs(records) == records["crc"])


def _head(about: dict[str, Any]) -> bytes:
    body = json.dumps(about, sort_keys=True).encode()
    return MAGIC + np.array([len(body), google_crc32c.value(body)], "<u4").tobytes() + body


def _crcs(records: Records) -> NDArray[np.uint32]:
    """Shape (R,)."""
    size = records.dtype.itemsize
    data, crc = records.tobytes(), google_crc32c.value
    of_each = (crc(data[start : start + size - 4]) for start in range(0, len(data), size))
    return np.fromiter(of_each, np.uint32, len(records))
