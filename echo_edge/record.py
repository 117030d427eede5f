"""Record: a point's samples as files that enroll, replay and evaluate read back in the same units."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from echo_edge.config import Config
from echo_edge.errors import ListenError, RecordingError
from echo_edge.listen import live
from sensors import FULL_SCALE, Block, SensorError, SourceInfo, note_scale

log = logging.getLogger(__name__)

FLAC_BITS = 24
FLAC_CHANNELS = 8
LEFT_BYTES = 1 << 20  # of the disk: to end the file and note its scale


class Recorder:
    """Writes blocks to a file; after a gap a second file begins, for no file spans what was lost.

    A FLAC holds 24-bit integers: the sensor's own steps where it tells them, else 2^23 steps to its full scale. A WAV
    holds 32-bit floats. Either way ``manifest.csv`` beside it says how a stored number becomes the sensor's unit.
    A context manager; ``paths`` are the files written.

    Args:
        path: ``NAME.flac`` or ``NAME.wav``; further parts are ``NAME-2.flac`` and so on.
        info: what the device is.
        channels: which of its channels are stored.

    Raises:
        RecordingError: a FLAC of too many channels, or of a sensor that does not tell its full scale.
    """

    def __init__(self, path: Path, info: SourceInfo, channels: Sequence[int]) -> None:
        self.paths: list[Path] = []
        self.stored_s = 0.0
        self._path, self._info, self._channels = path, info, list(channels)
        self._file: soundfile.SoundFile | None = None
        self._step = self._check()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def push(self, block: Block) -> None:
        """Store a block."""
        samples = block.samples[:, self._channels]
        # asked before every write: libsndfile leaves a file that nobody can read when the disk is full
        if shutil.disk_usage(self._path.parent).free < LEFT_BYTES + samples.nbytes:
            raise RecordingError(f"{self._path.parent}: the disk is full; {self.kept()}")
        if self._file is None or block.after_gap:
            self._close()
            self._begin()
        assert self._file is not None
        try:
            self._file.write(samples if self._step is None else _codes(samples, self._step))
        except soundfile.LibsndfileError as error:
            raise RecordingError(f"{self.paths[-1]}: cannot be written: {error}; {self.kept()}") from error
        self.stored_s += len(samples) / self._info.rate_hz

    def kept(self) -> str:
        """What was stored, in words."""
        if not self.paths:
            return "nothing was stored"
        return f"{self.stored_s:.1f} s are kept in {', '.join(map(str, self.paths))}"

    def _check(self) -> float | None:
        """Return the unit per stored integer, None for a file of floats."""
        if self._path.suffix.lower() == ".wav":
            return None
        if len(self._channels) > FLAC_CHANNELS:
            raise RecordingError(f"{self._path}: FLAC holds {FLAC_CHANNELS} channels, the point has more; name it .wav")
        largest = max(self._info.full_scale[c] for c in self._channels) if self._info.full_scale else 0.0
        if not largest and self._info.unit == FULL_SCALE:
            largest = 1.0  # a sound server's floats: by their unit
        if not largest:
            raise RecordingError(f"{self._path}: a FLAC needs a full scale, which this sensor does not tell; use .wav")
        steps = {self._info.lsb[c] for c in self._channels} if self._info.lsb else set()
        finest = largest / (1 << (FLAC_BITS - 1))
        return steps.pop() if len(steps) == 1 and min(steps) >= finest else finest

    def _begin(self) -> None:
        number = len(self.paths) + 1
        path = self._path if number == 1 else self._path.with_stem(f"{self._path.stem}-{number}")
        subtype = "FLOAT" if self._step is None else "PCM_24"
        try:
            handle = path.open("xb")
            self._file = soundfile.SoundFile(
                handle, "w", self._info.rate_hz, len(self._channels), subtype, format=path.suffix[1:].upper()
            )
            self._handle = handle
        except FileExistsError as error:
            raise RecordingError(f"{path}: is there already; choose another name, nothing is overwritten") from error
        except (OSError, soundfile.LibsndfileError) as error:
            raise RecordingError(f"{path}: cannot be written: {error}") from error
        self.paths.append(path)
        try:  # at once: whatever ends the recording, what was stored has its scale
            note_scale(path, 1.0 if self._step is None else self._step, self._info.unit)
        except SensorError as error:
            raise RecordingError(str(error)) from error

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._handle.close()


def _codes(samples: NDArray[np.float32], step: float) -> NDArray[np.int32]:
    """Samples in steps, as the 24 upper bits that libsndfile takes."""
    limit = 1 << (FLAC_BITS - 1)
    return np.asarray(np.clip(np.rint(samples / step), -limit, limit - 1).astype(np.int32) << 8, dtype=np.int32)


def check_target(path: Path) -> None:
    """Refuse what cannot be written, before anybody is told that something is stored.

    Raises:
        RecordingError: another suffix, no such folder, or the file is there.
    """
    if path.suffix.lower() not in {".wav", ".flac"}:
        raise RecordingError(f"{path}: name it .flac or .wav")
    if not path.parent.is_dir():
        raise RecordingError(f"{path}: there is no folder {path.parent}; make it first")
    if path.exists():
        raise RecordingError(f"{path}: is there already; choose another name, nothing is overwritten")


def say_stored(point: str, path: Path) -> None:
    """Nothing is stored unless asked; when it is, the log says so."""
    log.warning("%s: its samples are STORED in %s, because this command asks for it", point, path)


def record(
    config: Config, point: str, path: Path, seconds: float, show: Callable[[float], None] = lambda _: None
) -> dict[str, Any]:
    """Store ``seconds`` of a point's samples; ``show`` is told how many are stored.

    Raises:
        ListenError: the device cannot be opened, or failed half-way: what was stored until then is kept.
        RecordingError: the file cannot be written.
    """
    path = path.absolute()
    check_target(path)
    with (
        live(config, point, str(path)) as (info, blocks),
        Recorder(path, info, config.points()[point].channel_numbers) as recorder,
    ):
        say_stored(point, path)
        gaps, interrupted = 0, False
        try:
            for block in blocks:
                if block is not None:
                    gaps += block.after_gap
                    recorder.push(block)
                    show(recorder.stored_s)
                if recorder.stored_s >= seconds:
                    break
        except KeyboardInterrupt:
            interrupted = True
        except ListenError as error:
            raise ListenError(f"{error}; {recorder.kept()}") from error
    return {
        "files": [str(p) for p in recorder.paths],
        "rate_hz": info.rate_hz,
        "unit": info.unit,
        "stored_s": round(recorder.stored_s, 3),
        "gaps": gaps,
        "interrupted": interrupted,
    }
