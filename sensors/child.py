"""A child process that answers over a pipe, and that its parent can always get rid of."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

READ_BYTES = 1 << 16
FAREWELL_S = 0.5  # how long a child may take to end by itself
LAST_LINES = 20


class Child:
    """One child process: its output by ``receive``, its last words, and its certain end."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Start it, in a session of its own so that a terminal's Ctrl-C reaches only us.

        Raises:
            OSError: it cannot be started.
        """
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._out = self._process.stdout.fileno()
        self._err = self._process.stderr.fileno()
        self._poll = select.poll()
        for fd in (self._out, self._err):
            os.set_blocking(fd, False)
            self._poll.register(fd, select.POLLIN | select.POLLHUP)
        self._said: deque[bytes] = deque(maxlen=LAST_LINES)
        self._saying = b""

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def receive(self, timeout_s: float) -> bytes | None:
        """Wait for output; ``b""`` means that the child has closed it, None that nothing came in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            ready = dict(self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if self._err in ready:  # must be drained: a full pipe would stop the child
                self._listen()
            if self._out in ready:
                return os.read(self._out, READ_BYTES)
            if time.monotonic() >= deadline:
                return None

    def last_words(self) -> str:
        """Return the last line it wrote to standard error, and how it ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(FAREWELL_S)
        self._listen()
        lines = [line for line in (*self._said, self._saying) if line.strip()]
        said = lines[-1].decode(errors="replace").strip() if lines else "no message"
        code = self._process.returncode
        how = "it still runs" if code is None else f"signal {-code}" if code < 0 else f"exit {code}"
        return f"{said} ({how})"

    def stop(self) -> None:
        """End it and give everything back; takes at most about a second, whatever state it is in."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(FAREWELL_S)
        if process.returncode is None:
            process.kill()  # also ends one that is stopped or hangs in a sound library
            with suppress(subprocess.TimeoutExpired):  # uninterruptible in the kernel: nothing more can be done
                process.wait(FAREWELL_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        while True:
            try:
                data = os.read(self._err, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                with suppress(KeyError):
                    self._poll.unregister(self._err)
                return
            *lines, self._saying = (self._saying + data).split(b"\n")
            self._said += lines
            self._saying = self._saying[-1024:]
