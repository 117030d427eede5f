"""Report of a backtest: the same tables for the terminal and as Markdown, and all figures for a program."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from statistics import median
from typing import Any

from echo_edge.backtest import Alert, Assessment, FaultOutcome
from echo_edge.backtest_run import Backtest

MOST_ALERTS = 50  # in a table; all are in the JSON
VERDICTS = {"kept": "kept", "broken": "**broken**", "open": "open"}
NO_RATE = "no normal time: no rate"


@dataclass(frozen=True, slots=True)
class Table:
    """A table for people."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Backtest) -> list[Table]:
    """Promise, faults and alerts; what is empty is left out."""
    every = (found.ours, *found.plain)
    made = [Table("False alarms", _PROMISE, tuple(_promise_row(one, found) for one in every))]
    if found.faults:
        made.append(Table("Faults", _FAULTS, tuple(_faults_row(one) for one in every)))
        rows = [(fault_name(f.fault), _moment(f.fault.start_ns, found), _span(f.fault)) for f in found.ours.faults]
        outcomes = [[_outcome(one.faults[i]) for one in every] for i in range(len(rows))]
        columns = ("fault", "begins", "lasts", *(one.name for one in every))
        joined = tuple((*row, *said) for row, said in zip(rows, outcomes, strict=True))
        made.append(Table("Fault by fault", columns, joined))
    if alerts := found.ours.course.alerts:
        first = tuple(_alert_row(alert, found) for alert in alerts[:MOST_ALERTS])
        more = f", the first {MOST_ALERTS} of {len(alerts)}" if len(alerts) > MOST_ALERTS else ""
        made.append(Table(f"Alerts of {found.ours.name}{more}", ("opened", "lasted", "severity", "peak", "is"), first))
    return made


def notes(found: Backtest) -> list[str]:
    """What the tables cannot say, a sentence each."""
    course, hop_h = found.ours.course, found.hop_s / 3600
    judged_h, all_h = float(course.judged.sum()) * hop_h, len(course.ratio) * hop_h
    source = f"{len(found.files)} recordings" if found.files else "remembered hours"
    said = [
        f"{found.point} by baseline {found.baseline} ({found.learned_s / 3600:.3g} h learned, model {found.model}), "
        f"{source}. {hours(judged_h)} of {hours(all_h)} were judged, "
        f"{hours(found.ours.false_alarms.normal_h)} of them normal."
    ]
    if course.reasons:
        reasons = "; ".join(f"{hours(n * hop_h)} ({n} windows): {reason}" for reason, n in course.reasons.most_common())
        said.append(f"Not judged: {reasons}.")
    if course.gaps:
        said.append(f"{course.gaps} gaps between recordings.")
    if not found.labelled:
        said.append("Nothing is labelled: all of it counts as normal, and every alert as a false one.")
    if any(f.outcome == "hidden" for f in found.ours.faults):
        said.append("Hidden: an alert was open already when the fault began, so that nothing can be said of it.")
    if any(one.false_alarms.against(found.target_per_month) == "open" for one in (found.ours, *found.plain)):
        said.append("A rate is open where too little was heard to tell: the target lies within the 95 % interval.")
    if found.not_compared:
        said.append(f"Not compared with plain detectors: {found.not_compared}.")
    return said


def as_markdown(found: Backtest, picture: str | None = None) -> str:
    """A page; ``picture`` is the name of its picture's file."""
    parts = [f"# Backtest of {found.point}", *notes(found)]
    if picture is not None:
        parts.append(f"![score by threshold over time]({picture})")
    for table in tables(found):
        lines = [" | ".join(cells) for cells in (table.columns, ["---"] * len(table.columns), *table.rows)]
        parts += [f"## {table.title}", "\n".join(f"| {line} |" for line in lines)]
    return "\n\n".join(parts) + "\n"


def as_json(found: Backtest) -> dict[str, Any]:
    """Everything; a rate that is not known is null."""
    course, hop_h = found.ours.course, found.hop_s / 3600
    return {
        "point": found.point,
        "baseline": found.baseline,
        "model": found.model,
        "recordings": [str(file) for file in found.files],
        "learned_s": round(found.learned_s, 3),
        "hours": {
            "judged": float(course.judged.sum()) * hop_h,
            "normal": found.ours.false_alarms.normal_h,
            "not_judged": {reason: n * hop_h for reason, n in course.reasons.most_common()},
        },
        "gaps": course.gaps,
        "labelled": found.labelled,
        "not_compared": found.not_compared,
        "detectors": {one.name: _figures(one, found.target_per_month) for one in (found.ours, *found.plain)},
    }


def hours(value: float) -> str:
    """Return ``2.5 h``, or minutes or seconds where that reads better."""
    if value >= 1:
        return f"{value:.4g} h"
    return f"{value * 60:.3g} min" if value * 60 >= 1 else f"{value * 3600:.3g} s"


_PROMISE = ("", "false alarms", "per month (95 %)", "target", "estimated", "demonstrated", "threshold", "k of n")
_FAULTS = ("", "found", "missed", "hidden", "not judged", "delay, median", "delay, worst")


def _promise_row(one: Assessment, found: Backtest) -> tuple[str, ...]:
    alarms = one.false_alarms
    rate, interval = alarms.per_month, alarms.interval_95
    realised = NO_RATE if rate is None or interval is None else f"{_g(rate)} ({_g(interval[0])} to {_g(interval[1])})"
    promise = alarms.promise
    promised = [
        (found.target_per_month, "{}"),
        (promise.estimated, "{}"),
        (promise.demonstrated_upper_95, "< {}"),
    ]
    cells = [f"{form.format(_g(value))} {VERDICTS[alarms.against(value)]}" for value, form in promised]
    if alarms.against(promise.demonstrated_upper_95) == "broken":
        cells[2] = f"< {_g(promise.demonstrated_upper_95)} **contradicted**"
    count = f"{alarms.count} in {hours(alarms.normal_h)}"
    return (one.name, count, realised, *cells, one.about["threshold"], one.about["persistence"])


def _faults_row(one: Assessment) -> tuple[str, ...]:
    counts = [str(one.count(outcome)) for outcome in ("found", "missed", "hidden", "not_judged")]
    delays = one.delays_s
    return (one.name, *counts, *([_seconds(median(delays)), _seconds(delays[-1])] if delays else ["-", "-"]))


def _outcome(one: FaultOutcome) -> str:
    if one.delay_s is None:
        return one.outcome.replace("_", " ")
    return f"after {_seconds(one.delay_s)} ({one.alert_severity})"


def _alert_row(alert: Alert, found: Backtest) -> tuple[str, ...]:
    lasted = "to the end" if alert.cleared_ns is None else _seconds((alert.cleared_ns - alert.opened_ns) / 1e9)
    is_of = [f for f in found.faults if alert.window_ns < f.end_ns and alert.opened_ns > f.start_ns]
    meaning = fault_name(is_of[0]) if is_of else "false alarm" if found.labelled else "not labelled"
    return (_moment(alert.opened_ns, found), lasted, alert.severity, f"{alert.peak_value:.2f}", meaning)


def fault_name(fault: Any) -> str:
    """A fault's name and severity."""
    name = fault.name or "fault"
    return name if fault.severity is None else f"{name} {fault.severity:g}"


def _figures(one: Assessment, target: float) -> dict[str, Any]:
    alarms, promise = one.false_alarms, one.false_alarms.promise
    delays = one.delays_s
    return {
        **one.about,
        "false_alarms": {
            "count": alarms.count,
            "normal_h": alarms.normal_h,
            "per_month": alarms.per_month,
            "interval_95": alarms.interval_95,
        },
        "promise": {
            "target": {"per_month": target, "verdict": alarms.against(target)},
            "estimated": {"per_month": promise.estimated, "verdict": alarms.against(promise.estimated)},
            "demonstrated": {
                "below_per_month": promise.demonstrated_upper_95,
                "contradicted": alarms.against(promise.demonstrated_upper_95) == "broken",
            },
        },
        "faults": {
            **{outcome: one.count(outcome) for outcome in ("found", "missed", "hidden", "not_judged")},
            "delay_s": {"median": median(delays), "worst": delays[-1]} if delays else None,
            "each": [
                {
                    "fault": f.fault.name,
                    "severity": f.fault.severity,
                    "start_s": f.fault.start_ns / 1e9,
                    "end_s": f.fault.end_ns / 1e9,
                    "outcome": f.outcome,
                    "delay_s": f.delay_s,
                    "alert_severity": f.alert_severity,
                }
                for f in one.faults
            ],
        },
        "alerts": [asdict(alert) for alert in one.course.alerts],
    }


def _moment(time_ns: int, found: Backtest) -> str:
    if found.real_times:
        return datetime.fromtimestamp(time_ns // 10**9, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    seconds = time_ns // 10**9
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _span(fault: Any) -> str:
    return _seconds((fault.end_ns - fault.start_ns) / 1e9)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value < 600 else hours(value / 3600)


def _g(value: float) -> str:
    return f"{value:.3g}" if value == 0 or math.log10(value) < 3 else f"{value:.0f}"


def tidy(cells: Sequence[str]) -> list[str]:
    """Cells without Markdown, for a terminal."""
    return [cell.replace("**", "") for cell in cells]
