"""Accounts: who may log in, in one file: passwords as scrypt hashes, one-time codes as hashes of pure chance."""

from __future__ import annotations

import fcntl
import hmac
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from echo_edge.config_model import Model
from echo_edge.errors import EchoEdgeError
from echo_edge.order_types import Role
from echo_edge.store import write_durably
from echo_edge.web.passwords import (
    MAX_PASSWORD,
    MIN_PASSWORD,
    NOBODY,
    Code,
    Hasher,
    Hashes,
    Password,
    hash_code,
    new_code,
    scrypt,
)

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")


class AccountsError(EchoEdgeError):
    """The file of accounts cannot be used, and nobody is let in."""


class AccountError(EchoEdgeError):
    """A change was refused; ``field`` is what is wrong: name, role, code, password, repeat; empty for none of them."""

    def __init__(self, field: str, key: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.key = key
        """Of the text that says so on the page: ``login.KEY``."""


class Account(Model):
    """One person. Exactly one of password and code is there: a new code takes the password away."""

    role: Role
    password: Password | None = None
    code: Code | None = None
    stamp: str
    """Another one after every change: sessions that began before it are over."""


class _File(Model):
    version: Literal[1] = 1
    accounts: dict[str, Account] = Field(default_factory=dict)


class Accounts:
    """The file, read again whenever it changed: the command line and the service both write it."""

    def __init__(self, folder: Path, hasher: Hasher | None = None, now: Callable[[], datetime] | None = None) -> None:
        """``hasher`` and ``now``: absent, scrypt and the system's clock."""
        self._hashes = Hashes(hasher or scrypt)
        self._now = now or (lambda: datetime.now(timezone.utc))
        self._path = folder / "accounts.json"
        self._seen: tuple[int, ...] = ()
        self._known: dict[str, Account] = {}

    def all(self) -> dict[str, Account]:
        """By name.

        Raises:
            AccountsError: the file is damaged, another's, or open to others.
        """
        try:
            about = self._path.stat()
        except FileNotFoundError:
            self._seen, self._known = (), {}
            return {}
        except OSError as error:
            raise AccountsError(f"{self._path}: cannot be read: {error.strerror}") from error
        seen = (about.st_ino, about.st_mtime_ns, about.st_size, about.st_mode, about.st_uid)
        if seen != self._seen:
            if about.st_mode & 0o077:
                raise AccountsError(f"{self._path}: can be read by others; chmod 600 {self._path}")
            try:
                self._known = _File.model_validate_json(self._path.read_bytes()).accounts
            except OSError as error:
                raise AccountsError(f"{self._path}: cannot be read: {error.strerror}") from error
            except ValidationError as error:
                mend = "put back a copy, or delete it and use `echo-edge-web setup`"
                raise AccountsError(f"{self._path}: is damaged; {mend}") from error
            self._seen = seen
        return self._known

    def get(self, name: str) -> Account | None:
        return self.all().get(name)

    def add(self, name: str, role: Role) -> str:
        """Make an account; returns its one-time code, which is nowhere else."""
        if not NAME.fullmatch(name):
            raise AccountError("name", "bad_name", f"'{name}' is not a name: {NAME_RULE}")
        with self._changing() as known:
            if name in known:
                raise AccountError("name", "name_taken", f"'{name}' is there already")
            code, kept = new_code(self._now())
            known[name] = Account(role=role, code=kept, stamp=_stamp())
        return code

    def new_code(self, name: str) -> str:
        """Take the password away and return a one-time code for setting another."""
        with self._changing() as known:
            old = _of(known, name)
            code, kept = new_code(self._now())
            known[name] = Account(role=old.role, code=kept, stamp=_stamp())
        return code

    def set_role(self, name: str, role: Role) -> None:
        with self._changing() as known:
            old = _of(known, name)
            if role != "admin":
                _keep_an_admin(known, name, "role")
            known[name] = old.model_copy(update={"role": role, "stamp": _stamp()})

    def remove(self, name: str) -> None:
        with self._changing() as known:
            _of(known, name)
            _keep_an_admin(known, name, "name")
            del known[name]

    async def check(self, name: str, password: str) -> Account | None:
        """The account, if this is its password; a name that is not there takes the same time.

        Raises:
            BusyError: too many wait already.
        """
        account = self.get(name)
        kept = (account.password if account else None) or NOBODY
        found = await self._hashes.of(password, bytes.fromhex(kept.salt))
        if not hmac.compare_digest(found, kept.hash) or account is None or account.password is None:
            return None
        return account if self.get(name) == account else None  # it may have been removed meanwhile

    def check_code(self, name: str, code: str) -> bool:
        """Whether this is the name's one-time code, still valid and not used."""
        account = self.get(name)
        kept = account.code if account else None
        same = hmac.compare_digest(hash_code(code), kept.hash if kept else NOBODY.hash)
        return same and kept is not None and self._now() < kept.until

    async def set_password(self, name: str, password: str, repeated: str, code: str | None = None) -> None:
        """Give a person a password.

        Args:
            code: the one-time code that allows it, used up by it; absent: they have shown their old password.

        Raises:
            AccountError: the code or the password is refused.
            BusyError: too many wait already.
        """
        if code is not None and not self.check_code(name, code):
            raise AccountError("code", "bad_code", "name or code is wrong, or the code has been used or is too old")
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            message = f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters"
            raise AccountError("password", "bad_length", message)
        if password != repeated:
            raise AccountError("repeat", "differs", "the two differ")
        salt = os.urandom(16)
        kept = Password(salt=salt.hex(), hash=await self._hashes.of(password, salt))
        with self._changing() as known:
            if code is not None and not self.check_code(name, code):  # used by another meanwhile
                raise AccountError("code", "bad_code", "name or code is wrong, or the code has been used or is too old")
            old = _of(known, name)
            known[name] = Account(role=old.role, password=kept, stamp=_stamp())

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Account]]:
        """The accounts as they are, to be changed by nobody else meanwhile; written when nothing was raised."""
        try:
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = dict(self.all())
                yield known
                text = _File(accounts=dict(sorted(known.items()))).model_dump_json(indent=1)
                write_durably(self._path, text.encode() + b"\n")
        except OSError as error:
            log.error("%s: cannot be written: %s", self._path, error.strerror)
            message = f"{self._path}: cannot be written: {error.strerror}; nothing was changed"
            raise AccountError("", "not_kept", message) from error


NAME_RULE = "up to 48 lower-case letters, digits, '.', '-' and '_', the first a letter or a digit"


def _of(known: dict[str, Account], name: str) -> Account:
    if name not in known:
        raise AccountError("name", "no_such", f"there is no '{name}'")
    return known[name]


def _keep_an_admin(known: dict[str, Account], name: str, field: str) -> None:
    if not any(a.role == "admin" for other, a in known.items() if other != name) and known[name].role == "admin":
        raise AccountError(field, "last_admin", f"'{name}' is the last admin; make another one first")


def _stamp() -> str:
    return secrets.token_hex(8)
