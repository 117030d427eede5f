"""A WTVB01 that does not exist, on a real pseudo-terminal: a Modbus RTU slave with a few registers.

Source: MODBUS over Serial Line, Specification and Implementation Guide V1.02 (frames, CRC16: appendix B).
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from sensors.pty_port import PtyPort

READ, WRITE = 3, 6
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS = 1, 2
REQUEST_BYTES = 8  # of both functions
REGISTERS = range(0x00, 0x70)


def crc16(data: bytes) -> bytes:
    """Return the two bytes that end a frame: polynomial 0xA001, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")


class PtyVibrationMeter(PtyPort):
    """A meter on a pseudo-terminal; a context manager. ``port`` is the path to open.

    Registers 0x34 to 0x46 wander a little with each reading, so that two readings differ. The hooks may be called from
    any thread and take effect with the next request.
    """

    def __init__(self, *, address: int = 0x50, seed: int = 0, link: Path | None = None) -> None:
        """``address``: as a Modbus slave; ``link`` as every ``PtyPort``."""
        super().__init__(link)
        self.address = address
        self.registers = dict.fromkeys(REGISTERS, 0)
        self.registers.update({0x34: 120, 0x35: -85, 0x36: 2048, 0x40: 2650})  # 0.06, -0.04, 1 g; 26.5 degrees
        self.registers.update(
            {0x3A: 1200, 0x3B: 900, 0x3C: 700, 0x41: 12, 0x42: 9, 0x43: 7, 0x44: 29, 0x45: 29, 0x46: 29}
        )
        self.zeros = threading.Event()
        """While set, every register reads zero."""
        self.spoil: Callable[[bytes], bytes] | None = None
        """Changes every answer on its way, until it is None again."""
        self.refuse_with: int | None = None
        """The exception code that answers every request, until it is None again."""
        self._skip = 0
        self._random = np.random.default_rng(seed)

    def skip(self, requests: int) -> None:
        """Leave so many requests without an answer."""
        self._skip += requests

    def answer(self, request: bytes) -> bytes:
        """Return what a request is answered with, ``b""`` when it is for another slave."""
        address, function, register, value = struct.unpack(">BBHH", request[:6])
        if address != self.address:
            return b""
        if self.refuse_with is not None:
            return self._frame(bytes([function | 0x80, self.refuse_with]))
        if function == WRITE and register in REGISTERS:
            self.registers[register] = value
            return request
        if function == READ and value and register in REGISTERS and register + value - 1 in REGISTERS:
            words = [0 if self.zeros.is_set() else self._word(n) for n in range(register, register + value)]
            return self._frame(struct.pack(f">BB{value}H", READ, 2 * value, *words))
        code = ILLEGAL_ADDRESS if function in (READ, WRITE) else ILLEGAL_FUNCTION
        return self._frame(bytes([function | 0x80, code]))

    def _word(self, register: int) -> int:
        value = self.registers[register]
        return (value + int(self._random.integers(-2, 3)) if value and register >= 0x34 else value) & 0xFFFF

    def _frame(self, body: bytes) -> bytes:
        frame = bytes([self.address]) + body
        return frame + crc16(frame)

    def _run(self) -> None:
        heard = b""
        while not self._stop.is_set():
            if not select.select([self._master], [], [], 0.02)[0]:
                heard = b""  # silence ends a frame
                continue
            with suppress(BlockingIOError):
                heard += os.read(self._master, 256)
            while len(heard) >= REQUEST_BYTES:
                request, heard = heard[:REQUEST_BYTES], heard[REQUEST_BYTES:]
                if crc16(request[:-2]) == request[-2:]:
                    self._send(self.answer(request))

    def _send(self, answer: bytes) -> None:
        if self._skip:
            self._skip -= 1
            return
        if self.spoil is not None:
            answer = self.spoil(answer)
        if answer and not self.silent.is_set():
            with suppress(BlockingIOError):
                os.write(self._master, answer)
