"""Small recordings for tests: their samples carry their own index, so that a crop shows where it comes from."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ = 16_000


def counting(frames: int = RATE_HZ, channels: int = 1) -> NDArray[np.float32]:
    """Sample n of channel c is (n + 1 + 1000 c) / 2**15, exact in 16 bit; shape (frames, channels)."""
    steps = (np.arange(frames)[:, None] + 1 + 1000 * np.arange(channels)) % 2**14
    return (steps / 2**15).astype(np.float32)


def noise(seed: int = 0, frames: int = RATE_HZ, channels: int = 1) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal((frames, channels))).astype(np.float32)


def write_sound(path: Path, samples: NDArray[np.float32] | None = None, rate_hz: int = RATE_HZ) -> Path:
    """Write ``samples`` (noise of its own, seeded by the name, when None) in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sound_bytes(path.name, samples, rate_hz))
    return path


def sound_bytes(name: str, samples: NDArray[np.float32] | None = None, rate_hz: int = RATE_HZ) -> bytes:
    if samples is None:
        samples = noise(sum(name.encode()))
    kinds = {
        ".opus": ("OGG", "OPUS"),
        ".ogg": ("OGG", "VORBIS"),
        ".mp3": ("MP3", None),
        ".flac": ("FLAC", "PCM_16"),
        ".aiff": ("AIFF", "PCM_16"),
    }
    kind, subtype = kinds.get(Path(name).suffix, ("WAV", "PCM_16"))
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    mode = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode, errors="surrogateescape") as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path
