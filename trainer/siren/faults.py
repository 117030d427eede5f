"""Faults named by their neighbours: as published, and so that no clip hears of itself.

Mode ``siren`` is the published code (``neighbours``). Mode ``strict`` compares true channels, under two protocols: the
published one, whose leak the data set's file tells, and *leakage-free*, where whatever shares a mounting, severity or
session with a clip does not vote on it. A clip whose class then has no other clip is not asked.

Shape suffixes: N = clips, C = channels, D = length of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from trainer.siren import neighbours
from trainer.siren.encoders.base import Mode
from trainer.siren.engine import Features
from trainer.siren.errors import ScoringError
from trainer.siren.metrics import Named, named
from trainer.siren.results import NEIGHBOURS, PUBLISHED_K, Result
from trainer.siren.tasks.base import FaultClip, FaultTask

FOLDS, SEED = 5, 1
LEAKAGE_FREE = "leakage-free"

Array = NDArray[Any]


def evaluate(
    task: FaultTask,
    clips: Sequence[FaultClip],
    features: Features,
    encoder: str,
    mode: Mode,
    ks: Sequence[int],
    edges: Sequence[int] | None = None,
) -> list[Result]:
    """Return the accuracies of one encoder.

    Args:
        edges: where the bands of a vector begin, for matching per band; None when it has none.
    Raises:
        ScoringError: in strict mode, when a clip has no vector; in both, when nothing can be asked.
    """
    if ks and max(ks) >= len(clips):
        raise ScoringError(f"k = {max(ks)}: there are {len(clips)} clips, one of which asks; take a smaller k")
    x = stack(clips, features, mode)
    truth = [clip.label for clip in clips]
    results = []
    for protocol, part, method, k, rows, said in (
        _siren(task, clips, x, ks) if mode == "siren" else _strict(task, clips, x, ks, edges)
    ):
        asked = [truth[i] for i in rows]
        found = named(asked, said, task.classes)
        details = _details(found)
        if any(clip.condition for clip in clips):
            details["conditions"] = _by_condition([clips[i] for i in rows], said)
        results.append(
            Result(
                task.key,
                encoder,
                mode,
                protocol,
                part,
                method,
                k,
                "accuracy",
                found.accuracy,
                found.low,
                found.high,
                found.count,
                found.right,
                details,
            )
        )
    return results


def stack(clips: Sequence[FaultClip], features: Features, mode: Mode) -> Array:
    """Return all vectors (N, C, D); in mode ``siren`` a clip that failed is all zeros, as published.

    Raises:
        ScoringError: nothing succeeded, or, in strict mode, something failed.
    """
    features.check(len(clips), mode)
    zeros = np.zeros_like(next(iter(features.vectors.values())))
    return np.stack([features.vectors.get(clip.name, zeros) for clip in clips])


Answer = tuple[str, str, str, int, list[int], list[str]]
"""Protocol, part, method, k, rows that were asked, and what was said of each."""


def _siren(task: FaultTask, clips: Sequence[FaultClip], x: Array, ks: Sequence[int]) -> Iterator[Answer]:
    labels = [clip.label for clip in clips]
    cut = neighbours.pseudo_channels(x)
    vibration, sound = (*task.parts, "", "")[:2]
    if task.protocol == "loocv":
        everyone = list(range(len(clips)))
        among = neighbours.siren_distances(cut, cut)
        for k in ks:
            said = neighbours.vote(labels, neighbours.siren_loocv(among, k)[0])
            yield task.protocol, vibration, NEIGHBOURS, k, everyone, said
            if sound:
                alone = neighbours.siren_channel_votes(among, k)[:, -1]
                yield task.protocol, sound, NEIGHBOURS, k, everyone, neighbours.vote(labels, alone)
    elif task.protocol == "kfold":
        splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
        folds = [
            (learned, tested, neighbours.siren_distances(cut[tested], cut[learned]))
            for learned, tested in _folds(splitter, clips)
        ]
        asked = [i for _, tested, _ in folds for i in tested.tolist()]
        for k in ks:
            votes = [
                neighbours.vote([labels[i] for i in learned], neighbours.siren_fold(apart, k))
                for learned, _, apart in folds
            ]
            yield task.protocol, vibration, NEIGHBOURS, k, asked, [word for each in votes for word in each]
    else:
        learned, tested = _sides(clips)
        found, _ = neighbours.siren_split(cut[tested], cut[learned], max(ks))
        for k in ks:
            said = neighbours.vote([labels[i] for i in learned], found[:, :k])
            yield task.protocol, vibration, NEIGHBOURS, k, tested.tolist(), said


def _strict(
    task: FaultTask, clips: Sequence[FaultClip], x: Array, ks: Sequence[int], edges: Sequence[int] | None
) -> Iterator[Answer]:
    names = np.array([clip.label for clip in clips])
    labels = names.tolist()
    for protocol, barred in protocols(task, clips):
        asked = np.flatnonzero(((names[:, None] == names[None, :]) & ~barred).any(axis=1)).tolist()
        if task.protocol == "split":
            asked = [i for i in asked if clips[i].side == "test"]
        for part, channels in task.strict_parts.items():
            heard = x[:, list(channels)]
            ways = {
                NEIGHBOURS: neighbours.distances(heard, barred),
                "local density": neighbours.distances(heard, barred, by_density=True),
            }
            if edges and len(edges) > 2:
                ways["per band"] = neighbours.distances(heard, barred, edges)
            for method, distance in ways.items():
                for k in ks if method == NEIGHBOURS else (PUBLISHED_K if PUBLISHED_K in ks else ks[-1],):
                    nearest = neighbours.nearest(distance[asked], k)
                    yield protocol, part, method, k, asked, [neighbours.majority(labels, row) for row in nearest]


def protocols(task: FaultTask, clips: Sequence[FaultClip]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield each strict protocol and which clips (columns) may not vote on which (rows), shape (N, N)."""
    n = len(clips)
    if task.protocol == "split":
        learned = np.array([clip.side == "train" for clip in clips])
        yield LEAKAGE_FREE, ~learned | np.eye(n, dtype=bool)
        return
    groups = np.array([clip.group for clip in clips])
    if task.protocol == "loocv":
        yield task.protocol, np.eye(n, dtype=bool)
        yield LEAKAGE_FREE, groups[:, None] == groups[None, :]
        return
    for protocol, splitter in (
        (task.protocol, StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)),
        (LEAKAGE_FREE, StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)),
    ):
        fold = np.empty(n, int)
        for number, (_, tested) in enumerate(_folds(splitter, clips)):
            fold[tested] = number
        yield protocol, fold[:, None] == fold[None, :]


def _folds(
    splitter: StratifiedKFold | StratifiedGroupKFold, clips: Sequence[FaultClip]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    labels = [clip.label for clip in clips]
    smallest = min(labels.count(label) for label in set(labels))
    if smallest < FOLDS or len(set(labels)) < 2:
        raise ScoringError(f"{FOLDS} folds need two classes of at least {FOLDS} clips; one has {smallest}")
    groups = [clip.group for clip in clips] if isinstance(splitter, StratifiedGroupKFold) else None
    yield from splitter.split(np.zeros(len(clips)), labels, groups)


def _sides(clips: Sequence[FaultClip]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    learned = np.array([clip.side == "train" for clip in clips])
    return np.flatnonzero(learned), np.flatnonzero(~learned)


def _details(found: Named) -> dict[str, Any]:
    return {"macro": found.macro, "weighted": found.weighted, "classes": found.per_class}


def _by_condition(clips: Sequence[FaultClip], said: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return how many were named rightly, of how many, under each condition."""
    counts: dict[str, tuple[int, int]] = {}
    for clip, word in zip(clips, said, strict=True):
        right, all_of_them = counts.get(clip.condition, (0, 0))
        counts[clip.condition] = right + (word == clip.label), all_of_them + 1
    return counts
