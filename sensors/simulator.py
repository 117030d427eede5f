"""A driver that invents its samples: a machine with faults on request, for demonstrations, soaks and tests."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from sensors.block import Block
from sensors.continuity import NS, wall_offset_ns
from sensors.errors import SensorFault, SensorUnavailable
from sensors.machine import Machine
from sensors.pacing import Pacer
from sensors.source import BLOCK_S, Source, SourceInfo


class Simulator(Source):
    """An invented machine as a device."""

    def __init__(
        self,
        name: str,
        *,
        rate_hz: int,
        channels: int = 1,
        seed: int = 0,
        realtime: bool = True,
        fault: str | None = None,
        severity: float = 1.0,
        unit: str = "g",
        shaft_hz: float = 29.5,
        load: float = 0.7,
        level: float = 1.0,
    ) -> None:
        """Nothing is started yet; see ``Machine`` for what the machine's own options mean.

        Args:
            realtime: keep the pace of a real device; False delivers as fast as it is read.
            fault: the condition at the start, one of ``machine.FAULTS`` or None.
            severity: of that fault, 0 to 1.
        """
        super().__init__(name)
        self._options = {"unit": unit, "shaft_hz": shaft_hz, "load": load, "level": level}
        self._rate_hz, self._channels, self._seed = rate_hz, channels, seed
        self._realtime = realtime
        self._condition: tuple[str | None, float] = (fault, severity)
        self._machine: Machine | None = None
        self._skip = 0

    def open(self) -> SourceInfo:
        """Start the machine from its beginning."""
        try:
            self._machine = Machine(self._seed, self._rate_hz, self._channels, **self._options)  # type: ignore[arg-type]
            self._machine.set_fault(*self._condition)
        except ValueError as error:
            raise SensorUnavailable(self.name, str(error)) from error
        self._pacer = Pacer(self._rate_hz)
        self._start_ns, self._frames = time.monotonic_ns(), 0
        return SourceInfo(
            self._rate_hz, self._channels, self._machine.unit, f"simulator:{self._seed}", calibration="sensor"
        )

    def read(self) -> Block:
        """Return the next block, when it is due."""
        if self._machine is None:
            raise SensorFault(self.name, "not open")
        lost, self._skip = self._skip, 0
        if lost:
            self._machine.samples(lost)
            self.counters["gaps"] += 1
            self.counters["lost_frames"] += lost
        frames = max(1, round(BLOCK_S * self._rate_hz))
        samples = self._machine.samples(frames)
        if self._realtime:
            self._pacer.wait(lost + frames)
        self._frames += lost
        start_ns, index = self._start_ns + self._frames * NS // self._rate_hz, self._frames
        self._frames += frames
        return Block(samples, start_ns + wall_offset_ns(), bool(lost), lost, index, start_ns)

    def close(self) -> None:
        """Stop the machine."""
        self._machine = None

    def set_fault(self, fault: str | None, severity: float = 1.0) -> None:
        """Change the machine's condition from now on; may be called from another thread."""
        self._condition = (fault, severity)
        if (machine := self._machine) is not None:
            machine.set_fault(fault, severity)

    def lose(self, frames: int) -> None:
        """Lose ``frames`` before the next block, as an overrun would."""
        self._skip += frames


def write_wav(machine: Machine, path: Path | str, seconds: float) -> None:
    """Write the next ``seconds`` of a machine as a 32-bit float WAV file."""
    import soundfile  # noqa: PLC0415 - only this function needs it

    soundfile.write(
        path, np.asarray(machine.samples(round(seconds * machine.rate_hz))), machine.rate_hz, subtype="FLOAT"
    )
