"""Recordings as a device: played in turn, at the pace of a real device or flat out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.block import Block
from sensors.continuity import NS, wall_offset_ns
from sensors.errors import SensorEnded, SensorFault, SensorUnavailable
from sensors.pacing import Pacer
from sensors.recording import read_recording, shape_of
from sensors.source import BLOCK_S, Source, SourceInfo


@dataclass(frozen=True)
class Recording:
    """What to play of one file."""

    path: str | Path
    start_s: float = 0
    end_s: float | None = None
    """None is the file's end."""

    play_s: float | None = None
    """Play the excerpt over and over until that many seconds were delivered; None is once."""

    scale: float | None = None
    """Physical units per stored integer unit; None looks it up, see ``read_recording``."""

    unit: str | None = None


class WavFile(Source):
    """A list of recordings with the same rate, channels and unit, played one after the other."""

    def __init__(
        self,
        name: str,
        *,
        files: Sequence[Recording | Mapping[str, Any]],
        loop: bool = True,
        realtime: bool = True,
    ) -> None:
        """Nothing is read yet.

        Args:
            files: ``Recording`` or the same as a mapping.
            loop: start the list again after its end; otherwise ``read`` ends with SensorEnded.
            realtime: keep the pace of a real device; False delivers as fast as it is read.
        """
        super().__init__(name)
        if not files:
            raise ValueError("files: at least one recording is needed")
        self._files = [file if isinstance(file, Recording) else Recording(**file) for file in files]
        self._loop, self._realtime = loop, realtime
        self._stretches: Iterator[NDArray[np.float32]] | None = None

    def open(self) -> SourceInfo:
        """Check every file's header and read the first recording."""
        first = self._files[0]
        shape = self._shape(first)
        for file in self._files[1:]:
            if (other := self._shape(file)) != shape:
                raise SensorUnavailable(
                    self.name,
                    f"{first.path} has {shape[0]} Hz and {shape[1]} channels, "
                    f"{file.path} has {other[0]} Hz and {other[1]}: all must be alike",
                )
        self._rate_hz = shape[0]
        self._block_frames = max(1, round(BLOCK_S * self._rate_hz))
        self._samples, self._unit = self._load(first)
        self._playing = first
        self._pacer = Pacer(self._rate_hz)
        self._start_ns, self._frames = time.monotonic_ns(), 0
        self._stretches = self._play()
        self._now = np.zeros((0, shape[1]), dtype=np.float32)
        return SourceInfo(self._rate_hz, shape[1], self._unit, f"wavfile:{self.name}")

    def read(self) -> Block:
        """Return the next block, when it is due; one that starts an excerpt anew comes after a gap."""
        if self._stretches is None:
            raise SensorFault(self.name, "not open")
        seam = False
        if not len(self._now):
            try:
                self._now = next(self._stretches)
            except StopIteration:
                raise SensorEnded(self.name, "played to its end") from None
            except SensorUnavailable as error:
                raise SensorFault(self.name, error.message) from error
            seam = self._frames > 0
        samples, self._now = self._now[: self._block_frames], self._now[self._block_frames :]
        if self._realtime:
            self._pacer.wait(len(samples))
        start_ns, index = self._start_ns + self._frames * NS // self._rate_hz, self._frames
        self._frames += len(samples)
        self.counters["gaps"] += seam
        return Block(samples, start_ns + wall_offset_ns(), seam, 0, index, start_ns)

    def close(self) -> None:
        """Forget the samples."""
        self._stretches = None
        self._samples = self._now = np.zeros((0, 0), dtype=np.float32)

    def _play(self) -> Iterator[NDArray[np.float32]]:
        """Yield stretches without a seam inside, in the order they are to be heard."""
        while True:
            for file in self._files:
                if file is not self._playing:
                    self._samples, unit = self._load(file)
                    self._playing = file
                    if unit != self._unit:
                        raise SensorUnavailable(self.name, f"{file.path} is in {unit}, the first one in {self._unit}")
                left = len(self._samples) if file.play_s is None else round(file.play_s * self._rate_hz)
                while left > 0:
                    yield self._samples[:left]
                    left -= len(self._samples)
            if not self._loop:
                return

    def _shape(self, file: Recording) -> tuple[int, int]:
        try:
            return shape_of(file.path)
        except SensorUnavailable as error:
            raise SensorUnavailable(self.name, str(error)) from error

    def _load(self, file: Recording) -> tuple[NDArray[np.float32], str]:
        """Read one excerpt; only one is in memory at a time."""
        try:
            samples, _, unit = read_recording(file.path, file.start_s, file.end_s, file.scale, file.unit)
        except SensorUnavailable as error:
            raise SensorUnavailable(self.name, str(error)) from error
        return samples, unit
