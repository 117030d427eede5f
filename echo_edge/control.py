"""Control: listens on a local socket, and serves each client in a thread of its own.

One JSON object per line each way: an order, then any number of ``{"progress": ...}``, then one answer with ``ok``.
The socket's permissions are the access check: the service's own user can connect, and who is in the group of its folder
where that is set-group-ID. What a client may then order, its ``Door`` says.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import stat
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from echo_edge.control_answers import Answers, Told, refused
from echo_edge.doors import COMMAND_LINE, PAGE, Door
from echo_edge.errors import OrderRefusedError
from echo_edge.orders import ORDER, Order
from echo_edge.readings import MAX_FILE_BYTES
from echo_edge.store import StoreError, control_socket, page_socket

log = logging.getLogger(__name__)

MAX_IMPORT_BYTES = MAX_FILE_BYTES * 4 // 3 + 4096  # a file in base64
AN_IMPORT = re.compile(rb'\s*\{\s*"order":\s*"read",\s*"what":\s*"import"')
IMPORT_WAIT_S = 1.0  # for the one before, which may have been answered and not be over
IMPORT_COMMAS = 100  # a text of this length may hold millions of values, which take twenty times the room


class Control(threading.Thread):
    """Accepts clients; each order is served by a thread of its own, so that a slow client holds up nobody."""

    def __init__(self, path: Path, door: Door, answers: Answers) -> None:
        """Nobody is let in before ``start``.

        Raises:
            OSError: the socket cannot be made there.
        """
        super().__init__(name=door.name, daemon=True)
        self._door, self._answers = door, answers
        self._stop_asked = threading.Event()
        self._clients: list[threading.Thread] = []
        self._import = threading.Lock()  # of the largest orders there is one at a time
        self._path = path
        path.unlink(missing_ok=True)  # left by a killed process; the state folder's lock is ours, so nobody listens
        # systemd gives the folder a group of its own, which a socket made in it inherits
        mask = 0o117 if path.parent.stat().st_mode & stat.S_ISGID else 0o177
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(mask)
        try:
            self._server.bind(str(path))
        except OSError:
            self._server.close()
            raise
        finally:
            os.umask(before)
        self._server.listen(door.clients)

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                client, _ = self._server.accept()
            except OSError as error:
                if self._stop_asked.is_set():
                    break
                # out of descriptors, most likely: clients wait, monitoring does not
                log.error("the %s socket cannot accept: %s", self._door.name, error)
                self._stop_asked.wait(1)
                continue
            self._clients = [t for t in self._clients if t.is_alive()]
            if len(self._clients) == self._door.clients:
                with client, suppress(OSError):
                    client.settimeout(0.1)
                    client.recv(65536)  # else its end breaks before it has read why
                    client.sendall(_line(refused(OrderRefusedError("busy", "too many clients at once; try again"))))
                continue
            thread = threading.Thread(target=self._serve, args=(client,), name=f"{self._door.name}:client", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # as many as the service may have; this client is turned away, not all others
                log.error("the %s socket cannot serve a client: %s", self._door.name, error)
                client.close()
            else:
                self._clients.append(thread)
        for thread in self._clients:
            thread.join(2)
        self._server.close()
        self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        self._stop_asked.set()
        self._answers.stop()
        with suppress(OSError):  # it has ended
            self._server.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.settimeout(5)
            try:
                with closing(self._told(client)) as answers:
                    for answer in answers:
                        client.sendall(_line(answer))
            except OSError as error:
                log.info("a %s client went away: %s", self._door.name, error)

    def _told(self, client: socket.socket) -> Told:
        with ExitStack() as held:
            try:
                order = self._read(client, held)
            except OrderRefusedError as error:
                yield refused(error)
            else:
                yield from self._answers.to(order, self._door, client)

    def _read(self, client: socket.socket, held: ExitStack) -> Order:
        """The one order of a client; raises OrderRefusedError when it is none, or none for this socket."""
        try:
            order = ORDER.validate_json(self._read_line(client, held))
        except ValidationError as error:
            first = error.errors()[0]
            raise OrderRefusedError("bad_args", first["msg"], ".".join(str(part) for part in first["loc"])) from error
        if self._door.orders is not None and order.order not in self._door.orders:
            raise OrderRefusedError("forbidden", f"'{order.order}' is not taken here, only at the gateway")
        return order

    def _read_line(self, client: socket.socket, held: ExitStack) -> bytearray:
        """One order, or what there is of it when the client has closed its end; ``held`` until it is answered."""
        data, most = bytearray(), self._door.order_bytes
        while not data.endswith(b"\n") and (part := client.recv(65536)):
            data += part
            if len(data) <= most:
                continue
            if most == MAX_IMPORT_BYTES or not AN_IMPORT.match(data):
                _drain(client)
                raise OrderRefusedError("bad_args", f"an order has at most {most} bytes")
            if not self._import.acquire(timeout=IMPORT_WAIT_S):
                _drain(client)
                raise OrderRefusedError("busy", "another file is being imported; try again in a minute")
            held.callback(self._import.release)
            most = MAX_IMPORT_BYTES
        if most == MAX_IMPORT_BYTES and data.count(b",") > IMPORT_COMMAS:
            raise OrderRefusedError("bad_args", "an order of this length holds one file and nothing else")
        return data


def local_sockets(folder: Path, answers: Answers, *, page: bool) -> list[Control]:
    """One for the command line and, if wanted, one for the page; without it where its socket cannot be made.

    Raises:
        OSError, StoreError: the command line's cannot be made.
    """
    found = [Control(control_socket(folder), COMMAND_LINE, answers)]
    if page:
        try:
            found.append(Control(page_socket(folder), PAGE, answers))
        except (OSError, StoreError) as error:  # no reason not to monitor
            log.warning("the page cannot reach this daemon: no socket for it: %s", error)
    return found


def _line(answer: dict[str, Any] | bytes) -> bytes:
    return (answer if isinstance(answer, bytes) else json.dumps(answer).encode()) + b"\n"


def _drain(client: socket.socket) -> None:
    """Pass over the rest of an order: who is still sending would not read the answer."""
    left = MAX_IMPORT_BYTES
    while left > 0 and (part := client.recv(65536)) and not part.endswith(b"\n"):
        left -= len(part)
