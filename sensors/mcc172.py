"""The MCC 172: two IEPE accelerometers or microphones on a Raspberry Pi, 24 bit, both sampled at the same instant.

Source: the Python package ``daqhats`` (repository mccdaq/daqhats) and its documentation. It wraps a shared library that
comes with the vendor's installer; neither is needed until a board is opened.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import numpy as np

from sensors.block import Block
from sensors.continuity import BlockBuilder, SampleClock
from sensors.errors import SensorFault, SensorUnavailable
from sensors.source import BLOCK_S, SILENCE_S, WAIT_S, Source, SourceInfo

CLOCK_HZ = 51_200  # every rate is this, divided by a whole number
DIVISORS = range(1, 257)
RATES_HZ = tuple(CLOCK_HZ // n for n in reversed(DIVISORS) if CLOCK_HZ % n == 0)
INPUT_V = 5.0
STEP_V = 2 * INPUT_V / (1 << 24)
VOLTS_MV = 1000.0  # the sensitivity that makes the library's unit the volt
CHANNELS = (0, 1)

BUFFER_S = 4.0  # what the library keeps for a reader that is late; it takes more at low rates
READ_S = 0.05  # how much one read asks for
TIMEOUT_S = 0.2
SYNC_S = 2.0  # 128 clock cycles are 0.64 s at the lowest rate

MISSING = (
    "the package daqhats is missing: pip install 'echo-edge[mcc172]', and the vendor's library from "
    "github.com/mccdaq/daqhats (sudo ./install.sh)"
)


def load_library() -> Any:
    """Import ``daqhats``.

    Raises:
        ImportError: it is not installed.
    """
    return import_module("daqhats")


class Mcc172(Source):
    """A board with one or two sensors; both channels have one clock."""

    def __init__(
        self,
        name: str,
        *,
        address: int = 0,
        iepe: bool | Sequence[bool],
        channels: Sequence[int] = (0,),
        rate_hz: int = CLOCK_HZ,
        sensitivity_mv_per_unit: float | Sequence[float] | None = None,
        unit: str = "g",
        settle_s: float = 5.0,
        library: Any = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            address: of the board, 0 to 7, as its jumpers say.
            iepe: supply the sensors, for all channels or for each. No default: an IEPE sensor without it is mute, a
                sensor with a supply of its own may be harmed by it.
            channels: 0, 1 or both, in this order.
            rate_hz: 51,200 divided by a whole number that leaves a whole number: the rate of a source is one.
            sensitivity_mv_per_unit: from the sensor's certificate, 100 mV/g for example; for all channels or for each.
                None: the samples are volts.
            unit: of the sensitivity: ``g``, ``Pa``.
            settle_s: after the supply was switched on, the bias wanders for seconds; so much is thrown away.
            library: in place of ``daqhats``.
        """
        super().__init__(name)
        if list(channels) not in ([0], [1], [0, 1]):
            raise ValueError(f"channels are [0], [1] or [0, 1], not {list(channels)}")
        if rate_hz not in RATES_HZ:
            raise ValueError(f"no rate of {rate_hz} Hz on an MCC 172: {_nearest(rate_hz)}")
        self._address, self._channels, self._rate_hz = address, tuple(channels), rate_hz
        self._iepe = _each(iepe, len(channels), "iepe")
        self._calibrated = sensitivity_mv_per_unit is not None
        given = VOLTS_MV if sensitivity_mv_per_unit is None else sensitivity_mv_per_unit
        self._sensitivity = _each(given, len(channels), "sensitivity_mv_per_unit")
        if min(self._sensitivity) <= 0:
            raise ValueError(f"sensitivity_mv_per_unit must be positive, not {list(self._sensitivity)}")
        self._unit = unit if self._calibrated else "V"
        self._settle_s = settle_s
        self._library = library
        self._board: Any = None
        self._ready: list[Block] = []

    @property
    def rate_ppm(self) -> float | None:
        """Measured minus nominal rate in parts per million."""
        return None if self._board is None else self._clock.rate_ppm

    def open(self) -> SourceInfo:
        """Find the board, set it up and start to sample."""
        self.close()
        library = self._find_library()
        try:
            there = [hat.address for hat in library.hat_list(filter_by_id=library.HatIDs.MCC_172)]
            if self._address not in there:
                raise SensorUnavailable(self.name, _no_board(self._address, there))
            self._board = library.mcc172(self._address)
            serial = self._board.serial()
            rate_hz = self._set_up(library)
            self._start_scan()
        except library.HatError as error:
            self.close()
            raise SensorUnavailable(self.name, f"the MCC 172 at address {self._address} refused: {error}") from error
        except SensorUnavailable:
            self.close()
            raise
        self._clock = SampleClock(rate_hz)
        self._blocks = BlockBuilder(self._clock, max(1, round(BLOCK_S * rate_hz)))
        self._at_once = max(1, round(READ_S * rate_hz))
        self._settling = round(self._settle_s * rate_hz) if any(self._iepe) else 0
        self._ready, self._gap = [], False
        self._heard_s = time.monotonic()
        units_per_v = [1000 / mv for mv in self._sensitivity]
        return SourceInfo(
            round(rate_hz),
            len(self._channels),
            self._unit,
            f"mcc172:{serial}",
            full_scale=tuple(INPUT_V * u for u in units_per_v),
            lsb=tuple(STEP_V * u for u in units_per_v),
            calibration="configuration" if self._calibrated else "none",
            settings=self.settings(),
        )

    def read(self) -> Block | None:
        """Wait for the next block."""
        if self._board is None:
            raise SensorFault(self.name, "not open")
        deadline = time.monotonic() + WAIT_S
        while not self._ready:
            try:
                self._take(self._board.a_in_scan_read_numpy(self._at_once, TIMEOUT_S))
            except self._used.HatError as error:
                raise SensorFault(self.name, f"the MCC 172 failed: {error}") from error
            now = time.monotonic()
            if now - self._heard_s > SILENCE_S:
                raise SensorFault(self.name, f"no whole samples from the MCC 172 for {SILENCE_S:.0f} s")
            if not self._ready and now > deadline:
                return None
        return self._ready.pop(0)

    def close(self) -> None:
        """Stop to sample. The supply of the sensors stays on: they need not settle for whoever reads them next."""
        board, self._board = self._board, None
        if board is None:
            return
        with suppress(self._used.HatError):
            board.a_in_scan_stop()
        with suppress(self._used.HatError):
            board.a_in_scan_cleanup()

    def settings(self) -> dict[str, str]:
        """Return the supply and sensitivity of each channel; nothing moves them while the board is open."""
        if self._board is None:
            return {}
        each = zip(self._channels, self._iepe, self._sensitivity, strict=True)
        return {
            f"channel {channel}": f"IEPE {'on' if on else 'off'}, {mv:g} mV/{self._unit}" for channel, on, mv in each
        }

    def _find_library(self) -> Any:
        try:
            self._used = self._library or load_library()
        except ImportError as error:
            raise SensorUnavailable(self.name, MISSING) from error
        return self._used

    def _set_up(self, library: Any) -> float:
        """Set supply, sensitivity and clock; return the rate once both converters run in step."""
        for channel, on, mv in zip(self._channels, self._iepe, self._sensitivity, strict=True):
            self._board.iepe_config_write(channel, int(on))
            self._board.a_in_sensitivity_write(channel, mv)
        self._board.a_in_clock_config_write(library.SourceType.LOCAL, self._rate_hz)
        deadline = time.monotonic() + SYNC_S
        while not (clock := self._board.a_in_clock_config_read()).synchronized:
            if time.monotonic() > deadline:
                raise SensorUnavailable(self.name, f"the MCC 172's converters did not synchronize in {SYNC_S:.0f} s")
            time.sleep(0.005)
        if round(clock.sample_rate_per_channel) != self._rate_hz:
            told = f"{clock.sample_rate_per_channel:g} Hz"
            raise SensorUnavailable(self.name, f"the MCC 172 was set to {self._rate_hz} Hz and runs at {told}")
        return float(clock.sample_rate_per_channel)

    def _start_scan(self) -> None:
        mask = sum(1 << channel for channel in self._channels)
        kept = round(BUFFER_S * self._rate_hz)
        self._board.a_in_scan_start(mask, kept, self._used.OptionFlags.CONTINUOUS)

    def _take(self, got: Any) -> None:
        """Take what one read returned.

        Where an overrun lies among the samples that came with its flag nobody knows: they are dropped, and the scan is
        begun anew, which also clears the flag.
        """
        if got.hardware_overrun or got.buffer_overrun:
            self.counters["overflows"] += 1
            self._gap = True
            self._board.a_in_scan_stop()
            self._board.a_in_scan_cleanup()
            self._start_scan()
            return
        if not got.running:
            raise SensorFault(self.name, "the MCC 172 stopped sampling by itself")
        samples = np.asarray(got.data).reshape(-1, len(self._channels)).astype(np.float32)
        if not len(samples):
            return
        arrival_ns = time.monotonic_ns()
        self._heard_s = arrival_ns / 1e9
        dropped = min(self._settling, len(samples))
        self._settling -= dropped
        if dropped == len(samples):
            return
        self.counters["gaps"] += self._gap
        self._ready += self._blocks.push(samples[dropped:], arrival_ns, gap=self._gap)
        self._gap = False
        self.counters["jumps"] = max(self.counters["jumps"], self._clock.jumps)


def _each(value: Any, channels: int, option: str) -> tuple[Any, ...]:
    """Return one value per channel."""
    values = (value,) * channels if isinstance(value, bool | int | float) else tuple(value)
    if len(values) != channels:
        raise ValueError(f"{option} is one value, or one for each of {channels} channels, not {len(values)}")
    return values


def _nearest(rate_hz: float) -> str:
    below = [r for r in RATES_HZ if r < rate_hz][-1:]
    above = [r for r in RATES_HZ if r > rate_hz][:1]
    return "the nearest it has: " + " and ".join(f"{r} Hz" for r in below + above)


def _no_board(address: int, there: list[int]) -> str:
    if there:
        return f"no MCC 172 at address {address}; there is one at {', '.join(map(str, there))}"
    return (
        "no MCC 172 found: run daqhats_list_boards and, for more than one board, sudo daqhats_read_eeproms; "
        "without the vendor's library none is ever found"
    )
