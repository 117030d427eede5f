"""Commands about operating states: tell the running daemon which one is in force, or ask. Prints, as ``cli`` does."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from echo_edge.cli_shared import (
    EXIT_FAILED,
    EXIT_USAGE,
    AsJson,
    ConfigPath,
    PointName,
    fail,
    gateway_of,
    out,
    say,
)
from echo_edge.config_model import ID_PATTERN
from echo_edge.control_client import send_order
from echo_edge.store import control_socket, how_to_start, state_folder

state = typer.Typer(
    no_args_is_help=True,
    help="Operating states: which normal way of running is in force.\n\nThe running daemon is told, or asked; it "
    "forgets what it was told when it stops. Exit code 1 when none runs.",
)

AUTO = "nobody tells it: each window is compared with every state that was taught"


@state.command("set")
def set_state(
    config: ConfigPath,
    point: PointName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The state, as it was enrolled.", show_default=False)],
    until: Annotated[
        str | None, typer.Option(help="When it ends: a time such as `2026-05-04T18:00`, local without a zone.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, max=527040, help="How long it lasts.")] = None,
) -> None:
    """Say that a state is in force: until it is cleared, a time, or the end of the daemon. It overrides MQTT.

    Another state than the one before is judged once it has settled. One that was not enrolled is `unknown`: no verdict.
    """
    if not re.fullmatch(ID_PATTERN, name):
        fail(f"'{name}' is not an id: use up to 48 lower-case letters, digits, '-' and '_'", EXIT_USAGE)
    end = _end(until, minutes)
    answer = _ask(
        config, {"do": "set", "point": point, "name": name, "until": None if end is None else end.isoformat()}
    )
    lasts = "until it is cleared or the daemon stops" if end is None else f"until {end:%Y-%m-%d %H:%M:%S %Z}"
    say(f"{point} is in state {name}, {lasts}.")
    if name not in answer["enrolled"]:
        taught = ", ".join(answer["enrolled"]) or "no state"
        out.print(
            f"Nobody taught it: {point} knows {taught}, and is 'unknown' meanwhile, without a verdict.",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


@state.command()
def clear(config: ConfigPath, point: PointName) -> None:
    """Take back what `set` said: MQTT tells the state again, or nobody does."""
    answer = _ask(config, {"do": "clear", "point": point})
    say(f"{point}: {_told(answer)}.")


@state.command()
def show(config: ConfigPath, point: PointName, as_json: AsJson = False) -> None:
    """Show what is told, in force, taught and heard."""
    answer = _ask(config, {"do": "show", "point": point})
    if as_json:
        print(json.dumps(answer))
        return
    now, level_db, gate_db = answer["in_force"], answer["level_db"], answer["off_below_db"]
    taught = [f"{name} (louder than {quiet_db:g} dB)" for name, quiet_db in answer["enrolled"].items()]
    lines = [f"told:     {_told(answer)}", f"enrolled: {', '.join(taught) or 'no state yet'}"]
    if now is not None:
        name = now["name"] or "the one it is most like"
        lines.append(f"in force: {name} ({now['source']})" + (f"; {now['reason']}" if now["reason"] else ""))
    if level_db is not None:
        gate = "" if gate_db is None else f"; off below {gate_db:g} dB"
        lines.append(f"level:    {level_db:g} dB re 1 of the sensor's unit{gate}")
    for line in lines:
        say(line)


def _end(until: str | None, minutes: float | None) -> datetime | None:
    now = datetime.now(timezone.utc)
    if until is not None and minutes is not None:
        fail("give --until or --minutes, not both", EXIT_USAGE)
    if minutes is not None:
        return (now + timedelta(minutes=minutes)).astimezone()
    if until is None:
        return None
    try:
        # Python 3.10 does not read the Z; a time without a zone is this machine's
        end = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", until)).astimezone()
    except (ValueError, OverflowError):
        fail(f"--until '{until}' is no time; write it as 2026-05-04T18:00 or 2026-05-04T18:00+02:00", EXIT_USAGE)
    if end <= now:
        fail(f"--until '{until}' has passed", EXIT_USAGE)
    return end


def _told(answer: dict[str, Any]) -> str:
    if not answer["told"]:
        return AUTO
    first = answer["told"][0]
    until_ns = first["until_ns"]
    end = (
        ""
        if until_ns is None
        else f", until {datetime.fromtimestamp(until_ns / 1e9).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    )
    return f"{first['name']} ({first['source']}{end})"


def _ask(config: Path, order: dict[str, Any]) -> dict[str, Any]:
    folder = state_folder(gateway_of(config, order["point"]))
    try:
        answer = next(send_order(control_socket(folder), {"order": "state", **order}))
    except OSError as error:
        fail(
            f"{folder}: no daemon answers there ({error.strerror}), and a state is told to a running one; "
            f"start it: {how_to_start(folder)}",
            EXIT_FAILED,
        )
    except StopIteration:
        fail("the daemon went away before it answered", EXIT_FAILED)
    if not answer["ok"]:
        fail(answer["error"], answer["code"])
    result: dict[str, Any] = answer["result"]
    return result
