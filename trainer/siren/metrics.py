"""Figures: areas under curves by group and year, shares of rightly named faults by class, and their doubt.

Source: github.com/yucongzh/SIREN@f9fa43e, and the evaluators of the DCASE challenges, which differ from it since 2022:
there a domain's AUC sets that domain's normal clips against the anomalies of both domains.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hmean
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from trainer.siren.encoders.base import Mode
from trainer.siren.errors import ScoringError

FloatArray = NDArray[np.float64]

MAX_FPR = 0.1
Z_95 = 1.959964
DRAWS = 200  # of the bootstrap: the ends of a 95 % interval are then good to about a tenth of its width


@dataclass(frozen=True, slots=True)
class Scored:
    """A test clip with its score."""

    machine: str
    section: str
    domain: str
    score: float
    anomalous: bool


@dataclass(slots=True)
class Areas:
    """Areas under the curve by group, in the order in which the groups were first seen."""

    auc: dict[str, float] = field(default_factory=dict)
    pauc: dict[str, float] = field(default_factory=dict)
    """Standardised over false positive rates up to 0.1: 0.5 is chance (McClish 1989)."""

    problems: list[str] = field(default_factory=list)

    @property
    def values(self) -> list[float]:
        """All of them, AUC first."""
        return [*self.auc.values(), *self.pauc.values()]


def areas(clips: Sequence[Scored], year: int, mode: Mode) -> Areas:
    """Return AUC and pAUC of every group of one set.

    Groups are machine and id (2020), machine, section and domain (2021, and AUC from 2022), machine and section (pAUC
    from 2022). In ``strict`` mode a domain's AUC follows the challenge's rule (see above). A group with one class is
    0.0 and a problem: as published, which drags a harmonic mean to zero.
    """
    kinds = _kinds(clips)
    found = Areas()
    for values, groups, max_fpr in zip(
        (found.auc, found.pauc), _groups(kinds, year, mode), (None, MAX_FPR), strict=True
    ):
        for name, members in groups.items():
            truth = [kind.anomalous for kind in members for _ in kinds[kind]]
            scores = [score for kind in members for score in kinds[kind]]
            if all(truth) or not any(truth):
                values[name] = 0.0
                found.problems.append(f"{name}: {len(truth)} test clips, {'all' if all(truth) else 'none'} anomalous")
            else:
                values[name] = float(roc_auc_score(truth, scores, max_fpr=max_fpr))
    return found


class _Kind(NamedTuple):
    """Clips that only differ in their score."""

    machine: str
    section: str
    domain: str
    anomalous: bool


def _kinds(clips: Sequence[Scored]) -> dict[_Kind, list[float]]:
    """Return the scores of each kind, in the order in which the kinds are first seen."""
    kinds: dict[_Kind, list[float]] = defaultdict(list)
    for clip in clips:
        kinds[_Kind(clip.machine, clip.section, clip.domain, clip.anomalous)].append(clip.score)
    return kinds


def _groups(kinds: Iterable[_Kind], year: int, mode: Mode) -> tuple[dict[str, list[_Kind]], dict[str, list[_Kind]]]:
    """Return which kinds each AUC and each pAUC is of."""
    for_auc: dict[str, list[_Kind]] = defaultdict(list)
    for_pauc: dict[str, list[_Kind]] = defaultdict(list)
    of_both: dict[str, list[_Kind]] = defaultdict(list)
    official = mode == "strict" and year > 2021
    for kind in kinds:
        section = f"{kind.machine}_{kind.section}"
        domain = f"{section}_{kind.domain}" if year > 2020 else section
        group = for_auc[domain]  # made here also for a domain of anomalies alone
        (of_both[section] if official and kind.anomalous else group).append(kind)
        for_pauc[domain if year == 2021 else section].append(kind)
    if official:
        for name, group in for_auc.items():
            group.extend(of_both[name.rpartition("_")[0]])
    return for_auc, for_pauc


def year_mean(values: Sequence[float], year: int) -> float:
    """Return a year's mean of areas: arithmetic in 2020, harmonic since; zeros become the smallest float, as published.

    Raises:
        ScoringError: there are none.
    """
    if not values:
        raise ScoringError(f"{year}: no groups to average")
    if year == 2020:
        return float(np.mean(values))
    return float(hmean(np.maximum(values, np.finfo(float).eps)))


def bootstrap(sets: Sequence[Sequence[Scored]], year: int, mode: Mode) -> list[tuple[float, float]]:
    """Return 95 % intervals of the mean of each set, and of all pooled, by drawing test clips anew.

    Drawn within machine, section, domain and truth, so that no group loses a class.
    """
    random = np.random.default_rng(year)
    values = []  # shape (groups, draws) for each set
    for clips in sets:
        drawn = {kind: random.choice(scores, (DRAWS, len(scores))) for kind, scores in _kinds(clips).items()}
        found = []
        for groups, max_fpr in zip(_groups(drawn, year, mode), (1.0, MAX_FPR), strict=True):
            for members in groups.values():
                normal, strange = (
                    [drawn[kind] for kind in members if kind.anomalous is anomalous] for anomalous in (False, True)
                )
                whole = normal and strange
                found.append(_areas_drawn(np.hstack(normal), np.hstack(strange), max_fpr) if whole else np.zeros(DRAWS))
        values.append(np.array(found))
    means = [[year_mean(draw, year) for draw in each.T.tolist()] for each in [*values, np.concatenate(values)]]
    low, high = np.quantile(means, (0.025, 0.975), axis=1)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _areas_drawn(normal: FloatArray, strange: FloatArray, max_fpr: float) -> FloatArray:
    """Return the standardised area up to ``max_fpr`` of each draw, from scores (draws, clips); ties count half."""
    reached = max_fpr * normal.shape[1]
    top = -np.sort(-normal, axis=1)[:, : math.ceil(reached)]
    weight = np.minimum(1.0, reached - np.arange(top.shape[1]))  # of the last, only the part below max_fpr
    above = (strange[:, :, None] > top[:, None]).mean(axis=1) + 0.5 * (strange[:, :, None] == top[:, None]).mean(axis=1)
    area = (above * weight).sum(axis=1) / normal.shape[1]
    chance = 0.5 * max_fpr**2
    standard: FloatArray = 0.5 * (1 + (area - chance) / (max_fpr - chance))
    return standard


@dataclass(frozen=True, slots=True)
class Named:
    """How well faults were named."""

    count: int
    right: int
    accuracy: float
    low: float
    high: float
    """Ends of the 95 % Wilson interval of the accuracy."""

    macro: tuple[float, float, float]
    """Precision, recall and F1, every class alike."""

    weighted: tuple[float, float, float]
    """The same, every clip alike: what the published code prints as if it were macro."""

    per_class: dict[str, tuple[float, float, float, int]]
    """Precision, recall, F1 and number of clips of each class that was asked for."""


def named(truth: Sequence[str], said: Sequence[str], classes: Sequence[str]) -> Named:
    """Compare names of faults with the truth.

    Raises:
        ScoringError: nothing was asked.
    """
    if not truth:
        raise ScoringError("no clip has a class that another clip could vote for")
    present = [label for label in classes if label in truth]
    right = sum(a == b for a, b in zip(truth, said, strict=True))
    low, high = wilson(right, len(truth))

    def scores(average: str | None) -> tuple[NDArray[np.float64], ...]:
        found: tuple[NDArray[np.float64], ...] = precision_recall_fscore_support(
            truth, said, labels=present, average=average, zero_division=0.0
        )
        return found

    precision, recall, f1, support = scores(None)
    macro, weighted = scores("macro")[:3], scores("weighted")[:3]
    return Named(
        count=len(truth),
        right=right,
        accuracy=right / len(truth),
        low=low,
        high=high,
        macro=(float(macro[0]), float(macro[1]), float(macro[2])),
        weighted=(float(weighted[0]), float(weighted[1]), float(weighted[2])),
        per_class={
            label: (float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, label in enumerate(present)
        },
    )


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    share, squared = right / count, Z_95**2 / count
    centre = (share + squared / 2) / (1 + squared)
    half = math.sqrt(share * (1 - share) * squared + squared**2 / 4) / (1 + squared)
    return centre - half, centre + half
