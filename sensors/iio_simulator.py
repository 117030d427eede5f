"""An IIO accelerometer that does not exist: a made-up sysfs tree, and a FIFO in place of the character device."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from sensors.machine import Machine
from sensors.pacing import Pacer

CHUNK_S = 0.02
SCALE = 16 * 9.80665 / 32768  # m/s^2 per raw step: +-16 g in 16 bits
PARENT = "devices/platform/soc/i2c-1"
PIPE_BYTES = 1 << 20  # about what a kernel buffer of some seconds holds
ATOMIC_BYTES = 4096  # a write of so much to a pipe is taken whole or not at all


class SimulatedIio:
    """A tree below ``folder`` with one device; a context manager. ``root`` and ``dev`` are what the driver is given.

    It behaves as a kernel does in what the driver relies on: scans come only while ``buffer/enable`` is 1, whole ones,
    dated; a reader that is too slow loses the newest. It does not refuse a setting while the buffer is on.
    """

    def __init__(
        self,
        machine: Machine,
        folder: Path,
        *,
        name: str = "adxl355",
        label: str = "",
        number: int = 0,
        ppm: float = 0.0,
        timestamps: bool = True,
    ) -> None:
        """Nothing is made yet.

        Args:
            machine: of three channels in g.
            folder: where the tree grows; several devices may stand in one.
            number: which of them this is.
            ppm: how far the device's clock is off.
            timestamps: False makes a device whose scans carry no time.
        """
        self.machine = machine
        self.root, self.dev = folder / "bus", folder / "dev"
        self.silent = threading.Event()
        """While set, no scan is made."""
        self._name, self._label, self._ppm, self._timestamps = name, label, ppm, timestamps
        self._folder = folder / PARENT / f"1-005{number}" / f"iio:device{number}"
        self._number = number
        self._links = {
            self.root / "devices" / f"iio:device{number}": self._folder,
            self.root / "devices" / f"trigger{number}": self._folder.parent / f"trigger{number}",
        }
        self._lose: deque[int] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._fifo = -1

    def __enter__(self) -> SimulatedIio:
        """Make the tree and start to sample."""
        self._plant()
        path = self.dev / self._folder.name
        os.mkfifo(path)
        self._fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # RDWR: it does not fail while nobody reads
        fcntl.fcntl(self._fifo, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._thread = threading.Thread(target=self._run, name="simulated-iio", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unplug."""
        self.unplug()

    def write(self, file: str, value: str) -> None:
        """Change what the device says of itself."""
        path = self._folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n", "utf-8")

    def remove(self, file: str) -> None:
        """Make a device that lacks something."""
        (self._folder / file).unlink()

    def lose(self, frames: int) -> None:
        """Skip scans, as a buffer that ran over does; time goes on."""
        self._lose.append(frames)

    def unplug(self) -> None:
        """Take the device and its files away."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            for file in (self.dev / self._folder.name, *self._links):
                file.unlink(missing_ok=True)
            shutil.rmtree(self._folder.parent)
            os.close(self._fifo)

    def _plant(self) -> None:
        files = {
            "name": self._name,
            "label": self._label,
            "sampling_frequency": f"{self.machine.rate_hz}.000000",
            "sampling_frequency_available": f"125.000000 1000.000000 {self.machine.rate_hz}.000000",
            "in_accel_scale": f"{SCALE:.12f}",
            "current_timestamp_clock": "realtime",
            "trigger/current_trigger": "",
            "buffer/enable": "0",
            "buffer/length": "2",
            "buffer/watermark": "1",
            f"../trigger{self._number}/name": f"{self._name}-dev{self._number}",
        }
        for index, axis in enumerate("xyz"):
            files[f"scan_elements/in_accel_{axis}_en"] = "0"
            files[f"scan_elements/in_accel_{axis}_index"] = str(index)
            files[f"scan_elements/in_accel_{axis}_type"] = "le:s16/16>>0"
        if self._timestamps:
            files["scan_elements/in_timestamp_en"] = "0"
            files["scan_elements/in_timestamp_index"] = "3"
            files["scan_elements/in_timestamp_type"] = "le:s64/64>>0"
        for file, value in files.items():
            self.write(file, value)
        (self.root / "devices").mkdir(parents=True, exist_ok=True)
        self.dev.mkdir(parents=True, exist_ok=True)
        for link, target in self._links.items():
            link.symlink_to(target)

    def _run(self) -> None:
        rate_hz = self.machine.rate_hz * (1 + self._ppm * 1e-6)
        pacer = Pacer(rate_hz)
        frames = max(1, round(CHUNK_S * rate_hz))
        index, start_ns = 0, time.monotonic_ns()
        while not self._stop.is_set():
            pacer.wait(frames, self._stop)
            lost = self._lose.popleft() if self._lose else 0
            samples = self.machine.samples(lost + frames)[lost:]
            index += lost
            times_ns = start_ns + np.rint(np.arange(index, index + frames) * 1e9 / rate_hz).astype(np.int64)
            index += frames
            if self._says("buffer/enable") == "1" and not self.silent.is_set():
                self._write(self._scans(samples, times_ns))

    def _scans(self, samples: NDArray[np.float32], times_ns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the channels that are switched on, laid out as the kernel does: int16 each, the time aligned to 8."""
        raw = np.clip(np.rint(samples * 9.80665 / SCALE), -32768, 32767).astype("<i2")
        on = [number for number, axis in enumerate("xyz") if self._says(f"scan_elements/in_accel_{axis}_en") == "1"]
        timed = self._timestamps and self._says("scan_elements/in_timestamp_en") == "1"
        words: NDArray[np.uint8] = raw[:, on].copy().view(np.uint8).reshape(len(raw), -1)
        if not timed:
            return words
        padding = np.zeros((len(raw), 8 - words.shape[1]), np.uint8)
        stamps: NDArray[np.uint8] = times_ns.astype("<i8")[:, None].view(np.uint8)
        return np.concatenate([words, padding, stamps], axis=1)

    def _write(self, scans: NDArray[np.uint8]) -> None:
        """Write whole scans; those that find no room are lost."""
        at_once = ATOMIC_BYTES // scans.shape[1]
        for start in range(0, len(scans), at_once):
            with suppress(BlockingIOError):
                os.write(self._fifo, scans[start : start + at_once].tobytes())

    def _says(self, file: str) -> str:
        return (self._folder / file).read_text("utf-8").strip()
