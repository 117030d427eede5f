"""Commands about a point's past: where its normal drifts, what became of its promise. Prints, as ``cli`` does."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from echo_edge.cli_shared import AsJson, ConfigPath, PointName, cells, load, out, say

WORDS = {"ratio": "score / threshold"}


def drift(
    config: ConfigPath,
    point: PointName,
    days: Annotated[float, typer.Option("--days", min=0.1, max=3650, help="How far to look back.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Show how a point's normal moves: score and indicators, with the interval of each trend.

    One median a day (an hour, where there are fewer than 5 days), windows with an open alert left out. The interval
    covers the true trend in 95 of 100 cases; where it holds 0, no trend is seen. Says nothing of remaining life.
    """
    from echo_edge.review_command import drift_of  # noqa: PLC0415  # scipy.stats, which no other command needs

    found = drift_of(load(config, point), point, days)
    if as_json:
        print(json.dumps({"point": point, "trends": [{**asdict(t), "verdict": t.verdict} for t in found]}))
    elif found:
        _print_drift(found)
    else:
        say(f"{point}: nothing is remembered of the last {days:g} days")


def _print_drift(found: list[Any]) -> None:
    from echo_edge.drift import sparkline  # noqa: PLC0415
    from echo_edge.indicators import UNITS, split_unit  # noqa: PLC0415

    table = Table("state", "what", "channel", "medians", "per month", "95 % interval", "verdict", title="Drift")
    for t in found:
        stem, unit = split_unit(t.what)
        what = WORDS.get(t.what, stem.replace("_", " ") + (f", {UNITS.get(unit, unit)}" if unit else ""))
        medians = f"{sparkline(t.medians[-30:])} {len(t.medians)} {t.block}s"
        per_month = None if t.per_month is None else f"{t.per_month:+.2g}"
        interval = None if t.low is None else f"{t.low:+.2g} to {t.high:+.2g}"
        style = "yellow" if t.verdict in {"rising", "falling"} else None
        table.add_row(*cells(t.state, what, t.channel, medians, per_month, interval, t.verdict), style=style)
    out.print(table)


def promise(config: ConfigPath, as_json: AsJson = False) -> None:
    """Show what every point promised in false alarms per month, and whether operation bears it out.

    A promise is broken when at least two alerts came, labelled faults not counted, and so many or more would come in
    less than one of 20 such times (Poisson).
    """
    from echo_edge.review_command import promises  # noqa: PLC0415  # the index, which other commands do without

    rows = promises(load(config))
    if as_json:
        print(json.dumps({"points": rows}))
        return
    columns = (
        "point",
        "baseline",
        "target",
        "estimated",
        "demonstrated (95 %)",
        "alerts",
        "faults",
        "hours",
        "verdict",
    )
    table = Table(*columns, title="False alarms per month")
    for row in rows:
        figures = [f"{row[k]:.3g}" if k in row else "" for k in ("target", "estimated", "demonstrated_upper_95")]
        hours = f"{row['monitored_s'] / 3600:.1f}" if "monitored_s" in row else ""
        counts = (row.get("alerts"), row.get("faults"), hours)
        style = "red" if row.get("kept") is False else None
        table.add_row(*cells(row["point"], row.get("baseline"), *figures, *counts, row["verdict"]), style=style)
    out.print(table)
