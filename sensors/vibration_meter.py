"""The WTVB01-485 vibration meter: finished readings (mm/s, um, degrees) over Modbus RTU, and no waveform.

The meter's register map is known from drivers that others published, and they disagree; nothing here was checked
against a calibrated shaker. So every reading is marked ``unverified``, and what the drivers disagree about must be said
in the configuration.

Source of the registers: getdoover/witmotion-sensors, ``registers.py``. Of the protocol: MODBUS over Serial Line V1.02.
"""

from __future__ import annotations

import re
import termios
import time
from collections.abc import Sequence
from contextlib import suppress

import minimalmodbus
import numpy as np
import serial
from numpy.typing import NDArray

from sensors.block import Block
from sensors.continuity import wall_offset_ns
from sensors.errors import SensorFault, SensorUnavailable
from sensors.serial_ports import open_port, port_identity
from sensors.source import WAIT_S, Source, SourceInfo

FIRST, COUNT = 0x34, 19  # one request for all registers that are used, so that a reading is of one moment
QUANTITIES = {  # quantity: offsets from FIRST, names; all 16 bits signed
    "acceleration": ((0, 1, 2), ("acceleration_x_g", "acceleration_y_g", "acceleration_z_g")),
    "velocity": ((6, 7, 8), ("velocity_x_mm_s", "velocity_y_mm_s", "velocity_z_mm_s")),
    "temperature": ((12,), ("temperature_c",)),
    "displacement": ((13, 14, 15), ("displacement_x_um", "displacement_y_um", "displacement_z_um")),
}
SCALES = {"acceleration": 16 / 32768, "temperature": 0.01, "displacement": 1.0}
NO_SCALE = (
    "velocity_scale_mm_s must be given (mm/s per raw step): published drivers read the register as 1 mm/s and as "
    "0.001 mm/s; compare with a meter that you trust, or leave velocity out of quantities"
)

LATENCY_S = 0.2  # from the end of the request to the begin of the answer, at most; published drivers saw 20 ms
ANSWER_BITS = 10 * (8 + 5 + 2 * COUNT)
TRIES = 3
LATE_S = 1.0  # a reading that was due no longer ago is asked for late; it is dated when it came
LOST_S = 4.0  # without a good reading; with one more time-out a lost meter is told within 5 s


class BadReading(Exception):  # noqa: N818 - it is no reading
    """No reading came of a request; ``counter`` is what counts it."""

    def __init__(self, counter: str, message: str) -> None:
        super().__init__(message)
        self.counter = counter


class VibrationMeter(Source):
    """A meter on an RS-485 adapter; each block is one reading."""

    def __init__(
        self,
        name: str,
        *,
        port: str,
        velocity_scale_mm_s: float | None = None,
        quantities: Sequence[str] = tuple(QUANTITIES),
        rate_hz: int = 1,
        address: int = 0x50,
        baud: int = 9600,
    ) -> None:
        """Nothing is opened yet.

        Args:
            port: of the RS-485 adapter, best a path under ``/dev/serial/by-id``.
            velocity_scale_mm_s: mm/s per step of the velocity registers: 1 by some published drivers, 0.001 by others.
                There is no default, since a wrong one is wrong by a thousand; needed where velocity is read.
            quantities: what to read, of ``QUANTITIES``. The frequencies are not among them: published drivers disagree
                by ten, and nothing in a reading tells which is right.
            rate_hz: readings a second, 1 to 10.
            address: of the meter on the bus.
            baud: the meter's; 9600 from the factory.
        """
        super().__init__(name)
        if not quantities or len(set(quantities)) < len(quantities) or not set(quantities) <= set(QUANTITIES):
            raise ValueError(f"quantities are some of {', '.join(QUANTITIES)}, each once, not {list(quantities)}")
        if "velocity" in quantities and not velocity_scale_mm_s:
            raise ValueError(NO_SCALE)
        if not 1 <= rate_hz <= 10 or not 1 <= address <= 247:
            raise ValueError("rate_hz is 1 to 10 and address 1 to 247")
        self._path, self._rate_hz, self._address, self._baud = port, rate_hz, address, baud
        self._quantities = tuple(quantities)
        scales = {**SCALES, "velocity": velocity_scale_mm_s or 0.0}
        self._names = [name for q in quantities for name in QUANTITIES[q][1]]
        self._offsets = [offset for q in quantities for offset in QUANTITIES[q][0]]
        self._scales = np.array([scales[q] for q in quantities for _ in QUANTITIES[q][0]])
        self._port: serial.Serial | None = None

    def open(self) -> SourceInfo:
        """Open the port, for this process alone, and see that the meter answers."""
        self.close()
        timeout_s = LATENCY_S + ANSWER_BITS / self._baud
        self._port = open_port(self.name, self._path, self._baud, timeout_s)
        self._meter = minimalmodbus.Instrument(self._port, self._address)
        try:
            self._first_answer()
        except (SensorFault, BadReading) as error:
            self.close()
            raise SensorUnavailable(self.name, getattr(error, "message", str(error))) from error
        self._start_s = self._heard_s = time.monotonic()
        self._slot = self._expected = 0
        steps = np.abs(self._scales)
        return SourceInfo(
            self._rate_hz,
            len(self._names),
            "as named",
            f"wtvb01:{port_identity(self._path)}:0x{self._address:02x}",
            full_scale=tuple((32768 * steps).tolist()),
            lsb=tuple(steps.tolist()),
            calibration="unverified",
            indicators=tuple(self._names),
        )

    def read(self) -> Block | None:
        """Wait for the next reading; None when none was due, or none came of the request."""
        if self._port is None:
            raise SensorFault(self.name, "not open")
        wait_s = self._start_s + self._slot / self._rate_hz - time.monotonic()
        time.sleep(min(max(wait_s, 0.0), WAIT_S))
        if wait_s > WAIT_S:
            return None
        slot = self._slot
        if wait_s < -LATE_S:  # the bus cannot keep up, or we were stopped: what was due meanwhile is lost
            slot = int((time.monotonic() - self._start_s) * self._rate_hz)
        self._slot = slot + 1
        try:
            values = self._reading()
        except BadReading as error:
            self.counters[error.counter] += 1
            if time.monotonic() - self._heard_s > LOST_S:
                raise SensorFault(self.name, f"no reading for {LOST_S:.0f} s: {error}") from error
            return None
        monotonic_ns = time.monotonic_ns()
        self._heard_s = monotonic_ns / 1e9
        lost, self._expected = slot - self._expected, slot + 1
        self.counters["gaps"] += lost > 0
        self.counters["lost_frames"] += lost
        return Block(values[None, :], monotonic_ns + wall_offset_ns(), lost > 0, lost, slot, monotonic_ns)

    def close(self) -> None:
        """Close the port."""
        port, self._port = self._port, None
        if port is not None:
            with suppress(OSError):  # the adapter is gone
                port.close()

    def _first_answer(self) -> None:
        """Ask until one reading is good.

        Raises:
            BadReading: none of the tries gave one; the last one's reason.
        """
        for left in reversed(range(TRIES)):
            try:
                self._reading()
            except BadReading as error:
                if not left:
                    raise
                self.counters[error.counter] += 1
            else:
                return

    def _reading(self) -> NDArray[np.float32]:
        """Ask for one reading; return shape (channels,), in the units of the names.

        Raises:
            BadReading: no answer, or one that cannot be trusted. Never is anything put in its place.
            SensorFault: the port failed.
        """
        try:
            words = self._meter.read_registers(FIRST, COUNT, functioncode=3)
        except minimalmodbus.ModbusException as error:
            raise self._no_reading(error) from error
        except (OSError, TypeError, termios.error) as error:  # the last two: pyserial, when the port vanishes in a call
            raise SensorFault(self.name, f"{self._path} failed: {error}") from error
        raw = np.array(words, dtype=np.uint16).view(np.int16)
        if not raw.any():
            raise BadReading("zeros", f"every register of the meter at {self._where()} is zero: it measures nothing")
        if "acceleration" in self._quantities and not raw[list(QUANTITIES["acceleration"][0])].any():
            raise BadReading(
                "zeros",
                f"the three accelerations of the meter at {self._where()} are exactly zero, which gravity forbids: "
                "some units never fill them; leave acceleration out of quantities",
            )
        values: NDArray[np.float64] = raw[self._offsets] * self._scales
        return values.astype(np.float32)

    def _no_reading(self, error: minimalmodbus.ModbusException) -> BadReading:
        """Say what was wrong with an answer, and which counter it belongs to."""
        said = str(error)
        where = self._where()
        if isinstance(error, minimalmodbus.NoResponseError):
            mend = "check power, address, baud, and that A and B are not swapped"
            return BadReading("no_answer", f"nothing answers at {where}: {mend}")
        if isinstance(error, minimalmodbus.SlaveReportedException):
            return BadReading("refusals", f"what is at {where} is no WTVB01, or is busy: {said}")
        if match := re.search(r"Wrong return slave address: (\d+)", said):
            return BadReading("bad_answers", f"asked {where}, and address 0x{int(match[1]):02x} answered")
        if "Checksum" in said:
            mend = "check baud, wiring and termination; another device may talk here, or the adapter echo what it sends"
            return BadReading("bad_crc", f"what came from {where} fails its checksum: {mend}")
        return BadReading("bad_answers", f"what came from {where} is no answer of a WTVB01: {said.partition('. ')[0]}")

    def _where(self) -> str:
        return f"address 0x{self._address:02x} on {self._path}, {self._baud} baud"
