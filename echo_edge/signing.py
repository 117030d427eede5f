"""Keys: the gateway signs what it enrolled (ed25519), so that a row changed or brought in by others is found.

The private key is made at first need and never leaves the state folder; its public half goes with every export.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from echo_edge.errors import BaselineError
from echo_edge.store import write_durably

KEY_FILE, PUBLIC_FILE = "signing.key", "signing.pub"
# What stands before the 32 bytes of an ed25519 key in DER (RFC 8410). Compared, not parsed: the library's parser takes
# other kinds of keys, too, and was seen to raise an internal error on a damaged file.
PUBLIC_DER = bytes.fromhex("302a300506032b6570032100")
PRIVATE_DER = bytes.fromhex("302e020100300506032b657004220420")
PEM = re.compile(rb"-----BEGIN (?:PUBLIC|PRIVATE) KEY-----\s([A-Za-z0-9+/]{59,64}=?)\s+-----END [A-Z]+ KEY-----\s*")


class Purpose(Enum):
    """What a signature says; it stands before the signed bytes, so that none can be passed off for another."""

    MANIFEST = b"echo-edge baseline manifest 1\0"
    ACTIVE = b"echo-edge active baseline 1\0"
    AUDIT_HEAD = b"echo-edge audit head 1\0"
    TRUST = b"echo-edge trusted key 1\0"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The half of a key that checks signatures."""

    raw: bytes
    """32 bytes."""

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the key's SHA-256: short enough to be compared by eye."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @classmethod
    def from_pem(cls, pem: bytes, where: str) -> PublicKey:
        """Read a public key; ``where`` names it in the error.

        Raises:
            BaselineError: it is none, or not an ed25519 key.
        """
        raw = _from_pem(pem, PUBLIC_DER)
        if raw is None:
            raise BaselineError(f"{where}: is no ed25519 public key (PEM); take {PUBLIC_FILE} of the other gateway")
        return cls(raw)

    def pem(self) -> bytes:
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def signed(self, purpose: Purpose, data: bytes, signature: bytes) -> bool:
        """True when the owner of this key signed exactly this, for this purpose."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, purpose.value + data)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The gateway's own key."""

    _private: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(self._private.public_key().public_bytes_raw())

    @classmethod
    def new(cls) -> SigningKey:
        """One that is stored nowhere yet."""
        return cls(Ed25519PrivateKey.generate())

    def sign(self, purpose: Purpose, data: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(purpose.value + data)

    def pem(self) -> bytes:
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def load_key(folder: Path) -> SigningKey | None:
    """The key of this state folder; None when none was made yet, or it was lost.

    Raises:
        BaselineError: the file is there and holds no key.
    """
    path = folder / KEY_FILE
    try:
        raw = _from_pem(path.read_bytes(), PRIVATE_DER)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}") from error
    if raw is None:
        raise BaselineError(f"{path}: is damaged; put it back from a backup, or move it away and enroll again")
    return SigningKey(Ed25519PrivateKey.from_private_bytes(raw))


def make_key(folder: Path) -> SigningKey:
    """Make the key of this state folder; its public half is stored beside it, to be given to other gateways.

    Raises:
        BaselineError: the disk.
    """
    key = SigningKey.new()
    try:
        write_durably(folder / PUBLIC_FILE, key.public.pem(), 0o644)
        write_durably(folder / KEY_FILE, key.pem(), 0o600)
    except OSError as error:
        raise BaselineError(f"{folder / KEY_FILE}: cannot be written: {error.strerror}; look at the disk") from error
    return key


def _from_pem(pem: bytes, start: bytes) -> bytes | None:
    """The 32 bytes of a key; None when there is anything else."""
    found = PEM.fullmatch(pem)
    try:
        der = base64.b64decode(found[1]) if found else b""
    except ValueError:
        return None
    return der[len(start) :] if der.startswith(start) and len(der) == len(start) + 32 else None
