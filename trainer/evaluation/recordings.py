"""Folders of recordings with a ``manifest.csv``: read in physical units, or refused by name."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

SCALES = ("scale_g_per_lsb", "scale_per_lsb")
LSB_PER_UNIT = 32768.0
EXPECTED = "the data folder holds cwru/, bldc_motor_mic/ and audio/, each with its manifest.csv"


class DataError(Exception):
    """Recordings to evaluate on are missing or not what they should be; the message names the file."""


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """Return the rows of ``manifest.csv``.

    Raises:
        DataError: there is none.
    """
    path = folder / "manifest.csv"
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; {EXPECTED}") from error


def read_recording(folder: Path, row: dict[str, str]) -> NDArray[np.float32]:
    """Return the samples of one row's file, shape (S,), in the manifest's unit, else as a part of full scale.

    Raises:
        DataError: the file cannot be read, or has another rate than the manifest says.
    """
    path = folder / row["file"]
    scale = next((float(row[key]) for key in SCALES if row.get(key)), 1 / LSB_PER_UNIT)
    try:
        stored, rate_hz = soundfile.read(path, dtype="float64")
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if rate_hz != int(row["sampling_rate_hz"]) or stored.ndim != 1 or not stored.size:
        shape = f"{rate_hz} Hz, shape {stored.shape}"
        raise DataError(f"{path}: is {shape}; its manifest says {row['sampling_rate_hz']} Hz, one channel")
    samples: NDArray[np.float32] = (stored * LSB_PER_UNIT * scale).astype(np.float32)
    return samples
