"""The client's half of the control socket: give an order to the daemon; or do without, where none runs."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from echo_edge.errors import OrderError
from echo_edge.store import StoreBusyError, control_socket, exclusive


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


def ask_daemon(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Have the daemon that uses this state folder carry out an order, and return its result.

    Raises:
        OrderError: refused, or nobody answers.
    """
    try:
        for answer in send_order(control_socket(folder), order):
            if not answer["ok"]:
                raise OrderError(answer["error"], answer["code"])
            result: dict[str, Any] = answer["result"]
            return result
    except OSError as error:
        raise OrderError(f"{folder}: in use, but no daemon answers: {error}", 6) from error
    raise OrderError("the daemon went away before it finished; look whether it was done")


def send_order(
    path: Path, order: dict[str, Any], timeout_s: float | None = None
) -> Generator[dict[str, Any], None, None]:
    """Send an order to a running daemon and yield its answers, the last one with ``ok``.

    Args:
        timeout_s: how long to wait for each answer; absent, as long as it takes.

    Raises:
        OSError: nobody listens there, or answers in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        client.connect(str(path))
        client.sendall(json.dumps(order).encode() + b"\n")
        with client.makefile("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    raise ConnectionResetError("the daemon went away in the middle of an answer")
                yield json.loads(line)
