"""A TCP proxy that is the network's bad day: cut, half-open, refusing, slow, or late."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from types import TracebackType

from echo_edge.demo_broker import HOST, free_port

CHUNK_BYTES = 256


class Proxy:
    """Listens on ``port`` and forwards to ``to``; a context manager with a thread of its own."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self.connections = 0
        """How many came in all."""

        self._to = to
        self._stuck = self._refusing = False
        self._bytes_per_s: float | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._listening.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(5)
        self._loop.close()

    def cut(self) -> None:
        """Reset every connection, as a switch that loses power."""
        self._loop.call_soon_threadsafe(self._abort)

    def half_open(self, *, stuck: bool = True) -> None:
        """Keep every connection open and forward nothing, as behind a firewall that forgot it."""
        self._stuck = stuck

    def refuse(self, *, refusing: bool = True) -> None:
        """Take connections and close them at once."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def slow(self, bytes_per_s: float | None) -> None:
        """Forward no faster; None: as fast as it goes."""
        self._bytes_per_s = bytes_per_s

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        async with await asyncio.start_server(self._connected, HOST, self.port):
            self._listening.set()
            await self._ended.wait()
            self._abort()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            if self._refusing:
                return
            with suppress(OSError):
                theirs, ours = await asyncio.open_connection(HOST, self._to)
                self._writers.add(ours)
                pumps = [asyncio.ensure_future(self._pump(*pair)) for pair in ((reader, ours), (theirs, writer))]
                self._tasks.update(pumps)
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                ours.transport.abort()
                self._writers.discard(ours)
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES if self._bytes_per_s else 65536):
                while self._stuck:
                    await asyncio.sleep(0.02)
                if self._bytes_per_s:
                    await asyncio.sleep(len(data) / self._bytes_per_s)
                writer.write(data)
                await writer.drain()
