"""Command `bundle`: a support archive to be sent to who helps. Prints, as ``cli`` does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from echo_edge.cli_shared import EXIT_FAILED, EXIT_USAGE, ConfigPath, err, fail, printable, say
from echo_edge.credentials import credentials_of


def bundle(
    config: ConfigPath,
    output: Annotated[
        Path | None, typer.Option(help="NAME.tar.gz; it must not be there.", show_default="here, with the time")
    ] = None,
) -> None:
    """Write an archive for who helps from afar: findings, versions, configuration, status, manifests, log.

    Passwords, keys and names are hidden, serial numbers cut short; no sound and no embeddings. At most 10 MB.
    """
    from echo_edge.bundle import MISSING, gather, write  # noqa: PLC0415  # seconds of imports that no other command needs

    path = output or Path(f"echo-edge-{config.stem}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar.gz")
    if not path.name.endswith(".tar.gz"):
        fail(f"--output '{path}': name a file that ends in .tar.gz", EXIT_USAGE)
    members = []
    try:
        for name, content in gather(config, credentials_of(config)):
            members.append((name, content))
            say(f"{len(content):>9} bytes  {name}")
        write(path, members)
    except OSError as error:
        fail(f"{error.filename or path}: {error.strerror}", EXIT_FAILED)
    for line in dict(members).get(MISSING, b"").decode().splitlines():
        err.print(printable(f"missing: {line}"), style="yellow", markup=False, highlight=False, soft_wrap=True)
    say(f"{path}: {_size(path.stat().st_size)}, only you can read it.")
    say("Secrets, names and serial numbers were taken out as far as a program can know them: look through it before")
    say(f"you send it (tar -xzf {path}).")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e3:.1f} kB" if size_bytes < 10_000 else f"{size_bytes / 1e6:.2f} MB"
