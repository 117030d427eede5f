"""What is plugged in, by names that survive a restart, with the lines that configure it."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from sensors import digiducer, mcc172
from sensors.iio_sysfs import RULES_FILE, UDEV_RULE, find_devices
from sensors.picoquake import RATES_HZ
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
from sensors.users import user_of

BY_ID = Path("/dev/serial/by-id")
PICO_IDS = "2e8a:000a"


@dataclass(frozen=True)
class FoundDevice:
    """One thing that could be a sensor."""

    kind: str
    """The ``kind`` of a device's configuration, a key of ``registry.KINDS``."""

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
    line = f"  mic{number}: {{kind: microphone, device: {json.dumps(stable)}, rate_hz: {device['default_rate_hz']}"
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
    return [
        describe_port(number, port, stable.get(os.path.realpath(port.device), port.device))
        for number, port in enumerate(sorted(list_ports.comports()), start=1)
    ]


def describe_port(number: int, port: ListPortInfo, path: str) -> FoundDevice:
    """Return what is known of a serial port without opening it: its USB ids, who uses it, whether we may."""
    ids = f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None else ""
    serial = f"serial {port.serial_number}" if port.serial_number else ""
    problem = ""
    if not os.access(port.device, os.R_OK | os.W_OK):
        problem = "no permission: add the user to group dialout"
    elif who := user_of(Path(port.device)):
        problem = f"in use by {who}"
    pico = ids == PICO_IDS
    return FoundDevice(
        "accelerometer",
        path,
        " ".join(part for part in (ids, port.description, serial) if part),
        tuple(round(rate) for rate in RATES_HZ if rate >= 1000) if pico else (),
        3 if pico else 0,
        problem,
        [
            f"  acc{number}: {{kind: accelerometer, port: {path}, protocol: {'picoquake' if pico else 'ee1'}}}"
            + ("  # any Raspberry Pi Pico has this USB id" if pico else "  # or picoquake, witmotion, csv")
        ],
    )


def list_iio(root: Path = Path("/sys/bus/iio"), dev: Path = Path("/dev")) -> list[FoundDevice]:
    """Return the accelerometers that the kernel drives, by name and, where it takes one, mark. None is opened."""
    devices = find_devices(root)
    names = Counter(device.name for device in devices)
    found = []
    for number, device in enumerate(devices, start=1):
        stable = device.name if names[device.name] == 1 else f"{device.name}@{device.mark}"
        rates_hz = device.rates_hz()
        rate_hz = device.number("sampling_frequency", "in_accel_sampling_frequency")
        rate = f", rate_hz: {round(rate_hz)}" if rate_hz else ""
        allowed = os.access(dev / device.folder.name, os.R_OK) and os.access(
            device.folder / device.buffer_folder / "enable", os.W_OK
        )
        found.append(
            FoundDevice(
                "iio",
                stable,
                f"{device.identity} on {device.folder.name}",
                rates_hz,
                len(device.axes()),
                "" if allowed else f"no permission: add the user to a group iio, and to {RULES_FILE}: {UDEV_RULE}",
                [f"  iio{number}: {{kind: iio, device: {json.dumps(stable) if ' ' in stable else stable}{rate}}}"],
            )
        )
    return found


def list_mcc172(library: Any = None) -> list[FoundDevice]:
    """Return the MCC 172 boards on this Raspberry Pi; none where the package ``daqhats`` is missing. None is opened."""
    try:
        used = library or mcc172.load_library()
    except ImportError:
        return []
    return [
        FoundDevice(
            "mcc172",
            str(hat.address),
            f"{hat.product_name} at address {hat.address}",
            mcc172.RATES_HZ,
            len(mcc172.CHANNELS),
            config_lines=[
                f"  daq{number}: {{kind: mcc172, address: {hat.address}, channels: [0, 1], iepe: true, "
                "sensitivity_mv_per_unit: [100, 100], unit: g}  # from the certificates of your sensors"
            ],
        )
        for number, hat in enumerate(used.hat_list(filter_by_id=used.HatIDs.MCC_172), start=1)
    ]
