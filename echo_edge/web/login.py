"""Login: who comes in and how, one's own password, and the people whom admins let in."""

from __future__ import annotations

import logging
from math import ceil
from typing import cast

from starlette.datastructures import Address
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.order_types import ROLES, Role
from echo_edge.web.accounts import AccountError
from echo_edge.web.door import Door, local_path
from echo_edge.web.pages import back, fail, form, need, page, translator
from echo_edge.web.passwords import BusyError
from echo_edge.web.sessions import Session
from echo_edge.web.throttle import Try

log = logging.getLogger(__name__)


class Login:
    """The pages of one door."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.routes = [
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/first", self.first, methods=["GET", "POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/password", self.password, methods=["GET", "POST"]),
            Route("/people", self.people, methods=["GET"]),
            Route("/people/{what:str}", self.change, methods=["POST"]),
        ]

    async def login(self, request: Request) -> Response:
        """Name and password for a session."""
        wanted = local_path(request.query_params.get("next", "/"))
        if request.method != "POST":
            if _session(request):
                return back(wanted)
            ended = bool(request.state.session_id)  # a cookie of a login that is over: by its time, or a restart
            nobody = not self._door.accounts.all()
            return page(request, "login.html", wanted=wanted, nobody=nobody, ended=ended)
        sent = await form(request)
        wanted, name = local_path(sent.get("next", "/")), sent.get("name", "").lower()
        errors, one = self._begin(request, name)
        if not errors:
            try:
                if await self._door.accounts.check(name, sent.get("password", "")) is not None:
                    return self._let_in(request, one, name, wanted)
            except BusyError:
                self._door.throttle.not_made(one)
                errors = {"": translator(request)("login.busy")}
            else:
                errors = {"password": translator(request)("login.wrong")}
                log.info("login refused for %s from %s", self._known(name), _address(request))
        return _held(one, fail(request, "login.html", errors, {"name": name}, wanted=wanted, nobody=False, ended=False))

    async def first(self, request: Request) -> Response:
        """A one-time code for a password of one's own."""
        if request.method != "POST":
            return page(request, "first.html")
        sent = await form(request)
        name = sent.get("name", "").lower()
        errors, one = self._begin(request, name)
        if not errors:
            try:
                await self._door.accounts.set_password(
                    name, sent.get("password", ""), sent.get("repeat", ""), sent.get("code", "")
                )
                return self._let_in(request, one, name, "/")
            except AccountError as error:
                errors = _errors(request, error)
                if error.field != "code":  # the code was right
                    self._door.throttle.succeeded(one)
            except BusyError:
                self._door.throttle.not_made(one)
                errors = {"": translator(request)("login.busy")}
        return _held(one, fail(request, "first.html", errors, {"name": name, "code": sent.get("code", "")}))

    async def logout(self, request: Request) -> Response:
        self._door.sessions.end(request.state.session_id)
        response = back("/login")
        self._door.let_out(response)
        return response

    async def password(self, request: Request) -> Response:
        """Another password for oneself, by showing the old one; every other session of the person ends."""
        person = need(request, "viewer")
        if request.method != "POST":
            return page(request, "password.html")
        sent = await form(request)
        errors, one = self._begin(request, person.name)
        if not errors:
            try:
                if await self._door.accounts.check(person.name, sent.get("old", "")) is None:
                    errors = {"old": translator(request)("login.wrong_old")}
                else:
                    self._door.throttle.succeeded(one)
                    new, repeat = sent.get("password", ""), sent.get("repeat", "")
                    await self._door.accounts.set_password(person.name, new, repeat)
                    log.info("%s has a new password", person.name)
                    return self._let_in(request, one, person.name, "/")
            except AccountError as error:
                errors = _errors(request, error)
            except BusyError:
                self._door.throttle.not_made(one)
                errors = {"": translator(request)("login.busy")}
        return _held(one, fail(request, "password.html", errors, {}))

    async def people(self, request: Request) -> Response:
        """Who may log in."""
        need(request, "admin")
        once, request.state.session.shown_once = request.state.session.shown_once, {}
        return page(request, "people.html", once=once, everybody=self._door.accounts.all(), roles=ROLES)

    async def change(self, request: Request) -> Response:
        """Add somebody, change a role, give a new code, or remove somebody."""
        admin, what = need(request, "admin"), request.path_params["what"]
        sent = await form(request)
        name, role = sent.get("name", ""), sent.get("role", "")
        accounts, once = self._door.accounts, {}
        try:
            if what in {"add", "role"} and role not in ROLES:
                raise AccountError("role", "bad_role", f"'{role}' is no role")
            if what == "add":
                once = {"name": name, "code": accounts.add(name, cast(Role, role))}
            elif what == "code":
                once = {"name": name, "code": accounts.new_code(name)}
            elif what == "role":
                accounts.set_role(name, cast(Role, role))
            elif what == "remove":
                accounts.remove(name)
            else:
                raise AccountError("", "no_such_change", f"there is no change '{what}'")
        except AccountError as error:
            field = error.field if what == "add" else ""
            errors = {field: _errors(request, error)[error.field]}
            typed = {"form": what, **sent}
            return fail(request, "people.html", errors, typed, once={}, everybody=accounts.all(), roles=ROLES)
        log.info("people: %s %s %s by %s", what, name, role, admin.name)
        _session(request).shown_once = once  # type: ignore[union-attr]  # need() found a person
        return back("/people")

    def _begin(self, request: Request, name: str) -> tuple[dict[str, str], Try]:
        """Count a try; with the error to show where it must not be made."""
        one = self._door.throttle.begin(_address(request), name)
        if not one.wait_s:
            return {}, one
        return {"": translator(request).count("login.wait", ceil(one.wait_s / 60))}, one

    def _let_in(self, request: Request, one: Try, name: str, to: str) -> Response:
        self._door.throttle.succeeded(one)
        self._door.sessions.end(request.state.session_id)
        response = back(to)
        self._door.let_in(response, name)
        log.info("%s is logged in from %s", name, _address(request))
        return response

    def _known(self, name: str) -> str:
        """A name for the log. One that nobody has may be a password, typed into the wrong field."""
        return name if self._door.accounts.get(name) else "a name that nobody has"


def _held(one: Try, response: Response) -> Response:
    """The answer to a try that had to wait says so to programs, too."""
    if one.wait_s:
        response.status_code = 429
        response.headers["retry-after"] = str(ceil(one.wait_s))
    return response


def _errors(request: Request, error: AccountError) -> dict[str, str]:
    return {error.field: translator(request)(f"login.{error.key}")}


def _session(request: Request) -> Session | None:
    return cast("Session | None", request.state.session)


def _address(request: Request) -> str:
    client: Address | None = request.client
    return client.host if client else ""
