"""A file system in memory whose power can be cut: what was not synced is dropped, cut off or torn.

Started as ``python -m tests.torture.lossy_fs FOLDER``; writing ``KIND SEED`` into the file ``.cut`` cuts the power:

- ``drop``: everything since the last sync is gone;
- ``prefix``: of the writes since then, in order, only the first few happened;
- ``torn``: of their sectors of 512 bytes any may have happened, and others not.

A name that was made, moved or deleted is durable once its file or its folder is synced; until then a cut may undo it.
"""

from __future__ import annotations

import errno
import random
import stat
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import mfusepy as fuse

SECTOR_BYTES = 512
CONTROL = "/.cut"


@dataclass(eq=False)
class Node:
    """One file: as it looks, as it is on the medium, and what happened in between."""

    mode: int = 0o600
    data: bytearray = field(default_factory=bytearray)
    medium: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Offset and bytes of a write; None: truncated there."""

    def sync(self) -> None:
        for offset, written in self.pending:
            apply(self.medium, offset, written)
        self.pending.clear()

    def cut(self, kind: str, chance: random.Random) -> None:
        kept: list[tuple[int, bytes | None]] = []
        if kind == "prefix":
            kept = self.pending[: chance.randrange(len(self.pending) + 1)]
        elif kind == "torn":
            kept = [sector for op in self.pending for sector in sectors(op) if chance.random() < 0.5]
        for offset, written in kept:
            apply(self.medium, offset, written)
        self.pending.clear()
        self.data = bytearray(self.medium)


def apply(data: bytearray, offset: int, written: bytes | None) -> None:
    if written is None:
        del data[offset:]
        data.extend(bytes(offset - len(data)))
    else:
        data.extend(bytes(max(0, offset - len(data))))
        data[offset : offset + len(written)] = written


def sectors(op: tuple[int, bytes | None]) -> list[tuple[int, bytes | None]]:
    offset, written = op
    if written is None:
        return [op]
    return [(offset + at, written[at : at + SECTOR_BYTES]) for at in range(0, len(written), SECTOR_BYTES)]


class LossyFs(fuse.Operations):  # type: ignore[misc]
    """One folder of files."""

    use_ns = True

    def __init__(self) -> None:
        self._names: dict[str, Node] = {}
        self._durable: dict[str, Node] = {}
        self._open: dict[int, Node] = {}
        self._next_handle = 1
        self._control = Node()

    def _node(self, path: str) -> Node:
        if path == CONTROL:
            return self._control
        if path not in self._names:
            raise fuse.FuseOSError(errno.ENOENT)
        return self._names[path]

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
        node = self._open[fh] if fh in self._open else self._node(path)
        now_ns = time.time_ns()
        mode = stat.S_IFREG | node.mode
        return {"st_mode": mode, "st_nlink": 1, "st_size": len(node.data), "st_mtime": now_ns, "st_ctime": now_ns}

    def readdir(self, path: str, fh: int) -> list[str]:  # noqa: ARG002
        return [".", "..", *(name[1:] for name in self._names)]

    def statfs(self, path: str) -> dict[str, int]:  # noqa: ARG002
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 20, "f_bfree": 1 << 19, "f_bavail": 1 << 19}

    def create(self, path: str, mode: int, fi: Any = None) -> int:  # noqa: ARG002
        self._names[path] = Node(mode & 0o777)
        return self.open(path, 0)

    def open(self, path: str, flags: int) -> int:  # noqa: ARG002
        self._next_handle += 1
        self._open[self._next_handle] = self._node(path)
        return self._next_handle

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:  # noqa: ARG002
        return bytes(self._open[fh].data[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if path == CONTROL:
            self._cut(*data.decode().split())
            return len(data)
        node = self._open[fh]
        apply(node.data, offset, data)
        node.pending.append((offset, bytes(data)))
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        if path == CONTROL:
            return
        node = self._open[fh] if fh in self._open else self._node(path)
        apply(node.data, length, None)
        node.pending.append((length, None))

    def fsync(self, path: str, datasync: int, fh: int) -> int:  # noqa: ARG002
        node = self._open[fh]
        node.sync()
        if self._names.get(path) is node:
            self._durable[path] = node
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:  # noqa: ARG002
        self._durable = dict(self._names)
        return 0

    def unlink(self, path: str) -> None:
        del self._names[path]

    def rename(self, old: str, new: str, flags: int = 0) -> None:  # noqa: ARG002
        self._names[new] = self._names.pop(old)

    def release(self, path: str, fh: int) -> int:  # noqa: ARG002
        self._open.pop(fh, None)
        return 0

    def utimens(self, path: str, times: Any = None) -> int:  # noqa: ARG002
        return 0

    def chmod(self, path: str, mode: int) -> int:
        self._node(path).mode = mode & 0o777
        return 0

    def _cut(self, kind: str, seed: str) -> None:
        chance = random.Random(int(seed))
        for path in {*self._names, *self._durable}:
            if self._names.get(path) is not self._durable.get(path) and kind != "drop" and chance.random() < 0.5:
                if path in self._names:
                    self._durable[path] = self._names[path]
                else:
                    del self._durable[path]
        self._names = dict(self._durable)
        for node in self._names.values():
            node.cut(kind, chance)


if __name__ == "__main__":
    # nothing is cached by the kernel: it must see at once what a cut took away
    fuse.FUSE(
        LossyFs(), sys.argv[1], foreground=True, nothreads=True, attr_timeout=0, entry_timeout=0, negative_timeout=0
    )
