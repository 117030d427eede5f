"""Sessions: who has logged in, in memory alone. A restart ends them all, a change of an account its person's."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from echo_edge.web.accounts import Accounts
from echo_edge.web.person import Person

LONGEST_S, IDLE_S = 12 * 3600.0, 1800.0
SESSIONS, OF_ONE = 1000, 20  # at a time; the oldest gives way
ID_BYTES = 32


@dataclass(eq=False)
class Session:
    """One browser of one person, from login to logout."""

    person: Person
    stamp: str
    """Of the account when it began."""

    began_s: float
    used_s: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(ID_BYTES))
    shown_once: dict[str, str] = field(default_factory=dict)
    """What the next page shows and nobody ever again: a one-time code."""


class Sessions:
    """By the hash of their ids: what is in this memory opens nothing. Belongs to the event loop."""

    def __init__(self, accounts: Accounts, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = accounts
        self._clock = clock
        self._open: OrderedDict[bytes, Session] = OrderedDict()
        self._key = secrets.token_bytes(ID_BYTES)

    def begin(self, name: str) -> str:
        """Log a person in; returns the id for their cookie, always a new one.

        Raises:
            KeyError: there is no such account.
        """
        account = self._accounts.all()[name]
        own = [key for key, session in self._open.items() if session.person.name == name]
        for key in own[: max(0, len(own) + 1 - OF_ONE)]:
            del self._open[key]
        while len(self._open) >= SESSIONS:
            self._open.popitem(last=False)
        session_id, now = secrets.token_urlsafe(ID_BYTES), self._clock()
        self._open[_key(session_id)] = Session(Person(name, account.role), account.stamp, now, now)
        return session_id

    def get(self, session_id: str, *, used: bool = True) -> Session | None:
        """The session of a cookie, if it is still open.

        Args:
            used: somebody did something: the idle time begins anew.

        Raises:
            AccountsError: whether it is cannot be said.
        """
        key, now = _key(session_id), self._clock()
        if (session := self._open.get(key)) is None:
            return None
        account = self._accounts.get(session.person.name)
        idle = now - session.used_s > IDLE_S
        if account is None or account.stamp != session.stamp or now - session.began_s > LONGEST_S or idle:
            del self._open[key]
            return None
        if used:
            session.used_s = now
        return session

    def end(self, session_id: str) -> None:
        """Log out."""
        self._open.pop(_key(session_id), None)

    def token(self, visit: str) -> str:
        """The CSRF token of a browser that has not logged in, by the chance in its cookie."""
        return hmac.new(self._key, visit.encode(), hashlib.sha256).hexdigest()


def _key(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
