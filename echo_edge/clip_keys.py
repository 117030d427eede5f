"""Clip keys: the two halves of the X25519 key that clips are encrypted to and opened with."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from echo_edge.errors import ClipError


def read_public_key(path: Path) -> X25519PublicKey:
    """Read the key that clips are encrypted to.

    Raises:
        ValueError: it is none, or the private half, which must not lie here.
        OSError: it cannot be read.
    """
    pem = path.read_bytes()
    if b"PRIVATE KEY" in pem:
        raise ValueError(f"{path}: is a private key, which must not be on the gateway; give its public half")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{path}: is no public key in PEM") from error
    if not isinstance(key, X25519PublicKey):
        raise ValueError(f"{path}: is no X25519 key; make one with 'openssl genpkey -algorithm X25519'")
    return key


def read_private_key(path: Path) -> X25519PrivateKey:
    """Read the key that opens clips; raises ClipError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ClipError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ClipError(f"{path}: is no private key in PEM without a password") from error
    if not isinstance(key, X25519PrivateKey):
        raise ClipError(f"{path}: is no X25519 key; take the one whose public half the gateway has")
    return key
