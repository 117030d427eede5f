"""Accelerometers that the Linux kernel drives itself (IIO): buffered capture through sysfs and a character device."""

from __future__ import annotations

import errno
import os
import re
import select
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensors.block import Block
from sensors.continuity import NS, BlockBuilder, SampleClock
from sensors.errors import SensorFault, SensorUnavailable
from sensors.iio_scan import ScanFormat, TimestampGaps
from sensors.iio_sysfs import AXES, IioDevice, IioError, find_device, why
from sensors.source import BLOCK_S, SILENCE_S, WAIT_S, Source, SourceInfo
from sensors.users import user_of

STANDARD_GRAVITY = 9.80665  # m/s^2 per g; the kernel gives every acceleration in m/s^2
BUFFER_S = 2.0  # what the kernel keeps for a reader that is late
WATERMARK_S = 0.05  # how much it gathers before it wakes us
READ_S = 0.2
TIMESTAMP = "in_timestamp"


class Iio(Source):
    """An accelerometer with a driver in the kernel; three axes are three channels of one device with one clock."""

    def __init__(
        self,
        name: str,
        *,
        device: str,
        rate_hz: int | None = None,
        axes: Sequence[str] | None = None,
        root: Path = Path("/sys/bus/iio"),
        dev: Path = Path("/dev"),
    ) -> None:
        """Nothing is opened yet.

        Args:
            device: what the device's ``name`` says, or ``NAME@MARK`` with its label, serial number or place on the bus
                where there are several. Never its number: that changes with the order in which drivers start.
            rate_hz: one that the device has; None leaves it as it is set.
            axes: channels in this order; None takes all there are.
            root: where sysfs shows the IIO devices.
            dev: where their character devices are.
        """
        super().__init__(name)
        if re.fullmatch(r"(iio:)?device\d+", device):
            raise ValueError(f"'{device}' is a number, which changes from boot to boot; write the device's name")
        if axes is not None and (not axes or len(set(axes)) < len(axes) or not set(axes) <= set(AXES)):
            raise ValueError(f"axes are some of x, y and z, each once, not {list(axes)}")
        self._wanted, self._rate_hz, self._axes = device, rate_hz, None if axes is None else tuple(axes)
        self._root, self._dev = Path(root), Path(dev)
        self._device: IioDevice | None = None
        self._file = -1
        self._ready: list[Block] = []

    @property
    def rate_ppm(self) -> float | None:
        """Measured minus nominal rate in parts per million."""
        return None if self._device is None else self._clock.rate_ppm

    def open(self) -> SourceInfo:
        """Find the device, set it up and start its buffer."""
        self.close()
        try:
            device = find_device(self._root, self._wanted)
            self._file = self._open_file(device)  # first: who has it open has the device, and we change nothing of his
            self._device = device
            info = self._set_up(device)
        except IioError as error:
            self.close()
            raise SensorUnavailable(self.name, str(error)) from error
        self._ready, self._tail = [], b""
        self._heard_s = time.monotonic()
        return info

    def read(self) -> Block | None:
        """Wait for the next block."""
        if self._device is None:
            raise SensorFault(self.name, "not open")
        deadline = time.monotonic() + WAIT_S
        while not self._ready:
            data = self._receive()
            now = time.monotonic()
            if data:
                self._heard_s = now
                self._take(data)
            elif now - self._heard_s > SILENCE_S:
                raise SensorFault(self.name, f"no samples from {self._device.name} for {SILENCE_S:.0f} s")
            if not self._ready and now > deadline:
                return None
        return self._ready.pop(0)

    def close(self) -> None:
        """Stop the buffer and close the character device; whoever comes next may change the settings."""
        device, self._device = self._device, None
        file, self._file = self._file, -1
        if device is not None:
            with suppress(IioError):  # the device is gone
                device.write(f"{device.buffer_folder}/enable", "0")
        if file >= 0:
            os.close(file)

    def settings(self) -> dict[str, str]:
        """Return the scale (the measuring range moves it), the filter and the trigger, as they are now."""
        device = self._device
        if device is None:
            return {}
        files = (
            "in_accel_scale",
            *(f"in_accel_{axis}_scale" for axis in AXES),
            "in_accel_filter_low_pass_3db_frequency",
            "trigger/current_trigger",
        )
        return {file.rpartition("/")[2]: value for file in files if (value := device.read(file))}

    def _open_file(self, device: IioDevice) -> int:
        path = self._dev / device.folder.name
        try:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            who = user_of(path) if error.errno == errno.EBUSY else ""
            said = why(device.name, f"{path} did not open", error)
            raise IioError(f"{said}: {who}" if who else said) from error

    def _set_up(self, device: IioDevice) -> SourceInfo:
        buffer = device.buffer_folder
        axes = self._axes or device.axes()
        if missing := [axis for axis in axes if axis not in device.axes()]:
            raise IioError(f"{device.name} has no axis {', '.join(missing)}: it has {', '.join(device.axes())}")
        device.write(f"{buffer}/enable", "0")  # left on by a program that was killed; nothing can be set while it is on
        device.set_trigger()
        rate_hz = device.set_rate(self._rate_hz)
        names = [f"in_accel_{axis}" for axis in axes]
        timed = (device.folder / device.scan_folder / f"{TIMESTAMP}_en").exists()
        switched_on = [*names, TIMESTAMP] if timed else names
        device.switch_on(switched_on)
        with suppress(IioError):  # an older kernel: its times then follow the system clock, and a step of that is a gap
            if device.read("current_timestamp_clock") not in ("", "monotonic"):
                device.write("current_timestamp_clock", "monotonic")
        device.write(f"{buffer}/length", str(max(2, round(BUFFER_S * rate_hz))))
        if (device.folder / buffer / "watermark").exists():
            device.write(f"{buffer}/watermark", str(max(1, round(WATERMARK_S * rate_hz))))
        elements = [device.element(name) for name in switched_on]
        self._format = ScanFormat(elements)
        self._names = names
        self._scale, self._offset = _scales(device, names)
        self._period_ns = NS / rate_hz
        self._gaps = TimestampGaps(rate_hz) if timed else None
        self._read_bytes = max(1, round(READ_S * rate_hz)) * self._format.scan_bytes
        self._drain()
        device.write(f"{buffer}/enable", "1")
        self._clock = SampleClock(rate_hz)
        self._blocks = BlockBuilder(self._clock, max(1, round(BLOCK_S * rate_hz)))
        largest = [self._format.elements[name].largest for name in names]
        full_scale = (np.array(largest) + np.abs(self._offset)) * np.abs(self._scale)
        return SourceInfo(
            round(rate_hz),
            len(axes),
            "g",
            device.identity,
            full_scale=tuple(full_scale.tolist()),
            lsb=tuple(np.abs(self._scale).tolist()),
            gravity=set(axes) == set(AXES),
            calibration="sensor",
            settings=self.settings(),
        )

    def _receive(self) -> bytes:
        """Return whole scans, waiting for some at most ``READ_S``."""
        assert self._device is not None
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        events = poll.poll(READ_S * 1000)
        if not events:
            return b""
        try:
            data = os.read(self._file, self._read_bytes)
        except BlockingIOError:
            if not events[0][1] & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                return b""
            data = b""
        except OSError as error:  # ENODEV, EIO: unplugged, or its driver was unloaded
            raise SensorFault(self.name, f"{self._device.name} failed: {error.strerror}") from error
        if not data:
            raise SensorFault(self.name, f"{self._device.name} is gone")
        if len(data) % self._format.scan_bytes:
            raise SensorFault(self.name, f"{self._device.name} sent {len(data)} bytes, which are no whole scans")
        return data

    def _take(self, data: bytes) -> None:
        arrival_ns = time.monotonic_ns()
        size = self._format.scan_bytes
        data = self._tail + data
        raw = self._format.decode(data)
        gaps = [] if self._gaps is None else self._gaps.push(raw[TIMESTAMP])
        waiting = 0 if self._gaps is None else min(TimestampGaps.AHEAD, len(data) // size)
        frames = len(data) // size - waiting
        self._tail = data[frames * size :]
        values = self._values(raw)
        starts = [(0, None), *gaps] if not gaps or gaps[0][0] > 0 else gaps
        ends = [position for position, _ in starts[1:]] + [frames]
        for (start, lost), end in zip(starts, ends, strict=True):
            if end == start:
                continue
            self.counters["gaps"] += lost is not None
            self.counters["lost_frames"] += lost or 0
            arrived_ns = arrival_ns - round((frames + waiting - end) * self._period_ns)
            run = values[start:end]
            self._ready += self._blocks.push(run, arrived_ns, gap=lost is not None, lost_frames=lost or 0)
        self.counters["jumps"] = max(self.counters["jumps"], self._clock.jumps)

    def _values(self, raw: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return shape (scans, axes) in g."""
        stored = np.stack([raw[name] for name in self._names], axis=1)
        return ((stored + self._offset) * self._scale).astype(np.float32)

    def _drain(self) -> None:
        """Throw away what an earlier capture left in the buffer."""
        with suppress(OSError):
            while os.read(self._file, 1 << 16):
                pass


def _scales(device: IioDevice, names: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return g per raw step and the raw offset of each channel.

    Raises:
        IioError: the driver does not tell the scale, and a guess would look like a measurement.
    """
    scales, offsets = [], []
    for name in names:
        scale = device.number(f"{name}_scale", "in_accel_scale")
        if not scale:
            raise IioError(f"{device.name} does not tell the scale of {name}: it cannot be calibrated")
        scales.append(scale / STANDARD_GRAVITY)
        offsets.append(device.number(f"{name}_offset", "in_accel_offset") or 0.0)
    return np.array(scales), np.array(offsets)
