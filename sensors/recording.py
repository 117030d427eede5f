"""One recording with its scale: an audio file in physical units, or the exact reason why it cannot be used."""

from __future__ import annotations

import csv
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.errors import SensorUnavailable
from sensors.source import FULL_SCALE

MIN_S = 0.025  # the front end's frame: nothing shorter can be heard
MANIFEST = "manifest.csv"
MANIFEST_LEVELS = 3  # beside the file, and two folders up
INTEGER_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
UNFINISHED_FRAMES = 1 << 60  # libsndfile's word for a length that is not told
RIFF_UNKNOWN = 0xFFFFFFFF  # what a writer to a pipe leaves for the length


def read_recording(
    path: Path | str,
    start_s: float = 0,
    end_s: float | None = None,
    scale: float | None = None,
    unit: str | None = None,
) -> tuple[NDArray[np.float32], int, str]:
    """Read a recording, or an excerpt of it, in physical units.

    Args:
        path: anything that libsndfile reads.
        start_s: where the excerpt starts.
        end_s: where it ends; None is the recording's end.
        scale: physical units per stored integer unit (for a file of floats: per 1.0). None looks the scale up in a
            ``manifest.csv`` beside the file or up to two folders above: ``file`` (relative to the manifest) with
            ``scale_g_per_lsb``, or ``scale_per_lsb`` and ``unit``, or ``scale`` and ``unit``. Failing that the
            samples are -1 to 1.
        unit: what ``scale`` leads to.
    Returns:
        Samples of shape (n, channels); the rate in Hz; the unit.
    Raises:
        SensorUnavailable: missing, empty, not audio, truncated, shorter than 25 ms, or holding NaN or infinity.
    """
    path = Path(path)
    rate_hz, subtype, stored = _stored(path, start_s, end_s)
    if len(stored) < MIN_S * rate_hz:
        raise _refuse(path, f"{len(stored) / rate_hz * 1000:.1f} ms is too short: at least {MIN_S * 1000:.0f} ms")
    if not np.isfinite(stored).all():
        raise _refuse(path, "it holds samples that are not numbers (NaN or infinite)")
    if scale is None:
        scale, found_unit = manifest_scale(path)
        unit = unit or found_unit
    if scale is None:
        scale, unit = 1.0 / (1 << (INTEGER_BITS[subtype] - 1)) if subtype in INTEGER_BITS else 1.0, FULL_SCALE
    return (stored.astype(np.float64) * scale).astype(np.float32), rate_hz, unit or "unit"


def shape_of(path: Path | str) -> tuple[int, int]:
    """Return a recording's rate in Hz and its channels, from its header alone.

    Raises:
        SensorUnavailable: as ``read_recording``, as far as a header tells.
    """
    with _opened(Path(path)) as file:
        return int(file.samplerate), int(file.channels)


def manifest_scale(path: Path) -> tuple[float | None, str | None]:
    """Return scale and unit of the nearest manifest that lists the file; (None, None) when none does.

    Raises:
        SensorUnavailable: it lists the file with a scale that is none, or cannot be read.
    """
    path = path.resolve()
    for folder in list(path.parents)[:MANIFEST_LEVELS]:
        manifest = folder / MANIFEST
        if not manifest.is_file():
            continue
        try:
            rows = _rows(manifest, manifest.stat().st_mtime_ns)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise _refuse(path, f"its scale may be in {manifest}, which cannot be read: {error}") from error
        row = rows.get(path.relative_to(folder).as_posix())
        if row is not None:
            return _row_scale(path, manifest, row)
    return None, None


def note_scale(path: Path, scale: float, unit: str) -> None:
    """Write into the manifest beside a recording how its stored numbers become ``unit``; other rows stay.

    Raises:
        SensorUnavailable: the manifest cannot be read or written, or is one of other columns.
    """
    manifest = path.parent / MANIFEST
    try:
        if not manifest.exists():
            manifest.write_text("file,scale,unit\n", encoding="utf-8")
        with manifest.open(newline="", encoding="utf-8-sig") as text:
            columns = csv.DictReader(text).fieldnames or []
        if not {"file", "scale", "unit"} <= set(columns):
            raise _refuse(path, f"{manifest} has no columns file, scale and unit: note {scale!r} {unit} yourself")
        with manifest.open("a", newline="", encoding="utf-8") as text:
            csv.DictWriter(text, columns).writerow({"file": path.name, "scale": repr(scale), "unit": unit})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refuse(path, f"its scale of {scale!r} {unit} could not be noted in {manifest}: {error}") from error


@lru_cache(maxsize=8)
def _rows(manifest: Path, changed_ns: int) -> dict[str, dict[str, str]]:  # noqa: ARG001 - the time is part of the key
    """Return a manifest's rows by file; read once for all the recordings of a folder."""
    with manifest.open(newline="", encoding="utf-8-sig") as text:  # spreadsheets put a mark in front of the first name
        return {row.get("file") or "": row for row in csv.DictReader(text)}


def _row_scale(path: Path, manifest: Path, row: dict[str, str]) -> tuple[float | None, str | None]:
    for column in ("scale_g_per_lsb", "scale_per_lsb", "scale"):
        if text := (row.get(column) or "").strip():
            try:
                scale = float(text)
            except ValueError:
                scale = math.nan
            if not math.isfinite(scale) or scale == 0:
                raise _refuse(path, f"{manifest} gives it the {column} {text!r}, which is no scale")
            return scale, "g" if column == "scale_g_per_lsb" else (row.get("unit") or "").strip() or None
    return None, None


def _stored(path: Path, start_s: float, end_s: float | None) -> tuple[int, str, NDArray[Any]]:
    """Return rate, subtype and the stored numbers, shape (n, channels): integers as they were, floats as float64."""
    import soundfile  # noqa: PLC0415 - loads a shared library that only recordings need

    with _opened(path) as file:
        rate_hz, total = int(file.samplerate), int(file.frames)
        first = round(start_s * rate_hz)
        last = total if end_s is None else round(end_s * rate_hz)
        if not 0 <= first < last <= total:
            end = "the end" if end_s is None else f"{end_s:g} s"
            raise _refuse(path, f"no excerpt from {start_s:g} s to {end}: it lasts {total / rate_hz:.3f} s")
        bits = INTEGER_BITS.get(file.subtype)
        try:
            file.seek(first)
            stored = file.read(last - first, dtype="int32" if bits else "float64", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise _refuse(path, f"damaged: {error}") from error
        if len(stored) < last - first:
            raise _refuse(path, f"truncated: {len(stored)} of {last - first} samples are there")
        return rate_hz, file.subtype, stored >> (32 - bits) if bits else stored


def _opened(path: Path) -> Any:
    """Open a recording after the checks that libsndfile leaves out."""
    import soundfile  # noqa: PLC0415

    try:
        size = path.stat().st_size
        if path.is_dir():
            raise _refuse(path, "is a folder")
        if size == 0:
            raise _refuse(path, "empty file (0 bytes)")
        missing = _missing_bytes(path, size)
    except OSError as error:
        raise _refuse(path, error.strerror or str(error)) from error
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: ``.raw``, whose shape only its maker knows
        raise _refuse(path, f"truncated: {missing} bytes missing" if missing else f"not audio: {error}") from error
    if file.frames >= UNFINISHED_FRAMES:
        file.close()
        raise _refuse(path, "was never finished: its header tells no length; write it anew with flac or ffmpeg")
    if missing or not file.frames:
        file.close()
        raise _refuse(path, f"truncated: {missing} bytes missing" if missing else "zero length: it holds no samples")
    return file


def _missing_bytes(path: Path, size: int) -> int:
    """Return how many bytes a WAV header promises beyond the file's end, which libsndfile silently makes up for."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            end = file.tell() + length
            if chunk[:4] == b"data":
                return max(0, end - size) if length != RIFF_UNKNOWN else 0
            file.seek(end + length % 2)
    return 0


def _refuse(path: Path, reason: str) -> SensorUnavailable:
    return SensorUnavailable(str(path), reason)
