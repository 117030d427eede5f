"""A page served for real on a loopback port, and somebody at it who keeps cookies as a browser does."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlencode

import uvicorn

from echo_edge.order_types import Role
from echo_edge.web.accounts import Accounts
from echo_edge.web.config import WebConfig
from echo_edge.web.door import Door
from echo_edge.web.link import Link
from echo_edge.web.passwords import Hasher
from echo_edge.web.server import serve
from echo_edge.web.service import make_door, make_service
from echo_edge.web.slow_clients import BoundedProtocol
from tests.web.world import FakeLink

PATIENCE_S = 20.0
PASSWORD = "seven quiet pumps"


@dataclass
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def csrf(self) -> str:
        """Of the page's first form."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.text)
        assert found is not None, self.text
        return found[1]


@dataclass
class Client:
    """One browser without a screen."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    source: str = "127.0.0.1"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str | None] | None = None) -> Got:
        """One request; a header that is None is left out."""
        told: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}", "Accept": "text/html"}
        if method == "POST":
            told |= {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded"}
        if self.cookies:
            told["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        told |= dict(headers or {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE_S, source_address=(self.source, 0))
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body or method == "POST":
                connection.putheader("Content-Length", str(len(body)))
            for name, value in told.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        for cookie in answer.headers.get_all("set-cookie") or []:
            name, _, rest = cookie.partition("=")
            self.cookies[name] = rest.partition(";")[0].strip('"')
            if "Max-Age=0" in cookie:
                del self.cookies[name]
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, text)

    def get(self, path: str, **headers: str | None) -> Got:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def send(self, page: str, path: str, **fields: str) -> Got:
        """Fill in a form of a page."""
        return self.post(path, csrf=self.get(page).csrf, **fields)

    def post(self, path: str, /, **fields: str) -> Got:
        return self.ask("POST", path, urlencode(fields).encode())

    def log_in(self, name: str, password: str = PASSWORD) -> Got:
        return self.send("/login", "/login", name=name, password=password)


@dataclass
class Served:
    """A page that is running."""

    port: int
    door: Door
    server: uvicorn.Server

    @property
    def accounts(self) -> Accounts:
        return self.door.accounts

    def client(self, name: str | None = None, source: str = "127.0.0.1") -> Client:
        """Somebody at the page, logged in already where a name is given."""
        cookies = {} if name is None else {self.door.cookie: self.door.sessions.begin(name)}
        return Client(self.port, cookies, source)

    def connections(self) -> list[BoundedProtocol]:
        return [one for one in tuple(self.server.server_state.connections) if isinstance(one, BoundedProtocol)]

    def person(self, name: str, role: Role) -> str:
        """Make an account that has chosen its password."""
        code = self.accounts.add(name, role)
        client = Client(self.port, source="127.0.0.9")
        assert client.send("/first", "/first", name=name, code=code, password=PASSWORD, repeat=PASSWORD).status == 303
        return name


def cheap(password: str, salt: bytes) -> str:
    """Stands in for scrypt, which has its own test."""
    return sha256(salt + password.encode("utf-8", "surrogatepass")).hexdigest()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(
    folder: Path,
    config: WebConfig | None = None,
    link: Link | None = None,
    hurry: float = 1.0,
    hasher: Hasher = cheap,
) -> Iterator[Served]:
    """Serve until the block ends; ``hurry``: how much faster than ours the clock is that slow clients are judged by."""
    config = config or WebConfig(gateway="gw-hall3", port=free_port())
    servers: list[uvicorn.Server] = []
    door = make_door(config, Accounts(folder, hasher))
    app = make_service(door, link or FakeLink())
    before = set(threading.enumerate())
    told = {"stop": servers.append, "clock": lambda: time.monotonic() * hurry}
    thread = threading.Thread(target=serve, args=(app, config), kwargs=told)
    thread.start()
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        while not (servers and servers[0].started):
            assert thread.is_alive(), "it did not start"
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        yield Served(config.port, door, servers[0])
    finally:
        if servers:
            servers[0].should_exit = True
        thread.join(PATIENCE_S)
        deadline_s = time.monotonic() + PATIENCE_S
        while left := set(threading.enumerate()) - before:
            assert time.monotonic() < deadline_s, left
            time.sleep(0.01)
