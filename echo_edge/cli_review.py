"""Commands about what people say of alerts: say it, look at it, decide on it. Prints, as ``cli`` does."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from echo_edge.cli_shared import AsJson, By, ConfigPath, cells, load, local_time, out, say

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What people said of alerts: list it, accept or dismiss it. No threshold moves by it.\n\n"
    "Changes go through the running daemon, or are made alone while none runs.",
)

Item = Annotated[int, typer.Argument(metavar="ITEM", help="Its number, as in the list.", show_default=False)]
Note = Annotated[str, typer.Option("--note", help="One line for whoever reads it later.", show_default=False)]


class Label(str, Enum):
    """What an alert was."""

    normal = "normal"
    fault = "fault"


def _ask(config: Path, verb: str, **args: Any) -> dict[str, Any]:
    from echo_edge.review_command import ask  # noqa: PLC0415  # the index, which other commands do without

    return ask(load(config), verb, args)


def feedback(
    config: ConfigPath,
    alert_id: Annotated[
        str, typer.Argument(metavar="ALERT_ID", help="As the alert's message has it.", show_default=False)
    ],
    label: Annotated[
        Label, typer.Argument(metavar="LABEL", help="What it was: `normal` or `fault`.", show_default=False)
    ],
    by: By,
    cause: Annotated[
        str,
        typer.Option("--cause", help="What was found at the machine, for example `worn bearing`.", show_default=False),
    ] = "",
    note: Note = "",
    as_json: AsJson = False,
) -> None:
    """Say what an alert was: `normal`, or a `fault`. It waits for `review`, and moves no threshold.

    An alert that is called a fault no longer counts as a false one.
    """
    item = _ask(config, "feedback", alert_id=alert_id, label=label.value, by=by, cause=cause, note=note)
    if as_json:
        print(json.dumps(item))
        return
    say(f"Item {item['id']}: alert {alert_id} of {item['point']} was {label.value}, says {by}. It waits for review.")


@app.command("list")
def list_(config: ConfigPath, as_json: AsJson = False) -> None:
    """List what was said: of which alert, by whom, and what became of it."""
    result = _ask(config, "list")
    if as_json:
        print(json.dumps(result))
        return
    table = Table("item", "point", "opened", "label", "status", "by", "cause", "alert", title="Review items")
    for one in result["items"]:
        told = (one["label"], one["status"], one["by"], one["cause"], one["alert_id"])
        table.add_row(*cells(one["id"], one["point"], local_time(one["alert"]["opened_ns"]), *told))
    out.print(table if result["items"] else "nothing was said yet; 'echo-edge feedback' says what an alert was")


@app.command()
def show(config: ConfigPath, item: Item, as_json: AsJson = False) -> None:
    """Show an item, and the alert that it is about."""
    _print(_ask(config, "show", item=item), as_json)


@app.command()
def accept(config: ConfigPath, item: Item, by: By, note: Note = "", as_json: AsJson = False) -> None:
    """Take it as true.

    A `normal` proposes a baseline with the alert's windows added; somebody must activate it. A `fault` keeps its
    windows as an example that later thresholds are tested with.
    """
    _print(_ask(config, "accept", item=item, by=by, note=note), as_json)


@app.command()
def dismiss(config: ConfigPath, item: Item, by: By, note: Note = "", as_json: AsJson = False) -> None:
    """Set it aside: its alert counts as if nothing had been said. It stays in the list."""
    _print(_ask(config, "dismiss", item=item, by=by, note=note), as_json)


def _print(item: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(item))
        return
    alert = item["alert"]
    until = "still open" if alert["open"] else f"until {local_time(alert['until_ns'])}"
    say(f"Item {item['id']}: {item['label']}, {item['status']}; said by {item['by']} on {local_time(item['said_ns'])}")
    opened = local_time(alert["opened_ns"])
    say(f"alert {item['alert_id']} of {item['point']}, from {opened} {until}, {alert['baseline']}")
    for key in ("cause", "note", "settled_by", "settled_note"):
        if item[key]:
            say(f"{key.replace('_', ' ')}: {item[key]}")
    if "proposed" in item:
        say(f"{item['proposed']} is proposed with {item['added_windows']} windows more; activate it to judge by it.")
    if "kept_windows" in item:
        say(f"{item['kept_windows']} windows are kept as an example of this fault.")
