"""Zip archives from others: members that are stored as they are, read into memory, nothing ever extracted."""

from __future__ import annotations

import io
import struct
import zipfile

from echo_edge.errors import BaselineError


def stored_members(data: bytes, where: str) -> dict[str, bytes]:
    """All members of an archive by name; ``where`` names it in the error.

    Nothing is decompressed and no member can be larger than the archive, so that no small file fills the memory.

    Raises:
        BaselineError: no archive, a damaged one, or one with compressed, encrypted, repeated or overlapping members.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if any(i.compress_type != zipfile.ZIP_STORED or i.compress_size != i.file_size for i in infos):
                raise BaselineError(f"{where}: has compressed members; such are not read")
            if len({i.filename for i in infos}) < len(infos) or sum(i.file_size for i in infos) > len(data):
                raise BaselineError(f"{where}: has members that are there twice or overlap; such are not read")
            return {i.filename: archive.read(i) for i in infos}
    # what zipfile raises for hostile bytes: RuntimeError for a password, OSError and OverflowError for offsets
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        struct.error,
        OverflowError,
    ) as error:
        raise BaselineError(f"{where}: damaged: {error}") from error
