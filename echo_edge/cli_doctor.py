"""Command `doctor`: what is wrong with this gateway, each with its mend. Prints, as ``cli`` does."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from rich.text import Text

from echo_edge.cli_shared import EXIT_FAILED, AsJson, ConfigPath, out, printable
from echo_edge.credentials import credentials_of

COLOURS = {"ok": "green", "warning": "yellow", "broken": "bold red"}


def doctor(config: ConfigPath, as_json: AsJson = False) -> None:
    """Look at everything the gateway needs, and say what is wrong and what mends it. It changes nothing.

    Configuration, rights of files, clock, disk, databases, daemon, devices, broker, model, engine, baselines.
    While no daemon runs, each device is opened once. Exit code 1 when something is broken.
    """
    from echo_edge.doctor_steps import examine  # noqa: PLC0415  # seconds of imports that no other command needs

    found = []
    for one in examine(config, credentials_of(config)):
        found.append(one)
        if as_json:
            continue
        out.print(
            Text.assemble((f"{one.how:<9}", COLOURS[one.how]), (f"{one.where}: ", "bold"), printable(one.what)),
            soft_wrap=True,
        )
        if one.mend:
            out.print(Text(f"{'':9}-> {printable(one.mend)}"), soft_wrap=True)
    broken = any(one.how == "broken" for one in found)
    if as_json:
        print(json.dumps({"well": not broken, "findings": [asdict(one) for one in found]}))
    if broken:
        sys.exit(EXIT_FAILED)
