"""Baselines from the command line: what only reads is read at once, changes go through the daemon while one runs."""

from __future__ import annotations

from typing import Any

from echo_edge.baseline_orders import CHANGES, run_verb
from echo_edge.baseline_store import open_store
from echo_edge.config import Config
from echo_edge.control_client import carry_out
from echo_edge.store import state_folder


def ask(config: Config, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    """Have a verb of ``baseline_orders`` carried out and return its result.

    Raises:
        OrderError, BaselineError: refused; nothing was changed.
    """
    folder = state_folder(config.gateway.id)

    def alone() -> dict[str, Any]:
        return run_verb(open_store(config, folder), verb, args)

    return carry_out(folder, {"order": "baseline", "verb": verb, "args": args}, alone) if verb in CHANGES else alone()
