"""Guard: the outermost layer of the page. What it does not let through, no other code of the page ever sees.

In this order: size of the header, ``Host``, method, path, how the body comes, where the request comes from, session,
size of the body, CSRF token. Every answer, whoever gives it, leaves with the headers that keep browsers strict.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from echo_edge.web.accounts import AccountsError
from echo_edge.web.door import Door
from echo_edge.web.pages import LANGUAGE_COOKIE, static
from echo_edge.web.sessions import ID_BYTES, Session
from echo_edge.web.texts import Texts

log = logging.getLogger(__name__)

MAX_HEADER = 8 << 10  # bytes: first line and all headers
MAX_FORM, MAX_FILE = 64 << 10, (16 << 20) + (64 << 10)  # less than the daemon takes: here it is all in memory
TAKES_FILE = re.compile(r"/baselines(?:/[a-z0-9_-]+){0,2}/import")
METHODS = ("GET", "HEAD", "POST")
OPEN = ("/login", "/first", "/language")
STATIC, STREAM = "/static/", "/live"
BAD_PATH = re.compile(r"[\\\x00-\x1f\x7f]|//|(?:^|/)\.{1,2}(?:/|$)")
CODED = re.compile(rb"%(?:2e|2f|5c|25|00)", re.IGNORECASE)  # . / \ % and NUL: no address of ours has them coded

SECURITY_HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types echo-edge",
    "x-content-type-options": "nosniff",
    # Not no-referrer: with that, browsers send "Origin: null" with our own forms. Other hosts are told nothing, either.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-frame-options": "DENY",
}
HSTS = "max-age=31536000"


class Refusal(Exception):  # noqa: N818  no fault of ours
    """A request that goes no further."""

    def __init__(self, status: int, key: str, headers: dict[str, str] | None = None, **values: Any) -> None:
        super().__init__(key)
        self.status = status
        self.key = key
        """Of the text that says why: ``guard.KEY``."""

        self.values = values
        self.headers = headers or {}


class Guard:
    """ASGI middleware around the page; adds ``person``, ``csrf``, ``still_in`` and ``session`` to ``request.state``."""

    def __init__(self, app: ASGIApp, door: Door, texts: Texts) -> None:
        self._app = app
        self._door = door
        self._texts = texts
        self._hosts = door.config.allowed_hosts
        self._told = ""
        self._file_in_hand = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # "lifespan"; the server knows no websocket
            await self._app(scope, receive, send)
            return
        try:
            await self._request(scope, receive, send)
        finally:
            if scope.get("state", {}).get("holds_file"):
                self._file_in_hand = False

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        new_visit: list[str] = []
        begun: list[bool] = []
        guarded = self._guarded(scope, send, new_visit, begun)
        try:
            self._look_at_head(scope, headers)
            session = self._recognize(scope, headers, new_visit)
            self._ask_for_login(scope, headers, session)
            if scope["method"] == "POST":
                receive = await self._checked_body(scope, headers, receive, session)
                if session is not None and not self._still_in(scope["state"]["session_id"], session):
                    raise Refusal(401, "login")  # it ended while the body came
        except Refusal as refusal:
            await self._answer(refusal, headers)(scope, receive, guarded)
            return
        except AccountsError as error:
            if self._told != str(error):  # once, not at every request
                self._told = str(error)
                log.error("nobody is let in: %s", error)
            why = Refusal(503, "accounts")
            await self._answer(why, headers)(scope, receive, guarded)
            return
        try:
            await self._app(scope, receive, guarded)
        except Exception:  # the server logs it; what it would answer itself would lack our headers
            if not begun:
                await self._answer(Refusal(500, "defect"), headers)(scope, receive, guarded)
            raise

    def _answer(self, refusal: Refusal, headers: Headers) -> Response:
        if "location" in refusal.headers:
            return RedirectResponse(refusal.headers["location"], refusal.status)
        chosen = cookie_parser(headers.get("cookie", "")).get(LANGUAGE_COOKIE)
        t = self._texts.of(chosen, *self._texts.accepted(headers.get("accept-language", "")))
        why, home = escape(t(f"guard.{refusal.key}", **refusal.values)), escape(t("problem.home"))
        html = (
            f'<!doctype html><html lang="{t.language}"><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width"><title>{refusal.status}</title><link rel="stylesheet" '
            f'href="{static("page.css")}"><main><h1>{why}</h1><p><a href="/">{home}</a></p></main></html>'
        )
        return HTMLResponse(html, refusal.status, refusal.headers)

    def _look_at_head(self, scope: Scope, headers: Headers) -> None:
        raw_path, path, method = scope["raw_path"], scope["path"], scope["method"]
        size = len(raw_path) + len(scope["query_string"]) + sum(len(k) + len(v) + 4 for k, v in scope["headers"])
        if size > MAX_HEADER:
            raise Refusal(431, "header")
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise Refusal(421, "host")
        if method not in METHODS:
            raise Refusal(405, "method", {"allow": ", ".join(METHODS)})
        if not raw_path.startswith(b"/") or CODED.search(raw_path) or BAD_PATH.search(path):
            raise Refusal(404, "path")
        if "transfer-encoding" in headers:
            raise Refusal(411, "length")
        if method != "POST" and headers.get("content-length", "0") != "0":
            raise Refusal(400, "body")
        self._look_where_from(method, headers, f"{self._door.config.scheme}://{hosts[0].lower()}")

    def _look_where_from(self, method: str, headers: Headers, own: str) -> None:
        origins, site = headers.getlist("origin"), headers.get("sec-fetch-site")
        foreign = any(origin.lower() != own for origin in origins)
        if method == "POST":
            foreign = foreign or len(origins) != 1 or site not in {None, "same-origin"}
        elif site in {"cross-site", "same-site"}:  # a link may lead here; nothing else of another page may ask
            foreign = foreign or headers.get("sec-fetch-mode") != "navigate"
        if foreign:
            raise Refusal(403, "foreign")

    def _recognize(self, scope: Scope, headers: Headers, new_visit: list[str]) -> Session | None:
        """Tell the pages who asks."""
        door, state = self._door, scope.setdefault("state", {})
        cookies = cookie_parser(headers.get("cookie", ""))
        session_id = cookies.get(door.cookie, "")
        looks = scope["path"] == STREAM
        session = door.sessions.get(session_id, used=not looks) if session_id else None
        state["session"], state["session_id"] = session, session_id
        state["person"] = None if session is None else session.person
        if session is not None:
            state["csrf"] = session.csrf
            state["still_in"] = lambda: self._still_in(session_id, session)
            return session
        visit = cookies.get(door.visit_cookie, "")
        if scope["path"] in OPEN:
            door.accounts.all()  # raises where nobody could log in
        if not visit and scope["path"] in OPEN:
            visit = secrets.token_urlsafe(ID_BYTES)
            new_visit.append(visit)
        state["csrf"] = door.sessions.token(visit) if visit else ""
        return None

    def _still_in(self, session_id: str, session: Session) -> bool:
        """While a stream is open. To look is use only for who can do nothing else: a screen on the wall stays on."""
        try:
            return self._door.sessions.get(session_id, used=session.person.role == "viewer") is not None
        except AccountsError:
            return False

    def _ask_for_login(self, scope: Scope, headers: Headers, session: Session | None) -> None:
        path: str = scope["path"]
        if session is not None or path in OPEN or path.startswith(STATIC):
            return
        if scope["method"] != "POST" and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            wanted = f"{path}?{query}" if query else path
            to = "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='/')}"
            raise Refusal(303, "", {"location": to})
        raise Refusal(401, "login")

    async def _checked_body(self, scope: Scope, headers: Headers, receive: Receive, session: Session | None) -> Receive:
        """The body, read once the header was found good, for the page to read again."""
        length = headers.get("content-length", "0")
        takes_file = TAKES_FILE.fullmatch(scope["path"]) and session is not None and session.person.at_least("engineer")
        largest = MAX_FILE if takes_file else MAX_FORM
        if not length.isdecimal() or int(length) > largest:
            raise Refusal(413, "large", kib=largest >> 10)
        kind = headers.get("content-type", "").lower()
        if kind.startswith("multipart/") and "charset=" in kind:  # no browser says one; some decode to what is no text
            raise Refusal(400, "form")
        if int(length) > MAX_FORM:  # 100 MB, until it is with the daemon; the service has 200
            if self._file_in_hand:
                raise Refusal(503, "busy", {"retry-after": "10"})
            self._file_in_hand = scope["state"]["holds_file"] = True
        parts = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Refusal(400, "early")
            parts += message.get("body", b"")
            if not message.get("more_body", False):
                break
        body = bytes(parts)
        token = headers.get("x-ee-csrf") or await _token_in_form(scope, _replay(body, receive))
        wanted: str = scope["state"]["csrf"]
        if not wanted or not hmac.compare_digest(token.encode(), wanted.encode()):
            raise Refusal(403, "token")
        return _replay(body, receive)

    def _guarded(self, scope: Scope, send: Send, new_visit: list[str], begun: list[bool]) -> Send:
        door = self._door

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                begun.append(True)
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                if door.secure:
                    headers["strict-transport-security"] = HSTS
                # a file whose address holds its hash never changes
                hashed = scope["path"].startswith(STATIC) and scope["query_string"] and message["status"] in {200, 304}
                headers["cache-control"] = "public, max-age=31536000, immutable" if hashed else "no-store"
                for visit in new_visit:
                    carrier = Response()
                    door.mark_visit(carrier, visit)
                    headers.append("set-cookie", carrier.headers["set-cookie"])
            await send(message)

        return guarded


def _replay(body: bytes, receive: Receive) -> Receive:
    left = [body]

    async def again() -> Message:
        if left:  # and held no longer than it is needed: it may be a file
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()  # only that the client has gone can still come

    return again


async def _token_in_form(scope: Scope, receive: Receive) -> str:
    request = Request({k: v for k, v in scope.items() if k != "app"}, receive)
    try:
        async with request.form(max_files=1, max_fields=50) as form:
            token: Any = form.get("csrf")
    except MultiPartException as error:
        raise Refusal(400, "form") from error
    return token if isinstance(token, str) else ""
