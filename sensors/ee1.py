"""EE1 as a protocol: the info frame is the card, data frames are the samples, the index tells what is missing."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from sensors.continuity import INDEX_SPAN, SampleIndex
from sensors.framing import COMMAND, GAP_BEFORE, INFO, DataFrame, Decoder, Message, encode_message
from sensors.protocol import PLAUSIBLE_GAP_S, Protocol, ProtocolError, Samples, SensorCard

AXES = 3
REPEATED_FRAMES = 64  # a frame numbered no further back than this, and behind in samples too, came a second time


def read_card(body: dict[str, Any]) -> tuple[SensorCard, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return what an info frame's JSON says of the sensor, and the units per stored unit of each channel.

    Required: ``serial``, ``rate_num``, ``unit``, ``scale`` (one for each channel). Optional: ``rate_den`` (1),
    ``channels``, ``range`` (largest value, one for all channels), ``gravity`` (true when it feels gravity; assumed of
    three channels in g), ``sensor``, ``fw``.

    Raises:
        ValueError: something is missing or makes no sense; the text says what.
    """
    try:
        scale = tuple(float(s) for s in body["scale"])
        channels = int(body.get("channels", len(scale)))
        rate = int(body["rate_num"]), int(body.get("rate_den", 1))
        serial, unit = str(body["serial"]), str(body["unit"])
        largest = None if body.get("range") is None else float(body["range"])
        gravity = bool(body.get("gravity", channels == AXES)) and unit == "g" and channels == AXES
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"incomplete: {type(error).__name__} {error}") from error
    if not (serial.isprintable() and unit.isprintable()):
        raise ValueError("a serial number or unit with characters that cannot be printed")
    if not serial or min(rate) < 1 or rate[0] / rate[1] < 1:
        raise ValueError("no serial number or no rate")
    if channels < 1 or len(scale) != channels or not all(math.isfinite(s) and s != 0 for s in scale):
        raise ValueError(f"{len(scale)} scales for {channels} channels, or a scale that is none")
    if largest is not None and not (math.isfinite(largest) and largest > 0):
        raise ValueError(f"the range {largest} is none")
    card = SensorCard(
        identity=f"ee1:{serial}",
        rate_hz=rate[0] / rate[1],
        channels=channels,
        unit=unit,
        full_scale=() if largest is None else (largest,) * channels,
        lsb=tuple(abs(s) for s in scale),
        gravity=gravity,
        settings=tuple((k, str(body[k])) for k in ("range",) if k in body),
    )
    return card, np.array(scale)


class Ee1(Protocol):
    """Our own frames (see ``framing``)."""

    name = "ee1"

    def __init__(self, counters: Counter[str] | None = None) -> None:
        super().__init__(counters)
        self._decoder = Decoder(self.counters)
        self._newest: DataFrame | None = None
        self._repeated = False

    def ask(self) -> bytes:
        """Ask for the info frame."""
        return encode_message(COMMAND, {"cmd": "info"})

    def start(self) -> bytes:
        """Ask for samples."""
        return encode_message(COMMAND, {"cmd": "start"})

    def push(self, data: bytes) -> list[Samples]:
        """Take what arrived."""
        ready = []
        for frame in self._decoder.push(data):
            self.good_frames += 1
            if isinstance(frame, Message):
                if frame.kind == INFO:
                    self._introduce(frame.body)
            elif self.card is not None and not self._is_repeated(frame):
                ready.append(self._samples(frame, self.card))
        return ready

    def _introduce(self, body: dict[str, Any]) -> None:
        try:
            card, scale = read_card(body)
        except ValueError as error:
            raise ProtocolError(f"the sensor's own description is {error}") from error
        if self.card is None:
            self.card, self._scale = card, scale
            self._index = SampleIndex(plausible_frames=round(PLAUSIBLE_GAP_S * card.rate_hz))
        elif card != self.card:
            raise ProtocolError(f"became another sensor: was {self.card}, is {card}")

    def _is_repeated(self, frame: DataFrame) -> bool:
        """Tell a frame that came before from one of a restarted sensor, which begins at index 0."""
        newest = self._newest
        if newest is not None and frame.index:
            again = (newest.sequence - frame.sequence) % INDEX_SPAN < REPEATED_FRAMES
            if again and (newest.index - frame.index) % INDEX_SPAN < INDEX_SPAN // 2:
                self.counters["repeated_frames"] += 1
                self._repeated = True
                return True
        self._newest = frame
        return False

    def _samples(self, frame: DataFrame, card: SensorCard) -> Samples:
        if frame.samples.shape[1] != card.channels:
            raise ProtocolError(f"sends {frame.samples.shape[1]} channels, announced {card.channels}")
        lost = self._index.push(frame.index, len(frame.samples))
        self.counters["resets"] += lost is None
        with np.errstate(over="ignore"):
            values = (frame.samples * self._scale).astype(np.float32)
        if not np.isfinite(values).all():
            raise ProtocolError("sends numbers beyond all measure: its scale or its samples are wrong")
        # what looked repeated may have been the frames of a sensor that restarted and lost its first ones
        gap = lost != 0 or self._repeated or bool(frame.flags & GAP_BEFORE)
        self._repeated = False
        return Samples(values, gap, lost or 0)
