"""What is plugged in, by names that survive a restart, with the lines that configure it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serial.tools import list_ports

from sensors import digiducer
from sensors.sound_process import start_child
from sensors.soundcards import (
    ROOT,
    capture_cards,
    card_number,
    holder,
    native_format,
    permission_problem,
    product_names,
    stable_name,
    usb_names,
)

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


def list_microphones(root: Path = ROOT) -> list[FoundDevice]:
    """Ask a fresh process what can be recorded from; PortAudio's list never changes within one.

    PortAudio leaves out cards that it could not open when it started: those come last, with the reason.

    Raises:
        SensorUnavailable: PortAudio or its Python package is missing.
    """
    child, answer, _ = start_child("microphones", {"do": "list"})
    child.stop()
    return describe_microphones(answer["devices"], root)


def describe_microphones(listed: list[dict[str, Any]], root: Path = ROOT) -> list[FoundDevice]:
    """Return what PortAudio listed, and the cards it left out, as a person can use them."""
    found = [_microphone(number, device, root) for number, device in enumerate(listed, start=1)]
    seen = {card_number(device["name"]) for device in listed}
    names = usb_names(root)
    for number, name in capture_cards(root).items():
        if number not in seen:
            usb = next(iter(product_names(number, root)), name)
            problem = _problem(number, root) or "PortAudio cannot open it"
            found.append(FoundDevice("microphone", names.get(number, name), usb, problem=problem))
    return found


def _microphone(number: int, device: dict[str, Any], root: Path) -> FoundDevice:
    stable = stable_name(device["name"], root)
    rates_hz, channels = tuple(device["rates_hz"]), device["channels"]
    details, problem, opened = [], "", 1
    if (card := card_number(device["name"])) is not None:
        native = native_format(card, root)
        details += [str(native)] if native else []
        problem = "" if rates_hz else _problem(card, root) or "busy: another program may be recording from it"
        try:
            sensor = digiducer.find([device["name"], *product_names(card, root)])
        except ValueError as error:
            problem = problem or f"{error}; give scale and unit yourself"
        else:
            if sensor is not None:
                ranges = " and ".join(f"{full:.1f} {sensor.unit}" for full in sensor.full_scale)
                details.append(f"{sensor.model} {sensor.serial}, {ranges} full scale, calibrated {sensor.calibrated}")
                opened = min(channels, 2)
    line = f'  mic{number}: {{kind: microphone, device: "{stable}", rate_hz: {device["default_rate_hz"]}'
    line += f", channels: {opened}}}" if opened > 1 else "}"
    description = ", ".join([device["name"], *details])
    return FoundDevice("microphone", stable, description, rates_hz, channels, problem, [line])


def _problem(card: int, root: Path) -> str:
    """Return why a card cannot be recorded from now; empty when nothing is known."""
    if who := holder(card, root):
        return f"busy: in use by {who}"
    return permission_problem(root)


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
