"""Which driver serves which ``kind``; a driver's module is imported only when a device needs it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sensors.source import Source

KINDS = {
    "microphone": "sensors.microphone:Microphone",
    "accelerometer": "sensors.accelerometer:Accelerometer",
    "wavfile": "sensors.wavfile:WavFile",
    "simulator": "sensors.simulator:Simulator",
    "iio": "sensors.iio:Iio",
    "mcc172": "sensors.mcc172:Mcc172",
    "vibration_meter": "sensors.vibration_meter:VibrationMeter",
}


def create_source(kind: str, name: str, **options: Any) -> Source:
    """Make the driver for a device; nothing is opened yet.

    Args:
        kind: a key of ``KINDS``.
        name: the device's name in the configuration, for messages.
        options: the driver's own keyword arguments.
    """
    module, _, class_name = KINDS[kind].partition(":")
    source: Source = getattr(import_module(module), class_name)(name, **options)
    return source
