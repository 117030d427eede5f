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
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
# What the two libraries raise for damage: OSError, EOFError and zlib.error from the compressed stream, RuntimeError
# for an encrypted member, NotImplementedError for a method they do not know, KeyError for a member that is not there,
# UnicodeDecodeError for its name.
DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    UnicodeDecodeError,
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
    with tarfile.open(path) as tar:
        return _in_memory(tar, member)


def members(path: Path) -> Iterator[tuple[str, Callable[[], BinaryIO]]]:
    """Yield every file of an archive: its name, and how to open it before the next is asked for.

    Raises one of ``DAMAGE`` where the archive is damaged; opening raises one where the member is.
    """
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, partial(_unzipped, archive, entry)
        return
    with tarfile.open(path) as tar:
        for item in tar:
            if item.isfile():
                yield item.name, partial(_in_memory, tar, item)


def _unzipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    return io.BytesIO(archive.read(entry))


def _in_memory(tar: tarfile.TarFile, item: tarfile.TarInfo | str) -> BinaryIO:
    file = tar.extractfile(item)
    if file is None:
        raise KeyError(f"{item} is no file")
    data = file.read()
    size = tar.getmember(item).size if isinstance(item, str) else item.size
    if len(data) < size:
        raise EOFError(f"{len(data)} of {size} bytes are there")
    return io.BytesIO(data)


@lru_cache(maxsize=64)
def _tar_index(path: Path, changed_ns: int) -> dict[str, tuple[int, int]]:  # noqa: ARG001 - part of the key
    with tarfile.open(path, "r:") as archive:
        return {item.name: (item.offset_data, item.size) for item in archive if item.isfile()}
