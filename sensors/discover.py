"""What is plugged in, by names that survive a restart, with the lines that configure it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from serial.tools import list_ports

from sensors.sound_process import start_child
from sensors.soundcards import PORTAUDIO_CARD, stable_name

BY_ID = Path("/dev/serial/by-id")


@dataclass(frozen=True)
class FoundDevice:
    """One thing that could be a sensor."""

    kind: str
    """The ``kind`` of a device's configuration: microphone or accelerometer."""

    id: str
    """What to write after ``device:`` or ``port:``."""

    description: str
    rates_hz: tuple[int, ...] = ()
    channels: int = 0
    problem: str = ""
    """Why it cannot be used as it is, and what would mend it; empty when nothing is known to be wrong."""

    config_lines: list[str] = field(default_factory=list)
    """Lines to paste below ``devices:``."""


def list_microphones() -> list[FoundDevice]:
    """Ask a fresh process what can be recorded from; PortAudio's list never changes within one.

    Raises:
        SensorUnavailable: PortAudio or its Python package is missing.
    """
    child, answer, _ = start_child("microphones", {"do": "list"})
    child.stop()
    found = []
    for number, device in enumerate(answer["devices"], start=1):
        stable = stable_name(device["name"])
        rate_hz = device["default_rate_hz"]
        rates_hz = tuple(device["rates_hz"])
        line = f'  mic{number}: {{kind: microphone, device: "{stable}", rate_hz: {rate_hz}}}'
        busy = bool(PORTAUDIO_CARD.search(device["name"])) and not rates_hz
        found.append(
            FoundDevice(
                "microphone",
                stable,
                device["name"],
                rates_hz,
                device["channels"],
                "busy: another program may be recording from it" if busy else "",
                [line],
            )
        )
    return found


def list_serial_ports() -> list[FoundDevice]:
    """Return the serial ports, by their path under ``/dev/serial/by-id`` where they have one. None is opened."""
    stable = {os.path.realpath(link): str(link) for link in sorted(BY_ID.glob("*"))} if BY_ID.is_dir() else {}
    found = []
    for number, port in enumerate(sorted(list_ports.comports()), start=1):
        path = stable.get(os.path.realpath(port.device), port.device)
        usb = f"{port.vid:04x}:{port.pid:04x} " if port.vid is not None else ""
        serial = f" serial {port.serial_number}" if port.serial_number else ""
        allowed = os.access(port.device, os.R_OK | os.W_OK)
        found.append(
            FoundDevice(
                "accelerometer",
                path,
                f"{usb}{port.description}{serial}",
                problem="" if allowed else "no permission: add the user to group dialout",
                config_lines=[f"  acc{number}: {{kind: accelerometer, port: {path}, protocol: ee1}}"],
            )
        )
    return found
