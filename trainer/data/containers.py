"""Files inside files: members of tar and zip archives, opened without unpacking the rest.

A plain tar is indexed once and read in place; a zip member or a member of a compressed tar is unpacked into memory.
Seeking in a compressed tar means unpacking all that is before: for training, keep shards as plain tar.
"""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
# What the two libraries raise for damage: OSError, EOFError and zlib.error from the compressed stream, RuntimeError
# for an encrypted member, NotImplementedError for a method they do not know, KeyError for a member that is not there.
DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


class Slice(io.RawIOBase):
    """A stretch of an open file as a file of its own, which libsndfile can seek in."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._at = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._offset + self._at)
        data = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def is_archive(name: str) -> bool:
    """Whether a file's name says that others are inside."""
    return name.lower().endswith(ARCHIVES)


def open_member(path: Path, member: str) -> BinaryIO:
    """Open one member of an archive for reading and seeking; raises one of ``DAMAGE``."""
    if path.name.lower().endswith(".tar"):
        offset, size = _tar_index(path, path.stat().st_mtime_ns)[member]
        return Slice(path.open("rb"), offset, size)  # type: ignore[return-value]
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            return io.BytesIO(archive.read(member))
    with tarfile.open(path) as archive:
        file = archive.extractfile(member)
        if file is None:
            raise KeyError(f"{member} is no file")
        return io.BytesIO(file.read())


def members(path: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Yield every file of an archive with its name, in one pass; raises one of ``DAMAGE`` where it is damaged."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, io.BytesIO(archive.read(entry))
        return
    with tarfile.open(path) as archive:
        for item in archive:
            file = archive.extractfile(item) if item.isfile() else None
            if file is not None:
                yield item.name, io.BytesIO(file.read())


@lru_cache(maxsize=64)
def _tar_index(path: Path, changed_ns: int) -> dict[str, tuple[int, int]]:  # noqa: ARG001 - part of the key
    with tarfile.open(path, "r:") as archive:
        return {item.name: (item.offset_data, item.size) for item in archive if item.isfile()}
