"""Samples of a recording: only the part that is needed, from a file, a member of an archive or a MAT variable."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from trainer.data.containers import DAMAGE, open_member
from trainer.data.manifest import Recording, split_path
from trainer.data.tables import TableError, read_csv, read_mat

SOUND = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64")
TABLE = (".mat", ".csv")

Array = NDArray[np.float32]


class DecodeError(OSError):
    """A recording cannot be read, or not as its manifest says; the message names the file."""


def read_crop(manifest_folder: Path, recording: Recording, start_frame: int, frames: int, channel: int) -> Array:
    """Return ``frames`` samples of one channel, shape (frames,), as stored: -1 to 1, or a table's own unit.

    Args:
        manifest_folder: what ``recording.path`` is relative to.
        start_frame: counted from the start of the file, not from ``offset_s``.
    Raises:
        DecodeError: unreadable, shorter than asked for, another rate or other channels than the manifest says, or
            samples that are NaN or infinite. Nothing is ever padded.
    """
    name = str(manifest_folder / recording.path)
    if start_frame < 0 or frames < 1 or not 0 <= channel < recording.channels:
        raise DecodeError(f"{name}: no crop of {frames} frames from {start_frame}, channel {channel}")
    file, inner = split_path(recording.path)
    path = manifest_folder / file
    if _kind(file, inner) in TABLE:
        samples = _table(name, path, inner)[start_frame : start_frame + frames]
    else:
        samples = _sound(name, path, inner, recording, start_frame, frames)
    if samples.shape[1] != recording.channels:
        raise DecodeError(
            f"{name}: has {samples.shape[1]} channels, its manifest says {recording.channels}: rebuild it"
        )
    if len(samples) < frames:
        raise DecodeError(
            f"{name}: {len(samples)} of {frames} samples from {start_frame} are there; its manifest says "
            f"{recording.frames} in all: damaged, or changed since"
        )
    crop = np.ascontiguousarray(samples[:, channel])
    if not np.isfinite(crop).all():
        raise DecodeError(f"{name}: holds samples that are not numbers (NaN or infinite)")
    return crop


def open_inner(path: Path, inner: tuple[str, ...]) -> BinaryIO:
    """Open a file, or what is at ``inner`` in the archive that it is; raises one of ``containers.DAMAGE``."""
    return open_member(path, inner[0]) if inner and not path.name.lower().endswith(".mat") else path.open("rb")


def _kind(file: str, inner: tuple[str, ...]) -> str:
    """Return the suffix of what is to be decoded: the archive's member, or the file itself."""
    member = inner[0] if inner and not file.lower().endswith(".mat") else file
    return Path(member).suffix.lower()


def _sound(name: str, path: Path, inner: tuple[str, ...], recording: Recording, start: int, frames: int) -> Array:
    try:
        with open_inner(path, inner) as file, soundfile.SoundFile(file) as sound:
            if sound.samplerate != recording.rate_hz:
                raise DecodeError(f"{name}: {sound.samplerate} Hz, its manifest says {recording.rate_hz}: rebuild it")
            sound.seek(start)
            return np.asarray(sound.read(frames, dtype="float32", always_2d=True))
    except DecodeError:
        raise
    except (soundfile.SoundFileError, *DAMAGE) as error:
        raise DecodeError(f"{name}: cannot be read: {_say(error)}") from error


def _table(name: str, path: Path, inner: tuple[str, ...]) -> Array:
    try:
        tables = _tables(path, inner[:1] if inner and not path.name.lower().endswith(".mat") else (), _stamp(path))
        return tables[inner[-1] if inner and "" not in tables else ""]
    except KeyError as error:
        raise DecodeError(f"{name}: holds no signal {error}") from error
    except (TableError, *DAMAGE) as error:
        raise DecodeError(f"{name}: cannot be read: {_say(error)}") from error


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns


@lru_cache(maxsize=8)
def _tables(path: Path, member: tuple[str, ...], changed_ns: int) -> dict[str, Array]:  # noqa: ARG001 - part of the key
    """Return a table file's signals by variable ('' for a CSV); kept, since crops of one file come in succession."""
    with open_inner(path, member) as file:
        is_csv = _kind(path.name, member) == ".csv"
        return {"": read_csv(file)} if is_csv else read_mat(io.BytesIO(file.read()))


def _say(error: BaseException) -> str:
    return str(error) or type(error).__name__
