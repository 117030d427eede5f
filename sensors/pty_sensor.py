"""A serial sensor that does not exist, on a real pseudo-terminal: pace and troubles of every stand-in."""

from __future__ import annotations

import os
import select
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sensors.machine import Machine
from sensors.pacing import Pacer
from sensors.pty_port import PtyPort

FRAME_S = 0.02


class PtySensor(PtyPort):
    """A sensor on a pseudo-terminal; a context manager. ``port`` is the path to open.

    The troubles may be called from any thread and take effect with the next frame.
    """

    STATUS_S = 1.0

    def __init__(self, machine: Machine, *, link: Path | None = None, clock_ppm: float = 0.0) -> None:
        """Nothing is plugged in yet.

        Args:
            machine: what the sensor sits on.
            link: a stable name, made and removed with the port, as udev does under ``/dev/serial/by-id``.
            clock_ppm: how fast the sensor's clock runs, in parts per million; may be changed at any time.
        """
        super().__init__(link)
        self.machine = machine
        self.clock_ppm = clock_ppm
        self._troubles: deque[Callable[[list[bytes]], list[bytes]]] = deque()

    def send(self, data: bytes) -> None:
        """Put bytes of any kind between two frames."""
        self._troubles.append(lambda frames: [data, *frames])

    def corrupt(self) -> None:
        """Flip bits of one byte amid the next frame."""
        self._troubles.append(lambda frames: [flipped(frames[0], len(frames[0]) // 2), *frames[1:]])

    def cut_frame(self) -> None:
        """Send only the first half of the next frame."""
        self._troubles.append(lambda frames: [frames[0][: len(frames[0]) // 2], *frames[1:]])

    def lose(self, frames: int) -> None:
        """Skip samples, and what counts them."""

        def skip(ready: list[bytes]) -> list[bytes]:
            self.machine.samples(frames)
            self.skip(frames)
            return ready

        self._troubles.append(skip)

    def restart(self) -> None:
        """Count from the beginning again, as after a loss of power."""

        def begin(ready: list[bytes]) -> list[bytes]:
            self.begin()
            return ready

        self._troubles.append(begin)

    @abstractmethod
    def frames(self, frames: int) -> list[bytes]:
        """Return what the wire carries for the next ``frames`` samples, frame by frame; nothing while stopped."""

    @abstractmethod
    def answer(self, data: bytes) -> bytes:
        """Return what the sensor says to what it was told."""

    @abstractmethod
    def skip(self, frames: int) -> None:
        """Count samples that are not sent."""

    @abstractmethod
    def begin(self) -> None:
        """Count anew."""

    def status(self) -> bytes:
        """Return what the sensor tells every ``STATUS_S``."""
        return b""

    def _run(self) -> None:
        rate_hz, count, status_due = self.machine.rate_hz, max(1, round(FRAME_S * self.machine.rate_hz)), 0.0
        clock_ppm, pacer = self.clock_ppm, Pacer(rate_hz * (1 + self.clock_ppm * 1e-6))
        while not self._stop.is_set():
            if clock_ppm != self.clock_ppm:
                clock_ppm, pacer = self.clock_ppm, Pacer(rate_hz * (1 + self.clock_ppm * 1e-6))
            pacer.wait(count, self._stop)
            self._write(self.answer(self._read()))
            ready = self.frames(count)
            while ready and self._troubles:
                ready = self._troubles.popleft()(ready)
            self._write(b"".join(ready))
            if (status_due := status_due - count / rate_hz) <= 0:
                self._write(self.status())
                status_due = self.STATUS_S

    def _read(self) -> bytes:
        with suppress(BlockingIOError):
            return os.read(self._master, 4096)
        return b""

    def _write(self, data: bytes) -> None:
        """Send; what nobody reads is lost, as on a real wire."""
        if self.silent.is_set():
            return
        view = memoryview(data)
        while view and not self._stop.is_set():
            if not select.select([], [self._master], [], 0.1)[1]:
                return
            with suppress(BlockingIOError):  # less room than the data needs: wait for more
                view = view[os.write(self._master, view) :]


def flipped(frame: bytes, at: int) -> bytes:
    """Return a frame with bits of one byte flipped, and no zero made of it."""
    damaged = bytearray(frame)
    damaged[at] ^= 0x40 if damaged[at] != 0x40 else 0x41
    return bytes(damaged)
