"""An MCC 172 that does not exist: what the driver uses of the package ``daqhats``, playing a machine."""

from __future__ import annotations

import threading
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sensors.machine import Machine
from sensors.pacing import Pacer

CHUNK_S = 0.01


class HatError(Exception):
    """As the package's: the board's address and what was wrong."""

    def __init__(self, address: int, value: str) -> None:
        super().__init__(value)
        self.address = address


class HatIDs(IntEnum):
    """Kinds of boards."""

    MCC_172 = 0x0145


class OptionFlags(IntEnum):
    """Options of a scan."""

    CONTINUOUS = 0x10


class SourceType(IntEnum):
    """Who makes the clock."""

    LOCAL = 0


class HatInfo(NamedTuple):
    """A board that was found."""

    address: int
    id: int
    version: int
    product_name: str


class ClockConfig(NamedTuple):
    """How the clock is set."""

    clock_source: int
    sample_rate_per_channel: float
    synchronized: bool


class ScanRead(NamedTuple):
    """What one read returns."""

    running: bool
    hardware_overrun: bool
    buffer_overrun: bool
    triggered: bool
    timeout: bool
    data: NDArray[np.float64]


class SimulatedMcc172:
    """Stands for the module ``daqhats`` with one board at ``address``; a context manager.

    The machine's channels are the board's inputs, in the machine's unit; a sensor of ``sensitivity_mv`` turns them into
    volts, and the board turns those back by the sensitivity that it was told.
    """

    HatError, HatIDs, OptionFlags, SourceType = HatError, HatIDs, OptionFlags, SourceType

    def __init__(
        self, machine: Machine, *, serial: str = "01F2A3B4", address: int = 0, sensitivity_mv: float = 100.0
    ) -> None:
        """``machine``: of two channels."""
        self.machine, self.address, self.sensitivity_mv = machine, address, sensitivity_mv
        self.serial_number = serial
        self.iepe = [0, 0]
        self.told_mv = [1000.0, 1000.0]
        self.silent = threading.Event()
        """While set, no sample comes."""
        self.never_synchronized = False
        self.gone = False
        self.scanning = False
        """While a scan is active; the real library refuses a second one."""
        self.mask = 0
        self._lost = 0
        self._flags = (False, False)

    def __enter__(self) -> SimulatedMcc172:
        """Nothing to start: samples are made when they are read."""
        return self

    def __exit__(self, *_: object) -> None:
        """Unplug."""
        self.unplug()

    def unplug(self) -> None:
        """Take the board away: every call fails from now on."""
        self.gone = True

    def lose(self, frames: int, *, hardware: bool = True) -> None:
        """Drop samples and say so, by the flag of the board's own buffer or of the library's."""
        self._lost += frames
        self._flags = (hardware, not hardware)

    def hat_list(self, filter_by_id: int) -> list[HatInfo]:
        """Return the boards."""
        there = not self.gone and filter_by_id == HatIDs.MCC_172
        return [HatInfo(self.address, filter_by_id, 1, "MCC 172")] if there else []

    def mcc172(self, address: int) -> SimulatedMcc172:
        """Open the board."""
        self._answer()
        if address != self.address:
            raise HatError(address, "Board not responding.")
        return self

    def serial(self) -> str:
        """Return its serial number."""
        self._answer()
        return self.serial_number

    def iepe_config_write(self, channel: int, mode: int) -> None:
        """Switch the supply of a sensor."""
        self._idle()
        self.iepe[channel] = mode

    def a_in_sensitivity_write(self, channel: int, value: float) -> None:
        """Tell how many millivolts are one unit."""
        self._idle()
        self.told_mv[channel] = value

    def a_in_clock_config_write(self, clock_source: int, sample_rate_per_channel: float) -> None:
        """Set the clock; the rate becomes the nearest that the board has."""
        self._idle()
        assert clock_source == SourceType.LOCAL
        self._rate_hz = 51_200 / min(256, max(1, int(51_200 / sample_rate_per_channel + 0.5)))

    def a_in_clock_config_read(self) -> ClockConfig:
        """Return how the clock is set."""
        self._answer()
        return ClockConfig(SourceType.LOCAL, self._rate_hz, not self.never_synchronized)

    def a_in_scan_start(self, channel_mask: int, samples_per_channel: int, options: int) -> None:
        """Begin to sample."""
        self._idle()
        assert options == OptionFlags.CONTINUOUS
        assert samples_per_channel > 0
        self.scanning, self.mask = True, channel_mask
        self._pacer = Pacer(self._rate_hz)

    def a_in_scan_read_numpy(self, samples_per_channel: int, timeout: float) -> ScanRead:
        """Wait for samples, channel by channel interleaved."""
        self._answer()
        if not self.scanning:
            raise HatError(self.address, "Scan not active.")
        if self.silent.is_set():
            threading.Event().wait(timeout)
            return ScanRead(True, False, False, True, True, np.zeros(0))
        self._pacer.wait(samples_per_channel)
        hardware, buffer = self._flags
        data = self._volts_as_told(self.machine.samples(self._lost + samples_per_channel)[self._lost :])
        self._lost = 0
        return ScanRead(not (hardware or buffer), hardware, buffer, True, False, data)

    def a_in_scan_stop(self) -> None:
        """Stop to sample."""
        self._answer()

    def a_in_scan_cleanup(self) -> None:
        """Forget the scan, and its flags."""
        self.scanning, self._flags = False, (False, False)
        self._answer()

    def _volts_as_told(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        channels = [channel for channel in (0, 1) if self.mask >> channel & 1]
        volts = np.clip(samples[:, channels] * self.sensitivity_mv / 1000, -5, 5).astype(np.float64)
        told: NDArray[np.float64] = volts * 1000 / np.array([self.told_mv[channel] for channel in channels])
        return told.ravel()

    def _answer(self) -> None:
        if self.gone:
            raise HatError(self.address, "Board not responding.")

    def _idle(self) -> None:
        self._answer()
        if self.scanning:
            raise HatError(self.address, "A scan is already active.")
