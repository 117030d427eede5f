"""Numeric arrays of a MAT file, version 5 (MATLAB's -v6 and -v7), checked at every step.

``scipy.io.loadmat`` (1.17) ended the process by a segmentation fault within 3000 files that had a few bytes changed,
and a corpus has thousands of files. So this reads what we need itself: real numeric arrays at the top level.
Source: "MAT-File Format", The MathWorks, chapter 1, "MAT-File Level 5".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

HEADER = 128
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMERIC_CLASSES = range(6, 16)  # double, single, and the integers; below are cells, structures, text, sparse
COMPLEX, LOGICAL = 0x0800, 0x0200


class MatError(ValueError):
    """Not such a file, or damaged; the message says where."""


def read_arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Return the real numeric arrays of a file by name, in their own shapes.

    Raises:
        MatError: no MAT file of version 5, or damaged.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
    if order is None:
        raise MatError("not a MAT file of version 5")
    found = {}
    for kind, body in _elements(data[HEADER:], order):
        if kind == COMPRESSED:
            try:
                inner = list(_elements(zlib.decompress(body), order))
            except zlib.error as error:
                raise MatError(f"damaged: {error}") from error
        else:
            inner = [(kind, body)]
        for inner_kind, inner_body in inner:
            named = _array(inner_body, order) if inner_kind == MATRIX else None
            if named is not None and named[0]:  # a function's workspace has no name
                found[named[0]] = named[1]
    return found


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each element; content of up to 4 bytes lies in the tag itself."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise MatError(f"damaged: {len(data) - at} bytes are left for a tag of 8")
        first, size = struct.unpack_from(f"{order}II", data, at)
        kind, start, following = first, at + 8, at + 8 + size
        if first >> 16:
            kind, size, start, following = first & 0xFFFF, first >> 16, at + 4, at + 8
        elif kind != COMPRESSED:
            following += -size % 8
        if start + size > len(data) or (first >> 16 and size > 4):
            raise MatError(f"damaged or cut short: an element of {size} bytes, of which {len(data) - start} are there")
        yield kind, data[start : start + size]
        at = following


def _array(body: bytes, order: str) -> tuple[str, NDArray[np.generic]] | None:
    """Return name and numbers of a matrix element; None when it holds something else."""
    parts = _elements(body, order)
    flags, shape_bytes, name = (next(parts, (0, b""))[1] for _ in range(3))
    if len(flags) < 4 or len(shape_bytes) % 4:
        raise MatError("damaged: a matrix without class or shape")
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if flag & 0xFF not in NUMERIC_CLASSES or flag & (COMPLEX | LOGICAL):
        return None
    kind, numbers = next(parts, (0, b""))
    shape = struct.unpack(f"{order}{len(shape_bytes) // 4}i", shape_bytes)
    if kind not in NUMBERS or min(shape, default=0) < 0:
        raise MatError(f"damaged: numbers of type {kind}, shape {shape}")
    stored = np.dtype(order + NUMBERS[kind])
    if len(numbers) != math.prod(shape) * stored.itemsize:
        raise MatError(f"damaged: {len(numbers)} bytes of numbers for the shape {shape}")
    return name.decode("latin-1"), np.frombuffer(numbers, stored).reshape(shape, order="F")
