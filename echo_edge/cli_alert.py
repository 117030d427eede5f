"""Commands about alerts: which are open, and what somebody does about them. Prints, as ``cli`` does."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from echo_edge.cli_shared import AsJson, By, ConfigPath, cells, load, login_name, out, say, table_of
from echo_edge.verb_client import give_order

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Alerts: which are open, and what somebody does about them.\n\nThrough the running daemon; exit code 6 when "
    "none runs.",
)

SHOWN = 8  # characters of an id: enough to tell alerts apart

AlertId = Annotated[
    str,
    typer.Argument(
        metavar="ALERT_ID",
        help="As the list has it, or the alert's messages: its beginning is enough.",
        show_default=False,
    ),
]
Note = Annotated[str, typer.Option("--note", help="One line for whoever reads it later.", show_default=False)]
Rev = Annotated[
    int | None, typer.Option("--if-rev", help="Only if nothing came since this revision of it.", show_default=False)
]


@app.command("list")
def list_(
    config: ConfigPath,
    everything: Annotated[bool, typer.Option("--all", help="Those of machines that are over, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many of the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the alerts that are active or wait for a person: of what, since when, how severe, what was done."""
    result = give_order(load(config), "alert.list", {"open": not everything, "limit": limit}, by=login_name())
    if as_json:
        print(json.dumps(result))
        return
    columns = ("alert", "of", "kind", "opened", "severity", "now", "rev")
    table = table_of(*columns, whole=("alert", "severity"), title="Alerts")
    for one in result["alerts"]:
        table.add_row(
            *cells(
                one["alert_id"][:SHOWN],
                *(one.get(key) for key in ("about", "kind")),
                _clock(one["opened"]),
                one.get("severity"),
                _now(one),
                one.get("rev"),
            )
        )
    out.print(table if result["alerts"] else "no alert is open" if not everything else "there was no alert so far")


def _clock(moment: str) -> str:
    """``11-28 09:05``, of a time in UTC, as a clock on the wall has it."""
    told = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return f"{told.astimezone():%m-%d %H:%M}"


def _now(alert: dict[str, Any]) -> str:
    """How it stands, in words."""
    if "until" in alert:
        return f"over since {_clock(alert['until'])}"
    words = [alert["state"], *(["acknowledged"] if alert["acknowledged"] else [])]
    if "shelved_until" in alert:
        words.append(f"shelved until {_clock(alert['shelved_until'])}")
    return ", ".join(words)


@app.command()
def ack(config: ConfigPath, alert_id: AlertId, by: By, note: Note = "", if_rev: Rev = None) -> None:
    """Acknowledge it: somebody looks after it. It stays open."""
    who = _answer(config, "alert.ack", {"alert_id": alert_id, "note": note}, by, if_rev)["acknowledged_by"]
    say(f"{alert_id}: acknowledged by {who}{'' if who == by else ' already; nothing was changed'}.")


@app.command()
def shelve(
    config: ConfigPath,
    alert_id: AlertId,
    by: By,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=10080, help="For how long; at most a week.")] = 480,
    note: Note = "",
    if_rev: Rev = None,
) -> None:
    """Silence it for a time. It comes back by itself if it is still there."""
    _answer(config, "alert.shelve", {"alert_id": alert_id, "note": note, "minutes": minutes}, by, if_rev)
    say(f"{alert_id}: shelved for {minutes} minutes by {by}.")


@app.command()
def clear(config: ConfigPath, alert_id: AlertId, by: By, note: Note = "", if_rev: Rev = None) -> None:
    """End it: the machine was seen to. It opens anew if it is still unlike normal."""
    _answer(config, "alert.clear", {"alert_id": alert_id, "note": note}, by, if_rev)
    say(f"{alert_id}: cleared by {by}.")


def _answer(config: Path, verb: str, args: dict[str, Any], by: str, if_rev: int | None) -> dict[str, Any]:
    return give_order(load(config), verb, args, by=by, expect={} if if_rev is None else {"rev": if_rev})
