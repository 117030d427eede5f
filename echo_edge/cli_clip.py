"""Command `clip`: open what a gateway recorded, at a desk that has the private key. Prints, as ``cli`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from echo_edge.cli_shared import say
from echo_edge.errors import ClipError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Clips of sound that `clip.record` made; a gateway stores them encrypted, and cannot open them.",
)


@app.command("open")
def open_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A `.eeclip` file of the gateway.", show_default=False)],
    flac: Annotated[Path, typer.Argument(metavar="OUT", help="The FLAC file to write.", show_default=False)],
    key: Annotated[Path, typer.Option("--key", help="The private X25519 key, in PEM.", show_default=False)],
) -> None:
    """Decrypt a clip to a FLAC file. Nothing else can: keep the private key away from the gateway."""
    from echo_edge.clip_keys import read_private_key  # noqa: PLC0415
    from echo_edge.clips import about_flac, unseal  # noqa: PLC0415

    private = read_private_key(key)
    try:
        data = unseal(file.read_bytes(), private)
    except OSError as error:
        raise ClipError(f"{file}: cannot be read: {error.strerror}") from error
    except ClipError as error:
        raise ClipError(f"{file}: {error}") from error
    try:
        with flac.open("xb") as opened:
            opened.write(data)
    except OSError as error:
        raise ClipError(f"{flac}: cannot be written: {error.strerror}") from error
    told = about_flac(data)
    scale = f"full scale is {told['scale']:.4g} {told['unit']}" if {"scale", "unit"} <= told.keys() else "no scale"
    say(f"{flac}: {told.get('point', 'a point')} from {told.get('start', 'some time')}; {scale}.")
