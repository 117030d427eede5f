"""Enroll machines from their first minutes, hours or day, judge everything after, and count alerts against the promise.

Shape suffixes: W = windows.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import chi2

from echo_edge.tail import MONTH_S, Persistence
from tests.torture.alert_counts import MONTH_WINDOWS, Count, Values, opened, opened_at_once, resampled_month
from tests.torture.features import Stay, hear_all, in_processes, joined, read_piece
from tests.torture.hall import DAY_WINDOWS, HOP_S
from tests.torture.judging import METHODS, Learned
from tests.torture.operation import site

TARGETS = (0.1, 1.0, 10.0)
LEAST_LATER = round(600 / HOP_S)  # windows that must follow an enrollment for it to be worth counting


@dataclass(frozen=True, slots=True)
class Enrollments:
    """Stretches of one length to learn from."""

    minutes: float
    starts: int
    """How many, at random times of the first day; one begins with the stream."""

    @property
    def name(self) -> str:
        return f"{self.minutes:g} min" if self.minutes < 60 else f"{self.minutes / 60:g} h"

    @property
    def windows(self) -> int:
        return round(self.minutes * 60 / HOP_S)

    def begins(self, machine: int, windows: int) -> list[int]:
        """First windows of the stretches within a stream of so many."""
        latest = min(DAY_WINDOWS, windows - LEAST_LATER) - self.windows
        if latest < 0:
            return []
        if self.starts == 1:
            return [0]
        random = np.random.default_rng([machine, round(self.minutes)])
        return [int(begin) for begin in random.integers(0, latest + 1, self.starts)]


ENROLLMENTS = (Enrollments(10, 8), Enrollments(60, 4), Enrollments(24 * 60, 1))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    machines: tuple[int, ...]
    """Their numbers."""

    days: float
    enrollments: tuple[Enrollments, ...] = ENROLLMENTS
    targets: tuple[float, ...] = TARGETS
    months: int = 200
    """Machine-months that are resampled for each figure."""

    jobs: int = 1
    methods: tuple[str, ...] = tuple(METHODS)

    @property
    def stays(self) -> list[Stay]:
        return [Stay(machine, round(self.days * DAY_WINDOWS)) for machine in self.machines]


@dataclass(frozen=True, slots=True)
class Judged:
    """All windows after one enrollment, by one method and one of its thresholds."""

    machine: int
    enrolled: str
    method: str
    rule: str
    target: float | None
    persistence: Persistence
    first: int
    """Number of the first window judged."""

    ratios_w: Values
    """Scores in parts of the threshold."""

    begins: tuple[int, ...]
    """Windows, from the first one judged, at which an alert opened."""

    estimated: float | None
    bounds: tuple[tuple[int, float], ...]
    """(windows judged, ``demonstrated`` then), at the enrollment's end and after each day."""

    cost_s: float
    """Processor time of scoring; the same for all thresholds of a method."""

    @property
    def distinct(self) -> Count:
        return Count(len(self.begins), len(self.ratios_w) * HOP_S / MONTH_S)

    @property
    def contradicted(self) -> int:
        """How many of ``bounds`` are below what the time after them proves, with 97.5 % each."""
        bad = 0
        for after, bound in self.bounds:
            rest_s = (len(self.ratios_w) - after) * HOP_S
            alerts = sum(begin >= after for begin in self.begins)
            bad += bool(alerts) and float(chi2.ppf(0.025, 2 * alerts)) / 2 * MONTH_S / rest_s > bound
        return bad


def measure(plan: Plan, cache: Path) -> dict[str, Any]:
    """Return everything that the report tells.

    Args:
        cache: a folder for what is computed of every window; a second run with the same machines only scores.
    """
    begun_s = time.monotonic()
    cost_s = hear_all([piece for stay in plan.stays for piece in stay.pieces], cache, plan.jobs)
    tasks = [
        (plan, stay.machine, kind, begin, cache)
        for stay in plan.stays
        for kind in plan.enrollments
        for begin in kind.begins(stay.machine, stay.windows)
    ]
    judged = [one for found in in_processes(judge_after, tasks, plan.jobs, "enrollments judged") for one in found]
    groups: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for one in judged:
        groups[one.enrolled, one.method, one.rule].append(one)
    tasks_of_months = [(group, plan.months, seed) for seed, group in enumerate(groups.values())]
    resampled = in_processes(count_months, tasks_of_months, plan.jobs, "figures resampled")
    windows = sum(stay.windows for stay in plan.stays)
    days = windows / DAY_WINDOWS
    scored: dict[str, list[float]] = defaultdict(list)
    for one in judged:
        scored[f"{one.method}, {one.enrolled}"].append(one.cost_s / len(one.ratios_w) * DAY_WINDOWS)
    return {
        "plan": {**asdict(plan), "enrollments": [kind.name for kind in plan.enrollments]},
        "skipped": [kind.name for kind in plan.enrollments if not kind.begins(0, plan.stays[0].windows)],
        "wall_s": time.monotonic() - begun_s,
        "distinct_days": days,
        "machines": [str(site(stay.machine)) for stay in plan.stays],
        "cost_s_per_day": {stage: s / days for stage, s in cost_s.items()},
        "score_s_per_day": {key: float(np.mean(s)) for key, s in scored.items()},
        "rows": [_row(group, count) for group, count in zip(groups.values(), resampled, strict=True)],
    }


def judge_after(plan: Plan, machine: int, kind: Enrollments, begin: int, cache: Path) -> list[Judged]:
    """Teach every method one stretch and score every later window once."""
    stay = next(stay for stay in plan.stays if stay.machine == machine)
    files = [piece.file(cache) for piece in stay.pieces]
    end = begin + kind.windows
    first_day, last_day = begin // DAY_WINDOWS, (end - 1) // DAY_WINDOWS
    learned = Learned(joined(read_piece(files[day]) for day in range(first_day, last_day + 1)).part(begin, end))
    later_days = files[end // DAY_WINDOWS :]
    methods = {method: METHODS[method](learned, plan.targets) for method in plan.methods}
    scores: dict[str, list[Values]] = defaultdict(list)
    cost_s = Counter[str]()
    for file in later_days:
        heard = read_piece(file).part(end, stay.windows)
        for method, (scorer, _) in methods.items():
            begun_s = time.process_time()
            scores[method].append(scorer.score(heard))
            cost_s[method] += time.process_time() - begun_s  # type: ignore[assignment]
    found: list[Judged] = []
    for method, (_, thresholds) in methods.items():
        for threshold in thresholds:
            ratios_w = np.concatenate(scores[method]) / threshold.value
            begins = tuple(opened(ratios_w, threshold.persistence))
            checks = range(0, max(1, len(ratios_w) - LEAST_LATER), DAY_WINDOWS)
            promises = [(after, threshold.promise(after * HOP_S, sum(b < after for b in begins))) for after in checks]
            bounds = [(after, promise.demonstrated_upper_95) for after, promise in promises if promise]
            promise = threshold.promise()
            estimated = promise.estimated if promise else None
            found.append(
                Judged(
                    machine,
                    kind.name,
                    method,
                    threshold.rule,
                    threshold.target,
                    threshold.persistence,
                    end,
                    ratios_w.astype(np.float32),
                    begins,
                    estimated,
                    tuple(bounds),
                    cost_s[method],
                )
            )
    return found


def count_months(group: Sequence[Judged], months: int, seed: int) -> Count:
    """Count alerts over at least so many resampled machine-months, as many of each enrollment."""
    random = np.random.default_rng([20_250_901, seed])
    alerts, months = 0, -(-months // len(group)) * len(group)
    for month in range(months):
        one = group[month % len(group)]
        alerts += len(opened_at_once(resampled_month(one.ratios_w, one.first, random), one.persistence))
    return Count(alerts, months * MONTH_WINDOWS * HOP_S / MONTH_S)


def _row(group: Sequence[Judged], resampled: Count) -> dict[str, Any]:
    """One line of the report."""
    distinct = sum((one.distinct for one in group), Count(0, 0.0))
    target = group[0].target
    estimates = [one.estimated for one in group if one.estimated is not None]
    estimated = float(np.mean(estimates)) if estimates else None
    machines = Counter[int]()
    for one in group:
        machines[one.machine] += len(one.begins)
    return {
        "enrolled": group[0].enrolled,
        "method": group[0].method,
        "rule": group[0].rule,
        "target": target,
        "enrollments": len(group),
        "estimated": estimated,
        "persistence": Counter(f"{one.persistence.strange} of {one.persistence.windows}" for one in group),
        **{name: _figures(count, target) for name, count in (("distinct", distinct), ("resampled", resampled))},
        "ratio_to_estimated": resampled.per_month / estimated if estimated else None,
        "contradicted": sum(one.contradicted for one in group),
        "bounds": sum(len(one.bounds) for one in group),
        "worst_machine": machines.most_common(1)[0] if distinct.alerts else None,
        "quiet_machines": sum(1 for count in machines.values() if not count),
    }


def _figures(count: Count, target: float | None) -> dict[str, Any]:
    return {
        "alerts": count.alerts,
        "months": count.months,
        "per_month": count.per_month,
        "interval": count.interval,
        "against": None if target is None else count.against(target),
    }
