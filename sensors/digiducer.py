"""Sensors that carry their calibration in their name: the Digiducer 333D01 and its relatives by The Modal Shop. Pure.

    ``333D01_10123453667971972240618``: model (6), a separator, format (1), serial (6),
    the sensitivities of channels A and B (5 digits each in format 1, 7 in formats 2 and 3), date yymmdd (6)

Channel A is the wide range and channel B the sensitive one, of the same sensor.
Source: The Modal Shop, MAN-0343 (USB Audio Interface Guide), as in Digiducer/Python ``TMS_Digital_Audio.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

MODELS = ("333D", "485B", "633A", "SDC0")
COUNTS = 1 << 23  # full scale: the sensitivities are in counts of 24-bit samples
G = 9.80665  # m/s2
LAYOUTS = {  # format -> digits of each sensitivity, unit, full scale per 1 / sensitivity
    "1": (5, "g", COUNTS / G),  # counts per m/s2
    "2": (7, "V", float(COUNTS)),  # counts per V
    "3": (7, "V", COUNTS / 20),  # counts per 50 mV
}


@dataclass(frozen=True)
class Calibration:
    """What a device's name says about it."""

    model: str
    serial: str
    calibrated: date
    unit: str
    """``g`` for accelerometers, ``V`` for signal conditioners."""

    full_scale: tuple[float, float]
    """Channels A and B: what a sample of 1.0 (all of 24 bits) is, in ``unit``."""


def parse(text: str) -> Calibration | None:
    """Return the calibration that a name contains; None when it names no such sensor.

    Raises:
        ValueError: it names one, and what follows the model cannot be read; the message quotes it.
    """
    start = min((text.find(model) for model in MODELS if model in text), default=-1)
    if start < 0:
        return None
    name = text[start:]
    digits, unit, factor = LAYOUTS.get(name[7:8], (0, "", 0.0))
    if not digits:
        raise ValueError(f"{name[:40]!r} names a calibrated sensor, but its format {name[7:8]!r} is not 1, 2 or 3")
    match = re.match(rf"(.{{6}}).\d(\w{{6}})(\d{{{digits}}})(\d{{{digits}}})(\d\d)(\d\d)(\d\d)", name, re.ASCII)
    if match is None:
        raise ValueError(f"{name[:40]!r} names a calibrated sensor, but its calibration is cut off or damaged")
    model, serial, a, b, year, month, day = match.groups()
    if not int(a) or not int(b):
        raise ValueError(f"{name[:40]!r} names a calibrated sensor, but a sensitivity is 0")
    try:
        calibrated = date(2000 + int(year), int(month), int(day))
    except ValueError as error:
        raise ValueError(f"{name[:40]!r} names a calibrated sensor, but its date is none ({error})") from error
    return Calibration(model, serial, calibrated, unit, (factor / int(a), factor / int(b)))


def find(texts: Iterable[str]) -> Calibration | None:
    """Return the calibration in the first of several names of one device that has it whole: ALSA cuts some names off.

    Raises:
        ValueError: one names such a sensor, and none can be read.
    """
    damaged: ValueError | None = None
    for text in texts:
        try:
            if (found := parse(text)) is not None:
                return found
        except ValueError as error:
            damaged = damaged or error
    if damaged is not None:
        raise damaged
    return None
