"""The client's half of the control socket: give an order, show its progress, return its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from echo_edge.control import send_order
from echo_edge.errors import OrderError
from echo_edge.store import control_socket


def ask_daemon(
    folder: Path, order: dict[str, Any], show: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Have the daemon that uses this state folder carry out an order; ``show`` is told of progress.

    Raises:
        OrderError: refused, or nobody answers.
    """
    try:
        for answer in send_order(control_socket(folder), order):
            if "progress" in answer:
                show(answer["progress"])
            elif answer["ok"]:
                result: dict[str, Any] = answer["result"]
                return result
            else:
                raise OrderError(answer["error"], answer["code"])
    except OSError as error:
        raise OrderError(f"{folder}: in use, but no daemon answers: {error}", 6) from error
    raise OrderError("the daemon went away before it finished; nothing was changed")
