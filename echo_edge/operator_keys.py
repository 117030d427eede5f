"""Keys of operators: what signs an order, what checks it, and the files that they lie in.

A file holds one line: 32 bytes in base64url of a shared secret (HMAC-SHA256), or ``ed25519`` and 32 bytes in base64url
of a private key, which only the operator needs. base64url is without padding here, and each value has one spelling.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from echo_edge.credentials import credential
from echo_edge.errors import ConfigError

KEY_BYTES = 32
PRIVATE = "ed25519 "  # what stands before a private key in its file


def b64u(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64u(text: str) -> bytes:
    """Raises ValueError for anything that ``b64u`` would have written otherwise."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("is not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("is not base64url without padding") from error
    if b64u(data) != text:
        raise ValueError("is not base64url as it is written")
    return data


@dataclass(frozen=True, slots=True)
class SharedKey:
    """HMAC-SHA256: whoever can check a signature can make one."""

    secret: bytes = field(repr=False)
    """32 bytes."""

    def sign(self, data: bytes) -> bytes:
        """32 bytes."""
        return hmac.new(self.secret, data, hashlib.sha256).digest()

    def verify(self, data: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(data), signature)

    @property
    def id(self) -> str:
        """Tells keys apart without telling the key: 16 hexadecimal digits."""
        return self.sign(b"echo-edge key id 1").hex()[:16]

    def line(self) -> str:
        """What its file holds."""
        return b64u(self.secret)


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """The half of an Ed25519 key that checks."""

    raw: bytes
    """32 bytes."""

    def verify(self, data: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True

    @property
    def id(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """The half of an Ed25519 key that signs; the gateway never has it."""

    seed: bytes = field(repr=False)
    """32 bytes."""

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(data)

    @property
    def public(self) -> VerifyKey:
        return VerifyKey(Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def line(self) -> str:
        return PRIVATE + b64u(self.seed)


Signer = SharedKey | PrivateKey
Verifier = SharedKey | VerifyKey


def make_key(*, ed25519: bool) -> Signer:
    """A new key, from the operating system's random numbers."""
    secret = secrets.token_bytes(KEY_BYTES)
    return PrivateKey(secret) if ed25519 else SharedKey(secret)


def parse_public(text: str) -> VerifyKey:
    """Raises ValueError when it is no Ed25519 public key in base64url."""
    raw = from_b64u(text)
    if len(raw) != KEY_BYTES:
        raise ValueError(f"has {len(raw)} bytes; an Ed25519 public key has {KEY_BYTES}")
    Ed25519PublicKey.from_public_bytes(raw)
    return VerifyKey(raw)


def read_key(path: Path) -> Signer:
    """Read a key file, as ``echo-edge operator key`` makes it.

    Raises:
        ConfigError: it cannot be read, others could read it, too, or it holds no key.
    """
    try:
        with path.open(encoding="ascii") as file:
            mode = path.stat().st_mode
            line = file.readline(256).strip()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: holds no key in its first line"]) from error
    if mode & 0o077:
        raise ConfigError([f"{path}: can be read by others; chmod 600 {path}"])
    return _parse(line, path)


def read_credential(folder: str | None, name: str, where: str) -> Signer:
    """The key in a systemd credential; its permissions are systemd's.

    Raises:
        ConfigError: there is none of this name, or it holds no key.
    """
    path = credential(folder, name, where)
    try:
        line = path.read_text("ascii").splitlines()[0].strip()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (UnicodeDecodeError, IndexError) as error:
        raise ConfigError([f"{path}: holds no key in its first line"]) from error
    return _parse(line, path)


def write_key(path: Path, key: Signer) -> None:
    """Write a key to a file that does not exist yet, and that only its owner can read.

    Raises:
        ConfigError: it is there already, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key.line() + "\n")
            file.flush()
            os.fsync(descriptor)
    except FileExistsError as error:
        raise ConfigError([f"{path}: is there already, and keys are not overwritten; move it away first"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written: {error.strerror}"]) from error


def _parse(line: str, path: Path) -> Signer:
    private = line.startswith(PRIVATE)
    try:
        secret = from_b64u(line.removeprefix(PRIVATE))
    except ValueError as error:
        raise ConfigError([f"{path}: its first line {error}; make one with 'echo-edge operator key NAME'"]) from error
    if len(secret) != KEY_BYTES:
        raise ConfigError(
            [f"{path}: its key has {len(secret)} bytes, not {KEY_BYTES}; make one with 'echo-edge operator key NAME'"]
        )
    return PrivateKey(secret) if private else SharedKey(secret)
