"""What every data set says of itself: which clips it has, and what is missing from the folder one was given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trainer.siren.errors import TreeError

ABOUT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One recording, and how it is read."""

    name: str
    """Its path below the root, unique in the data set."""

    path: Path
    rate_hz: int
    """The data set's. Only sound files carry one of their own, which is compared."""

    scale: float | None = None
    """Physical unit per stored step of 16 bit; None: as stored."""

    columns: int = 0
    """Of a CSV file; 0 for all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultClip(Clip):
    """A clip whose fault is to be named."""

    label: str
    group: str
    """What it must not share with the clips that vote on it: a mounting, a severity, a session."""

    side: Literal["", "train", "test"] = ""
    """Only where the data set comes split."""

    condition: str = ""
    """What else was going on while it was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyClip(Clip):
    """A clip of a machine that is normal, or is not."""

    part: Literal["dev", "eval"]
    machine: str
    section: str
    """``section_00``, or ``id_00`` in 2020."""

    domain: str
    """``source`` or ``target``; empty in 2020, and where nothing says so."""

    anomalous: bool | None
    """None: a training clip; all of those are normal."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many clips of one kind there are, and how many there should be."""

    what: str
    found: int
    official: int | None
    """None: no number is known."""

    about: bool = False
    """Whether ``official`` is no exact number, or one that could not be checked: then up to 5 % off is no problem."""

    @property
    def complete(self) -> bool:
        """Whether all are there, as far as anyone can tell."""
        if self.official is None:
            return self.found > 0
        return abs(self.found - self.official) <= (ABOUT * self.official if self.about else 0)


@dataclass(slots=True)
class Listing:
    """The clips of a data set as found in a folder."""

    clips: list[FaultClip] | list[AnomalyClip]
    counts: list[Count] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What a careful person would not pass over; each names the file or folder. The published code passes over all."""


class Task(ABC):
    """One data set."""

    key: str
    """As named on the command line."""

    title: str
    rate_hz: int

    @abstractmethod
    def find(self, root: Path) -> Listing:
        """Return what is below ``root``.

        Raises:
            TreeError: nothing of the data set is there.
        """

    def check_root(self, root: Path) -> Path:
        """Return ``root``, which exists."""
        if not root.is_dir():
            raise TreeError(f"{root}: no such folder; {self.expected}")
        return root

    @property
    @abstractmethod
    def expected(self) -> str:
        """What the folder should hold, in one sentence."""


Protocol = Literal["loocv", "kfold", "split"]


class FaultTask(Task):
    """A data set whose faults are named by nearest neighbours."""

    classes: tuple[str, ...]
    parts: tuple[str, ...] = ()
    """What the published figures call what they hear: of all channels, and of the last alone."""

    strict_parts: dict[str, tuple[int, ...]] = {"": (0,)}  # noqa: RUF012 - read only
    """Which channels strict mode compares together, by what it calls them."""

    protocol: Protocol
    """How the published code tests: each against all others, in five folds, or as the data set comes split."""

    leak: str
    """What the published protocol lets a clip know of itself."""

    grouping: str
    """What strict mode keeps apart."""

    official: int
    """How many clips the published figures are of."""

    def counted(self, clips: Sequence[FaultClip], per_class: dict[str, int] | None = None) -> list[Count]:
        """Return how many there are of each class, and in all."""
        found = {label: sum(clip.label == label for clip in clips) for label in self.classes}
        counts = [Count(label, found[label], per_class[label] if per_class else None) for label in self.classes]
        return [*counts, Count("all", len(clips), self.official)]


def relative(root: Path, pattern: str) -> list[tuple[str, Path]]:
    """Return names below ``root`` and paths of the files that match, in the order of their names."""
    return sorted((path.relative_to(root).as_posix(), path) for path in root.glob(pattern) if path.is_file())
