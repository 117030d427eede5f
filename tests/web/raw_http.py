"""HTTP as an attacker speaks it: plain sockets, any header, half a request, or no appetite for the answer."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlencode

HOST = "127.0.0.1"
ANSWER_S = 20.0
BIG_ENOUGH = 1 << 16


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    """0 where the connection was closed without a word."""

    headers: dict[str, list[str]]
    """By name in small letters; a name may come more than once."""

    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def header(self, name: str) -> str:
        return ", ".join(self.headers.get(name, ()))


def exchange(port: int, sent: bytes, source: str = HOST) -> Answer:
    """Send these bytes as they are, and read until the connection is closed.

    Args:
        source: the address it comes from, another of 127.0.0.0/8 for somebody else.
    """
    with socket.create_connection((HOST, port), timeout=ANSWER_S, source_address=(source, 0)) as client:
        client.sendall(sent)
        received = bytearray()
        try:
            while part := client.recv(BIG_ENOUGH):
                received += part
        except ConnectionResetError:  # it did not want to read all that was sent
            pass
    return _parse(bytes(received))


def request(
    port: int,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    fields: dict[str, str] | None = None,
    source: str = HOST,
) -> Answer:
    """One request on a connection of its own; ``path`` goes out as it is.

    Args:
        headers: beside Host, and instead of it where it is named.
        fields: of a form.
    """
    body = urlencode(fields).encode() if fields is not None else b""
    all_headers = {"Host": f"{HOST}:{port}", "Connection": "close", **(headers or {})}
    if fields is not None:
        all_headers = {"Content-Type": "application/x-www-form-urlencoded", **all_headers}
        all_headers["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items())]
    return exchange(port, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, source)


def _parse(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, {}, b"")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    return Answer(int(first.split(" ")[1]), headers, body)


class Crowd:
    """Connections that stay; a context manager that closes them."""

    def __init__(self, port: int, count: int) -> None:
        self._port, self._count = port, count
        self._stack = ExitStack()
        self.clients: list[socket.socket] = []

    def __enter__(self) -> Crowd:
        for _ in range(self._count):
            client = self._stack.enter_context(socket.create_connection((HOST, self._port), timeout=ANSWER_S))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # of a reader who does not read
            self.clients.append(client)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def send(self, data: bytes) -> int:
        """Send the same on each; returns how many are still taken."""
        taken = 0
        for client in self.clients:
            try:
                client.sendall(data)
                taken += 1
            except OSError:
                continue
        return taken
