"""The command ``schema``: the contract of the messages, for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from echo_edge.cli_shared import EXIT_USAGE, cells, fail, out, say


def schema(
    name: Annotated[
        str | None, typer.Argument(help="A message's schema, or `asyncapi` for the whole contract.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Write all schemas and the AsyncAPI document into this folder.")
    ] = None,
) -> None:
    """Print the JSON Schema of a message, or the AsyncAPI 3 document of all; without a name: what there is."""
    from echo_edge.contract import CHANNELS, asyncapi_text  # noqa: PLC0415
    from echo_edge.payload import RECEIVED, SCHEMAS, load_schema  # noqa: PLC0415

    texts = {known: json.dumps(load_schema(known), indent=2, ensure_ascii=False) for known in (*SCHEMAS, *RECEIVED)}
    texts["asyncapi"] = asyncapi_text().rstrip("\n")
    if to is not None:
        to.mkdir(parents=True, exist_ok=True)
        for known, text in texts.items():
            (to / f"{known}.json").write_text(text + "\n", "utf-8")
        say(f"{to}: {len(texts)} files")
    elif name is not None:
        name = name.removeprefix("echo-edge/").removesuffix("/1")  # as messages name it
        if name not in texts:
            fail(f"no schema '{name}'; there are {', '.join(texts)}", EXIT_USAGE)
        print(texts[name])
    else:
        table = Table("topic below echo-edge/v1/GATEWAY", "schema", "retained", "QoS", "way", box=None)
        for channel in CHANNELS:
            way = "sent" if channel.ours else "received"
            retained = "yes" if channel.retained else "no"
            table.add_row(*cells(channel.address, channel.schema, retained, channel.qos, way))
        out.print(table)
