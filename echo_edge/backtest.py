"""Backtest: what verdicts on days of recordings are worth: false alarms, faults found, faults missed. Pure.

An alert belongs to the newest window that made it: a false alarm when that window holds no faulty sample.
Shape suffixes: W = windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from echo_edge.records import Event, FalseAlarmRate, Score
from echo_edge.tail import MONTH_S

Outcome = Literal["found", "missed", "hidden", "not_judged"]
SLACK_NS = 1_000_000  # less than so much between two windows is rounding, not a gap


@dataclass(frozen=True, slots=True)
class Fault:
    """A stretch of time in which the machine was faulty."""

    start_ns: int
    end_ns: int
    name: str = ""
    severity: float | None = None
    """As the labels give it, in whatever measure."""


@dataclass(slots=True)
class Alert:
    """One alert from open to clear."""

    opened_ns: int
    """When the newest window that opened it ended."""

    window_ns: int
    """When that window began."""

    severity: str
    peak_value: float
    cleared_ns: int | None = None
    """None while it is open."""


class Course:
    """What one detector said, window by window, as it goes along."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self._start_ns: list[int] = []
        self._end_ns: list[int] = []
        self._ratio: list[float] = []
        self.reasons: Counter[str] = Counter()
        """Why windows were not judged, and how many."""

    def add(
        self, start_ns: int, end_ns: int, score: Score | None, event: Event | None = None, reason: str | None = None
    ) -> None:
        """Take in one window; windows come in order of time."""
        self._start_ns.append(start_ns)
        self._end_ns.append(end_ns)
        self._ratio.append(np.nan if score is None else score.value / score.threshold)
        if score is None:
            self.reasons[reason or "no reason was given"] += 1
        if event is None:
            return
        if event.type == "open":
            self.alerts.append(Alert(event.time_ns, start_ns, event.severity, event.peak_value))
        self.alerts[-1].peak_value = event.peak_value
        if event.type == "clear":
            self.alerts[-1].cleared_ns = event.time_ns

    @property
    def start_ns(self) -> NDArray[np.int64]:
        """Shape (W,)."""
        return np.array(self._start_ns, dtype=np.int64)

    @property
    def end_ns(self) -> NDArray[np.int64]:
        """Shape (W,)."""
        return np.array(self._end_ns, dtype=np.int64)

    @property
    def ratio(self) -> NDArray[np.float64]:
        """Shape (W,): score / threshold; not a number where there was no score."""
        return np.array(self._ratio)

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Shape (W,)."""
        return np.isfinite(self.ratio)

    @property
    def gaps(self) -> int:
        """How often a window does not follow on the one before."""
        return int((self.start_ns[1:] - self.end_ns[:-1] > SLACK_NS).sum())


@dataclass(frozen=True, slots=True)
class FaultOutcome:
    """What became of one fault."""

    fault: Fault
    outcome: Outcome
    """``hidden``: an alert was open already when it began, so that nothing can be said."""

    delay_s: float | None = None
    """From the fault's begin until the alert opened."""

    alert_severity: str | None = None


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """False alarms in so many hours of normal operation, against what was promised."""

    count: int
    normal_h: float
    promise: FalseAlarmRate
    """As it was before the first window."""

    @property
    def per_month(self) -> float | None:
        """None where nothing normal was judged: nothing is known then."""
        return self.count * self._months if self.normal_h else None

    @property
    def interval_95(self) -> tuple[float, float] | None:
        """In which the true rate per month lies with 95 %: of a Poisson count (Garwood 1936)."""
        if not self.normal_h:
            return None
        low = float(chdtri(2 * self.count, 0.975)) / 2 if self.count else 0.0
        return low * self._months, float(chdtri(2 * self.count + 2, 0.025)) / 2 * self._months

    @property
    def _months(self) -> float:
        return MONTH_S / (self.normal_h * 3600)

    def against(self, per_month: float) -> str:
        """Say of a promised rate whether it is ``kept``, ``broken`` or ``open``: too little was heard to tell."""
        if self.interval_95 is None:
            return "open"
        low, high = self.interval_95
        return "broken" if low > per_month else "kept" if high <= per_month else "open"


@dataclass(frozen=True, slots=True)
class Assessment:
    """One detector, assessed."""

    name: str
    course: Course
    false_alarms: FalseAlarms
    faults: tuple[FaultOutcome, ...]
    about: dict[str, str] = field(default_factory=dict)
    """Threshold and persistence, in words."""

    @property
    def delays_s(self) -> list[float]:
        """Of the faults found, the shortest first."""
        return sorted(f.delay_s for f in self.faults if f.delay_s is not None)

    def count(self, outcome: Outcome) -> int:
        return sum(f.outcome == outcome for f in self.faults)


def assess(
    name: str, course: Course, faults: Sequence[Fault], promise: FalseAlarmRate, hop_s: float, about: dict[str, str]
) -> Assessment:
    """Compare what a detector said with what was so.

    Args:
        faults: in order of time, none within another; see ``joined``.
        hop_s: seconds that each window stands for.
    """
    faulty = overlapping(course.start_ns, course.end_ns, faults)
    normal_h = float((course.judged & ~faulty).sum()) * hop_s / 3600
    false = sum(not _within(alert, faults) for alert in course.alerts)
    outcomes = tuple(_outcome(fault, course) for fault in faults)
    return Assessment(name, course, FalseAlarms(false, normal_h, promise), outcomes, about)


def overlapping(start_ns: NDArray[np.int64], end_ns: NDArray[np.int64], faults: Sequence[Fault]) -> NDArray[np.bool_]:
    """Shape (W,): True for windows that hold a faulty sample."""
    faulty = np.zeros(len(start_ns), np.bool_)
    for fault in faults:
        faulty |= (start_ns < fault.end_ns) & (end_ns > fault.start_ns)
    return faulty


def joined(faults: Sequence[Fault], slack_s: float = 1.0) -> list[Fault]:
    """Put faults in order of time; of the same name and severity, those that follow on each other become one."""
    found: list[Fault] = []
    for fault in sorted(faults, key=lambda f: (f.start_ns, f.end_ns)):
        last = found[-1] if found else None
        same = last is not None and (last.name, last.severity) == (fault.name, fault.severity)
        if last is not None and same and fault.start_ns - last.end_ns <= slack_s * 1e9:
            found[-1] = Fault(last.start_ns, max(last.end_ns, fault.end_ns), last.name, last.severity)
        else:
            found.append(fault)
    return found


def clash(faults: Sequence[Fault]) -> tuple[Fault, Fault] | None:
    """Two faults, of those in order of time, that share samples; None when there are none."""
    return next(((one, other) for one, other in pairwise(faults) if other.start_ns < one.end_ns), None)


def _within(alert: Alert, faults: Sequence[Fault]) -> bool:
    return any(_made_in(alert, fault) for fault in faults)


def _made_in(alert: Alert, fault: Fault) -> bool:
    return alert.window_ns < fault.end_ns and alert.opened_ns > fault.start_ns


def _outcome(fault: Fault, course: Course) -> FaultOutcome:
    if not (overlapping(course.start_ns, course.end_ns, [fault]) & course.judged).any():
        return FaultOutcome(fault, "not_judged")
    if any(a.opened_ns <= fault.start_ns and (a.cleared_ns or fault.end_ns) > fault.start_ns for a in course.alerts):
        return FaultOutcome(fault, "hidden")
    for alert in course.alerts:
        if _made_in(alert, fault):
            delay_s = max(0, alert.opened_ns - fault.start_ns) / 1e9
            return FaultOutcome(fault, "found", delay_s, alert.severity)
    return FaultOutcome(fault, "missed")
