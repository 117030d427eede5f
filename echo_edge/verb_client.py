"""Give the running daemon an order by its verb; the command line's half of ``order_verbs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from echo_edge.control_client import send_order
from echo_edge.errors import OrderError
from echo_edge.store import control_socket, how_to_start, state_folder

EXIT_CONFLICT = 6


def give_order(
    gateway: str,
    verb: str,
    args: Mapping[str, Any] | None = None,
    *,
    by: str,
    dry_run: bool = False,
    expect: Mapping[str, Any] | None = None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Have the daemon of this gateway do what a verb says, and return its answer.

    Args:
        gateway: its id; a service's folders are named by systemd, and the id stands in messages only.
        timeout_s: how long to wait for it; absent, as long as it takes.

    Raises:
        OrderError: no daemon runs (6), or it refused, with its code.
    """
    folder = state_folder(gateway)
    given = {
        "order": "verb",
        "verb": verb,
        "args": dict(args or {}),
        "actor": by[:80] or "unknown",
        "dry_run": dry_run,
        "if": dict(expect or {}),
    }
    try:
        for answer in send_order(control_socket(folder), given, timeout_s):
            if not answer["ok"]:
                raise OrderError(answer["error"], answer["code"])
            result: dict[str, Any] = answer["result"]
            return result
    except (FileNotFoundError, ConnectionRefusedError) as error:
        mend = f"start it: {how_to_start(folder)}"
        raise OrderError(f"no daemon runs for gateway '{gateway}'; {mend}", EXIT_CONFLICT) from error
    except OSError as error:
        raise OrderError(f"the daemon of gateway '{gateway}' does not answer: {error}", EXIT_CONFLICT) from error
    raise OrderError("the daemon went away before it answered; look whether it was done")
