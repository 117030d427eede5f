"""Commands about what a point remembers: drift, what people said of alerts, the promise. Prints, as ``cli`` does."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from echo_edge.cli_shared import EXIT_USAGE, AsJson, ConfigPath, PointName, fail, known_point, out
from echo_edge.config_file import load_config


def _login_name() -> str:
    """Who is at the terminal."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without an entry, as in some containers
        return "unknown"


By = Annotated[
    str, typer.Option("--by", default_factory=_login_name, show_default="login name", help="Who; kept with it.")
]
Note = Annotated[str, typer.Option(help="One line for whoever reads it later.")]
WORDS = {"ratio": "score / threshold"}


class Label(str, Enum):
    """What an alert was."""

    normal = "normal"
    fault = "fault"


class Verb(str, Enum):
    """What is to be done with items."""

    list = "list"
    show = "show"
    accept = "accept"
    dismiss = "dismiss"


def drift(
    config: ConfigPath,
    point: PointName,
    days: Annotated[float, typer.Option(min=0.1, max=3650, help="How far to look back.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Show how a point's normal moves: score and indicators, with the interval of each trend.

    One median a day (an hour, where there are fewer than 5 days), windows with an open alert left out. The interval
    covers the true trend in 95 of 100 cases; where it holds 0, no trend is seen. Says nothing of remaining life.
    """
    from echo_edge.review_command import drift_of  # noqa: PLC0415  # scipy.stats, which no other command needs

    loaded = load_config(config)
    known_point(loaded, point)
    found = drift_of(loaded, point, days)
    if as_json:
        print(json.dumps({"point": point, "trends": [{**asdict(t), "verdict": t.verdict} for t in found]}))
        return
    if not found:
        out.print(f"{point}: nothing is remembered of the last {days:g} days", markup=False)
        return
    _print_drift(found)


def _print_drift(found: list[Any]) -> None:
    from echo_edge.drift import sparkline  # noqa: PLC0415
    from echo_edge.indicators import UNITS, split_unit  # noqa: PLC0415

    table = Table("state", "what", "channel", "medians", "per month", "95 % interval", "verdict")
    for t in found:
        stem, unit = split_unit(t.what)
        what = WORDS.get(t.what, stem.replace("_", " ") + (f", {UNITS.get(unit, unit)}" if unit else ""))
        table.add_row(
            Text(t.state),
            Text(what),
            "" if t.channel is None else str(t.channel),
            f"{sparkline(t.medians[-30:])} {len(t.medians)} {t.block}s",
            "" if t.per_month is None else f"{t.per_month:+.2g}",
            "" if t.low is None else f"{t.low:+.2g} to {t.high:+.2g}",
            t.verdict,
            style="yellow" if t.verdict in {"rising", "falling"} else None,
        )
    out.print(table)


def feedback(
    config: ConfigPath,
    alert_id: Annotated[str, typer.Argument(metavar="ALERT_ID", help="As the alert's message has it.")],
    label: Annotated[Label, typer.Argument(help="What it was.")],
    by: By,
    cause: Annotated[str, typer.Option(help="What was found at the machine, for example `worn bearing`.")] = "",
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Say what an alert was: `normal` or a `fault`. It waits for review, and moves no threshold.

    An alert that is called a fault no longer counts as a false one.
    """
    from echo_edge.review_command import ask  # noqa: PLC0415

    args = {"alert_id": alert_id, "label": label.value, "by": by, "cause": cause, "note": note}
    item = ask(load_config(config), "feedback", args)
    if as_json:
        print(json.dumps(item))
        return
    _say(f"Item {item['id']}: alert {alert_id} of {item['point']} was {label.value}, says {by}. It waits for review.")


def review(
    config: ConfigPath,
    verb: Annotated[Verb, typer.Argument(help="What to do.")],
    by: By,
    item: Annotated[int | None, typer.Argument(metavar="[ITEM]", help="Its number; not for `list`.")] = None,
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Decide on what people said of alerts.

    Accepting a `normal` proposes a baseline with the alert's windows added; somebody must activate it. Accepting a
    `fault` keeps its windows as an example that later thresholds are tested with. Dismissing changes nothing else.
    """
    from echo_edge.review_command import ask  # noqa: PLC0415

    if (item is None) != (verb is Verb.list):
        fail("list takes no item; show, accept and dismiss take its number", EXIT_USAGE)
    args: dict[str, Any] = {} if item is None else {"item": item}
    if verb in {Verb.accept, Verb.dismiss}:
        args |= {"by": by, "note": note}
    result = ask(load_config(config), verb.value, args)
    if as_json:
        print(json.dumps(result))
    elif verb is Verb.list:
        table = Table("item", "point", "opened", "label", "status", "by", "cause", "alert")
        for one in result["items"]:
            told = (one["id"], one["point"], _time(one["alert"]["opened_ns"]), one["label"], one["status"], one["by"])
            table.add_row(*(Text(str(cell)) for cell in (*told, one["cause"], one["alert_id"])))
        out.print(table)
    else:
        _print_item(result)


def _print_item(item: dict[str, Any]) -> None:
    alert = item["alert"]
    until = "still open" if alert["open"] else f"until {_time(alert['until_ns'])}"
    _say(f"Item {item['id']}: {item['label']}, {item['status']}; said by {item['by']} on {_time(item['said_ns'])}")
    _say(f"alert {item['alert_id']} of {item['point']}, from {_time(alert['opened_ns'])} {until}, {alert['baseline']}")
    for key in ("cause", "note", "settled_by", "settled_note"):
        if item[key]:
            _say(f"{key.replace('_', ' ')}: {item[key]}")
    if "proposed" in item:
        _say(f"{item['proposed']} is proposed with {item['added_windows']} windows more; activate it to judge by it.")
    if "kept_windows" in item:
        _say(f"{item['kept_windows']} windows are kept as an example of this fault.")


def promise(config: ConfigPath, as_json: AsJson = False) -> None:
    """Show what every point promised in false alarms per month, and whether operation bears it out.

    A promise is broken when at least two alerts came, labelled faults not counted, and so many or more would come in
    less than one of 20 such times (Poisson).
    """
    from echo_edge.review_command import promises  # noqa: PLC0415

    rows = promises(load_config(config))
    if as_json:
        print(json.dumps({"points": rows}))
        return
    table = Table(
        "point", "baseline", "target", "estimated", "demonstrated (95 %)", "alerts", "faults", "hours", "verdict"
    )
    for row in rows:
        figures = [f"{row[k]:.3g}" if k in row else "" for k in ("target", "estimated", "demonstrated_upper_95")]
        counts = [str(row.get(k, "")) for k in ("alerts", "faults")]
        hours = f"{row['monitored_s'] / 3600:.1f}" if "monitored_s" in row else ""
        style = "red" if row.get("kept") is False else None
        table.add_row(
            Text(row["point"]), row.get("baseline", ""), *figures, *counts, hours, Text(row["verdict"]), style=style
        )
    out.print(table)


def _say(text: str) -> None:
    out.print("".join(c if c.isprintable() else "?" for c in text), markup=False, highlight=False, soft_wrap=True)


def _time(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9).astimezone():%Y-%m-%d %H:%M}"
