"""TLS handshakes, so many at a time: each takes 300 kB, and who only connects has shown nothing yet.

Where there are as many as may be, the oldest gives way of the address that has most of them. asyncio's own server has
no bound: 700 clients that say nothing would take more memory than the service may have.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

WITHIN_S = 10.0
AT_ONCE = 60
BACKLOG = 128
AGAIN_S = 1.0


class Handshakes:
    """Accepts clients, and hands on those that speak TLS. Belongs to the event loop."""

    def __init__(self, context: ssl.SSLContext, connection: Callable[[], asyncio.Protocol]) -> None:
        """``connection`` makes what serves a client once its handshake is done."""
        self._context = context
        self._connection = connection
        self._running: dict[asyncio.Task[None], tuple[str, socket.socket]] = {}  # the oldest first

    async def accept(self, listening: socket.socket) -> None:
        """Until cancelled."""
        listening.listen(BACKLOG)
        try:
            while True:
                try:
                    client, address = await asyncio.get_running_loop().sock_accept(listening)
                except OSError as error:  # out of descriptors, most likely
                    log.error("cannot accept: %s", error)
                    await asyncio.sleep(AGAIN_S)
                    continue
                await self._begin(client, address[0])
        finally:
            await asyncio.sleep(0)  # as in _begin
            left = tuple(self._running)
            for task in left:
                self._end(task)
            await asyncio.gather(*left, return_exceptions=True)

    async def _begin(self, client: socket.socket, address: str) -> None:
        task = asyncio.get_running_loop().create_task(self._shake(client))
        self._running[task] = (address, client)
        task.add_done_callback(lambda done: self._running.pop(done, None))
        await asyncio.sleep(0)  # it has begun then: from now on the socket is closed by its transport
        if len(self._running) > AT_ONCE:
            most = Counter(address for address, _ in self._running.values()).most_common(1)[0][0]
            self._end(next(task for task, (address, _) in self._running.items() if address == most))

    def _end(self, task: asyncio.Task[None]) -> None:
        _, client = self._running.pop(task)
        with suppress(OSError):  # the client was quicker
            client.shutdown(socket.SHUT_RDWR)  # at once, also where a transport would still wait for its last words
        task.cancel()

    async def _shake(self, client: socket.socket) -> None:
        with suppress(OSError):  # it went away, was too slow, or speaks no TLS
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection, client, ssl=self._context, ssl_handshake_timeout=WITHIN_S
            )
