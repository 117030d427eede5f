"""Faults that grow from nothing on a machine at work: how small each is when an alert opens.

Shape suffixes: W = windows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echo_edge.config import AlertConfig
from echo_edge.normal_state import TOLERATED
from echo_edge.tail import MONTH_S, persistent
from sensors import FAULTS
from tests.torture.alert_counts import Count, opened, opened_at_once
from tests.torture.features import Growth, Heard, Piece, Stay, hear_all, in_processes, joined, read_piece
from tests.torture.hall import HOP_S
from tests.torture.judging import IN_PRACTICE, Learned, Scorer, Threshold, echo, joined_parts, spectrum, whole
from tests.torture.operation import site

OURS = "echo-edge"
LEVEL_ALONE, KURTOSIS_ALONE = "velocity RMS or sound level", "kurtosis"
RIVALS = (LEVEL_ALONE, KURTOSIS_ALONE, "plain KNN", "mean log spectrum")
HOUR_WINDOWS = round(3600 / HOP_S)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured."""

    machines: tuple[int, ...]
    """Their numbers."""

    enrolled_h: float = 24.0
    """From the beginning of the stream."""

    growing_h: float = 6.0
    """How long a fault grows, from nothing to ``top``, at some time of the following day."""

    healthy_h: float = 24.0
    """After the enrollment, without a fault: how often each way to judge gives a false alarm."""

    top: float = 0.5
    target: float = 1.0
    faults: tuple[str, ...] = FAULTS
    jobs: int = 1

    @property
    def enrolled(self) -> int:
        return round(self.enrolled_h * HOUR_WINDOWS)

    def healthy(self, machine: int) -> Stay:
        return Stay(machine, self.enrolled + round(self.healthy_h * HOUR_WINDOWS))

    def growing(self, machine: int, fault: str) -> Piece:
        """The windows in which a fault grows: other hours for each machine and fault, after the enrollment."""
        length = round(self.growing_h * HOUR_WINDOWS)
        random = np.random.default_rng([machine, self.faults.index(fault), 3_000_000])
        first = self.enrolled + int(random.integers(max(1, round(self.healthy_h * HOUR_WINDOWS) - length + 1)))
        return Piece(machine, first, first + length, Growth(fault, self.top))


@dataclass(frozen=True, slots=True)
class Way:
    """A way to judge, with its threshold."""

    name: str
    scorer: Scorer
    threshold: Threshold


@dataclass(frozen=True, slots=True)
class Found:
    """What one way made of one growing fault."""

    machine: int
    unit: str
    fault: str
    way: str
    severity: float | None
    """When the first alert opened; None: not even at the end."""


def measure(plan: Plan, cache: Path) -> dict[str, Any]:
    """Return everything that the report tells of growing faults."""
    machines = plan.machines
    pieces = [piece for m in machines for piece in plan.healthy(m).pieces]
    pieces += [plan.growing(m, fault) for m in machines for fault in plan.faults]
    hear_all(pieces, cache, plan.jobs)
    results = in_processes(judge_machine, [(plan, m, cache) for m in machines], plan.jobs, "machines judged")
    found = [one for machine, _ in results for one in machine]
    false: dict[str, Count] = defaultdict(lambda: Count(0, 0.0))
    for _, counts in results:
        for way, count in counts.items():
            false[way] += count
    return {
        "plan": asdict(plan),
        "found": [asdict(one) for one in found],
        "false_alarms": {
            way: {"alerts": c.alerts, "months": c.months, "interval": c.interval} for way, c in false.items()
        },
    }


def judge_machine(plan: Plan, machine: int, cache: Path) -> tuple[list[Found], dict[str, Count]]:
    """Enroll one machine, and judge its healthy hours and all its faults in every way."""
    stay = plan.healthy(machine)
    heard = joined(read_piece(piece.file(cache)) for piece in stay.pieces)
    enrolled = heard.part(0, plan.enrolled)
    every = ways(Learned(enrolled), plan.target)
    every.append(with_lines(Learned(enrolled, lines=True), plan.target))
    healthy = heard.part(plan.enrolled, len(heard))
    months = len(healthy) * HOP_S / MONTH_S
    false = {way.name: Count(len(_alerts(way, healthy)), months) for way in every} if len(healthy) else {}
    found = []
    for fault in plan.faults:
        piece = plan.growing(machine, fault)
        growing = read_piece(piece.file(cache))
        severity_w = piece.severity_w
        for way in every:
            begins = opened(way.scorer.score(growing) / way.threshold.value, way.threshold.persistence)
            severity = float(severity_w[begins[0]]) if begins else None
            found.append(Found(machine, site(machine).unit, fault, way.name, severity))
    return found, false


def ways(learned: Learned, target: float) -> list[Way]:
    """Ours, what it has to be better than, and ours without each of its parts: all at one target."""
    parts = {
        "echo": learned.nearest(echo, TOLERATED["echo"]),
        "spectrum": learned.nearest(spectrum, TOLERATED["spectrum"]),
        "indicators": learned.spread(),
    }
    ours = learned.daemon()
    one_vector = {
        "echo": learned.nearest(whole(echo), TOLERATED["echo"]),
        "spectrum": learned.nearest(whole(spectrum), TOLERATED["spectrum"]),
    }
    thin_air = {
        "echo": learned.nearest(echo, TOLERATED["echo"], density=False),
        "spectrum": learned.nearest(spectrum, TOLERATED["spectrum"], density=False),
    }
    scorers = {
        OURS: ours,
        LEVEL_ALONE: learned.indicator(learned.material.indicator_names[0]),
        KURTOSIS_ALONE: learned.indicator("kurtosis"),
        "plain KNN": learned.plain(echo),
        "mean log spectrum": learned.plain(spectrum),
        **{f"{name} alone": scorer for name, scorer in parts.items()},
        **{f"without {out}": joined_parts({n: s for n, s in parts.items() if n != out}) for out in parts},
        "not per band": joined_parts({**parts, **one_vector}),
        "without density": joined_parts({**parts, **thin_air}),
    }
    found = [Way(name, scorer, learned.threshold(scorer, target)) for name, scorer in scorers.items()]
    for strange, windows in ((1, 1), (3, 5)):
        config = AlertConfig(windows=windows, strange_windows=strange)
        found.append(Way(f"always {strange} of {windows}", ours, learned.threshold(ours, target, config)))
    found.append(Way("largest normal score as threshold", ours, _largest(learned, ours)))
    return found


def with_lines(learned: Learned, target: float) -> Way:
    """Ours where the bearing's geometry is configured; ``learned`` with its lines."""
    ours = learned.daemon()
    return Way("with bearing lines", ours, learned.threshold(ours, target))


def _largest(learned: Learned, scorer: Scorer) -> Threshold:
    """No tail: the lowest threshold at which the enrolled time would have had no alert. It promises nothing."""
    statistic = persistent(scorer.held_out, learned.state.run_starts(), IN_PRACTICE)
    return Threshold("largest", float(statistic.max()), IN_PRACTICE)


def _alerts(way: Way, heard: Heard) -> list[int]:
    return opened_at_once(way.scorer.score(heard) / way.threshold.value, way.threshold.persistence)


def summary(found: Sequence[Found], way: str, fault: str | None, unit: str | None = None) -> tuple[float, int, int]:
    """Median severity (infinite where most were not found), how many were found, of how many."""
    of = [one for one in found if one.way == way and fault in {None, one.fault} and unit in {None, one.unit}]
    severities = [np.inf if one.severity is None else one.severity for one in of]
    return float(np.median(severities)), sum(one.severity is not None for one in of), len(of)


def earlier(found: Sequence[Found], rival: str) -> tuple[int, int, int]:
    """On how many machines and faults ours opened at a lower severity than another way, the same, a higher one."""
    by = {(one.machine, one.fault, one.way): np.inf if one.severity is None else one.severity for one in found}
    pairs = [(s, by[machine, fault, rival]) for (machine, fault, way), s in by.items() if way == OURS]
    return (
        sum(a < b for a, b in pairs),
        sum(a == b for a, b in pairs),
        sum(a > b for a, b in pairs),
    )
