"""A serial port that does not exist: a real pseudo-terminal with a stable name, that can be unplugged."""

from __future__ import annotations

import os
import threading
import tty
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T", bound="PtyPort")


class PtyPort(ABC):
    """One end of a pseudo-terminal, served by a thread; a context manager. ``port`` is the path to open."""

    def __init__(self, link: Path | None = None) -> None:
        """``link``: a stable name, made and removed with the port, as udev does under ``/dev/serial/by-id``."""
        self.silent = threading.Event()
        """While set, nothing is sent, not even an answer."""
        self._link = link
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._master = self._slave = -1

    def __enter__(self: T) -> T:
        """Plug it in."""
        self.plug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unplug."""
        self.unplug()

    def plug(self) -> None:
        """Make a port, under the stable name if there is one, and serve it."""
        self._master, self._slave = os.openpty()  # the slave stays open here, or the master would fail between readers
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        if self._link is not None:
            if self._link.is_symlink():  # left by one that was killed
                self._link.unlink()
            self._link.symlink_to(self.port)
            self.port = str(self._link)
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="pty-port", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Take the port away, as pulling the cable does."""
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        if self._link is not None:
            self._link.unlink()
        os.close(self._slave)
        os.close(self._master)

    @abstractmethod
    def _run(self) -> None:
        """Serve the port until ``_stop`` is set."""
