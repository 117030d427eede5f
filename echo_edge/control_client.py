"""The client's half of the control socket: give an order, show its progress, return its result; or do without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from echo_edge.control import send_order
from echo_edge.errors import OrderError
from echo_edge.store import StoreBusyError, control_socket, exclusive


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


def carry_out(folder: Path, order: dict[str, Any], alone: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do what changes something: by the daemon while one uses this state folder, else by ``alone``.

    Raises:
        OrderError: the daemon refused, or does not answer. And what ``alone`` raises.
    """
    try:
        with exclusive(folder):
            return alone()
    except StoreBusyError:
        return ask_daemon(folder, order)
