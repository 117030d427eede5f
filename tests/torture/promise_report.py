"""The measurement of ``promise.py`` as Markdown and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.torture.options import machines_of

COMMAND = "python -m tests.torture.false_alarm_promise"


def markdown(result: dict[str, Any], picture: str | None) -> str:
    """Return the whole report."""
    plan = result["plan"]
    lines = [
        "# False alarms: promised and realised",
        "",
        f"    {COMMAND} {machines_of(plan)} --days {plan['days']:g} --months {plan['months']}",
        "",
        f"{len(plan['machines'])} invented machines at work ({result['distinct_days']:.3g} machine-days of distinct "
        "windows of 5 s, each embedded once), in a hall whose temperature, load, neighbours and noise change slowly "
        "(`tests/torture/hall.py`). A machine is enrolled from a stretch of its first day, and every later window is "
        "judged by the daemon's rule, threshold and alert policy.",
        "",
        "**Distinct** counts each window once per enrollment: it is what was really heard. Several enrollments of one "
        "machine are judged over the same time. **Resampled** puts blocks of 2 to 6 hours of those scores together, "
        f"each at its time of day, until there are {plan['months']} machine-months or a few more; its interval "
        "tells the chance of the draw, not how few days were heard. "
        "Intervals are Poisson, 95 %. *kept*: the target lies within.",
        "",
    ]
    for enrolled in dict.fromkeys(row["enrolled"] for row in result["rows"]):
        lines += [
            f"## Enrolled for {enrolled}",
            "",
            *_table([r for r in result["rows"] if r["enrolled"] == enrolled]),
            "",
        ]
    if result["skipped"]:
        lines += [f"Not measured, the stream is too short: {', '.join(result['skipped'])}.", ""]
    if picture is not None:
        lines += [f"![realised against promised]({picture})", ""]
    lines += ["## Real recordings", "", *_real(result.get("real")), "", "## Cost", "", *_cost(result), ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| method | target a month | windows | estimated | distinct: alerts in months | a month (95 %) | |"
        " resampled: alerts in months | a month (95 %) | | realised / estimated | `demonstrated` contradicted |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        persistence = ", ".join(sorted(row["persistence"]))
        estimated = "-" if row["estimated"] is None else f"{row['estimated']:.3g}"
        ratio = "-" if row["ratio_to_estimated"] is None else f"{row['ratio_to_estimated']:.2f}"
        bounds = "-" if not row["bounds"] else f"{row['contradicted']} of {row['bounds']}"
        cells = [
            row["method"],
            row["rule"],
            persistence,
            estimated,
            *_count(row["distinct"]),
            *_count(row["resampled"]),
            ratio,
            bounds,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _count(figures: dict[str, Any]) -> tuple[str, str, str]:
    low, high = figures["interval"]
    return (
        f"{figures['alerts']:,} in {figures['months']:.3g}",
        f"{figures['per_month']:.3g} ({low:.3g}-{high:.3g})",
        figures["against"] or "",
    )


def _real(rows: list[dict[str, Any]] | None) -> list[str]:
    if not rows:
        return ["Not measured: no folder of recordings was given."]
    return [
        "They are short: they can show that a promise is broken, not that it is kept.",
        "",
        "| recordings | target a month | learned | judged | alerts | windows above the threshold |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['name']} | {r['rule']} | {r['learned_s']:.0f} s | {r['judged_s']:.0f} s "
            f"| {r['alerts']} | {r['above']} of {r['windows']} |"
            for r in rows
        ),
    ]


def _cost(result: dict[str, Any]) -> list[str]:
    return [
        "Seconds of one core for one machine-day (17,280 windows); machines at 8 and 16 kHz mixed:",
        "",
        "| stage | s |",
        "|---|---|",
        *(f"| {stage} | {s:.1f} |" for stage, s in result["cost_s_per_day"].items()),
        *(f"| score: {method} | {s:.1f} |" for method, s in result["score_s_per_day"].items()),
    ]


def draw(result: dict[str, Any], file: Path) -> bool:
    """Draw realised against promised; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only for the picture, of another extra
    except ImportError:
        return False
    rows = [row for row in result["rows"] if row["target"] is not None]
    kinds = list(dict.fromkeys(row["enrolled"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure = Figure(figsize=(4 * len(kinds), 3.8), layout="constrained")
    axes = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    targets = sorted({row["target"] for row in rows})
    floor = min(targets) / 30
    for axis, kind in zip(axes, kinds, strict=True):
        axis.plot(targets, targets, color="grey", linewidth=1, label="as promised")
        for m, method in enumerate(methods):
            for filled, count in ((True, "resampled"), (False, "distinct")):
                of = [row for row in rows if row["enrolled"] == kind and row["method"] == method]
                x = [row["target"] * (1 + 0.12 * (2 * m + (not filled))) for row in of]
                y = [max(row[count]["per_month"], floor) for row in of]
                low = [v - max(row[count]["interval"][0], floor) for v, row in zip(y, of, strict=True)]
                high = [row[count]["interval"][1] - v for v, row in zip(y, of, strict=True)]
                axis.errorbar(
                    x,
                    y,
                    [[max(0, v) for v in low], [max(0, v) for v in high]],
                    fmt="o" if filled else "s",
                    color=f"C{m}",
                    markerfacecolor=f"C{m}" if filled else "none",
                    capsize=2,
                    label=f"{method}, {count}",
                )
        axis.set(xscale="log", yscale="log", xlabel="promised false alarms a month", title=f"enrolled for {kind}")
        axis.grid(visible=True, alpha=0.3)
    axes[0].set_ylabel("realised, with 95 % interval")
    axes[-1].legend(fontsize=7)
    figure.savefig(file, dpi=130)
    return True
