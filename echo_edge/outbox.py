"""Outbox: events on their way to the broker. In memory for now."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from echo_edge.envelope import Payload
from echo_edge.outgoing import Outgoing, Row
from echo_edge.payload import encode


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    waiting: int = 0
    oldest_ns: int | None = None
    used_bytes: int = 0
    free_bytes: int = 0
    hours_left: float | None = None
    lost: int = 0
    dead: int = 0
    durable: bool = False
    problem: str | None = None
    epoch: str = ""


class Outbox:
    def __init__(
        self,
        path: Path | None,
        gateway: str,
        *,
        max_mb: float = 64.0,
        max_age_days: float = 90.0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._gateway, self._epoch, self._last = gateway, secrets.token_hex(8), 0
        self._rows: list[Row] = []
        self._held: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def put(self, item: Outgoing) -> None:
        with self._lock:
            self._last += 1
            payload = item.payload | {"seq": self._last, "id": f"{self._gateway}:{self._epoch}:{self._last}"}
            self._rows.append(Row(self._last, item.rank, item.topic, encode(payload), item.waits, False))
            self._rows.sort(key=lambda row: (row.rank, row.seq))
        item.then(payload)
        self.wake()

    def front(self) -> list[Row]:
        with self._lock:
            return [row for row in self._rows if row.topic not in self._held][:100]

    def settle(self, row: Row, reason: int) -> None:
        with self._lock:
            self._rows = [other for other in self._rows if other is not row]

    dead = settle

    def hold(self, topic: str) -> None:
        with self._lock:
            self._held.add(topic)

    def release(self, topic: str) -> None:
        with self._lock:
            self._held.discard(topic)

    @property
    def lives(self) -> dict[str, Payload]:
        return {}

    @property
    def status(self) -> OutboxStatus:
        with self._lock:
            return OutboxStatus(waiting=len(self._rows), epoch=self._epoch)
