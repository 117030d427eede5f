"""The front door: what guard and login share. Cookies, the paths that are open, and where somebody may be sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from starlette.responses import Response

from echo_edge.web.accounts import Accounts
from echo_edge.web.config import WebConfig
from echo_edge.web.sessions import LONGEST_S, Sessions
from echo_edge.web.throttle import Throttle

LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


@dataclass(frozen=True)
class Door:
    """Everything that decides who may come in."""

    config: WebConfig
    accounts: Accounts
    sessions: Sessions
    throttle: Throttle = field(default_factory=Throttle)

    @property
    def secure(self) -> bool:
        return self.config.tls is not None

    @property
    def cookie(self) -> str:
        """Of a session. ``__Host-``: the browser takes it from this host alone, over TLS, for all paths.

        Browsers share cookies between the ports of a host: the name is the gateway's own, so that the pages of two do
        not log each other's people out.
        """
        name = f"ee-{self.config.gateway}"
        return f"__Host-{name}" if self.secure else name

    @property
    def visit_cookie(self) -> str:
        """Of a browser that has not logged in, for the CSRF token of the login's own form."""
        return f"{self.cookie}-visit"

    def let_in(self, response: Response, name: str) -> None:
        """Begin a session, with an id that nobody had before, and hand it to the browser."""
        self._set(response, self.cookie, self.sessions.begin(name), int(LONGEST_S))

    def let_out(self, response: Response) -> None:
        """Take the cookie back."""
        self._set(response, self.cookie, "", 0)

    def mark_visit(self, response: Response, visit: str) -> None:
        self._set(response, self.visit_cookie, visit, None)

    def _set(self, response: Response, name: str, value: str, age_s: int | None) -> None:
        response.set_cookie(name, value, max_age=age_s, path="/", secure=self.secure, httponly=True, samesite="strict")


def local_path(text: str) -> str:
    """Where to go after the login: a path of this page, never another host's; ``/`` where it is none."""
    return text if LOCAL_PATH.fullmatch(text) and len(text) < 500 else "/"
