"""The web server of the metrics page: a few threads at most, and nobody who dawdles keeps others out."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

log = logging.getLogger(__name__)

CLIENTS = 8  # at a time; Prometheus is one
SILENT_S = 5.0  # a client that neither sends nor takes anything for so long is left
ENDED_EVERY_S = 0.2  # whether it is to end is looked at so often
ENDS_WITHIN_S = 1.0  # a client that was cut off


class MetricsServer(ThreadingMixIn, HTTPServer):
    """Serves a registry from its own threads.

    Where as many clients are connected as may be, a new one takes the place of the oldest: sockets that are opened and
    left idle, or fed byte by byte, keep no one out.

    Raises:
        OSError: nobody can listen there.
    """

    daemon_threads = False  # the end waits for them
    request_queue_size = 256  # a shorter queue makes the system forget who comes with many others, for seconds

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._open: list[socket.socket] = []  # the oldest first
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(CLIENTS)
        self._thread = threading.Thread(target=self.serve_forever, args=(ENDED_EVERY_S,), name="metrics", daemon=True)
        super().__init__((host, port), _handler(registry))

    def server_bind(self) -> None:
        """As the base does, without asking a name server who we are."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port, cut off who is connected, and end every thread."""
        self.shutdown()
        with self._lock:
            while self._open:
                _cut(self._open.pop())
        self.server_close()
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            with self._lock:
                if self._open:
                    _cut(self._open.pop(0))
            if not self._places.acquire(timeout=ENDS_WITHIN_S):
                self.shutdown_request(request)
                return
        with self._lock:
            self._open.append(request)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._places.release()
            raise

    def shutdown_request(self, request: Any) -> None:
        with self._lock, suppress(ValueError):  # cut off before
            self._open.remove(request)
        super().shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the base's signature
        """A client that went away is none of our troubles."""
        log.debug("the metrics page: a client went away", exc_info=True)


def _handler(registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    rendering = threading.Lock()  # one at a time: however many ask, they take one thread's share of the processor

    class Handler(BaseHTTPRequestHandler):
        timeout = SILENT_S

        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/metrics", "/"):
                self.send_error(404, explain="it is /metrics")
                return
            encode, content_type = choose_encoder(self.headers.get("Accept") or "")
            with rendering:
                page = encode(registry)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's signature
            """Every scrape is no news."""

    return Handler


def _cut(request: socket.socket) -> None:
    with suppress(OSError):  # it is gone already
        request.shutdown(socket.SHUT_RDWR)
