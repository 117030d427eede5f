"""Source: what every driver is to the daemon."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field

from sensors.block import Block

BLOCK_S = 0.1  # how much signal one Block holds, about; read() waits no longer than a few of these
WAIT_S = 0.5  # for how long read() waits for a block that is due
SILENCE_S = 2.0  # without samples a device is lost: with a driver's own waits that is told within 3 s
FULL_SCALE = "full scale"  # the unit of samples that nothing is known to scale


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What the opened device turned out to be."""

    rate_hz: int
    """Native sampling rate; nothing is ever resampled."""

    channels: int

    unit: str
    """Physical unit of the samples (``g``, ``Pa``), or ``FULL_SCALE`` when no calibration is known."""

    identity: str
    """Which physical device this is, stable over restarts and ports (USB ids and serial, sensor serial).

    Recordings go by their name in the configuration: what they play may change, the point they stand for does not.
    """

    full_scale: tuple[float, ...] = ()
    """The largest sample of each channel, in ``unit``; empty when the device does not tell."""

    lsb: tuple[float, ...] = ()
    """The step between two neighbouring samples of each channel, in ``unit``; empty when it is not known."""

    gravity: bool = False
    """True for three axes in g that feel gravity: at rest their mean has the length 1."""

    calibration: str = "none"
    """Where the scale comes from: ``sensor``, ``device name``, ``configuration``, a file's name, or ``none``."""

    settings: dict[str, str] = field(default_factory=dict)
    """What else the level depends on (gain, range, mixer), as it was at opening; see ``Source.settings``."""

    indicators: tuple[str, ...] = ()
    """What each channel is, with its unit (``velocity_x_mm_s``), when the device delivers readings and no waveform."""


class Source(ABC):
    """One device. The thread that opens it also reads and closes it.

    ``counters`` only ever grow while the source lives: ``gaps``, ``lost_frames`` and what else a driver can tell
    (``bad_crc``, ``bad_frames``, ``overflows``, ``resets``, ``jumps``). They are read from the same thread.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()

    @property
    def rate_ppm(self) -> float | None:
        """Measured minus nominal rate in parts per million; None while it is not known."""
        return None

    def settings(self) -> dict[str, str]:
        """Return what the level depends on besides the calibration, as it is now; empty when nothing can be moved."""
        return {}

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
