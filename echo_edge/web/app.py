"""App: all pages put together, and what each shows when something is wrong. Who may come in is decided around it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from importlib import import_module
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from echo_edge.web import live
from echo_edge.web.door import local_path
from echo_edge.web.link import Link, NotRunningError, RefusedError
from echo_edge.web.pages import (
    LANGUAGE_COOKIE,
    ForbiddenError,
    back,
    form,
    mirror_of,
    page,
    person_of,
    translator,
)
from echo_edge.web.texts import UNKNOWN, Texts

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]
PAGES: tuple[str, ...] = (
    "overview",
    "point",
    "point_orders",
    "enroll",
    "enroll_report",
    "health",
    "alerts",
    "alert",
    "baselines",
    "baseline_changes",
)
"""Modules of pages about machines; each has ``routes``. They need a running daemon."""

READERS = 8  # threads that read files for browsers, of starlette; its own 40 are more than the service may have
YEAR_S = 365 * 24 * 3600


def create_app(link: Link, texts: Texts, routes: list[Route] | None = None, gateway: str = "") -> Starlette:
    """The page as an ASGI application.

    Args:
        routes: more pages, which need no daemon: logging in, people.
        gateway: its id, for while the daemon does not tell it.
    """
    about_machines = [
        Route(route.path, _while_running(route.endpoint), methods=route.methods)
        for name in PAGES
        for route in import_module(f"echo_edge.web.{name}").routes
    ]
    app = Starlette(
        routes=[
            *about_machines,
            *live.routes,
            *(routes or []),
            Route("/language", _language, methods=["POST"]),
            Mount("/static", StaticFiles(packages=[("echo_edge.web", "static")])),
        ],
        exception_handlers={
            NotRunningError: _not_running,
            RefusedError: _refused,
            ForbiddenError: _forbidden,
            HTTPException: _http,
            Exception: _defect,
        },
        lifespan=_lifespan,
    )
    app.state.link, app.state.texts, app.state.live = link, texts, live.Live(link)
    app.state.gateway = gateway
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = READERS
    tasks = [asyncio.create_task(app.state.link.run()), asyncio.create_task(app.state.live.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _while_running(endpoint: Endpoint) -> Endpoint:
    """No page about machines shows anything while the daemon does not run: old numbers would be taken for new ones."""

    async def checked(request: Request) -> Response:
        if not mirror_of(request).running:
            raise NotRunningError("the daemon does not answer")
        return await endpoint(request)

    return checked


async def _language(request: Request) -> Response:
    sent = await form(request)
    response = back(local_path(sent.get("next", "/")))
    if sent.get("language") in request.app.state.texts.languages:
        secure = request.url.scheme == "https"
        response.set_cookie(
            LANGUAGE_COOKIE, sent["language"], max_age=YEAR_S, secure=secure, httponly=True, samesite="strict"
        )
    return response


@live.live("daemon")
def _daemon(_: Any, __: str) -> dict[str, Any]:
    return {}


async def _not_running(request: Request, _: Exception) -> Response:
    t, since = translator(request), mirror_of(request).lost_since
    heading = t("problem.not_running_since", when=t.when(since)) if since else t("problem.not_running")
    return _problem(request, 503, heading, t("problem.not_running_text"), again=True, follow=True)


async def _refused(request: Request, error: Exception) -> Response:
    status = {"forbidden": 403, "conflict": 409}.get(error.kind, 422) if isinstance(error, RefusedError) else 422
    return _problem(request, status, translator(request)("problem.refused"), str(error))


async def _forbidden(request: Request, error: Exception) -> Response:
    t, person = translator(request), person_of(request)
    needed = error.role if isinstance(error, ForbiddenError) else "admin"
    own, name = (UNKNOWN, UNKNOWN) if person is None else (t(f"role.{person.role}"), person.name)
    text = t("problem.forbidden_text", role=t(f"role.{needed}"), name=name, own=own)
    return _problem(request, 403, t("problem.forbidden"), text)


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    t = translator(request)
    heading = t("problem.missing") if status == 404 else HTTPStatus(status).phrase
    return _problem(request, status, heading, t("problem.missing_text") if status == 404 else "")


async def _defect(request: Request, _: Exception) -> Response:
    t = translator(request)
    return _problem(request, 500, t("problem.defect"), t("problem.defect_text"))


def _problem(
    request: Request, status: int, heading: str, text: str, *, again: bool = False, follow: bool = False
) -> Response:
    return page(request, "problem.html", status, heading=heading, text=text, again=again, follow=follow)
