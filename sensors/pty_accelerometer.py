"""An accelerometer that does not exist, on a real pseudo-terminal: answers as a sensor would, streams a machine."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
from cobs import cobs  # type: ignore[import-untyped]

from sensors.framing import ACK, COMMAND, STATUS, Decoder, Message, encode_data, encode_info, encode_message
from sensors.machine import Machine
from sensors.pacing import Pacer

FRAME_S = 0.02
SCALE = 16 / 32768  # the machine's unit per stored unit: +-16 g in 16 bits


class PtyAccelerometer:
    """A sensor on a pseudo-terminal; a context manager. ``port`` is the path to open.

    The hooks may be called from any thread and take effect with the next frame.
    """

    def __init__(self, machine: Machine, *, serial: str = "SIM-1") -> None:
        self.machine = machine
        self.info: dict[str, Any] = {
            "serial": serial,
            "fw": "1.0",
            "sensor": "invented",
            "rate_num": machine.rate_hz,
            "rate_den": 1,
            "unit": machine.unit,
            "channels": machine.channels,
            "scale": [SCALE] * machine.channels,
            "range": 16.0,
        }
        self.index = 0
        self.silent = threading.Event()
        """While set, nothing is sent, not even an answer."""
        self._sequence = 0
        self._next: deque[str | bytes | int] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._master = self._slave = -1

    def __enter__(self) -> PtyAccelerometer:
        """Make the port and start to stream."""
        self._master, self._slave = os.openpty()  # the slave stays open here, or the master would fail between readers
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._run, name="pty-accelerometer", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unplug."""
        self.unplug()

    def unplug(self) -> None:
        """Take the port away, as pulling the cable does."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            os.close(self._slave)
            os.close(self._master)

    def send(self, data: bytes) -> None:
        """Put bytes of any kind between two frames."""
        self._next.append(data)

    def break_crc(self) -> None:
        """Damage the next frame."""
        self._next.append("crc")

    def cut_frame(self) -> None:
        """Send only the first half of the next frame."""
        self._next.append("half")

    def lose(self, frames: int) -> None:
        """Skip samples, and the sensor's index with them."""
        self._next.append(frames)

    def restart(self) -> None:
        """Count from zero again, as after a loss of power."""
        self._next.append("restart")

    def announce(self, **changes: Any) -> None:
        """Change what the sensor says of itself, and say it."""
        self.info = {**self.info, **changes}
        self.send(encode_info(self.info))

    def _run(self) -> None:
        pacer = Pacer(self.machine.rate_hz)
        frames = max(1, round(FRAME_S * self.machine.rate_hz))
        decoder = Decoder()
        status_due = 0
        while not self._stop.is_set():
            pacer.wait(frames, self._stop)
            self._answer(decoder)
            frame = self._trouble(self._data(frames))
            self._write(frame)
            if (status_due := status_due - frames) <= 0:
                self._write(encode_message(STATUS, {"dropped": 0}))
                status_due = self.machine.rate_hz

    def _data(self, frames: int) -> bytes:
        stored = np.clip(np.rint(self.machine.samples(frames) / SCALE), -32768, 32767).astype(np.int32)
        time_us = self.index * 1_000_000 // self.machine.rate_hz
        frame = encode_data(stored, fmt="i16", index=self.index, sequence=self._sequence, time_us=time_us)
        self.index += frames
        self._sequence += 1
        return frame

    def _trouble(self, frame: bytes) -> bytes:
        """Apply the troubles that were asked for to one frame."""
        while self._next:
            what = self._next.popleft()
            if what == "crc":
                content = bytearray(cobs.decode(frame[1:-1]))
                content[-1] ^= 1
                frame = b"\0" + cobs.encode(bytes(content)) + b"\0"
            elif what == "half":
                frame = frame[: len(frame) // 2]
            elif what == "restart":
                self.index = 0
            elif isinstance(what, bytes):
                frame = what + frame
            elif isinstance(what, int):
                self.machine.samples(what)
                self.index += what
        return frame

    def _answer(self, decoder: Decoder) -> None:
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self._master, 4096)
        for message in decoder.push(data):
            if isinstance(message, Message) and message.kind == COMMAND:
                asked_info = message.body.get("cmd") == "info"
                self._write(encode_info(self.info) if asked_info else encode_message(ACK, message.body))

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
