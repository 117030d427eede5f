"""Passwords and one-time codes: how they are made, kept and compared, a few at a time."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, Field

from echo_edge.config_model import Model
from echo_edge.errors import EchoEdgeError

MIN_PASSWORD, MAX_PASSWORD = 12, 256  # characters
COST_N, BLOCK_R, LANES_P = 1 << 15, 8, 1  # scrypt: 32 MiB and about 0.1 s each
SCRYPT_MEMORY = 64 << 20  # what OpenSSL may take for it; a little over 128 * N * r
AT_ONCE, QUEUE = 2, 16  # hashes at a time, and with those that wait: memory and threads are bounded, whoever knocks
CODE_VALID = timedelta(hours=24)
CODE_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # none that looks like another
CODE_GROUPS, CODE_GROUP = 4, 4  # 31 ** 16: 79 bits, too many to try even offline; a plain hash will do

Hasher = Callable[[str, bytes], str]
"""Password and salt -> 64 hexadecimal digits. Runs in a thread of its own."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BusyError(EchoEdgeError):
    """Too many passwords wait to be checked; try again."""


class Password(Model):
    """A password's hash."""

    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    hash: Hash


class Code(Model):
    """A one-time code, for the first login or after a forgotten password."""

    hash: Hash
    until: AwareDatetime


class Hashes:
    """Hashes in threads, a few at a time, for an event loop that goes on meanwhile."""

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._running = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def of(self, password: str, salt: bytes) -> str:
        """The hash of a password.

        Raises:
            BusyError: too many wait already.
        """
        if self._waiting >= QUEUE:
            raise BusyError("too many people log in at once; try again in a moment")
        self._waiting += 1
        try:
            async with self._running:
                return await asyncio.to_thread(self._hasher, password, salt)
        finally:
            self._waiting -= 1


NOBODY = Password(salt="0" * 32, hash="0" * 64)
"""Whose password nobody has: so that an unknown name costs what a known one does."""


def new_code(now: datetime) -> tuple[str, Code]:
    """A one-time code, and what is kept of it."""
    groups = ["".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_GROUP)) for _ in range(CODE_GROUPS)]
    code = "-".join(groups)
    return code, Code(hash=hash_code(code), until=now + CODE_VALID)


def hash_code(code: str) -> str:
    return hashlib.sha256(spelled(code).encode("utf-8", "surrogatepass")).hexdigest()


def scrypt(password: str, salt: bytes) -> str:
    """What is kept of a password."""
    plain = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")  # phones and desktops differ
    kept = hashlib.scrypt(plain, salt=salt, n=COST_N, r=BLOCK_R, p=LANES_P, maxmem=SCRYPT_MEMORY, dklen=32)
    return kept.hex()


def spelled(code: str) -> str:
    """A one-time code as it was given out, however it is typed: blanks, dashes and capitals do not matter."""
    return re.sub(r"[\s-]", "", code).lower()
