"""One baseline as a file (``.eebl``) for a twin machine: a zip of manifest, vectors, signature and public key.

What is read was made by others: sizes and names are limited, nothing is extracted, and the signature is verified
before the vectors are looked at.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from dataclasses import dataclass
from pathlib import Path

from echo_edge.baseline_manifest import MAX_VECTORS_BYTES, Manifest
from echo_edge.errors import BaselineError
from echo_edge.signing import PublicKey, Purpose
from echo_edge.store import write_durably
from echo_edge.stored_zip import stored_members

SUFFIX = ".eebl"
LIMITS = {"manifest.json": 1 << 20, "vectors.npz": MAX_VECTORS_BYTES + (1 << 20), "signature": 64, "public_key": 4096}
"""Members and how many bytes each may have."""


@dataclass(frozen=True, slots=True)
class SignedBaseline:
    """What a file holds: whole and signed by ``signer``, whoever that is."""

    manifest: Manifest
    signed: bytes
    """The manifest's own bytes."""

    signature: bytes
    vectors: bytes
    signer: PublicKey

    @property
    def manifest_sha256(self) -> str:
        return hashlib.sha256(self.signed).hexdigest()


def write_file(path: Path, signed: bytes, signature: bytes, vectors: bytes, signer: PublicKey) -> None:
    """Write a file whole or not at all.

    Raises:
        BaselineError: the file is there already, or cannot be written.
    """
    if path.suffix != SUFFIX:
        raise BaselineError(f"{path}: name a file that ends in {SUFFIX}")
    if path.exists():
        raise BaselineError(f"{path}: is there already; name another file")
    buffer = io.BytesIO()
    parts = (signed, vectors, signature, signer.pem())
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in zip(LIMITS, parts, strict=True):
            archive.writestr(zipfile.ZipInfo(name), content)  # without a date: the same baseline, the same bytes
    try:
        write_durably(path, buffer.getvalue())
    except OSError as error:
        raise BaselineError(f"{path}: cannot be written: {error.strerror}") from error


def read_file(path: Path, *, follow: bool = True) -> SignedBaseline:
    """Read a file and verify that it is what its signer signed; whether to trust the signer is the caller's question.

    Args:
        follow: False: a symbolic link is refused.

    Raises:
        BaselineError: not such a file, damaged, changed since it was signed, or too large.
    """
    try:
        # not blocking: a pipe without a writer must not hold us up before it is refused
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        descriptor = os.open(path, flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > sum(LIMITS.values()) + (1 << 16):
                raise BaselineError(f"{path}: is no baseline file, or too large for one")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                members = stored_members(file.read(), str(path))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}") from error
    if set(members) != set(LIMITS):
        raise BaselineError(f"{path}: must hold exactly {', '.join(LIMITS)}")
    for name, limit in LIMITS.items():
        if len(members[name]) > limit:
            raise BaselineError(f"{path}: {name} has {len(members[name])} bytes, at most {limit} are read")
    signed, vectors, signature, pem = (members[name] for name in LIMITS)
    signer = PublicKey.from_pem(pem, f"{path}: public_key")
    if not signer.signed(Purpose.MANIFEST, signed, signature):
        raise BaselineError(f"{path}: its signature does not verify: damaged, or changed since it was exported")
    manifest = Manifest.read(signed, str(path))
    if manifest.key_id != signer.id:
        raise BaselineError(f"{path}: names key {manifest.key_id} and is signed with {signer.id}")
    if hashlib.sha256(vectors).hexdigest() != manifest.vectors_sha256:
        raise BaselineError(f"{path}: its vectors do not have the SHA-256 that was signed: damaged")
    return SignedBaseline(manifest, signed, signature, vectors, signer)
