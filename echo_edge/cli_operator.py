"""Commands about operators: make the keys that orders are signed with. Prints, as ``cli`` does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from echo_edge.cli_shared import EXIT_FAILED, EXIT_USAGE, fail, printable
from echo_edge.config_model import ID_PATTERN
from echo_edge.config_orders import UNSIGNED
from echo_edge.errors import ConfigError
from echo_edge.operator_keys import PrivateKey, b64u, make_key, write_key
from echo_edge.order_types import ROLES, Role

operator = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Operators: who may give orders over MQTT.\n\nEach signs with a key of their own, one for each device.",
)


@operator.command()
def key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The operator, for example `m-lang`.")],
    role: Annotated[str, typer.Option(help=f"What they may: {', '.join(ROLES)}.")] = "technician",
    ed25519: Annotated[
        bool, typer.Option("--ed25519", help="A pair of keys: the gateway gets only the half that checks.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="Where the file is put.", show_default="here")] = Path(),
) -> None:
    """Make a key, as NAME.key that only you can read, and print what goes into the configuration."""
    if not re.fullmatch(ID_PATTERN, name) or name == UNSIGNED:
        fail(f"'{name}' is not an id: use up to 48 lower-case letters, digits, '-' and '_'", EXIT_USAGE)
    if role not in ROLES:
        fail(f"--role '{role}': there are {', '.join(ROLES)}", EXIT_USAGE)
    path = folder / f"{name}.key"
    made = make_key(ed25519=ed25519)
    try:
        write_key(path, made)
    except ConfigError as error:
        fail(error, EXIT_FAILED)
    chosen: Role = next(one for one in ROLES if one == role)
    print(_advice(path, name, chosen, made.public.raw if isinstance(made, PrivateKey) else None))


def _advice(path: Path, name: str, role: Role, public: bytes | None) -> str:
    shown = printable(str(path))
    if public is None:
        mine = "the operator's client and the gateway both need it: take it there by a way that you trust"
        lines = f"{name}: {{role: {role}, key_file: {name}.key}}"
    else:
        mine = "only the operator's client needs it"
        lines = f"{name}: {{role: {role}, public_key: {b64u(public)}}}"
    head = f"# {shown} was made; {mine}.\n# For the gateway's configuration:"
    return f"{head}\norders:\n  mqtt: true\n  operators:\n    {lines}"
