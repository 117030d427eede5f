"""Clips in, vectors out: decoded by several processes, embedded in batches, kept on disk, so that a run goes on where
it stopped.

A vector is kept under the encoder's digest, the code that makes vectors, the file's bytes and how it is read. Under
``torchrun`` every process takes its share of the files, and the first one then reads what all have kept.

Shape suffixes: C = channels, S = samples, D = length of a vector.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

import echo_edge.frontend
from trainer.distributed import World
from trainer.siren.encoders.base import Encoder, FloatArray, Mode
from trainer.siren.errors import ScoringError, SirenError, TreeError
from trainer.siren.reading import content_key, decode, file_bytes
from trainer.siren.tasks.base import Clip

BATCH_SAMPLES = 16 * 160_000  # of all channels together: sixteen clips of ten seconds at 16 kHz
FEW = 64  # so few files are read faster than processes start

TRAINER = Path(__file__).resolve().parents[1]
MAKE_VECTORS = (
    Path(str(echo_edge.frontend.__file__)),
    *sorted((TRAINER / "siren" / "encoders").glob("*.py")),
    *(
        TRAINER / name
        for name in (
            "data/matfile.py",
            "evaluation/contestants.py",
            "evaluation/features.py",
            "frontend.py",
            "model/echo.py",
            "siren/reading.py",
        )
    ),
)
"""The code on the way from a file to a vector."""

Step = Callable[[int, int], None]
"""Told how many clips are done, of how many."""


@dataclass(slots=True)
class Features:
    """What became of every clip."""

    vectors: dict[str, FloatArray] = field(default_factory=dict)
    """By name, shape (C, D)."""

    failures: dict[str, str] = field(default_factory=dict)
    """By name: why there is no vector."""

    rates: dict[str, int] = field(default_factory=dict)
    """By name: the rate the file itself says, Hz."""

    def check(self, count: int, mode: Mode) -> None:
        """Raise ScoringError when none of ``count`` clips has a vector, or, in strict mode, when one has none."""
        if not self.vectors or (self.failures and mode == "strict"):
            first = next(iter(self.failures.values()), "there are no clips")
            raise ScoringError(f"{len(self.failures)} of {count} clips have no vector; the first: {first}")


@dataclass(frozen=True, slots=True)
class _Read:
    """What a reading process hands over: the vector kept from before, or the samples, or why there are none."""

    clip: Clip
    place: Path | None = None
    kept: tuple[FloatArray, int] | None = None
    signal: FloatArray | None = None
    file_rate_hz: int = 0
    failure: str = ""


class _Reader(Dataset[_Read]):
    def __init__(self, clips: Sequence[Clip], folder: Path) -> None:
        self._clips, self._folder = clips, folder

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> _Read:
        clip = self._clips[index]
        try:
            data = file_bytes(clip)
            key = content_key(clip, data)
            place = self._folder / key[:2] / f"{key}.npz"
            if kept := _kept(place):
                return _Read(clip, place, kept)
            heard = decode(clip, data)
            return _Read(clip, place, signal=heard.signal, file_rate_hz=heard.file_rate_hz)
        except TreeError as error:
            return _Read(clip, failure=str(error))


def embed_clips(
    encoder: Encoder,
    clips: Sequence[Clip],
    folder: Path,
    *,
    here: World | None = None,
    workers: int = 2,
    progress: Step = lambda *_: None,
) -> Features:
    """Return the vectors of all clips, from ``folder`` as far as it has them.

    Of several processes only the one that leads has all of them afterwards.

    Args:
        folder: the cache; made where it is missing.
        workers: processes that read and decode; 0 reads in this one.
    Raises:
        SirenError: the cache cannot be written.
    """
    here = here or World()
    home = folder / key_of(encoder)[:24]
    try:
        home.mkdir(parents=True, exist_ok=True)
        if here.size == 1:
            return _embed(encoder, clips, home, workers, progress)
        share = clips[here.rank :: here.size]
        mine = _embed(encoder, share, home, workers, lambda done, _: progress(done * here.size, len(clips)))
        failures = [json.loads(words) for words in here.gather(json.dumps(mine.failures))]
        if not here.leads:
            return mine
        lost = {name: why for each in failures for name, why in each.items()}
        found = _embed(encoder, [c for c in clips if c.name not in lost], home, workers, lambda *_: None)
    except OSError as error:
        raise SirenError(f"{folder}: the cache cannot be written: {error}") from error
    found.failures.update(lost)
    return found


def _embed(encoder: Encoder, clips: Sequence[Clip], home: Path, workers: int, progress: Step) -> Features:
    found, done = Features(), 0
    for batch in _batches(clips, home, workers):
        for read, vector in zip(batch, _vectors(encoder, batch), strict=True):
            name = read.clip.name
            if isinstance(vector, str):
                found.failures[name] = vector
            else:
                found.vectors[name] = vector
                found.rates[name] = read.kept[1] if read.kept else read.file_rate_hz
                if read.kept is None and read.place is not None:
                    _keep(read.place, vector, read.file_rate_hz)
        done += len(batch)
        progress(done, len(clips))
    return found


def _batches(clips: Sequence[Clip], home: Path, workers: int) -> Iterator[list[_Read]]:
    """Yield what is read: what needs no encoder at once, samples of one rate together until a batch is full."""
    workers = workers if len(clips) > FEW else 0
    loader = DataLoader(_Reader(clips, home), batch_size=None, num_workers=workers, collate_fn=_as_it_is)
    waiting: list[_Read] = []
    for read in loader:
        if read.signal is None:
            yield [read]
            continue
        if waiting and waiting[0].clip.rate_hz != read.clip.rate_hz:
            yield waiting
            waiting = []
        waiting.append(read)
        if sum(each.signal.size for each in waiting if each.signal is not None) >= BATCH_SAMPLES:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _vectors(encoder: Encoder, batch: Sequence[_Read]) -> list[FloatArray | str]:
    """Return the vectors of a batch, or why there is none; a clip the encoder refuses does not take others along."""
    if batch[0].signal is None:
        return [read.kept[0] if read.kept else read.failure for read in batch]
    signals = [read.signal for read in batch if read.signal is not None]
    rate_hz = batch[0].clip.rate_hz
    try:
        vectors: list[FloatArray | str] = list(encoder.embed_batch(signals, rate_hz))
    except ValueError as error:
        if len(batch) == 1:
            return [f"{batch[0].clip.path}: {encoder.name}: {error}"]
        return [vector for read in batch for vector in _vectors(encoder, [read])]
    return [
        vector if np.isfinite(vector).all() else f"{read.clip.path}: {encoder.name}: the vector holds NaN or infinity"
        for read, vector in zip(batch, vectors, strict=True)
    ]


def _kept(place: Path) -> tuple[FloatArray, int] | None:
    """Return vector and rate kept at ``place``; a file that is damaged counts as none, and is made again."""
    try:
        with np.load(place, allow_pickle=False) as stored:
            vector = np.asarray(stored["vector"], np.float32)
            whole = hashlib.sha256(vector.tobytes()).hexdigest() == str(stored["sha256"])
            return (vector, int(stored["rate_hz"])) if whole else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _keep(place: Path, vector: FloatArray, rate_hz: int) -> None:
    buffer = io.BytesIO()
    digest = hashlib.sha256(vector.tobytes()).hexdigest()
    np.savez(buffer, vector=vector, rate_hz=np.int64(rate_hz), sha256=np.array(digest))
    place.parent.mkdir(exist_ok=True)
    # A name of its own, since two processes may keep the same vector; not forced to the disk, since the digest tells.
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(place)


def key_of(encoder: Encoder) -> str:
    """Return the SHA-256, in hex, of the encoder, its weights and the code: vectors of two keys are never mixed."""
    made = type(encoder)
    return hashlib.sha256(
        f"{made.__module__}|{made.__qualname__}|{encoder.name}|{encoder.digest}|{_code()}".encode()
    ).hexdigest()


@cache
def _code() -> str:
    """Return the hash of everything that turns samples into vectors: after a change of it, nothing kept is used."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in MAKE_VECTORS)).hexdigest()


def _as_it_is(read: Any) -> Any:
    return read
