"""Baselines from the command line: what only reads is read at once, changes go through the daemon while one runs."""

from __future__ import annotations

from typing import Any

from echo_edge.baseline_orders import CHANGES, run_verb
from echo_edge.baseline_store import open_store
from echo_edge.config import Config
from echo_edge.control_client import ask_daemon
from echo_edge.store import StoreBusyError, exclusive, state_folder


def ask(config: Config, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    """Have a verb of ``baseline_orders`` carried out and return its result.

    Raises:
        OrderError, BaselineError: refused; nothing was changed.
    """
    folder = state_folder(config.gateway.id)
    if verb not in CHANGES:
        return run_verb(open_store(config, folder), verb, args)
    try:
        with exclusive(folder):
            return run_verb(open_store(config, folder), verb, args)
    except StoreBusyError:
        return ask_daemon(folder, {"order": "baseline", "verb": verb, "args": args})
