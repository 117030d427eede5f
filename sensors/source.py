"""Source: what every driver is to the daemon."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass

from sensors.block import Block

BLOCK_S = 0.1  # how much signal one Block holds, about; read() waits no longer than a few of these


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What the opened device turned out to be."""

    rate_hz: int
    """Native sampling rate; nothing is ever resampled."""

    channels: int

    unit: str
    """Physical unit of the samples (``g``, ``Pa``), or ``full scale`` when no calibration is known."""

    identity: str
    """Which physical device this is, stable over restarts and ports (USB ids and serial, sensor serial).

    Recordings go by their name in the configuration: what they play may change, the point they stand for does not.
    """


class Source(ABC):
    """One device. The thread that opens it also reads and closes it.

    ``counters`` only ever grow while the source lives: ``gaps``, ``lost_frames`` and what else a driver can tell
    (``bad_crc``, ``bad_frames``, ``overflows``). They are read from the same thread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()

    @abstractmethod
    def open(self) -> SourceInfo:
        """Open the device.

        Raises:
            SensorUnavailable: it cannot be opened now.
        """

    @abstractmethod
    def read(self) -> Block | None:
        """Wait for the next block; None when nothing was due within a fraction of a second.

        Raises:
            SensorFault: the device failed or stalled; close and reopen it.
            SensorEnded: a recording is over.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device; harmless when it is not open. Never blocks for more than a second or two."""
