"""Commands that order something of the running daemon: planned work, thresholds, anything. Prints, as ``cli`` does."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from echo_edge.cli_shared import EXIT_USAGE, AsJson, By, ConfigPath, PointName, fail, gateway_of, say
from echo_edge.verb_client import give_order

LENGTH = re.compile(r"(\d+(?:\.\d+)?)(min|m|h|d)")
MINUTES = {"min": 1, "m": 1, "h": 60, "d": 1440}
CONFIGURED = "configured"

DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing, say what would be done.")]


def mute(
    config: ConfigPath,
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="Which machine, by its id.", show_default=False)],
    by: By,
    length: Annotated[
        str | None, typer.Option("--for", help="How long the work takes: `90min`, `2h`, `1d`.", show_default=False)
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="The work is over: monitor it again.")] = False,
    note: Annotated[str, typer.Option("--note", help="What is done.", show_default=False)] = "",
) -> None:
    """Announce planned work at a machine: nothing is monitored until it ends. It survives a restart."""
    if end == (length is not None):
        fail("say how long with --for, or that it is over with --end", EXIT_USAGE)
    if length is None:
        give_order(gateway_of(config), "maintenance.unmute", {"machine": machine, "note": note}, by=by)
        say(f"{machine} is monitored again.")
        return
    args = {"machine": machine, "minutes": _minutes(length), "note": note}
    give_order(gateway_of(config), "maintenance.mute", args, by=by)
    say(f"{machine} is not monitored for {length}.")


def _minutes(length: str) -> float:
    if (found := LENGTH.fullmatch(length)) is None:
        fail(f"--for '{length}' is no length; write it as 90min, 2h or 1d", EXIT_USAGE)
    return float(found[1]) * MINUTES[found[2]]


def threshold(
    config: ConfigPath,
    point: PointName,
    rate: Annotated[
        str,
        typer.Argument(metavar="RATE", help="False alarms a month, or `configured`.", show_default=False),
    ],
    by: By,
    hold: Annotated[
        str | None,
        typer.Option("--for", help="Then the configured one returns: `90min`, `2h`, `1d`.", show_default=False),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Ask for another rate of false alarms at a point: its thresholds follow at once, and its promise begins anew.

    It survives a restart, until `configured` takes it back.
    """
    args: dict[str, Any] = {"point": point}
    if rate != CONFIGURED:
        try:
            args["target_false_alarms_per_month"] = float(rate)
        except ValueError:
            fail(f"'{rate}' is no rate; give false alarms a month such as 0.5, or '{CONFIGURED}'", EXIT_USAGE)
    if hold is not None:
        args["hold_minutes"] = _minutes(hold)
    result = give_order(gateway_of(config, point), "threshold.set", args, by=by, dry_run=dry_run)
    if as_json or dry_run:
        print(json.dumps(result))
        return
    (told,) = result["points"]
    thresholds = ", ".join(f"{state} {value:.3g}" for state, value in told["thresholds"].items()) or "not enrolled yet"
    until = "" if result["until"] is None else f", until {result['until']}"
    say(f"{point}: {told['target']:g} false alarms a month{until}; threshold: {thresholds}.")


def order(
    config: ConfigPath,
    verb: Annotated[
        str, typer.Argument(metavar="VERB", help="What to do, for example `baseline.list`.", show_default=False)
    ],
    by: By,
    args: Annotated[str, typer.Option("--args", help="Its arguments, as a JSON object.")] = "{}",
    condition: Annotated[str, typer.Option("--if", help="What must still be so, as a JSON object.")] = "{}",
    dry_run: DryRun = False,
) -> None:
    """Give the running daemon any order that it takes over MQTT, and print its answer as JSON."""
    given = {"--args": args, "--if": condition}
    parsed: dict[str, dict[str, Any]] = {}
    for option, text in given.items():
        try:
            parsed[option] = json.loads(text)
        except ValueError as error:
            fail(f"{option}: is no JSON: {error}", EXIT_USAGE)
        if not isinstance(parsed[option], dict):
            fail(f'{option}: is no JSON object; write it as \'{{"point": "pump/de"}}\'', EXIT_USAGE)
    result = give_order(gateway_of(config), verb, parsed["--args"], by=by, dry_run=dry_run, expect=parsed["--if"])
    print(json.dumps(result))
