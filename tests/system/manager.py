"""A service manager that only listens: its notify socket, and every line that was sent to it."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path


class Manager:
    """Give ``env`` to the daemon; a context manager with a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.env = {"NOTIFY_SOCKET": str(path)}
        self.told: list[tuple[float, str]] = []
        """When (monotonic, in seconds) and what, line by line."""

        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.1)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="manager")

    def __enter__(self) -> Manager:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._ends.is_set():
            try:
                text = self._socket.recv(4096).decode()
            except TimeoutError:
                continue
            self.told += [(time.monotonic(), line) for line in text.splitlines()]

    def heard_s(self, line: str, since_s: float = 0.0) -> list[float]:
        """When it was told this line, of the times since then."""
        return [at_s for at_s, told in list(self.told) if told == line and at_s > since_s]

    def count(self, line: str) -> int:
        return len(self.heard_s(line))

    @property
    def status(self) -> str:
        return [line for _, line in self.told if line.startswith("STATUS=")][-1]
