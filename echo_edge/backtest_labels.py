"""Tables that a backtest reads: what was faulty when, and when each recording began."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import soundfile

from echo_edge.backtest import Fault, clash, joined
from echo_edge.errors import RecordingError

LABELS = ("normal", "anomaly")
COLUMNS = ("path", "start_s", "end_s", "label", "fault", "severity", "scale")


@dataclass(frozen=True, slots=True)
class Label:
    """What was so in a stretch of one recording."""

    line: str
    """``FILE:LINE``, for messages."""

    path: Path
    start_s: float
    end_s: float | None
    """None: to the end."""

    faulty: bool
    fault: str
    severity: float | None
    scale: float | None


def read_labels(path: Path, recordings: Sequence[Path]) -> list[Label]:
    """Read ``path[,start_s,end_s],label[,fault][,severity][,scale]``; paths are relative to the file itself.

    Raises:
        RecordingError: names the file and line of the first thing that is wrong: a recording that is not replayed, a
            stretch outside it, a label that is neither ``normal`` nor ``anomaly``, two scales for one recording.
    """
    known = {file.resolve(): file for file in recordings}
    if len(known) < len(recordings):
        raise RecordingError(f"{path}: a recording that is replayed twice cannot be labelled")
    labels = [_label(where, row, path.parent, known) for where, row in _rows(path, COLUMNS, {"path", "label"})]
    scales: dict[Path, float | None] = {}
    for label in labels:
        if scales.setdefault(label.path, label.scale) != label.scale:
            raise RecordingError(f"{label.line}: {label.path} has two scales; a recording has one")
    return labels


def read_times(path: Path) -> tuple[list[Path], list[int]]:
    """Read ``path,start``: recordings in order of time, and when each began, in nanoseconds since 1970.

    ``start`` is seconds since 1970 or an ISO date and time; without a zone it is UTC.

    Raises:
        RecordingError: names the file and line of the first thing that is wrong.
    """
    found: list[tuple[int, Path]] = []
    for where, row in _rows(path, ("path", "start"), {"path", "start"}):
        file = path.parent / row["path"]
        if not file.is_file():
            raise RecordingError(f"{where}: no such file: {file}")
        found.append((_moment_ns(where, row["start"]), file))
    if not found:
        raise RecordingError(f"{path}: names no recording")
    found.sort()
    return [file for _, file in found], [start_ns for start_ns, _ in found]


def timeline(files: Sequence[Path], starts_ns: Sequence[int] | None = None) -> list[tuple[int, int]]:
    """Begin and end of every recording, without reading its samples.

    Args:
        starts_ns: None lets the first begin in 1970 and each follow on the one before.

    Raises:
        RecordingError: one cannot be read, or begins before the one before has ended.
    """
    spans: list[tuple[int, int]] = []
    end_ns = 0
    for i, path in enumerate(files):
        try:
            about = soundfile.info(path)
        except (soundfile.SoundFileError, OSError) as error:
            raise RecordingError(f"{path}: is no recording that can be read: {error}") from error
        start_ns = end_ns if starts_ns is None else starts_ns[i]
        if start_ns < end_ns:
            early_s = (end_ns - start_ns) / 1e9
            raise RecordingError(f"{path}: begins {early_s:.3f} s before {files[i - 1]} ends; mend the times")
        end_ns = start_ns + about.frames * 1_000_000_000 // about.samplerate
        spans.append((start_ns, end_ns))
    return spans


def faults_of(labels: Sequence[Label], files: Sequence[Path], spans: Sequence[tuple[int, int]]) -> list[Fault]:
    """What was faulty when, in order of time; a fault that goes on in the next recording is one.

    Raises:
        RecordingError: two different faults at one time.
    """
    at = dict(zip(files, spans, strict=True))
    faults = []
    for label in labels:
        if label.faulty:
            start_ns, end_ns = at[label.path]
            until_ns = end_ns if label.end_s is None else min(start_ns + round(label.end_s * 1e9), end_ns)
            faults.append(Fault(start_ns + round(label.start_s * 1e9), until_ns, label.fault, label.severity))
    faults = joined(faults)
    if (both := clash(faults)) is not None:
        one, other = (fault.name or "a fault without a name" for fault in both)
        table = labels[0].line.rpartition(":")[0]
        raise RecordingError(f"{table}: {one} and {other} are at the same time; name them as one")
    return faults


def _label(where: str, row: dict[str, str], folder: Path, known: dict[Path, Path]) -> Label:
    file = known.get((folder / row["path"]).resolve())
    if file is None:
        raise RecordingError(f"{where}: {folder / row['path']} is not among the recordings that are replayed")
    if row["label"] not in LABELS:
        raise RecordingError(f"{where}: label '{row['label']}' is neither 'normal' nor 'anomaly'")
    start_s, end_s = _number(where, row, "start_s") or 0.0, _number(where, row, "end_s")
    try:
        length_s = float(soundfile.info(file).duration)
    except soundfile.SoundFileError as error:
        raise RecordingError(f"{file}: cannot be read: {error}") from error
    last_s = length_s if end_s is None else end_s
    if not 0 <= start_s < last_s or last_s > length_s + 0.001:
        raise RecordingError(
            f"{where}: {start_s:g} s to {last_s:g} s is not within {file}, which lasts {length_s:.3f} s"
        )
    scale = _number(where, row, "scale")
    if scale is not None and scale <= 0:
        raise RecordingError(f"{where}: scale {scale:g} is not above 0")
    severity = _number(where, row, "severity")
    return Label(where, file, start_s, end_s, row["label"] == "anomaly", row.get("fault") or "", severity, scale)


def _rows(path: Path, columns: Sequence[str], needed: set[str]) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            names = set(reader.fieldnames or ())
            if not needed <= names or names - set(columns):
                raise RecordingError(
                    f"{path}:1: the columns are {','.join(columns)} ({', '.join(sorted(needed))} always), "
                    f"not {','.join(reader.fieldnames or ())}"
                )
            for row in reader:
                where = f"{path}:{reader.line_num}"
                if None in row or any(row[name] is None for name in needed):
                    raise RecordingError(f"{where}: has another number of columns than the first line")
                yield where, {name: (value or "").strip() for name, value in row.items()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _number(where: str, row: dict[str, str], name: str) -> float | None:
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e15:
        raise RecordingError(f"{where}: {name} '{text}' is not a number")
    return value


def _moment_ns(where: str, text: str) -> int:
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError as error:
            raise RecordingError(
                f"{where}: start '{text}' is neither seconds since 1970 nor a time as 2026-05-03T08:00:00"
            ) from error
        seconds = moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    if not 0 <= seconds < 1e10:
        raise RecordingError(f"{where}: start '{text}' is not within the years 1970 to 2286")
    return round(seconds * 1e9)
