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
) -> None:
    """Test this release on this gateway: models, every configuration, and copies of what is stored.

    An update runs it before the new release is put in force. Exit code 78 when something cannot be used.
    """
    from echo_edge.release_test import release_test  # noqa: PLC0415

    failed = False
    for what, problem in release_test(configs, states):
        if problem is None:
            say(f"ok: {what}")
        else:
            failed = True
            err.print(printable(f"bad: {what}: {problem}"), style="red", markup=False, highlight=False, soft_wrap=True)
    if failed:
        sys.exit(EXIT_CONFIG)
