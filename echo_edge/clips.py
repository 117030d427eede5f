"""Clips: a few seconds of sound as an encrypted file that only the holder of a private key can hear.

A file is ``MAGIC``, the public half of a key made for this file alone (32 bytes), and a FLAC file under
ChaCha20-Poly1305. Its key is HKDF-SHA256 of the X25519 secret between that key and the recipient's, bound to both
public halves; it is used once, so the nonce is zero. The comment in the FLAC file tells point, time, unit and scale.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from echo_edge.envelope import timestamp
from echo_edge.errors import ClipError
from echo_edge.records import Window

SUFFIX = ".eeclip"
MAGIC = b"echo-edge clip 1\n"
KEY_BYTES = 32
NONCE = bytes(12)
HEADER_BYTES = len(MAGIC) + KEY_BYTES


def flac(window: Window) -> bytes:
    """Return a FLAC file of 24 bit; its comment says what full scale stands for, in JSON.

    Raises:
        ClipError: FLAC cannot hold this many channels or this rate.
    """
    import soundfile  # noqa: PLC0415  a shared library that a daemon without clips does without

    scale = float(np.abs(window.samples).max()) or 1.0
    about = {"point": window.point, "start": timestamp(window.time_ns), "unit": window.unit, "scale": scale}
    channels, _ = window.samples.shape
    buffer = io.BytesIO()
    try:
        with soundfile.SoundFile(buffer, "w", window.rate_hz, channels, "PCM_24", format="FLAC") as file:
            file.comment = json.dumps(about)
            file.write((window.samples / np.float32(scale)).T)
    except (soundfile.SoundFileError, ValueError) as error:
        raise ClipError(
            f"{window.point}: {channels} channels at {window.rate_hz} Hz do not fit FLAC: {error}"
        ) from error
    return buffer.getvalue()


def about_flac(data: bytes) -> dict[str, Any]:
    """What the comment of a clip says; empty when there is none of ours."""
    import soundfile  # noqa: PLC0415

    with soundfile.SoundFile(io.BytesIO(data)) as file:
        try:
            about = json.loads(file.comment)
        except ValueError:
            return {}
    return about if isinstance(about, dict) else {}


def seal(data: bytes, recipient: X25519PublicKey) -> bytes:
    """Encrypt to whoever has the private half of this key."""
    ours = X25519PrivateKey.generate()
    header = MAGIC + ours.public_key().public_bytes_raw()
    key = _key(ours.exchange(recipient), header, recipient)
    return header + ChaCha20Poly1305(key).encrypt(NONCE, data, header)


def unseal(sealed: bytes, private: X25519PrivateKey) -> bytes:
    """Decrypt a clip.

    Raises:
        ClipError: no clip, a damaged one, or one for another key.
    """
    header, rest = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
    if not header.startswith(MAGIC) or len(header) < HEADER_BYTES:
        raise ClipError("is no clip of echo-edge")
    try:
        theirs = X25519PublicKey.from_public_bytes(header[len(MAGIC) :])
        key = _key(private.exchange(theirs), header, private.public_key())
        return ChaCha20Poly1305(key).decrypt(NONCE, rest, header)
    except (InvalidTag, ValueError) as error:
        raise ClipError("does not open with this key: it is for another one, or damaged") from error


def _key(secret: bytes, header: bytes, recipient: X25519PublicKey) -> bytes:
    info = header + recipient.public_bytes_raw()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(secret)
