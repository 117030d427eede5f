"""The values that flow: Window -> Embedding -> Score -> Event.

Shape suffixes: C = channels of the point, S = samples, N = bands, D = embedding width, K = indicators, R and Q = rows
and columns of a coarse spectrogram.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sensors import FULL_SCALE


@dataclass(frozen=True, slots=True)
class Limits:
    """What the sensor of a point can deliver, for each channel of the point; empty where it does not tell."""

    full_scale: tuple[float, ...] = ()
    """The largest sample, in the window's unit."""

    lsb: tuple[float, ...] = ()
    """The step between two neighbouring samples."""

    gravity: bool = False
    """The channels are three axes that feel gravity."""


@dataclass(frozen=True, slots=True)
class Window:
    """A gap-free stretch of one point: all its channels over the same samples."""

    point: str
    """``machine/point``."""

    samples: NDArray[np.float32]
    """Shape (C, S), in the sensor's unit."""

    rate_hz: int
    time_ns: int
    """Capture time of the first sample, nanoseconds since 1970 UTC."""

    unit: str = FULL_SCALE
    """Physical unit of the samples, as ``SourceInfo.unit``."""

    limits: Limits = Limits()

    @property
    def length_s(self) -> float:
        return float(self.samples.shape[1] / self.rate_hz)

    @property
    def end_ns(self) -> int:
        return self.time_ns + round(self.length_s * 1e9)


@dataclass(frozen=True, slots=True)
class Embedding:
    """All that is kept of one window: what the encoder says of it band by band, and what can be said without."""

    point: str
    bands: NDArray[np.float32]
    """Shape (C, N, D): one vector per channel and band."""

    rate_hz: int
    time_ns: int
    """Capture time of the window's first sample."""

    end_ns: int
    """Capture time just past the window's last sample."""

    spectrum: NDArray[np.float32]
    """Shape (C, N, 32): the bands themselves, averaged over time. The trivial detector's view."""

    picture: NDArray[np.uint8]
    """Shape (C, R, Q), at most 64 x 64: the spectrogram, so coarse that it is not speech; row 0 is DC."""

    level_db: NDArray[np.float64]
    """Shape (C,): 20 log10 of the RMS without its mean, in the sensor's unit."""

    indicators: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    """Shape (C, K): physical indicators in their units; empty until they were measured."""

    indicator_names: tuple[str, ...] = ()
    """Of the K indicators, as ``indicators.names``."""


@dataclass(frozen=True, slots=True)
class BandShare:
    """How much of a score one frequency band carries."""

    low_hz: float
    high_hz: float
    share: float
    """0..1; the shares of one score add up to 1, or are all 0 for a window that was itself learned."""


@dataclass(frozen=True, slots=True)
class Score:
    """How strange one window is to the normal states of its point."""

    point: str
    time_ns: int
    end_ns: int
    value: float
    """How rare, in decades: one normal window in 10 ** value is as strange. About 0 to 2 is normal."""

    threshold: float
    """The value above which a window counts towards an alert."""

    state: str
    """The normal state in force; where nothing tells it, the one that the window is most like."""

    channel: int
    """The strangest channel (index within the point)."""

    bands: tuple[BandShare, ...]
    """Bands of the strangest channel, low to high."""

    baseline: str
    provisional: bool
    rarities: Mapping[str, float]
    """What each part says (``echo``, ``spectrum``, ``indicators``), in decades; the largest is ``value``."""


@dataclass(frozen=True, slots=True)
class FalseAlarmRate:
    """What a threshold promises, per month of 30 days."""

    target: float
    estimated: float
    """The best guess: what the fitted tail says of all that was heard, and half an event in the time T so far for what
    never was."""

    demonstrated_upper_95: float
    """What the time so far proves if every alert in it was a false one, except those that a person labelled a fault:
    the 95 % Poisson bound, 3/T without any."""

    kept: bool | None = None
    """False once operation had more alerts than the target can explain (``promise.broken``); None before any."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person did about an alert."""

    by: str
    note: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Event:
    """One step in the life of a machine's alert that a score made; one id from open to clear, ``rev`` rising."""

    point: str
    alert_id: str
    rev: int
    type: str
    """``open``, ``update``, ``escalate`` or ``clear``."""

    severity: str
    """``warning`` or ``alarm``."""

    time_ns: int
    opened_ns: int
    peak_value: float
    peak_ns: int
    score: Score
    """The score that made the event."""

    ack: Answer | None = None
    """Who acknowledged the alert."""


@dataclass(frozen=True, slots=True)
class OperatingState:
    """The way of running that a window was, or should be, compared with."""

    name: str
    source: str
    """``auto`` (nearest normal), ``mqtt`` or ``order`` (told), or ``level`` (machine off)."""


@dataclass(frozen=True, slots=True)
class TopicMessage:
    """What came on a topic that we subscribed to."""

    topic: str
    payload: bytes
    """A long one is cut (``mqtt.KEPT_BYTES``), and still too long for its reader."""

    arrived_ns: int
    retained: bool = False
    """It lay there when we came, or was published to stay there."""

    response_topic: str | None = None
    """Where an answer is wanted, with ``correlation`` beside it (MQTT 5)."""

    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class PlantState:
    """What the plant says of a machine's operating state."""

    name: str | None
    """None: nothing is told any more."""

    at_ns: int
    until_ns: int | None = None
    """When it ends by itself."""
