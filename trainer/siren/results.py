"""What was measured: one row for each encoder, mode, protocol and method; as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer.files import publish
from trainer.siren.encoders.base import Mode
from trainer.siren.errors import SirenError

NEIGHBOURS = "neighbours"
PUBLISHED_K = 5
FLAT = (
    "dataset",
    "encoder",
    "mode",
    "protocol",
    "part",
    "method",
    "k",
    "figure",
    "value",
    "low",
    "high",
    "count",
    "right",
)


@dataclass(frozen=True, slots=True)
class Result:
    """One figure and its doubt."""

    dataset: str
    encoder: str
    mode: Mode
    protocol: str
    """``loocv``, ``kfold``, ``split``, ``leakage-free``; ``dcase`` for a year's areas under the curve."""

    part: str
    """``vibration`` or ``sound`` (MAFAULDA); ``dev``, ``eval`` or ``overall`` (DCASE); else empty."""

    method: str
    """``neighbours`` as published, or one of ``backends.METHODS``."""

    k: int
    figure: str
    """``accuracy``, or ``area``: the mean of AUC and pAUC values."""

    value: float
    low: float
    high: float
    """Ends of the 95 % interval."""

    count: int
    """Clips it is of."""

    right: int | None = None
    """Of an accuracy: how many were named rightly."""

    details: dict[str, Any] = field(default_factory=dict)
    """Per class, per group, per condition; precision, recall and F1."""

    @property
    def question(self) -> tuple[object, ...]:
        """What was asked: of two results that agree in it, the later one counts."""
        return self.encoder, self.mode, self.protocol, self.part, self.method, self.k


@dataclass(slots=True)
class Run:
    """All results of one data set, and what was wrong with it."""

    dataset: str
    clips: str
    """SHA-256 of the names and labels that were evaluated: results of others are not mixed in."""

    complete: bool = True
    """Whether all the data set's clips were there."""

    digests: dict[str, str] = field(default_factory=dict)
    """The engine's key of each encoder in each mode, by ``encoder, mode``."""

    results: list[Result] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What mode ``siren`` passed over, as the published code does."""


def save(run: Run, folder: Path) -> None:
    """Write ``<dataset>.json`` and ``<dataset>.csv``; earlier results stay, but for those of the same question.

    Of an encoder that has changed since, and of other clips, nothing stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.dataset}.json"
    if path.is_file():
        run = merged(load(path), run)
    publish(path, (json.dumps(asdict(run), indent=1) + "\n").encode())
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FLAT)
    writer.writerows([["" if (v := getattr(r, name)) is None else v for name in FLAT] for r in run.results])
    publish(path.with_suffix(".csv"), text.getvalue().encode())


def merged(before: Run, run: Run) -> Run:
    """Return a run with what stays of an earlier one."""
    if before.clips != run.clips:
        return run
    anew = {r.question for r in run.results}
    digests = {**before.digests, **run.digests}
    kept = [
        r
        for r in before.results
        if r.question not in anew and digests[f"{r.encoder}, {r.mode}"] == before.digests[f"{r.encoder}, {r.mode}"]
    ]
    remarks = list(dict.fromkeys([*before.remarks, *run.remarks]))
    return Run(run.dataset, run.clips, run.complete, digests, kept + run.results, remarks)


def load(path: Path) -> Run:
    """Read what ``save`` wrote.

    Raises:
        SirenError: it cannot be read, or is something else.
    """
    try:
        stored = json.loads(path.read_text("utf-8"))
        results = [Result(**row) for row in stored.pop("results")]
        return Run(**stored, results=results)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SirenError(f"{path}: no results of this benchmark: {error}") from error


def load_all(folder: Path, order: Sequence[str]) -> list[Run]:
    """Return the runs of a folder in the given order of data sets."""
    return [load(path) for path in (folder / f"{key}.json" for key in order) if path.is_file()]


def shown(results: Sequence[Result]) -> list[Result]:
    """Return the plain neighbours' results with k = 5, that of the published figures, or else the largest k."""
    plain = [r for r in results if r.method == NEIGHBOURS]
    ks = {r.k for r in plain}
    chosen = PUBLISHED_K if PUBLISHED_K in ks else max(ks, default=0)
    return [r for r in plain if r.k == chosen]
