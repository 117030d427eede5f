"""Drivers: from a device to blocks of samples in physical units. What is named here is what others may import."""

from sensors.block import Block
from sensors.errors import SensorEnded, SensorError, SensorFault, SensorUnavailable
from sensors.registry import KINDS, create_source
from sensors.source import Source, SourceInfo

__all__ = [
    "KINDS",
    "Block",
    "SensorEnded",
    "SensorError",
    "SensorFault",
    "SensorUnavailable",
    "Source",
    "SourceInfo",
    "create_source",
]
