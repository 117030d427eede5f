"""Drivers: from a device to blocks of samples in physical units. What is named here is what others may import."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sensors.block import Block
from sensors.errors import SensorEnded, SensorError, SensorFault, SensorUnavailable
from sensors.recording import note_scale, read_recording
from sensors.registry import KINDS, create_source
from sensors.source import FULL_SCALE, Source, SourceInfo

if TYPE_CHECKING:
    from sensors.alsa_microphone import AlsaMicrophone
    from sensors.calibration import read_calibration
    from sensors.discover import FoundDevice, list_iio, list_mcc172, list_microphones, list_serial_ports
    from sensors.machine import FAULTS, Machine
    from sensors.protocols import make_protocol
    from sensors.pty_accelerometer import PtyAccelerometer
    from sensors.pty_port import PtyPort
    from sensors.pty_stand_ins import STAND_INS
    from sensors.pty_vibration_meter import PtyVibrationMeter
    from sensors.pulse_microphone import PulseMicrophone
    from sensors.simulator import write_wav
    from sensors.users import user_of

LATER = {  # these import a driver's library or scipy: loaded when first used
    "FAULTS": "sensors.machine",
    "AlsaMicrophone": "sensors.alsa_microphone",
    "FoundDevice": "sensors.discover",
    "Machine": "sensors.machine",
    "PtyAccelerometer": "sensors.pty_accelerometer",
    "PtyPort": "sensors.pty_port",
    "PtyVibrationMeter": "sensors.pty_vibration_meter",
    "PulseMicrophone": "sensors.pulse_microphone",
    "list_iio": "sensors.discover",
    "list_mcc172": "sensors.discover",
    "list_microphones": "sensors.discover",
    "list_serial_ports": "sensors.discover",
    "read_calibration": "sensors.calibration",
    "STAND_INS": "sensors.pty_stand_ins",
    "make_protocol": "sensors.protocols",
    "user_of": "sensors.users",
    "write_wav": "sensors.simulator",
}


def __getattr__(name: str) -> Any:
    if name in LATER:
        return getattr(import_module(LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "FAULTS",
    "FULL_SCALE",
    "KINDS",
    "STAND_INS",
    "AlsaMicrophone",
    "Block",
    "FoundDevice",
    "Machine",
    "PtyAccelerometer",
    "PtyPort",
    "PtyVibrationMeter",
    "PulseMicrophone",
    "SensorEnded",
    "SensorError",
    "SensorFault",
    "SensorUnavailable",
    "Source",
    "SourceInfo",
    "create_source",
    "list_iio",
    "list_mcc172",
    "list_microphones",
    "list_serial_ports",
    "make_protocol",
    "note_scale",
    "read_calibration",
    "read_recording",
    "user_of",
    "write_wav",
]
