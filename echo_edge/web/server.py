"""The server of the page: its socket, its certificate, how it starts, what it tells systemd and how it ends."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from echo_edge.errors import ConfigError, EchoEdgeError
from echo_edge.systemd import ServiceManager
from echo_edge.web.config import WebConfig
from echo_edge.web.guard import MAX_HEADER
from echo_edge.web.handshakes import BACKLOG, Handshakes
from echo_edge.web.slow_clients import BoundedProtocol

log = logging.getLogger(__name__)

KEEP_ALIVE_S, STOP_S = 30, 3
TICKS_A_SECOND = 10  # uvicorn's
CERTIFICATE_EVERY_S = 10.0


class ServerError(EchoEdgeError):
    """The page cannot listen where it should; it may be possible later."""


class Certificate:
    """The TLS context, kept true to its files: a renewed certificate is in use without a restart."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._seen = self._marks()
        try:
            self.context = _context(*self._files)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError([f"tls: {certificate} with {key}: {_why(error)}"]) from error

    def renew(self) -> None:
        """Take the files again if they changed; those that do not fit together leave the old ones in use."""
        if (seen := self._marks()) == self._seen:
            return
        self._seen = seen
        try:
            _context(*self._files)  # tried on another one first: a failure in the middle would leave half of it
            self.context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as error:
            log.error("tls: the changed certificate is not used, the old one is: %s", _why(error))
        else:
            log.info("tls: the changed certificate is in use")

    def _marks(self) -> list[tuple[int, int]]:
        marks = []
        for file in self._files:
            try:
                about = file.stat()
            except OSError:
                marks.append((0, 0))
            else:
                marks.append((about.st_ino, about.st_mtime_ns))
        return marks


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key, password="")  # a key with a password fails, and asks no terminal
    return context


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{error.reason or error}; give a certificate and its own key, PEM, without a password"
    return str(error.strerror)


class WebServer(uvicorn.Server):
    """uvicorn with a bounded TLS handshake, bounded clients, and an end that open streams do not delay."""

    def __init__(
        self,
        app: ASGIApp,
        certificate: Certificate | None,
        told: ServiceManager,
        ready: str,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                loop="asyncio",
                interface="asgi3",
                lifespan="on",
                log_config=None,  # the daemon's habits; and no log of accesses, which would hold who looked at what
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=MAX_HEADER,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=STOP_S,
            )
        )
        self._certificate = certificate
        self._told = told
        self._ready = ready
        self._clock = clock
        self._renewed_s = clock()
        self._accepting: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        loop = asyncio.get_running_loop()
        for listening in sockets or []:
            if self._certificate is None:
                self.servers.append(await loop.create_server(self._connection, sock=listening, backlog=BACKLOG))
            else:
                handshakes = Handshakes(self._certificate.context, self._connection)
                self._accepting.append(loop.create_task(handshakes.accept(listening)))
        log.info("%s", self._ready)
        self._told.come_up(self._ready)

    def _connection(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        if counter % TICKS_A_SECOND == 0:
            now_s = self._clock()
            self._told.progress(now_s)
            for connection in tuple(self.server_state.connections):
                if isinstance(connection, BoundedProtocol):
                    connection.cut_off_if_slow(now_s)
            if self._certificate is not None and now_s - self._renewed_s >= CERTIFICATE_EVERY_S:
                self._renewed_s = now_s
                self._certificate.renew()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._told.stopping()
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for connection in tuple(self.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.end_stream()
        await super().shutdown(sockets)


def listen(config: WebConfig) -> socket.socket:
    """The socket that the page listens on.

    Raises:
        ServerError: the port is taken, or the address not there yet.
        ConfigError: this user may not have the port.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # "::" is then IPv4 as well
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind((config.host, config.port))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        where = f"cannot listen on {config.host} port {config.port}"
        if error.errno == errno.EACCES:
            mend = "give a port from 1024 on; as a service, also in SocketBindAllow= of a drop-in"
            raise ConfigError([f"port: {where}: this user may not; {mend}"]) from error
        mends = {
            errno.EADDRINUSE: "another program has the port, perhaps a page that runs already; give it another `port`",
            errno.EADDRNOTAVAIL: "this machine has no such address, or not yet; look at `host` and at `ip address`",
            errno.EPERM: "the unit does not allow it; name the port in SocketBindAllow= of a drop-in",
        }
        raise ServerError(f"{where}: {mends.get(error.errno or 0, error.strerror)}") from error
    return listening


def serve(
    app: ASGIApp,
    config: WebConfig,
    *,
    stop: Callable[[uvicorn.Server], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run the page until SIGTERM or Ctrl-C.

    Args:
        app: guard and all.
        clock: seconds; by it slow clients are cut off.
        stop: is handed the server before it starts, by whose ``should_exit`` another thread ends it.

    Raises:
        ServerError, ConfigError: it cannot listen, or the certificate cannot be used.
    """
    certificate = None if config.tls is None else Certificate(config.tls.certificate_file, config.tls.key())
    if not config.is_loopback and certificate is None:
        log.warning("without TLS: whoever is on the network can read passwords and take over logins; give `tls`")
    listening = listen(config)
    server = WebServer(
        app, certificate, ServiceManager(), f"the page of {config.gateway} is at {config.address}", clock
    )
    if stop is None:
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises what ended it once more when it is done
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    else:
        stop(server)
    with listening:
        server.run([listening])
