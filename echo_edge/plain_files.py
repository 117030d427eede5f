"""Plain files whose names come from outside: within one folder, no links, of bounded size."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")


def plain_name(name: str) -> str:
    """The name itself; raises ValueError when it could lead out of a folder, or hide in it."""
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            f"{name[:40]!r}: a name is 1 to 81 of a-z, 0-9, '.', '_' and '-', and begins with one of a-z, 0-9"
        )
    return name


def read_plainly(path: Path, max_bytes: int) -> bytes:
    """Read a regular file whole.

    Raises:
        FileNotFoundError: there is none.
        OSError: a link, or the disk.
        ValueError: it is no regular file, or larger.
    """
    # not blocking: a pipe without a writer must not hold us up before it is refused
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size > max_bytes:
            raise ValueError(f"{path.name}: is no plain file of at most {max_bytes} bytes")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"{path.name}: has more than {max_bytes} bytes")
    return data
