"""Published corpora, by their own lists: AudioSet and MTG-Jamendo. Their audio lies as its owner unpacked it.

AudioSet (research.google.com/audioset/download.html): ``*_segments.csv``, three comment lines, then
``YTID, start_seconds, end_seconds, "labels"``. The audio is everybody's own download, so its naming varies: YTID, or
``Y`` + YTID, or either followed by start and end (``_30_40``, ``_30.0-40.0``, ``_30000_40000``).

MTG-Jamendo (github.com/MTG/mtg-jamendo-dataset): ``raw_30s.tsv`` with TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION,
TAGS; the audio as ``NN/ID.mp3`` or ``NN/ID.low.mp3``; ``audio_licenses.txt``, for each track its path, its title, its
licence and an empty line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from trainer.data.labels import FolderLabels, Label, LabelError, Labels
from trainer.data.licences import UNKNOWN, spdx

TRAIN_SEGMENTS = ("unbalanced_train_segments.csv", "balanced_train_segments.csv")
EVAL_SEGMENTS = "eval_segments.csv"
CLIP = re.compile(r"Y?(?P<id>[\w-]{11})(?:_\d+(?:\.\d+)?(?:[_-]\d+(?:\.\d+)?)?)?", re.ASCII)
TRACKS = ("raw_30s.tsv", "raw.tsv", "autotagging.tsv")
LICENCES = "audio_licenses.txt"
TRACK_PATH = re.compile(r"(\d\d)/(\d+)(?:\.low)?\.mp3", re.IGNORECASE)


class AudioSetLabels:
    """Which clips the segment lists name, where they are in a whole video, and which are for evaluation."""

    def __init__(self, root: Path, ignore: Collection[Path] = ()) -> None:  # noqa: ARG002 - as every layout
        self._root = root
        self._lists = _lists(root, (*TRAIN_SEGMENTS, EVAL_SEGMENTS))
        if not self._lists:
            raise LabelError(
                f"{root}: no {TRAIN_SEGMENTS[0]}, {TRAIN_SEGMENTS[1]} or {EVAL_SEGMENTS} in it: no AudioSet"
            )
        names = [path.name for path in self._lists]
        self.notes = [f"AudioSet: no {name}" for name in (*TRAIN_SEGMENTS, EVAL_SEGMENTS) if name not in names]
        self.notes.append("AudioSet: its licence (CC BY 4.0) is that of the lists; that of the audio is 'unknown'")
        held_out = EVAL_SEGMENTS in names
        self._labels: dict[str, Label] = {}
        for path in self._lists:
            split = ("val" if path.name == EVAL_SEGMENTS else "train") if held_out else None
            for clip, part_s in _segments(path):
                self._labels[clip] = Label(licence=UNKNOWN, split=split, group=clip, part_s=part_s)

    def is_label_file(self, name: str) -> bool:
        return self._root / name in self._lists

    def find(self, name: str) -> Label | None:
        clip = _clip(name)
        return self._labels.get(clip) if clip else None

    def missing(self, found: Collection[str]) -> list[str]:
        there = {_clip(name) for name in found}
        return [clip for clip in self._labels if clip not in there]


class JamendoLabels:
    """Which tracks the list names, by whom they are (an artist is in one split), and under which licence each is."""

    def __init__(self, root: Path, ignore: Collection[Path] = ()) -> None:  # noqa: ARG002 - as every layout
        self._root = root
        tracks, licences = _lists(root, TRACKS), _lists(root, (LICENCES,))
        if not tracks:
            raise LabelError(f"{root}: no {', '.join(TRACKS[:-1])} or {TRACKS[-1]} in it: no MTG-Jamendo")
        self._lists = [*tracks, *licences]
        self.notes = [] if licences else [f"MTG-Jamendo: no {LICENCES}: the licence of every track is 'unknown'"]
        known = {track: licence for path in licences for track, licence in _track_licences(path)}
        self._labels = {
            track: Label(licence=known.get(track, UNKNOWN), group=artist) for track, artist in _tracks(tracks[0])
        }
        if without := sum(track not in known for track in self._labels) if licences else 0:
            self.notes.append(f"MTG-Jamendo: {without} tracks without a licence in {LICENCES}: 'unknown'")

    def is_label_file(self, name: str) -> bool:
        return self._root / name in self._lists

    def find(self, name: str) -> Label | None:
        track = _track(name)
        return self._labels.get(track) if track else None

    def missing(self, found: Collection[str]) -> list[str]:
        there = {_track(name) for name in found}
        return [track for track in self._labels if track not in there]


LAYOUTS: dict[str, Callable[[Path, Collection[Path]], Labels]] = {
    "folder": FolderLabels,
    "audioset": AudioSetLabels,
    "jamendo": JamendoLabels,
}


def _lists(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the lists that are there, in the order of their names: in the root, or one or two folders down."""
    found = ([path for depth in ("", "*/", "*/*/") for path in sorted(root.glob(depth + name))] for name in names)
    return [paths[0] for paths in found if paths]


def _clip(name: str) -> str | None:
    """Return the YTID that a file is named for; it has 11 characters, ``_`` and ``-`` among them."""
    match = CLIP.fullmatch(PurePosixPath(name.rpartition("#")[2]).stem)
    return match["id"] if match else None


def _segments(path: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    for line, row in _rows(path, delimiter=","):
        try:
            clip, start_s, end_s = row[0].strip(), float(row[1]), float(row[2])
        except (IndexError, ValueError) as error:
            raise LabelError(f"{path}:{line}: {','.join(row)[:60]!r}; expected YTID, start, end, labels") from error
        yield clip, (start_s, end_s)


def _tracks(path: Path) -> Iterator[tuple[str, str]]:
    """Yield path (``NN/ID``) and artist of each track. A row has as many columns as the track has tags, and five."""
    rows = _rows(path, delimiter="\t")
    _, header = next(rows, (0, []))
    if header[:5] != ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION"]:
        raise LabelError(f"{path}:1: expected the columns TRACK_ID, ARTIST_ID, ALBUM_ID, PATH, DURATION, TAGS")
    for line, row in rows:
        track = _track(row[3]) if len(row) > 3 else None
        if track is None:
            raise LabelError(f"{path}:{line}: {' '.join(row)[:60]!r}; expected a path like 14/214.mp3 in column 4")
        yield track, row[1]


def _track_licences(path: Path) -> Iterator[tuple[str, str]]:
    """Yield path and licence of each track: the last line of its block names the licence by its address."""
    for block in re.split(r"\n\s*\n", _text(path)):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if lines and (track := _track(lines[0])):
            yield track, spdx(lines[-1])


def _track(name: str) -> str | None:
    match = TRACK_PATH.search(name.replace("#", "/"))
    return f"{match[1]}/{match[2]}" if match else None


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a list with their line numbers, without comments and empty lines."""
    lines = _text(path).splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.split("\t") if delimiter == "\t" else next(csv.reader([line], skipinitialspace=True))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"{path}: cannot be read: {error}") from error
