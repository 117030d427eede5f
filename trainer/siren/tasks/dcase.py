"""What the six years of DCASE's task 2 have in common: folders, names that carry labels, and the lists of labels.

The evaluation sets come without labels; those were published afterwards and are collected in one list a year,
``evaluation/eval_data_list_<year>_converted.csv`` (github.com/yucongzh/SIREN, supplements/eval_lists).
Source: dcase.community; github.com/yucongzh/SIREN@f9fa43e.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.siren.errors import TreeError
from trainer.siren.tasks.base import AnomalyClip, Count, Listing, Task

SECTION = re.compile(r"section_(\d+)")
ID = re.compile(r"id_(\d+)")


@dataclass(frozen=True, slots=True)
class Label:
    """One row of a list of labels."""

    line: int
    reference: str
    """The name the clip has in the published truth; it carries the domain."""

    anomalous: bool


@dataclass(frozen=True)
class Dcase(Task):
    """One year's development and evaluation set, 16 kHz, mono."""

    year: int
    dev: Mapping[str, tuple[int | None, int | None]]
    """Machines of the development set: about how many clips to learn and to test; None where nobody says."""

    evaluation: Mapping[str, int]
    """Machines of the evaluation set: clips to test, exactly those of the published list."""

    eval_train: int | None
    """About how many clips to learn for each machine of the evaluation set."""

    dev_sections: Mapping[str, tuple[str, ...]]
    eval_sections: Mapping[str, tuple[str, ...]]
    list_sha256: str
    """First twelve digits of the published list of labels."""

    domains: bool = True
    split_tests: bool = False
    """Whether tests lie in ``source_test`` and ``target_test`` (2021)."""

    rate_hz: int = 16_000

    @property
    def key(self) -> str:  # type: ignore[override]
        """``dcase2020`` to ``dcase2025``."""
        return f"dcase{self.year}"

    @property
    def title(self) -> str:  # type: ignore[override]
        """As tables name it."""
        return f"DCASE {self.year}"

    @property
    def expected(self) -> str:
        """What the folder should hold."""
        tests = "{source_test,target_test}" if self.split_tests else "test"
        return (
            f"it holds development/<machine>/{{train,{tests}}}/, evaluation/ likewise (or additional_train/) and "
            f"evaluation/eval_data_list_{self.year}_converted.csv, or a folder dcase{self.year}_t2 that does"
        )

    def find(self, root: Path) -> Listing:
        """Return the clips of both sets; see ``Task``."""
        home = self.check_root(root)
        if (home / f"dcase{self.year}_t2").is_dir():
            home = home / f"dcase{self.year}_t2"
        if not (home / "development").is_dir() and not (home / "evaluation").is_dir():
            raise TreeError(f"{home}: neither development/ nor evaluation/ is there; {self.expected}")
        listing = Listing([])
        clips: list[AnomalyClip] = []
        clips += self._development(home, listing)
        clips += self._evaluation(home, listing)
        self._sections(clips, listing)
        listing.clips = clips
        return listing

    def _development(self, home: Path, listing: Listing) -> list[AnomalyClip]:
        clips: list[AnomalyClip] = []
        for machine in _machines(home / "development", self.dev, listing):
            folder = home / "development" / machine
            train = [
                self._clip(home, path, "dev", machine, None, path.name, listing) for path in _wavs(folder / "train")
            ]
            tests = []
            for path in self._tests(folder):
                word = "anomaly" if "anomaly" in path.name else "normal" if "normal" in path.name else None
                if word is None:
                    listing.problems.append(f"{path}: its name says neither normal nor anomaly")
                else:
                    tests.append(self._clip(home, path, "dev", machine, word == "anomaly", path.name, listing))
            expected = self.dev.get(machine, (None, None))
            clips += _counted(f"development/{machine}", train, tests, expected, listing)
        return clips

    def _evaluation(self, home: Path, listing: Listing) -> list[AnomalyClip]:
        folder = home / "evaluation"
        lists = sorted(folder.glob("eval_data_list_*_converted.csv"))
        if not lists:
            listing.problems.append(
                f"{folder}: no eval_data_list_{self.year}_converted.csv, so that nobody knows which tests are normal; "
                "fetch it from github.com/yucongzh/SIREN, supplements/eval_lists"
            )
            labels: dict[str, dict[str, Label]] = {}
        else:
            labels = read_labels(lists[0])
            if not hashlib.sha256(lists[0].read_bytes()).hexdigest().startswith(self.list_sha256):
                listing.problems.append(
                    f"{lists[0]}: not the published list of {self.year} (sha256 {self.list_sha256}...)"
                )
        clips: list[AnomalyClip] = []
        for machine in _machines(folder, self.evaluation, listing):
            train_folder = folder / machine / "train"
            if not train_folder.is_dir():
                train_folder = home / "additional_train" / machine / "train"
            train = [self._clip(home, path, "eval", machine, None, path.name, listing) for path in _wavs(train_folder)]
            known = labels.get(machine, {})
            tests, named = [], set()
            for path in self._tests(folder / machine):
                named.add(path.name)
                label = known.get(path.name)
                if label is None:
                    if lists:
                        listing.problems.append(f"{path}: {lists[0].name} has no label for it")
                else:
                    clip = self._clip(home, path, "eval", machine, label.anomalous, label.reference, listing)
                    tests.append(clip)
            listing.problems += [
                f"{lists[0]}:{label.line}: {machine}: {name}: no such clip in {folder / machine}"
                for name, label in known.items()
                if name not in named
            ]
            expected = (self.eval_train, self.evaluation.get(machine))
            clips += _counted(f"evaluation/{machine}", train, tests, expected, listing)
        listing.problems += [
            f"{lists[0]}: '{machine}' is no machine of {self.year}; there are {', '.join(self.evaluation)}"
            for machine in labels
            if machine not in self.evaluation
        ]
        return clips

    def _tests(self, folder: Path) -> list[Path]:
        split = [folder / "source_test", folder / "target_test"]
        folders = [part for part in split if part.is_dir()] or [folder / "test"]
        return [path for part in folders for path in _wavs(part)]

    def _clip(
        self,
        home: Path,
        path: Path,
        part: Literal["dev", "eval"],
        machine: str,
        anomalous: bool | None,
        domain_name: str,
        listing: Listing,
    ) -> AnomalyClip:
        section = (SECTION if self.domains else ID).search(path.name)
        if section is None:
            listing.problems.append(f"{path}: its name holds no {'section_NN' if self.domains else 'id_NN'}")
        domain = next((word for word in ("source", "target") if f"{word}_" in domain_name), "") if self.domains else ""
        if self.domains and not domain:
            listing.problems.append(f"{path}: nothing says whether it is of the source or the target domain")
            domain = "source" if part == "eval" and anomalous is not None else ""  # as published
        return AnomalyClip(
            name=path.relative_to(home).as_posix(),
            path=path,
            rate_hz=self.rate_hz,
            part=part,
            machine=machine,
            section=section[0] if section else "",
            domain=domain,
            anomalous=anomalous,
        )

    def _sections(self, clips: list[AnomalyClip], listing: Listing) -> None:
        """Note sections that are missing or should not be there, among clips to learn and among clips to test."""
        parts = (("dev", self.dev_sections), ("eval", self.eval_sections))
        for part, expected in parts:
            for machine in sorted({clip.machine for clip in clips if clip.part == part}):
                for what, tested in (("to learn", False), ("to test", True)):
                    found = {
                        clip.section
                        for clip in clips
                        if (clip.part, clip.machine, clip.anomalous is not None) == (part, machine, tested)
                    } - {""}
                    wanted = set(expected.get(machine, ()))
                    if wanted and found != wanted:
                        off = [f"{name} missing" for name in sorted(wanted - found)]
                        off += [f"{name} unknown" for name in sorted(found - wanted)]
                        listing.problems.append(f"{part} {machine}: sections {what}: {', '.join(off)}")


def read_labels(path: Path) -> dict[str, dict[str, Label]]:
    """Return the labels of a list, by machine and file name (which repeats from machine to machine).

    Raises:
        TreeError: a row that is no label, a file listed twice, or a row before the first machine.
    """
    labels: dict[str, dict[str, Label]] = {}
    machine: dict[str, Label] | None = None
    with path.open(newline="", encoding="utf-8-sig") as lines:
        for line, row in enumerate(csv.reader(lines), 1):
            if len(row) == 1 and row[0].strip():
                machine = labels.setdefault(row[0].strip(), {})
            elif row and row != [""]:
                if machine is None:
                    raise TreeError(f"{path}:{line}: {','.join(row)}: no machine's name stands before it")
                if len(row) != 3 or row[2].strip() not in {"0", "1"}:
                    raise TreeError(f"{path}:{line}: {','.join(row)}: expected test file, reference file, 0 or 1")
                if row[0] in machine:
                    raise TreeError(f"{path}:{line}: {row[0]}: listed twice for one machine")
                machine[row[0]] = Label(line, row[1], row[2].strip() == "1")
    return labels


def _machines(folder: Path, known: Mapping[str, object], listing: Listing) -> list[str]:
    """Return the machines that have a folder; note those that are missing or that the year does not have."""
    found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    listing.problems += [f"{folder / machine}: no such folder" for machine in known if machine not in found]
    listing.problems += [
        f"{folder / machine}: the year has no such machine; there are {', '.join(known)}"
        for machine in found
        if machine not in known
    ]
    return found


def _wavs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.wav"))


def _counted(
    what: str,
    train: list[AnomalyClip],
    tests: list[AnomalyClip],
    expected: tuple[int | None, int | None],
    listing: Listing,
) -> list[AnomalyClip]:
    for kind, clips, official in (("learn", train, expected[0]), ("test", tests, expected[1])):
        about = kind == "learn" or what.startswith("development/")
        count = Count(f"{what}: {kind}", len(clips), official, about)
        listing.counts.append(count)
        if not count.complete:
            listing.problems.append(
                f"{what}: {len(clips)} clips to {kind}, expected {'about ' if about else ''}{official or 'some'}"
            )
    if any("anomaly" in clip.path.name for clip in train):
        listing.problems.append(f"{what}: anomalies among the clips to learn")
        train = [clip for clip in train if "anomaly" not in clip.path.name]
    return [*train, *tests]


def sections(*numbers: int) -> tuple[str, ...]:
    """Return ``section_NN`` for each number."""
    return tuple(f"section_{number:02}" for number in numbers)
