"""A manifest: the CSV list of recordings that a training run draws from, each at its native rate, with its licence."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from trainer.files import publish

SPLITS = ("train", "val")
CONTAINER = re.compile(r"(?i)\.(?:tar|tar\.(?:gz|bz2|xz)|tgz|zip|mat)#")
DIGEST = re.compile(r"[0-9a-f]{64}")
END_TOLERANCE_FRAMES = 1.0  # seconds are rounded, frames are not


class ManifestError(ValueError):
    """A manifest cannot be used; the message names file, line, column and value, and says how to mend it."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording, or the part of one that may be used."""

    path: str
    """Relative to the manifest's folder, or absolute; ``shard.tar#a.flac`` is a member, ``x.mat#DE`` a variable."""
    rate_hz: int
    channels: int
    frames: int
    """Of the whole recording, per channel."""
    offset_s: float
    duration_s: float
    split: str
    licence: str
    """An SPDX identifier where one exists, else ``unknown``."""
    sha256: str
    """Of the file's bytes; of the member's for a member of an archive."""


@dataclass(frozen=True)
class Manifest:
    """What a manifest lists, and the digest by which a run knows that it is still the same."""

    path: Path
    recordings: tuple[Recording, ...]
    sha256: str

    def locate(self, recording: Recording) -> Path:
        """Return the file on disk that holds a recording: the archive, for a member of one."""
        return self.path.parent / split_path(recording.path)[0]

    def only(self, split: str | None = None, licences: Collection[str] | None = None) -> Manifest:
        """Return the same manifest with the recordings of one split, or of some licences, alone."""
        kept = tuple(
            recording
            for recording in self.recordings
            if split in (None, recording.split) and (licences is None or recording.licence in licences)
        )
        return replace(self, recordings=kept)


def split_path(path: str) -> tuple[str, tuple[str, ...]]:
    """Return the file of a recording's path, and what to open inside: an archive's member, a MAT file's variable.

    A ``#`` means that only behind the name of an archive or MAT file: ``F#3.wav`` is a plain file.
    """
    parts, rest = [], path
    while match := CONTAINER.search(rest):
        parts.append(rest[: match.end() - 1])
        rest = rest[match.end() :]
    return (parts[0], (*parts[1:], rest)) if parts else (path, ())


def read_manifest(path: Path | str) -> Manifest:
    """Read a manifest and check every row.

    Raises:
        ManifestError: it cannot be read, a column is missing, or a value is impossible.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror or error}; {_BUILD}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); {_BUILD}") from error
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
            raise ManifestError(f"{path}:1: no column {', '.join(map(repr, missing))}; {_BUILD}")
        recordings = tuple(_recording(path, rows.line_num, row) for row in rows)
    except csv.Error as error:
        raise ManifestError(f"{path}:{rows.line_num}: not CSV: {error}; {_BUILD}") from error
    seen: set[tuple[str, float]] = set()
    for recording in recordings:
        if (key := (recording.path, recording.offset_s)) in seen:
            raise ManifestError(f"{path}: path: {recording.path!r} from {key[1]:g} s is listed twice; remove one row")
        seen.add(key)
    return Manifest(path, recordings, sha256(data).hexdigest())


def write_manifest(path: Path | str, recordings: Iterable[Recording]) -> None:
    """Write recordings, ordered by path; the same recordings give the same bytes, and the file appears whole."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for recording in sorted(recordings, key=lambda r: (r.path, r.offset_s)):
        writer.writerow([getattr(recording, name) for name in COLUMNS])
    publish(Path(path), text.getvalue().encode("utf-8"))


def _recording(path: Path, line: int, row: dict[str, str | None]) -> Recording:
    values: dict[str, Any] = {}
    for name, (convert, passes, wanted) in _CHECKS.items():
        text = (row[name] or "").strip()
        try:
            values[name] = convert(text)
            good = passes(values[name])
        except ValueError:
            good = False
        if not good:
            raise ManifestError(f"{path}:{line}: {name}: {text!r}; {wanted}")
    recording = Recording(**values)
    end = (recording.offset_s + recording.duration_s) * recording.rate_hz
    if end > recording.frames + END_TOLERANCE_FRAMES:
        raise ManifestError(
            f"{path}:{line}: duration_s: {recording.duration_s!r}; offset and duration end at frame {end:.0f}, "
            f"the recording has {recording.frames}: shorten it"
        )
    return recording


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


_BUILD = "build it with 'python -m trainer.data.build'"
_CHECKS: dict[str, tuple[Callable[[str], Any], Callable[[Any], bool], str]] = {
    "path": (str, bool, "give the file, relative to the manifest's folder"),
    "rate_hz": (int, _positive, "give the sampling rate in Hz, a whole number above 0"),
    "channels": (int, _positive, "give the number of channels, at least 1"),
    "frames": (int, _positive, "give the samples per channel, at least 1; leave an empty recording out"),
    "offset_s": (float, lambda s: math.isfinite(s) and s >= 0, "give seconds from the start, 0 or more"),
    "duration_s": (float, _positive, "give the seconds to use, above 0"),
    "split": (str, SPLITS.__contains__, "say 'train' or 'val'"),
    "licence": (str, bool, "give an SPDX identifier, or 'unknown'"),
    "sha256": (str, lambda text: bool(DIGEST.fullmatch(text)), f"give 64 lower-case hex digits, or {_BUILD}"),
}
COLUMNS = tuple(field.name for field in fields(Recording))
