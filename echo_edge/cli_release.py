"""Command `self-test`: is this release fit for this gateway? Prints, as ``cli`` does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from echo_edge.cli_shared import EXIT_CONFIG, err, printable, say


def self_test(
    configs: Annotated[Path, typer.Option(help="Folder of the instances' `*.yaml`.")] = Path("/etc/echo-edge"),
    states: Annotated[Path, typer.Option(help="Folder of their state folders.")] = Path("/var/lib/echo-edge"),
    idle: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="An instance that no service runs, as a draft: warned of only; repeatable."),
    ] = None,
) -> None:
    """Test this release on this gateway: models, every configuration, and copies of what is stored.

    An update runs it before the new release is put in force. Exit code 78 when something cannot be used.
    """
    from echo_edge.release_test import release_test  # noqa: PLC0415

    failed = False
    for found in release_test(configs, states, frozenset(idle or ())):
        if found.problem is None:
            say(f"ok: {found.what}")
            continue
        failed = failed or not found.idle
        grade, style = ("warning: not in service", "yellow") if found.idle else ("bad", "red")
        line = printable(f"{grade}: {found.what}: {found.problem}")
        err.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    if failed:
        sys.exit(EXIT_CONFIG)
