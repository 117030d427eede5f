"""What the service manager is told: READY, WATCHDOG, STATUS and RELOADING, over its notify socket.

The protocol is that of sd_notify(3). Without ``$NOTIFY_SOCKET`` nobody listens, and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """Remembers what it said, so that each thing is said once per change; one thread uses it."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        self._status = ""
        self._progress: float | None = None
        self._ready = False

    @property
    def ready(self) -> bool:
        """True once it was told so."""
        return self._ready

    def come_up(self, status: str) -> None:
        """The service does its work from now on, or again."""
        self._ready, self._status = True, status
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again; ``come_up`` ends it."""
        mark = f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
        self._send("RELOADING=1", mark, "STATUS=reading the configuration", "WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=stopping")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def progress(self, mark: float) -> None:
        """Feed the watchdog if ``mark`` is another one than before: a thread that stands still feeds nothing."""
        if mark != self._progress:
            self._progress = mark
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
            try:
                manager.sendto(message.encode(), self._address)
            except OSError:  # a manager that is gone or full must not stop the monitoring
                return


def on_journal(descriptor: int, environment: Mapping[str, str] = os.environ) -> bool:
    """True where this descriptor leads to the journal, which takes a priority in front of each line."""
    try:
        about = os.fstat(descriptor)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"
