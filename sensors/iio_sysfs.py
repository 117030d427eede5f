"""An IIO device as sysfs shows it: which one is meant, what it can do, and why something was refused.

Source: the kernel's ``Documentation/ABI/testing/sysfs-bus-iio`` and ``sysfs-bus-iio-trigger-sysfs``.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from sensors.iio_scan import ScanElement

AXES = ("x", "y", "z")
UDEV_RULE = (
    'SUBSYSTEM=="iio", KERNEL=="iio:device*", GROUP="iio", MODE="0660", '
    "RUN+=\"/bin/sh -c 'chgrp -R iio /sys%p && chmod -R g+rwX /sys%p'\""
)
RULES_FILE = "/etc/udev/rules.d/80-iio.rules"


class IioError(Exception):
    """The device is not there, cannot do what was asked of it, or refused; the message says what would mend it."""


class IioDevice:
    """The folder of one device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = self.read("name") or "unnamed"  # never the folder: its number changes
        legacy = (folder / "scan_elements").is_dir()  # newer kernels show both, and more than one buffer
        self.scan_folder = "scan_elements" if legacy else "buffer0"
        self.buffer_folder = "buffer" if legacy else "buffer0"

    @property
    def mark(self) -> str:
        """What tells it from another of its name: serial number, label, or where it is wired."""
        return self.read("serial_number") or self.read("label") or self._parent().name

    @property
    def identity(self) -> str:
        """The same over restarts, whatever number the kernel deals."""
        return f"iio:{self.name}:{self.mark}"

    @property
    def marks(self) -> set[str]:
        """Everything that may stand after the ``@``."""
        return {self._parent().name, self.read("label"), self.read("serial_number")} - {""}

    def read(self, file: str) -> str:
        """Return what a file says, ``""`` when there is none or it does not tell."""
        try:
            return (self.folder / file).read_text("utf-8").strip()
        except OSError:
            return ""

    def number(self, *files: str) -> float | None:
        """Return the number in the first of these files that holds one."""
        for file in files:
            with suppress(ValueError):
                return float(self.read(file))
        return None

    def write(self, file: str, value: str) -> None:
        """Set something.

        Raises:
            IioError: it was refused.
        """
        try:
            (self.folder / file).write_text(value, "utf-8")
        except OSError as error:
            raise IioError(why(self.name, f"{file} cannot be set to {value}", error)) from error

    def axes(self) -> tuple[str, ...]:
        """Return the axes of acceleration that can be captured."""
        return tuple(a for a in AXES if (self.folder / self.scan_folder / f"in_accel_{a}_en").exists())

    def element(self, name: str) -> ScanElement:
        """Return how a channel lies in the scan.

        Raises:
            IioError: the device does not say so.
        """
        where = f"{self.scan_folder}/{name}"
        try:
            return ScanElement.parse(name, int(self.read(f"{where}_index")), self.read(f"{where}_type"))
        except ValueError as error:
            raise IioError(f"{self.name} describes its samples in a way that is not understood: {error}") from error

    def switch_on(self, names: list[str]) -> None:
        """Put these channels, and no others, into the scan."""
        for file in sorted((self.folder / self.scan_folder).glob("*_en")):
            on = "1" if file.name.removesuffix("_en") in names else "0"
            if self.read(f"{self.scan_folder}/{file.name}") != on:
                self.write(f"{self.scan_folder}/{file.name}", on)

    def rates_hz(self) -> tuple[int, ...]:
        """Return the rates that it lists, empty when it lists none."""
        words = self.read(f"{self._rate_file()}_available")
        return () if words.startswith("[") else tuple(round(float(word)) for word in words.split())

    def set_rate(self, rate_hz: float | None) -> float:
        """Set the rate, or leave it as it is; return what the device then says.

        Raises:
            IioError: it has no such rate; the message lists those that it has.
        """
        source = self if self._rate_file() else self._trigger()
        file = source._rate_file() if source is not None else None
        if source is None or file is None:
            raise IioError(f"{self.name} does not tell its rate, and neither does its trigger: no sampling_frequency")
        if rate_hz is not None and round(source.number(file) or 0) != rate_hz:
            source.write(file, matching_rate(self.name, rate_hz, source.read(f"{file}_available")))
        actual_hz = source.number(file)
        if actual_hz is None or actual_hz <= 0:
            raise IioError(f"{self.name} does not tell its rate: {file} says {source.read(file)!r}")
        if rate_hz is not None and round(actual_hz) != rate_hz:
            raise IioError(f"{self.name} was set to {rate_hz:g} Hz and took {actual_hz:g} Hz: ask for that")
        return actual_hz

    def set_trigger(self) -> str:
        """Give the device its own trigger when it needs one and has none; return the trigger's name, or ``""``.

        Raises:
            IioError: it needs one and there is none of its own.
        """
        file = "trigger/current_trigger"
        if not (self.folder / file).exists() or (name := self.read(file)):
            return self.read(file)
        for folder in sorted(self.folder.parent.glob("trigger*")):
            if folder.resolve().parent == self._parent():
                name = (folder / "name").read_text("utf-8").strip()
                self.write(file, name)
                return name
        if (self.folder / self.buffer_folder / "hwfifo_enabled").exists():  # it fills its buffer by itself
            return ""
        raise IioError(
            f"{self.name} needs a trigger and has none of its own: make one (modprobe iio-trig-hrtimer; mkdir "
            f"/sys/kernel/config/iio/triggers/hrtimer/NAME) and write its name into {self.folder / file}"
        )

    def _rate_file(self) -> str | None:
        names = ("sampling_frequency", "in_accel_sampling_frequency")
        return next((name for name in names if (self.folder / name).exists()), None)

    def _trigger(self) -> IioDevice | None:
        current = self.read("trigger/current_trigger")
        there = (IioDevice(folder) for folder in sorted(self.folder.parent.glob("trigger*")))
        return next((trigger for trigger in there if current and trigger.name == current), None)

    def _parent(self) -> Path:
        return self.folder.resolve().parent


def find_devices(root: Path) -> list[IioDevice]:
    """Return the devices that can capture an acceleration into a buffer; triggers and other sensors are left out."""
    return [device for f in sorted(root.glob("devices/iio:device*")) if (device := IioDevice(f)).axes()]


def find_device(root: Path, wanted: str) -> IioDevice:
    """Return the device of this name, or ``NAME@MARK`` where there are several.

    Raises:
        IioError: there is none, or more than one.
    """
    found = find_devices(root)
    name, _, mark = wanted.partition("@")
    fitting = [d for d in found if d.name == name and (not mark or mark in d.marks)]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join(f"{d.name}@{d.mark}" for d in (fitting or found)) or "none"
    if fitting:
        raise IioError(f"{len(fitting)} devices are called {wanted}; say which: {shown}")
    raise IioError(f"no IIO accelerometer {wanted}; there is: {shown}")


def matching_rate(name: str, rate_hz: float, available: str) -> str:
    """Return how a device writes a rate, from what ``sampling_frequency_available`` says.

    Args:
        available: ``"12.5 25 50"``, or ``"[1 0.5 100]"`` for least, step and largest; ``""`` when it does not tell.

    Raises:
        IioError: it is none of them.
    """
    words = available.strip("[] \n").split()
    if not words:
        return f"{rate_hz:g}"
    if available.lstrip().startswith("["):
        least, step, largest = (float(word) for word in words)
        steps = (rate_hz - least) / step if step else 0.0
        if least <= rate_hz <= largest and abs(steps - round(steps)) < 1e-6:
            return f"{rate_hz:g}"
        raise IioError(
            f"{name} has no rate of {rate_hz:g} Hz: it has {words[0]} to {words[2]} Hz in steps of {words[1]}"
        )
    for word in words:
        if round(float(word)) == rate_hz:
            return word
    raise IioError(f"{name} has no rate of {rate_hz:g} Hz: it has {', '.join(words)} Hz")


def why(name: str, what: str, error: OSError) -> str:
    """Say why something was refused and what would mend it."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission for {name}: add the user to a group iio, and to {RULES_FILE} the rule: {UDEV_RULE}"
    if error.errno == errno.EBUSY:
        return f"{name} is in use: another program captures from it"
    return f"{what}: {error.strerror or error}"
