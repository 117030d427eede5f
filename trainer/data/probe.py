"""Look into one file and say what recordings it holds, by decoding all of it, or why it holds none that can be used."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import soundfile

from trainer.data.containers import DAMAGE, is_archive, members
from trainer.data.decode import SOUND, TABLE
from trainer.data.labels import Label, LabelError, make_label
from trainer.data.tables import TableError, read_csv, read_mat

MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM", b".snd", b"ID3")
BLOCK_FRAMES = 1 << 18
SILENCE = 2.0**-15  # one step of 16 bit: what a silent file has left after a lossy codec
UNKNOWN_LENGTH = 1 << 40


@dataclass(frozen=True, slots=True)
class Found:
    """A recording that decodes."""

    inner: str
    """``#`` and what to open inside the file; empty for a plain file."""
    rate_hz: int | None
    channels: int
    frames: int
    sha256: str
    silent: bool
    label: Label = field(default_factory=Label)
    """What lies beside it in the archive."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was not used, and why: a reason to count by, and its particulars."""

    name: str
    reason: str
    detail: str = ""


class _UnusableError(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def probe(path: Path) -> list[Found | LeftOut]:
    """Return what a file holds, names relative to it; never raises for what is wrong with the file."""
    try:
        if path.stat().st_size == 0:
            return [LeftOut("", "empty file")]
        if is_archive(path.name):
            return _archive(path)
        with path.open("rb") as file:
            return list(_signals(path.name, file))
    except (_UnusableError, *DAMAGE) as error:
        return [_left_out("", error)]


def is_utf8(name: str) -> bool:
    """Whether a name from a disk or an archive can be written into a manifest."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _archive(path: Path) -> list[Found | LeftOut]:
    """Look at every member; a sample's JSON (WebDataset: same name up to the first dot) may give rate and licence."""
    results: list[tuple[str, Found | LeftOut]] = []
    labels: dict[str, Label] = {}
    try:
        for member, opened in members(path):
            name = PurePosixPath(member)
            key = str(name.parent / name.name.split(".", 1)[0])
            if not is_utf8(member):
                results.append((key, LeftOut(ascii(f"#{member}"), "name is not UTF-8", "rename it")))
                continue
            try:
                with opened() as file:
                    if name.suffix.lower() == ".json":
                        labels[key] = _sidecar(file)
                    else:
                        results += [(key, _inside(member, item)) for item in _signals(member, file)]
            except (_UnusableError, *DAMAGE) as error:
                results.append((key, _left_out(f"#{member}", error)))
    except DAMAGE as error:
        results.append(("", _left_out("", error)))
    return [
        replace(found, label=labels.get(key, Label())) if isinstance(found, Found) else found for key, found in results
    ]


def _signals(name: str, file: BinaryIO) -> Iterator[Found | LeftOut]:
    """Decode one file of any kind; raises ``_UnusableError`` or one of ``DAMAGE``."""
    kind = PurePosixPath(name).suffix.lower()
    if kind not in (*SOUND, *TABLE):
        head = file.read(4)
        file.seek(0)
        if not head.startswith(MAGIC):
            raise _UnusableError("not a recording", kind or "no suffix")
    if not file.read(1):
        raise _UnusableError("empty file")
    file.seek(0)
    digest = sha256()
    while data := file.read(1 << 20):
        digest.update(data)
    file.seek(0)
    if kind in TABLE:
        yield from _tables(kind, file, digest.hexdigest())
    else:
        yield _sound(file, digest.hexdigest())


def _sound(file: BinaryIO, digest: str) -> Found:
    frames, low, high = 0, np.inf, -np.inf
    try:
        with soundfile.SoundFile(file) as sound:
            rate_hz, channels, promised = int(sound.samplerate), int(sound.channels), int(sound.frames)
            while len(block := sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
                if not np.isfinite(block).all():
                    raise _UnusableError("not finite", "holds samples that are NaN or infinite")
                frames += len(block)
                low, high = min(low, float(block.min())), max(high, float(block.max()))
    except soundfile.SoundFileError as error:
        raise _UnusableError("unreadable", str(error)) from error
    if promised > UNKNOWN_LENGTH:
        raise _UnusableError("unreadable", "its header does not say how long it is: encode it again")
    if frames < promised:
        raise _UnusableError("damaged", f"{frames} of {promised} samples can be decoded")
    if frames == 0:
        raise _UnusableError("empty file", "holds no samples")
    return Found("", rate_hz, channels, frames, digest, silent=high - low < SILENCE)


def _tables(kind: str, file: BinaryIO, digest: str) -> Iterator[Found | LeftOut]:
    try:
        tables = {"": read_csv(file)} if kind == ".csv" else read_mat(io.BytesIO(file.read()))
    except TableError as error:
        raise _UnusableError("unreadable", str(error)) from error
    if not tables:
        raise _UnusableError("not a recording", "holds no signal of 64 numbers or more")
    for name, table in tables.items():
        inner = f"#{name}" if name else ""
        if np.isfinite(table).all():
            yield Found(inner, None, table.shape[1], table.shape[0], digest, silent=float(np.ptp(table)) == 0)
        else:
            yield LeftOut(inner, "not finite", "holds values that are NaN or infinite")


def _inside(member: str, item: Found | LeftOut) -> Found | LeftOut:
    if isinstance(item, Found):
        return replace(item, inner=f"#{member}{item.inner}")
    return replace(item, name=f"#{member}{item.name}")


def _sidecar(file: BinaryIO) -> Label:
    try:
        stored: Any = json.loads(file.read())
        values = {str(key).lower(): str(value) for key, value in stored.items()} if isinstance(stored, dict) else {}
        return make_label(values, "", lambda _: None)
    except (ValueError, LabelError):
        return Label()  # what else a shard's JSON may be is none of ours


def _left_out(name: str, error: BaseException) -> LeftOut:
    if isinstance(error, _UnusableError):
        return LeftOut(name, error.reason, error.detail)
    return LeftOut(name, "unreadable", f"{type(error).__name__}: {error}")
