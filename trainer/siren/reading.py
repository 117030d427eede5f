"""A clip's samples from its file, as the data set's protocol wants them; and the hash that names them in the cache.

Shape suffixes: C = channels, S = samples.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from trainer.data.matfile import MatError, read_arrays
from trainer.siren.encoders.base import FloatArray
from trainer.siren.encoders.pieces import resample
from trainer.siren.errors import TreeError
from trainer.siren.tasks.base import Clip

STEPS = 32768.0  # of 16 bit in a full scale of 1
SENSORS = ("DE", "FE", "BA")


@dataclass(frozen=True, slots=True)
class Heard:
    """What a file holds."""

    signal: FloatArray
    """Shape (C, S), at the clip's rate, in physical units where the clip has a scale."""

    file_rate_hz: int
    """What the file itself says; the clip's own rate for files that say nothing."""


def file_bytes(clip: Clip) -> bytes:
    """Return the whole file.

    Raises:
        TreeError: it cannot be read.
    """
    try:
        return clip.path.read_bytes()
    except OSError as error:
        raise TreeError(f"{clip.path}: cannot be read: {error.strerror or error}") from error


def content_key(clip: Clip, data: bytes) -> str:
    """Return the SHA-256, in hex, of a file and of how it is read."""
    how = f"|{clip.path.suffix.lower()}|{clip.rate_hz}|{clip.scale}|{clip.columns}"
    return hashlib.sha256(hashlib.sha256(data).digest() + how.encode()).hexdigest()


def decode(clip: Clip, data: bytes) -> Heard:
    """Return the samples in a file's bytes.

    Sound becomes one channel, the average of all; of another rate than the data set's it is resampled, as the published
    code does. Of a MAT file it is the first variable in the file that is named for a sensor and holds ``time``.

    Raises:
        TreeError: damaged, empty, of other columns than said, or with samples that are not numbers.
    """
    suffix = clip.path.suffix.lower()
    if suffix == ".mat":
        signal, rate_hz = _mat(clip.path, data), clip.rate_hz
    elif suffix == ".csv":
        signal, rate_hz = _csv(clip, data), clip.rate_hz
    else:
        signal, rate_hz = _sound(clip, data)
    if not signal.size:
        raise TreeError(f"{clip.path}: holds no samples")
    if not np.isfinite(signal).all():
        raise TreeError(f"{clip.path}: holds samples that are not numbers (NaN or infinite)")
    if rate_hz != clip.rate_hz:
        signal = np.stack([resample(torch.from_numpy(channel), rate_hz, clip.rate_hz).numpy() for channel in signal])
    return Heard(np.ascontiguousarray(signal, np.float32), rate_hz)


def _sound(clip: Clip, data: bytes) -> tuple[FloatArray, int]:
    try:
        stored, rate_hz = soundfile.read(io.BytesIO(data), dtype="float64", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise TreeError(f"{clip.path}: damaged, or no sound: {error}") from error
    scale = 1.0 if clip.scale is None else STEPS * clip.scale
    return (stored.mean(axis=1, keepdims=True).T * scale).astype(np.float32), int(rate_hz)


def _csv(clip: Clip, data: bytes) -> FloatArray:
    try:
        table = np.loadtxt(io.BytesIO(data), np.float32, delimiter=",", ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise TreeError(f"{clip.path}: not a table of numbers: {error}") from error
    if table.size and table.shape[1] != clip.columns:
        raise TreeError(f"{clip.path}: has {table.shape[1]} columns, expected {clip.columns}")
    return table.T


def _mat(path: Path, data: bytes) -> FloatArray:
    try:
        arrays = read_arrays(data)
    except MatError as error:
        raise TreeError(f"{path}: damaged, or no MAT file: {error}") from error
    name = next((n for n in arrays if "time" in n.lower() and any(sensor in n for sensor in SENSORS)), None)
    if name is None:
        raise TreeError(
            f"{path}: no variable is named for a sensor (DE, FE, BA) and time; it holds {', '.join(arrays)}"
        )
    return np.asarray(arrays[name], np.float32).reshape(1, -1)
