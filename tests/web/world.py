"""A page without a daemon: messages put into its mirror by hand, and requests without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette

from echo_edge.order_types import Role
from echo_edge.web.app import create_app
from echo_edge.web.link import Link, RefusedError
from echo_edge.web.person import Person
from echo_edge.web.texts import Texts

CSRF = "a-token"
INFO = {
    "schema": "echo-edge/info/1",
    "gw": "gw-hall3",
    "version": "0.1.0",
    "model": {"name": "echo-tiny", "sha256": 64 * "0"},
    "engine": "onnx",
    "machines": [{"id": "pump-12", "title": "Feed pump 12", "points": ["de"]}],
}


class FakeLink(Link):
    """Answers what it was given; ``orders`` and ``readings`` are what was asked.

    ``answers``: verb or reading -> its result, or the error to raise, or what makes one of the arguments.
    """

    def __init__(self, messages: Mapping[str, Any] | None = None, answers: Mapping[str, Any] | None = None) -> None:
        super().__init__(Path("/nowhere"))
        self.answers = dict(answers or {})
        self.orders: list[tuple[str, dict[str, Any], Person]] = []
        self.given: list[tuple[str, dict[str, Any], Mapping[str, Any] | None, bool]] = []
        """The same orders: verb, arguments, condition, whether it was a rehearsal."""

        self.readings: list[tuple[str, dict[str, Any]]] = []
        self.mirror.begin()
        for topic, message in {"info": INFO, **(messages or {})}.items():
            self.mirror.take(topic, message)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def order(
        self,
        verb: str,
        args: Mapping[str, Any],
        person: Person,
        expect: Mapping[str, Any] | None = None,
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        self.orders.append((verb, dict(args), person))
        self.given.append((verb, dict(args), expect, dry_run))
        return self._answered(verb, args)

    async def read(self, what: str, args: Mapping[str, Any], person: Person) -> dict[str, Any]:  # noqa: ARG002
        self.readings.append((what, dict(args)))
        return self._answered(what, args)

    def _answered(self, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.answers.get(name)
        if answer is None:
            raise RefusedError(f"no answer was given for '{name}'")
        if isinstance(answer, Exception):
            raise answer
        result: dict[str, Any] = answer(args) if callable(answer) else answer
        return result


@dataclass
class Answer:
    """What a request got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Visitor:
    """Somebody who has logged in already, at a page of their own."""

    link: FakeLink
    role: Role = "technician"
    language: str = "en"
    app: Starlette = field(init=False)

    def __post_init__(self) -> None:
        self.app = create_app(self.link, Texts())

    def get(self, path: str) -> Answer:
        return asyncio.run(self._ask("GET", path, b""))

    def post(self, path: str, **fields: str) -> Answer:
        return asyncio.run(self._ask("POST", path, urlencode({"csrf": CSRF, **fields}).encode()))

    async def _ask(
        self, method: str, path: str, body: bytes, kind: bytes = b"application/x-www-form-urlencoded"
    ) -> Answer:
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (b"host", b"gw.test"),
                (b"accept-language", self.language.encode()),
                (b"content-type", kind),
            ],
            "state": {"person": Person("m.lang", self.role), "csrf": CSRF, "still_in": lambda: True},
            "client": ("127.0.0.1", 1),
            "server": ("gw.test", 80),
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent))


def columns(n: int, value: Callable[[int], Any]) -> list[Any]:
    """One column of a history."""
    return [value(i) for i in range(n)]
