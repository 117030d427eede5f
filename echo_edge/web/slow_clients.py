"""HTTP connections with an end: who sends, or takes, too slowly is cut off, and no address can hold all of them.

Where there are as many as may be, a new one takes the place of the oldest that only waits. uvicorn itself bounds only
the time between two requests; the rest is looked at once a second, from ``WebServer``.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from echo_edge.web.guard import SECURITY_HEADERS, STREAM, TAKES_FILE

CONNECTIONS, OF_ONE_ADDRESS = 160, 120
Waiting = Literal["header", "body", "file", "taking", "closing"]
LIMITS_S: dict[Waiting, float] = {"header": 10.0, "body": 20.0, "file": 120.0, "taking": 20.0, "closing": 20.0}


class BoundedProtocol(H11Protocol):
    """One connection."""

    _waits_for: tuple[Waiting | None, object, int] = (None, None, 0)
    _since_s = 0.0
    made_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.access_log = False  # who looked at what is in no log, and no address with what was typed into it
        self.made_s = self.loop.time()
        everybody = [c for c in self.connections if isinstance(c, BoundedProtocol)]
        of_one = [c for c in everybody if c.address == self.address]
        crowd = of_one if len(of_one) > OF_ONE_ADDRESS else everybody if len(everybody) > CONNECTIONS else []
        if crowd:
            idle = [c for c in crowd if c is not self and c.is_idle]
            min(idle, key=lambda c: c.made_s, default=self).transport.abort()

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def is_idle(self) -> bool:
        """Whether it is only kept, by a browser for its next request or by somebody for nothing."""
        return self.cycle is None or self.cycle.response_complete

    def cut_off_if_slow(self, now_s: float) -> None:
        """Abort the connection if it has waited for one thing for too long."""
        waits_for = (self._waiting(), self.cycle, self.transport.get_write_buffer_size())  # a smaller one: it takes
        if waits_for != self._waits_for:
            self._waits_for, self._since_s = waits_for, now_s
        elif waits_for[0] is not None and now_s - self._since_s >= LIMITS_S[waits_for[0]]:
            self.transport.abort()

    def _waiting(self) -> Waiting | None:
        """What the client owes us."""
        if self.transport.is_closing():
            return "closing"
        if self.flow.write_paused:
            return "taking"
        if self.conn.their_state is h11.SEND_BODY:
            refused = self.cycle is None or self.cycle.response_complete
            return "file" if not refused and TAKES_FILE.fullmatch(self.scope["path"]) else "body"
        begun = self.cycle is None or bool(self.conn.trailing_data[0])  # else idle, which uvicorn bounds
        return "header" if self.conn.their_state is h11.IDLE and begun else None

    def end_stream(self) -> None:
        """End what would go on for ever: the events of a live page; the browser asks again when we are back."""
        if self.cycle and not self.cycle.response_complete and self.scope["path"] == STREAM:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """As the base does, with our headers; and where an answer has begun already there is none to give."""
        headers = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
        text = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store"), (b"connection", b"close")]
        events: list[Any] = [
            h11.Response(status_code=400, headers=[*text, *headers], reason=b"Bad Request"),
            h11.Data(data=msg.encode()),
            h11.EndOfMessage(),
        ]
        try:
            for event in events:
                self.transport.write(self.conn.send(event))
        except h11.LocalProtocolError:
            self.transport.abort()
        self.transport.close()
