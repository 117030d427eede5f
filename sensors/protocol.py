"""Protocol: what a wire format is to the serial driver. Bytes in, samples out; it knows no port and no clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

PLAUSIBLE_GAP_S = 600.0  # a longer jump of a count or time is a restarted sensor, not that many lost samples


class ProtocolError(ValueError):
    """The sensor says something that ends the stream: it failed, changed, or cannot do what was asked of it."""


@dataclass(frozen=True, slots=True)
class SensorCard:
    """What a sensor turned out to be, as far as its samples depend on it."""

    identity: str
    """Which physical sensor; empty when it does not tell, and the port must stand for it."""

    rate_hz: float
    """Samples per second and axis, exact."""

    channels: int
    unit: str
    full_scale: tuple[float, ...] = ()
    lsb: tuple[float, ...] = ()
    gravity: bool = False
    """As the fields of the same names in ``SourceInfo``."""

    calibration: str = "sensor"
    """Where the scale comes from, as in ``SourceInfo``."""

    settings: tuple[tuple[str, str], ...] = ()
    """What the level depends on besides the scale: range, filter; names and values for people."""


@dataclass(frozen=True, slots=True)
class Samples:
    """A run of samples without a splice inside."""

    values: NDArray[np.float32]
    """Shape (frames, channels), in the card's unit."""

    gap: bool = False
    """True when they do not continue the ones before."""

    lost_frames: int = 0
    """How many are missing before them, as far as the format tells."""


class Protocol(ABC):
    """One wire format.

    ``counters`` takes what it drops and why (``bad_crc``, ``bad_frames``, ``resets``); ``good_frames`` counts what
    passed every check, so that a port can be asked what speaks there.
    """

    name: ClassVar[str]
    """As the configuration calls it."""

    def __init__(self, counters: Counter[str] | None = None) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self.good_frames = 0
        self.card: SensorCard | None = None
        """What the sensor is; None until it has told, or until enough came to tell."""

    def ask(self) -> bytes:
        """Return what makes the sensor say what it is, or ``b""``; sent again until ``card`` is known."""
        return b""

    def start(self) -> bytes:
        """Return what makes it stream, once ``card`` is known."""
        return b""

    def stop(self) -> bytes:
        """Return what makes it stop, before the port is closed."""
        return b""

    def why_unknown(self) -> str:
        """Say why ``card`` stays unknown although good frames come, and what a person can do about it."""
        return "it does not say what it is"

    @abstractmethod
    def push(self, data: bytes) -> list[Samples]:
        """Take what arrived; return the samples that became whole, in order. None come before ``card`` is known.

        Raises:
            ProtocolError: the stream cannot go on; close the port and open it again.
        """
