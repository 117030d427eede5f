"""Signals stored as numbers: MAT files and CSV tables. They carry no sampling rate; that comes from beside them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainer.data.matfile import MatError, read_arrays

TIME_COLUMNS = frozenset({"", "t", "time", "time_s", "timestamp", "seconds", "index"})
HDF5 = b"\x89HDF\r\n\x1a\n"
MATLAB_BLOCK = 512  # a v7.3 file is HDF5 behind this many bytes of MATLAB's own header
MIN_FRAMES = 64  # a shorter variable is a parameter (shaft speed, load), not a signal

Array = NDArray[np.float32]


class TableError(ValueError):
    """The numbers cannot be read; the message says why."""


def read_mat(file: BinaryIO) -> dict[str, Array]:
    """Return the signals of a MAT file by name, shape (frames, channels): numeric variables of 64 values or more.

    Raises:
        TableError: not a MAT file, damaged, or HDF5 (MATLAB v7.3) without h5py at hand.
    """
    head = file.read(MATLAB_BLOCK + len(HDF5))
    file.seek(0)
    variables = _hdf5(file) if HDF5 in (head[: len(HDF5)], head[MATLAB_BLOCK:]) else _matlab5(file)
    signals = {}
    for name, value in variables.items():
        array = np.asarray(value)
        if array.ndim in (1, 2) and array.dtype.kind in "fiu" and array.size >= MIN_FRAMES:
            array = array.reshape(-1, 1) if array.ndim == 1 or 1 in array.shape else array
            if array.shape[0] < array.shape[1]:
                array = array.T
            if array.shape[0] >= MIN_FRAMES:
                signals[name] = array.astype(np.float32)
    return signals


def read_csv(file: BinaryIO) -> Array:
    """Return a table's numeric columns, shape (frames, columns); columns of time are left away, by their name.

    Raises:
        TableError: no numbers, rows of different length, or text among the numbers.
    """
    try:
        text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"not text: {error.reason} at byte {error.start}") from error
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    named = any(not _is_number(name) for name in header)
    names = [name.strip().lower() for name in header] if named else [str(i) for i in range(len(header))]
    wanted = [i for i, name in enumerate(names) if name not in TIME_COLUMNS]
    if not wanted:
        raise TableError("holds no column of numbers")
    body = [line for line in lines[lines.index(first) + named :] if line.strip()]
    if not body:
        raise TableError("holds names of columns and nothing below")
    try:
        table = np.loadtxt(body, dtype=np.float64, delimiter=delimiter, ndmin=2, usecols=wanted, comments=None)
    except (ValueError, IndexError) as error:
        raise TableError(f"not a table of numbers: {error}") from error
    return np.asarray(table, dtype=np.float32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _matlab5(file: BinaryIO) -> Mapping[str, Any]:
    try:
        return read_arrays(file.read())
    except MatError as error:
        raise TableError(str(error)) from error


def _hdf5(file: BinaryIO) -> Mapping[str, Any]:
    try:
        import h5py  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - optional
    except ImportError as error:
        raise TableError("MATLAB v7.3 (HDF5): needs h5py (pip install h5py), or save it with '-v7'") from error
    try:
        with h5py.File(file, "r") as stored:
            return {name: item[()] for name, item in stored.items() if isinstance(item, h5py.Dataset)}
    except (OSError, RuntimeError, KeyError) as error:
        raise TableError(f"not HDF5, or damaged: {error}") from error
