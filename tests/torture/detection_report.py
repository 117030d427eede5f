"""The measurement of detection as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.torture.growing import OURS, RIVALS, Found, earlier, summary
from tests.torture.options import machines_of

COMMAND = "python -m tests.torture.detection"


def markdown(result: dict[str, Any], picture: str | None) -> str:
    """Return the whole report."""
    lines = ["# Detection at the promised rate of false alarms", ""]
    if growing := result.get("growing"):
        lines += _growing(growing, picture)
    lines += ["## Recorded faults in recorded backgrounds", "", *_real(result.get("real")), ""]
    return "\n".join(lines)


def _growing(result: dict[str, Any], picture: str | None) -> list[str]:
    plan = result["plan"]
    found = [Found(**one) for one in result["found"]]
    ways = list(dict.fromkeys(one.way for one in found))
    lines = [
        f"    {COMMAND} {machines_of(plan)} --enrolled-h {plan['enrolled_h']:g} "
        f"--growing-h {plan['growing_h']:g} --healthy-h {plan['healthy_h']:g}",
        "",
        f"{len(plan['machines'])} invented machines at work are enrolled for {plan['enrolled_h']:g} h; then each fault "
        f"grows from 0 to {plan['top']:g} within {plan['growing_h']:g} h, at another time of day for each. Every way "
        f"to judge has its threshold at {plan['target']:g} false alarm a month, from the same enrolled windows by the "
        "same tail and persistence. A figure is the severity at which the first alert opened: the median over "
        "machines, and how many were found at all. Lower is better.",
        "",
        "## Faults that grow from nothing",
        "",
        *_table(found, [OURS, *RIVALS], plan["faults"]),
        "",
        "| ours opened at | a lower severity | the same | a higher one |",
        "|---|---|---|---|",
        *(f"| than {rival} | {' | '.join(str(n) for n in earlier(found, rival))} |" for rival in RIVALS),
        "",
    ]
    for unit in sorted({one.unit for one in found}):
        lines += [f"In {unit} only:", "", *_table(found, [OURS, *RIVALS], plan["faults"], unit), ""]
    if picture is not None:
        lines += [f"![severity at which an alert opened]({picture})", ""]
    others = [way for way in ways if way not in RIVALS]
    lines += ["## Ours without each of its parts", "", *_table(found, others, plan["faults"]), ""]
    lines += [
        f"## False alarms in the {plan['healthy_h']:g} h after the enrollment, without a fault",
        "",
        "| way | alerts | machine-months | a month (95 %) |",
        "|---|---|---|---|",
    ]
    for way, count in result["false_alarms"].items():
        low, high = count["interval"]
        lines.append(f"| {way} | {count['alerts']} | {count['months']:.3g} | {low:.3g} to {high:.3g} |")
    return [*lines, ""]


def _table(found: Sequence[Found], ways: Sequence[str], faults: Sequence[str], unit: str | None = None) -> list[str]:
    lines = [f"| way | {' | '.join(faults)} | all |", "|---|" + "---|" * (len(faults) + 1)]
    for way in ways:
        cells = [_cell(*summary(found, way, fault, unit)) for fault in (*faults, None)]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def _cell(median: float, count: int, of: int) -> str:
    return f"{'-' if np.isinf(median) else f'{median:.3f}'} ({count} of {of})"


def _real(rows: list[dict[str, Any]] | None) -> list[str]:
    if not rows:
        return ["Not measured: no folder of recordings was given."]
    lines = [
        "Found, of so many faults, and the median delay of those found; false alarms over held-out healthy windows in "
        "brackets. The recordings last seconds and are heard again in other backgrounds "
        "(`tests/torture/real_faults.py`).",
        "",
    ]
    rigs = list(dict.fromkeys(row["rig"] for row in rows))
    levels = list(dict.fromkeys(row["snr_db"] for row in rows))
    lines += [
        f"| way | {' | '.join(f'{rig}, {snr:g} dB' for rig in rigs for snr in levels)} |",
        "|---|" + "---|" * (len(rigs) * len(levels)),
    ]
    by = {(row["way"], row["rig"], row["snr_db"]): row for row in rows}
    for way in dict.fromkeys(row["way"] for row in rows):
        cells = []
        for rig in rigs:
            for snr in levels:
                row = by[way, rig, snr]
                delay = "" if row["delay_s"] is None else f", {row['delay_s']:.1f} s"
                cells.append(f"{row['found']} of {row['faults']}{delay} ({row['false_alarms']})")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


def draw(result: dict[str, Any], file: Path) -> bool:
    """Draw the severities at which alerts opened; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only for the picture, of another extra
    except ImportError:
        return False
    growing = result.get("growing")
    if growing is None:
        return False
    found, plan = [Found(**one) for one in growing["found"]], growing["plan"]
    figure = Figure(figsize=(10, 4), layout="constrained")
    axis = figure.subplots()
    ways = [OURS, *RIVALS]
    never = 1.15 * plan["top"]
    for w, way in enumerate(ways):
        for f, fault in enumerate(plan["faults"]):
            of = [one for one in found if one.way == way and one.fault == fault]
            y = [never if one.severity is None else one.severity for one in of]
            x = f + (w - len(ways) / 2 + 0.5) * 0.15
            axis.plot([x] * len(y), y, "o", color=f"C{w}", alpha=0.35, markersize=4)
            axis.plot(x, float(np.median(y)), "_", color=f"C{w}", markersize=14, label=way if f == 0 else None)
    axis.axhline(never, color="grey", linewidth=0.5)
    axis.set_xticks(range(len(plan["faults"])), plan["faults"])
    axis.set_ylabel("severity when the alert opened (top line: never)")
    axis.legend(fontsize=7, ncols=len(ways), loc="upper center", bbox_to_anchor=(0.5, 1.12))
    figure.savefig(file, dpi=130)
    return True
