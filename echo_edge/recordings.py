"""Recordings on disk -> windows, cut exactly as a live stream is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from echo_edge.errors import RecordingError
from echo_edge.records import Window
from echo_edge.windows import Windower
from sensors import Block, SensorError, read_recording

SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True, slots=True)
class Recording:
    """One file and the windows cut from it."""

    path: Path
    start_ns: int
    end_ns: int
    windows: list[Window]


def cut_recordings(
    point: str,
    channels: list[int],
    length_s: float,
    hop_s: float,
    files: Sequence[Path],
    scale: float | Mapping[Path, float] | None = None,
    starts_ns: Sequence[int] | None = None,
) -> Iterator[Recording]:
    """Cut recordings into windows, one file in memory at a time.

    No window spans two files.

    Args:
        scale: physical units per stored unit, of all or of some; None takes it from a ``manifest.csv`` beside the file.
        starts_ns: when each file begins, none before another's end; None lets the first begin in 1970 and each follow
            on the one before.

    Raises:
        RecordingError: names the file and what is wrong with it: missing, empty, not audio, truncated, not finite, of
            another rate or unit than the first, without the channel, or shorter than a window.
    """
    rate_hz, unit, end_ns = 0, "", 0
    for i, path in enumerate(files):
        its_scale = scale.get(path) if isinstance(scale, Mapping) else scale
        try:
            samples, rate, its_unit = read_recording(path, scale=its_scale)
        except SensorError as error:
            raise RecordingError(str(error)) from error
        if rate_hz and (rate, its_unit) != (rate_hz, unit):
            raise RecordingError(
                f"{path}: is {rate} Hz in {its_unit}, {files[0]} is {rate_hz} Hz in {unit}; "
                "one baseline needs one rate and one unit"
            )
        rate_hz, unit = rate, its_unit
        if max(channels) >= samples.shape[1]:
            raise RecordingError(f"{path}: has {samples.shape[1]} channel(s); {point} needs channel {max(channels)}")
        start_ns = end_ns if starts_ns is None else starts_ns[i]
        try:
            windower = Windower(point, channels, rate_hz, length_s, hop_s, unit)
        except ValueError as error:
            raise RecordingError(f"{path}: window of {length_s:g} s at {rate_hz} Hz: {error}") from error
        cut = windower.push(Block(samples, start_ns, after_gap=True))
        if not cut:
            raise RecordingError(
                f"{path}: lasts {len(samples) / rate_hz:.3f} s, shorter than one window of {length_s:g} s"
            )
        end_ns = start_ns + len(samples) * 1_000_000_000 // rate_hz
        yield Recording(path, start_ns, end_ns, cut)


def recorded_windows(
    point: str, channels: list[int], length_s: float, hop_s: float, files: Sequence[Path], scale: float | None = None
) -> Iterator[Window]:
    """The windows of ``cut_recordings``, one after the other from 1970 on."""
    for recording in cut_recordings(point, channels, length_s, hop_s, files, scale):
        yield from recording.windows


def recordings_in(path: Path) -> list[Path]:
    """A file itself, or every WAV and FLAC below a folder, in order of name.

    Raises:
        RecordingError: there is none.
    """
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise RecordingError(f"{path}: there is no WAV or FLAC file in this folder")
        return found
    return [path]
