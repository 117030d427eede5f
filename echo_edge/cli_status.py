"""Command `status`: how every point and the gateway are now. Prints, as ``cli`` does."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from echo_edge.cli_shared import AsJson, ConfigPath, cells, load, login_name, out, printable, table_of
from echo_edge.config import Config
from echo_edge.errors import OrderError
from echo_edge.verb_client import give_order

EVERY_S = 2.0
COLOURS = {"normal": "green", "warning": "bold yellow", "alarm": "bold red", "unknown": "cyan", "not_monitored": "dim"}
GOOD, BAD = "green", "bold red"


def status(
    config: ConfigPath,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how every point and the gateway are now: level, score, sensor, open alert; broker and outbox.

    Exit code 6 when no daemon runs.
    """
    loaded = load(config)
    if as_json:
        print(json.dumps(_ask(loaded)))
        while watch:
            time.sleep(EVERY_S)
            print(json.dumps(_ask(loaded)), flush=True)
        return
    shown = _ask(loaded)
    if not watch:
        out.print(view(shown))
        return
    with Live(view(shown), console=out, auto_refresh=False) as live:
        while True:
            time.sleep(EVERY_S)
            try:
                live.update(view(_ask(loaded)), refresh=True)
            except OrderError as error:  # it begins anew, perhaps
                live.update(Text(str(error), BAD), refresh=True)


def _ask(config: Config) -> dict[str, Any]:
    return give_order(config, "status", by=login_name())


def view(told: dict[str, Any]) -> Group:
    """The gateway in lines, its points in a table; ``told`` is what the daemon answers to ``status``."""
    table = table_of("point", "level", "since", "state", "score", "sensor", "why, alert", whole=("level",))
    for point in told["points"]:
        level, score, alert = point["level"], point.get("score"), point.get("alert")
        row = cells(
            point["point"],
            level,
            _ago(point["since"]),
            point.get("operating_state"),
            None if score is None else f"{score['raw']:.2f} of {score['threshold']:.2f}",
            point["quality"] if point["quality"] == "ok" else f"{point['quality']}: {', '.join(point['sensor'])}",
            "; ".join(
                words
                for words in (
                    point["reason"],
                    None if alert is None else f"{alert['severity']} {alert['alert_id'][:8]}, {_ago(alert['opened'])}",
                )
                if words
            ),
        )
        row[1].stylize(COLOURS.get(level, ""))
        table.add_row(*row)
    return Group(*_gateway(told["gateway"]), table)


def _gateway(gateway: dict[str, Any]) -> list[Text]:
    outbox = gateway["outbox"]
    link = "connected to" if gateway["connected"] else "NOT connected to"
    lines = [
        Text(printable(f"{gateway['id']}: echo-edge {gateway['version']}, model {gateway['model']}")),
        _engine(gateway["engine"]),
        Text(printable(f"{link} {gateway['broker']}"), GOOD if gateway["connected"] else BAD),
        Text(f"outbox: {outbox['waiting']} waiting, {outbox['lost']} lost", BAD if outbox["lost"] else ""),
    ]
    if not outbox["durable"]:
        lines.append(Text("events are kept in memory only", BAD))
    lines += [Text(printable(problem), BAD) for problem in (*gateway["problems"], outbox["problem"]) if problem]
    lines += [Text(printable(f"{alarm['severity']}: {alarm['text']}"), BAD) for alarm in gateway["alarms"]]
    if gateway["clips"]:
        lines.append(Text("clips of sound may be recorded here", "yellow"))
    return lines


def _engine(engine: dict[str, Any]) -> Text:
    if "building" in engine:
        return Text(printable(f"engine: {engine['serving']}, {engine['wanted']} is {engine['building']:.0%} ready"))
    return Text(printable(f"engine: {engine['serving']}"), BAD if "problem" in engine else "")


def _ago(moment: str) -> str:
    """``2 h 5 min``; of what was told in UTC."""
    began = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    seconds = max(0, round((datetime.now(timezone.utc) - began).total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"
