"""Which wire formats there are, what options each takes, and how one is made; loads only the one asked for."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from sensors.protocol import Protocol

PROTOCOLS = {
    "ee1": "sensors.ee1:Ee1",
    "picoquake": "sensors.picoquake:PicoQuake",
    "witmotion": "sensors.witmotion:WitMotion",
    "csv": "sensors.ascii_csv:AsciiCsv",
}


def make_protocol(name: str, **options: Any) -> Protocol:
    """Make a protocol by the name that the configuration gives it.

    Raises:
        ValueError: there is none of that name, or an option makes no sense to it.
    """
    known = protocol_options(name)
    for option in options:
        if option not in {*known, "counters"}:
            others = [other for other in PROTOCOLS if option in protocol_options(other)]
            takers = f"; it is for protocol {' and '.join(others)}" if others else ""
            raise ValueError(f"protocol {name} takes {', '.join(known) or 'no options'}, not {option}{takers}")
    protocol: Protocol = _class(name)(**options)
    return protocol


def protocol_options(name: str) -> tuple[str, ...]:
    """Return the names of a protocol's options."""
    parameters = inspect.signature(_class(name)).parameters
    return tuple(option for option in parameters if option != "counters")


def _class(name: str) -> type[Protocol]:
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r}; there is: {', '.join(PROTOCOLS)}")
    module, _, class_name = PROTOCOLS[name].partition(":")
    found: type[Protocol] = getattr(import_module(module), class_name)
    return found
