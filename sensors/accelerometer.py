"""Accelerometers and other sensors on a serial port, whatever protocol they speak."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import serial

from sensors.block import Block
from sensors.continuity import BlockBuilder, SampleClock
from sensors.errors import SensorFault, SensorUnavailable
from sensors.identify import GOOD_FRAMES, ask_all, what_speaks
from sensors.protocol import Protocol, ProtocolError, SensorCard
from sensors.protocols import make_protocol
from sensors.serial_ports import open_port, port_identity, why_failed
from sensors.source import BLOCK_S, SILENCE_S, WAIT_S, Source, SourceInfo
from sensors.users import user_of

INFO_S = 3.0
OTHERS_S = 1.0  # and so much longer for what speaks another protocol
ASK_AGAIN_S = 0.5
READ_S = 0.1
READ_BYTES = 1 << 14
GATHER_S = 0.005  # what came by then is parsed together: a sample at a time, 4 kHz would take a core
TOUCH_BAUD = 1200  # boards with a USB port of their own take it for the order to reboot into their bootloader


class Accelerometer(Source):
    """A sensor on a serial port, calibrated by what it says of itself."""

    def __init__(self, name: str, *, port: str, protocol: str = "ee1", baud: int = 115_200, **options: Any) -> None:
        """Nothing is opened yet.

        Args:
            port: a path, best one under ``/dev/serial/by-id``.
            protocol: a key of ``protocols.PROTOCOLS``.
            baud: means nothing to a sensor with its own USB.
            options: the protocol's own keyword arguments.
        """
        super().__init__(name)
        self._path = port
        self._baud = baud
        self._make: Callable[[], Protocol] = lambda: make_protocol(protocol, counters=self.counters, **options)
        if baud == TOUCH_BAUD:
            raise ValueError(f"{baud} baud reboots many boards into their bootloader: give another, 115200 for USB")
        self._make()  # a wrong name or option is the caller's error, now
        self._port: serial.Serial | None = None
        self._ready: list[Block] = []

    @property
    def rate_ppm(self) -> float | None:
        """Measured minus nominal rate in parts per million."""
        return None if self._port is None else self._clock.rate_ppm

    def open(self) -> SourceInfo:
        """Open the port and ask the sensor what it is."""
        self.close()
        self._port = open_port(self.name, self._path, self._baud, READ_S)
        self._protocol = self._make()
        try:
            card = self._ask()
        except (SensorFault, SensorUnavailable, ProtocolError) as error:
            self.close()
            raise SensorUnavailable(self.name, getattr(error, "message", str(error))) from error
        self._clock = SampleClock(card.rate_hz)
        self._blocks = BlockBuilder(self._clock, max(1, round(BLOCK_S * card.rate_hz)))
        self._ready = []
        self._heard_s = time.monotonic()
        return SourceInfo(
            round(card.rate_hz),
            card.channels,
            card.unit,
            card.identity or port_identity(self._path),
            full_scale=card.full_scale,
            lsb=card.lsb,
            gravity=card.gravity,
            calibration=card.calibration,
            settings=dict(card.settings),
        )

    def read(self) -> Block | None:
        """Wait for the next block."""
        if self._port is None:
            raise SensorFault(self.name, "not open")
        deadline = time.monotonic() + WAIT_S
        while not self._ready:
            self._take(self._receive())
            now = time.monotonic()
            if now - self._heard_s > SILENCE_S:
                raise SensorFault(self.name, f"no valid samples from {self._path} for {SILENCE_S:.0f} s")
            if not self._ready and now > deadline:
                return None
        return self._ready.pop(0)

    def close(self) -> None:
        """Ask the sensor to stop, and close the port."""
        port, self._port = self._port, None
        if port is None:
            return
        with suppress(OSError):  # the device is gone, and with it the port
            port.write(self._protocol.stop())
        with suppress(OSError):
            port.close()

    def settings(self) -> dict[str, str]:
        """Return the sensor's range and what else it told; it cannot change while the port is open."""
        card = None if self._port is None else self._protocol.card
        return {} if card is None else dict(card.settings)

    def _ask(self) -> SensorCard:
        """Ask what the sensor is until it tells, and make it stream; at last ask what every other protocol asks."""
        received, asked_s, asked_others = bytearray(), -math.inf, False
        start_s = time.monotonic()
        while (now := time.monotonic()) < start_s + INFO_S + OTHERS_S:
            if now - asked_s > ASK_AGAIN_S:
                self._send(self._protocol.ask())
                asked_s = now
            if now > start_s + INFO_S and not asked_others:
                self._send(ask_all(but=self._protocol.name))
                asked_others = True
            data = self._receive()
            received += data
            del received[:-READ_BYTES]  # the newest: what answers, answers last
            self._protocol.push(data)
            if self._protocol.card is not None:
                self._send(self._protocol.start())
                return self._protocol.card
        raise SensorUnavailable(self.name, self._why_unknown(bytes(received)))

    def _why_unknown(self, received: bytes) -> str:
        """Say what came instead of a sensor's description, and what would mend it."""
        name, path = self._protocol.name, self._path
        stand_in = os.path.realpath(path).startswith("/dev/pts/")  # which its maker has open, too
        other = "" if stand_in else user_of(Path(path))  # a modem manager takes what was meant for us
        besides = f"; {other} has it open, too: stop that first" if other else ""
        if not received:
            silent = f"nothing came within {INFO_S + OTHERS_S:.0f} s"
            return f"{path} is silent: {silent}; check power, baud and protocol{besides}"
        if self._protocol.good_frames >= GOOD_FRAMES[name]:
            return f"{path} speaks {name}, but {self._protocol.why_unknown()}"
        return f"{path} does not answer as {name}: {what_speaks(received)}{besides}"

    def _take(self, data: bytes) -> None:
        arrival_ns = time.monotonic_ns()
        try:
            runs = self._protocol.push(data)
        except ProtocolError as error:
            raise SensorFault(self.name, str(error)) from error
        for run in runs:
            self._heard_s = time.monotonic()
            for block in self._blocks.push(run.values, arrival_ns, gap=run.gap, lost_frames=run.lost_frames):
                self.counters["gaps"] += block.after_gap
                self.counters["lost_frames"] += block.lost_frames
                self._ready.append(block)
        if self._clock.jumps:
            self.counters["jumps"] = self._clock.jumps

    def _receive(self) -> bytes:
        """Return what arrived, waiting for something at most ``READ_S``."""
        port = self._port
        assert port is not None
        try:
            first = port.read(1)
            if first and self._protocol.card is not None:
                time.sleep(GATHER_S)
            return first + port.read(min(port.in_waiting, READ_BYTES))
        except (OSError, TypeError) as error:  # TypeError: pyserial, when the port vanishes within a call
            raise SensorFault(self.name, why_failed(self._path, error)) from error

    def _send(self, data: bytes) -> None:
        assert self._port is not None
        try:
            self._port.write(data)
        except OSError as error:
            raise SensorFault(self.name, why_failed(self._path, error)) from error
