"""What files beside the recordings say of them: sampling rate, licence, split, and which belong together."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from trainer.data.licences import UNKNOWN, spdx

NAMES = ("manifest.csv", "labels.csv")
PATHS = ("path", "file", "filename")
RATES = ("rate_hz", "sampling_rate_hz", "sample_rate_hz", "sampling_rate", "sample_rate", "samplerate", "sr")
LICENCES = ("licence", "license")
SPLITS = {
    "train": "train",
    "training": "train",
    **dict.fromkeys(("val", "valid", "validation", "test", "testing", "eval", "evaluation"), "val"),
}


class LabelError(ValueError):
    """A label file that would decide about licences or rates cannot be read; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of a recording before it is opened; None where nothing is."""

    rate_hz: int | None = None
    licence: str | None = None
    split: str | None = None
    group: str | None = None
    """Recordings of one group (a track, an artist, a machine) go to the same split."""
    part_s: tuple[float, float] | None = None
    """Start and end of what to use of a file that reaches so far; one that does not is that part already."""

    def over(self, other: Label) -> Label:
        """Return this label with its gaps filled from another."""
        known = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}
        return replace(other, **known)


class Labels(Protocol):
    """What is known of the recordings below one root."""

    @property
    def notes(self) -> list[str]:
        """What a person should know: unknown licences, lists that are missing, recordings that are."""
        ...

    def find(self, name: str) -> Label | None:
        """Return what is known of a recording, by its path below the root; None when it is not to be used.

        A member of an archive is ``a.tar#member``, a variable of a MAT file ``a.mat#variable``.
        """
        ...

    def is_label_file(self, name: str) -> bool:
        """Whether a file holds labels, and no recording."""
        ...

    def missing(self, found: Collection[str]) -> list[str]:
        """Return what the lists promise and is not among the files that were found."""
        ...


class FolderLabels:
    """Labels from ``manifest.csv`` or ``labels.csv``, in a file's folder or any above it up to the root.

    Columns: ``path`` (or ``file``), and any of ``rate_hz`` (``sampling_rate_hz``), ``licence``, ``split``, ``group``.
    """

    def __init__(self, root: Path, ignore: Collection[Path] = ()) -> None:
        self._root, self._ignore = root, ignore
        self._folders: dict[PurePosixPath, Mapping[str, Label] | None] = {}
        self._files: set[Path] = set()
        self.notes: list[str] = []

    def is_label_file(self, name: str) -> bool:
        path = PurePosixPath(name)
        return path.name in NAMES and self._labels(path.parent) is not None and self._root / name in self._files

    def find(self, name: str) -> Label:
        path = PurePosixPath(name)
        for folder in path.parents:
            if (labels := self._labels(folder)) and (label := labels.get(path.relative_to(folder).as_posix())):
                return label
        outer, _, inner = name.rpartition("#")
        return self.find(outer) if inner and outer else Label()

    def missing(self, found: Collection[str]) -> list[str]:
        return [
            (folder / name).as_posix()
            for folder, labels in self._folders.items()
            for name in labels or ()
            if (folder / name).as_posix() not in found
        ]

    def _labels(self, folder: PurePosixPath) -> Mapping[str, Label] | None:
        if folder not in self._folders:
            self._folders[folder] = None
            for name in NAMES:
                path = self._root / folder / name
                if path.is_file() and path.resolve() not in self._ignore:
                    self._folders[folder] = read_labels(path, self.notes.append)
                    self._files.add(path)
                    break
        return self._folders[folder]


def read_labels(path: Path, note: Callable[[str], None]) -> Mapping[str, Label] | None:
    """Return a label file's rows by the path they speak of; None when the file has no such column.

    Raises:
        LabelError: it cannot be read, or gives a rate that is none.
    """
    labels: dict[str, Label] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            columns = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
            named = next((columns[name] for name in PATHS if name in columns), None)
            if named is None:
                note(f"{path}: no column {' or '.join(PATHS[:2])}: not taken for labels")
                return None
            for row in rows:
                values = {key: (row.get(name) or "").strip() for key, name in columns.items()}
                where = f"{path}:{rows.line_num}"
                if name := (row[named] or "").strip():
                    labels[PurePosixPath(name).as_posix()] = make_label(values, where, note)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path}: cannot be read: {error}; mend it, or leave it out with --exclude") from error
    return labels


def make_label(values: Mapping[str, str], where: str, note: Callable[[str], None]) -> Label:
    """Return the label that a row, or a sample's JSON, spells out.

    Raises:
        LabelError: a rate that is none.
    """
    rate_text = next((values[name] for name in RATES if values.get(name)), "")
    licence_text = next((values[name] for name in LICENCES if values.get(name)), "")
    split = values.get("split", "").lower()
    if licence_text and spdx(licence_text) == UNKNOWN:
        note(f"licence {licence_text!r} has no SPDX identifier that we know: 'unknown'")
    if split and split not in SPLITS:
        note(f"split {split!r} is neither train nor val: not taken")
    return Label(
        rate_hz=_rate(rate_text, where) if rate_text else None,
        licence=spdx(licence_text) if licence_text else None,
        split=SPLITS.get(split),
        group=values.get("group") or None,
    )


def _rate(text: str, where: str) -> int:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not math.isfinite(rate) or rate < 1 or rate != int(rate):
        raise LabelError(f"{where}: sampling rate {text!r}; give a whole number of Hz")
    return int(rate)
