"""Where the daemon keeps what must survive, and the lock that makes it the only writer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from echo_edge.errors import EchoEdgeError


class StoreBusyError(EchoEdgeError):
    """Another process of ours writes to this state folder."""


def state_folder(gateway: str) -> Path:
    """``$STATE_DIRECTORY`` (systemd sets it), else a folder of this gateway in the XDG state folder. Made if absent."""
    named = os.environ.get("STATE_DIRECTORY")
    xdg = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    folder = Path(named) if named else xdg / "echo-edge" / gateway
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def database(folder: Path) -> Path:
    return folder / "state.db"


def control_socket(folder: Path) -> Path:
    return folder / "control.sock"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the right to write; the kernel takes it back when the process ends, however it ends.

    Raises:
        StoreBusyError: the daemon or another command holds it.
    """
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreBusyError(f"{folder}: another echo-edge is using this state folder") from error
        yield
