"""Live: parts of pages that change by themselves, rendered once for all viewers of a language, sent as events.

A browser asks ``/live?part=overview:&part=point:pump-12/de`` and gets server-sent events, each with one part's HTML.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from echo_edge.web.link import Link
from echo_edge.web.mirror import Mirror
from echo_edge.web.pages import mirror_of, render, translator
from echo_edge.web.texts import Translator

log = logging.getLogger(__name__)

Parts = Callable[[Mirror, str], dict[str, Any]]
"""Mirror and arguments -> context of the part's template; raises KeyError for arguments that name nothing."""

EVERY_S = 1.0  # at most so often
ANYWAY_S = 15.0  # so that "3 minutes ago" goes on, and a viewer who has gone is noticed
VIEWERS, PARTS = 100, 8
KNOWN: dict[str, Parts] = {}


def live(name: str) -> Callable[[Parts], Parts]:
    """Register what ``templates/live/NAME.html`` is filled with."""

    def register(parts: Parts) -> Parts:
        KNOWN[name] = parts
        return parts

    return register


@dataclass(eq=False)
class Viewer:
    """One open page."""

    t: Translator
    parts: list[tuple[str, str]]
    shown: dict[tuple[str, str], str] = field(default_factory=dict)
    waiting: dict[tuple[str, str], str] = field(default_factory=dict)
    """The newest of each part that is not sent yet: a slow browser gets fewer, and nothing piles up."""

    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, part: tuple[str, str], html: str) -> None:
        if self.shown.get(part) != html:
            self.shown[part] = self.waiting[part] = html
            self.ready.set()


class Live:
    """Renders for everybody who looks."""

    def __init__(self, link: Link) -> None:
        self._mirror = link.mirror
        self._running = link.mirror.running
        self.viewers: set[Viewer] = set()

    async def run(self) -> None:
        """Render whenever the mirror changed, until cancelled."""
        while True:
            self._mirror.changed.clear()
            self._render()
            try:
                await asyncio.wait_for(self._mirror.changed.wait(), ANYWAY_S)
            except asyncio.TimeoutError:
                continue
            await asyncio.sleep(EVERY_S)

    def _render(self) -> None:
        if self._running != self._mirror.running:  # a page whose parts are gone with the daemon must say so at once
            self._running = self._mirror.running
            for viewer in self.viewers:
                viewer.ready.set()
        done: dict[tuple[str, str, str], str | None] = {}
        for viewer in self.viewers:
            for name, args in viewer.parts:
                key = (name, args, viewer.t.language)
                if key not in done:
                    done[key] = part(self._mirror, viewer.t, name, args)
                if (html := done[key]) is not None:
                    viewer.show((name, args), html)


def part(mirror: Mirror, t: Translator, name: str, args: str) -> str | None:
    """One part as HTML; None where it cannot be shown now, and what is on the page stays."""
    try:
        try:
            context = KNOWN[name](mirror, args)
        except KeyError:  # of a point or an alert that is not there, or not any more
            return None
        return render(f"live/{name}.html", t, {"mirror": mirror, **context})
    except Exception:  # a defect in one part must not end the others' (it is the outermost line of a rendering)
        log.exception("the part %s:%s cannot be shown", name, args)
        return None


async def events(request: Request) -> Response:
    """The stream of one viewer."""
    asked = [tuple(text.partition(":")[::2]) for text in request.query_params.getlist("part")]
    parts = [(name, args) for name, args in asked if name in KNOWN and len(args) <= 120][:PARTS]
    if not parts:
        return PlainTextResponse("name the parts: /live?part=NAME:ARGS", 400)
    service: Live = request.app.state.live
    if len(service.viewers) >= VIEWERS:
        return PlainTextResponse("too many viewers", 503, headers={"retry-after": "30"})
    viewer = Viewer(translator(request), parts)
    return StreamingResponse(_stream(request, service, viewer), media_type="text/event-stream")


async def _stream(request: Request, service: Live, viewer: Viewer) -> AsyncIterator[bytes]:
    still_in: Callable[[], bool] = getattr(request.state, "still_in", lambda: True)
    mirror = mirror_of(request)
    service.viewers.add(viewer)
    try:
        running = None
        for name, args in viewer.parts:  # at once: the page may have been kept open since long before
            if (html := part(mirror, viewer.t, name, args)) is not None:
                viewer.show((name, args), html)
        while still_in():
            if running != mirror.running:
                running = mirror.running
                yield _event("daemon", {"running": running})
            while viewer.waiting:
                (name, args), html = viewer.waiting.popitem()
                yield _event("part", {"name": name, "args": args, "html": html})
            viewer.ready.clear()
            try:
                await asyncio.wait_for(viewer.ready.wait(), ANYWAY_S)
            except asyncio.TimeoutError:
                yield _event("still", {})
        yield _event("login", {})
    finally:
        service.viewers.discard(viewer)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


routes = [Route("/live", events)]
