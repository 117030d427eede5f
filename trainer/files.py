"""Files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path


def publish(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that a reader, or a power cut, finds the old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk, half a file would keep it full
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
