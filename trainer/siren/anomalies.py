"""Strange machines told by the nearest normal recording: as published, and by the challenge's own rule.

A bank is made for each machine and section (an id in 2020) from its training clips; a test clip's score is 1 - cosine
to the nearest of them. Mode ``siren`` is the published code, which scores what it has no bank for as perfectly normal;
in mode ``strict`` that is an error, and other methods than the nearest neighbour stand beside it.

Shape suffixes: N = bank, Q = queries, D = length of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.files import publish
from trainer.siren.backends import METHODS, detector
from trainer.siren.encoders.base import Mode
from trainer.siren.engine import Features
from trainer.siren.errors import ScoringError
from trainer.siren.metrics import Areas, Scored, areas, bootstrap, year_mean
from trainer.siren.neighbours import siren_scores
from trainer.siren.results import NEIGHBOURS, Result
from trainer.siren.tasks.base import AnomalyClip
from trainer.siren.tasks.dcase import Dcase

PARTS = ("dev", "eval")

Array = NDArray[Any]
Scores = dict[str, float]
"""By the clip's name."""


def evaluate(
    task: Dcase,
    clips: Sequence[AnomalyClip],
    features: Features,
    encoder: str,
    mode: Mode,
    edges: Sequence[int] | None = None,
) -> tuple[list[Result], list[str], Scores]:
    """Return one encoder's figures of a year, what was passed over (mode ``siren``), and the score of every test clip.

    Raises:
        ScoringError: in strict mode, when a clip has no vector or no bank, or a group one class; in both, no groups.
    """
    features.check(len(clips), mode)
    vectors = _vectors(clips, features)
    results: list[Result] = []
    remarks: list[str] = []
    published: Scores = {}
    for method in (NEIGHBOURS,) if mode == "siren" else (NEIGHBOURS, *METHODS):
        scores = _Scorer(task, vectors, method, mode, edges, remarks).scores(clips)
        if scores is None:
            continue
        published = scores if method == NEIGHBOURS else published
        sets = [
            [
                Scored(clip.machine, clip.section, clip.domain, scores[clip.name], bool(clip.anomalous))
                for clip in clips
                if clip.part == part and clip.name in scores and _belongs(clip, task)
            ]
            for part in PARTS
        ]
        found = [areas(scored, task.year, mode) for scored in sets]
        problems = [f"{part} {problem}" for part, each in zip(PARTS, found, strict=True) for problem in each.problems]
        if problems and mode == "strict":
            raise ScoringError(f"{task.title}: groups with one class: {'; '.join(problems)}")
        remarks += [f"{problem}: scored 0, as published" for problem in problems]
        results += _results(task, encoder, mode, method, sets, found)
    return results, list(dict.fromkeys(remarks)), published


def _results(
    task: Dcase,
    encoder: str,
    mode: Mode,
    method: str,
    sets: Sequence[Sequence[Scored]],
    found: Sequence[Areas],
) -> list[Result]:
    there = [i for i, each in enumerate(found) if each.values]
    if not there:
        raise ScoringError(f"{task.title}: no test clip belongs to a group")
    intervals = bootstrap([sets[i] for i in there], task.year, mode)
    shown = [(PARTS[i], found[i].values, len(sets[i])) for i in there]
    pooled = [value for each in found for value in each.values]
    if len(there) == len(PARTS):
        shown.append(("overall", pooled, sum(len(scored) for scored in sets)))
    results = []
    for (part, values, count), (low, high) in zip(shown, intervals, strict=False):
        groups = found[PARTS.index(part)] if part in PARTS else Areas()
        results.append(
            Result(
                task.key,
                encoder,
                mode,
                "dcase",
                part,
                method,
                1,
                "area",
                year_mean(values, task.year),
                low,
                high,
                count,
                details={"auc": groups.auc, "pauc": groups.pauc},
            )
        )
    return results


def _belongs(clip: AnomalyClip, task: Dcase) -> bool:
    """Whether a clip's name says where it belongs; the published code passes over the others."""
    return bool(clip.section and (clip.domain or not task.domains))


def _vectors(clips: Sequence[AnomalyClip], features: Features) -> dict[str, Array]:
    """Return one vector a clip, all zeros for one that failed, as published."""
    zeros = np.zeros(next(iter(features.vectors.values())).shape[1], np.float32)
    return {
        clip.name: features.vectors[clip.name].mean(axis=0) if clip.name in features.vectors else zeros
        for clip in clips
    }


@dataclass(frozen=True, slots=True)
class _Scorer:
    """One method on one encoder's vectors."""

    task: Dcase
    vectors: dict[str, Array]
    method: str
    mode: Mode
    edges: Sequence[int] | None
    remarks: list[str]

    def scores(self, clips: Sequence[AnomalyClip]) -> Scores | None:
        """Return the score of every test clip; None where the method does not fit the vectors."""
        scores: Scores = {}
        for part in PARTS:
            for machine in sorted({clip.machine for clip in clips if clip.part == part}):
                found = self._machine([clip for clip in clips if (clip.part, clip.machine) == (part, machine)])
                if found is None:
                    return None
                scores.update(found)
        return scores

    def _machine(self, clips: Sequence[AnomalyClip]) -> Scores | None:
        what = f"{clips[0].part} {clips[0].machine}"
        banks: dict[str, dict[str, list[Array]]] = {}
        for clip in clips:
            if clip.anomalous is None and _belongs(clip, self.task):
                banks.setdefault(clip.section, {}).setdefault(clip.domain, []).append(self.vectors[clip.name])
        tests = [clip for clip in clips if clip.anomalous is not None]
        unknown = sorted({clip.section for clip in tests} - set(banks))
        if unknown and self.mode == "strict":
            raise ScoringError(f"{what}: nothing normal was learned of {', '.join(unknown)}; it cannot be scored")
        if not banks:
            self.remarks.append(f"{what}: nothing normal was learned; the machine is left out, as published")
            return {}
        known = [clip for clip in tests if clip.section in banks]
        if tests and not known:
            self.remarks.append(f"{what}: no tested section was learned: the whole machine is the bank, as published")
            return self._judged(tests, [domain for bank in banks.values() for domain in bank.values()])
        if unknown:
            self.remarks.append(f"{what}: nothing normal was learned of {', '.join(unknown)}: scored 0, as published")
        scores = {clip.name: 0.0 for clip in tests if clip.section not in banks}
        for section in sorted({clip.section for clip in known}):
            asked = [clip for clip in known if clip.section == section]
            found = self._judged(asked, list(banks[section].values()))
            if found is None:
                return None
            scores.update(found)
        return scores

    def _judged(self, asked: Sequence[AnomalyClip], domains: Sequence[list[Array]]) -> Scores | None:
        """Return the score of clips whose normal vectors are given domain by domain."""
        queries = np.stack([self.vectors[clip.name] for clip in asked])
        if self.method == NEIGHBOURS:
            # the nearest of either domain: one bank by domain, as published, is the same and rounds alike
            values = np.min([siren_scores(np.stack(domain), queries) for domain in domains], axis=0)
        else:
            learned = detector(self.method, np.concatenate([np.stack(domain) for domain in domains]), self.edges)
            if learned is None:
                return None
            values = learned.scores(np.asarray(queries, np.float64))
        return {clip.name: float(value) for clip, value in zip(asked, values, strict=True)}


def write_scores(task: Dcase, clips: Sequence[AnomalyClip], scores: Scores, folder: Path) -> None:
    """Write the files SIREN's evaluator reads: ``dcase<year>_t2/<part>/score_<machine>_<part>.csv``."""
    for part in PARTS:
        for machine in sorted({clip.machine for clip in clips if clip.part == part}):
            rows = [
                f"{clip.path.name},{scores[clip.name]!r}\n"
                for clip in clips
                if (clip.part, clip.machine) == (part, machine) and clip.name in scores
            ]
            place = folder / f"dcase{task.year}_t2" / part
            place.mkdir(parents=True, exist_ok=True)
            publish(place / f"score_{machine}_{part}.csv", "".join(rows).encode())
