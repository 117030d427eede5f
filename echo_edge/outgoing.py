"""What leaves through the outbox: an event on its way in, and the row that it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from echo_edge.envelope import Payload

CRITICAL, WARNING, REST = 0, 1, 2
"""Ranks. Of a lower one everything is sent first; when the outbox is full the highest gives way, its oldest first, and
``CRITICAL`` never does. Alarms and faults that open or escalate are critical, warnings likewise ``WARNING``; updates,
clears, answers of persons and audit records are the rest."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event to be stored and then published."""

    topic: str
    rank: int
    payload: Payload
    """As it is to be sent, without what the outbox adds: ``seq``, ``id``, ``durable``, ``outbox_lost``."""

    life: tuple[str, Payload | None] | None = None
    """Key of an alert's life and what must be known of it after a restart, stored with the event or not at all; None
    in place of the payload: it is over."""

    waits: bool = True
    """False: it is settled even when nobody subscribes to it."""

    then: Callable[[Payload], None] = lambda _: None
    """Called with the whole payload once it is on disk, or cannot be put there; in the store's thread, so it must
    neither wait nor fail."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event that is to be published; ``epoch`` and ``seq`` tell it from all others."""

    epoch: str
    seq: int
    rank: int
    topic: str
    payload: bytes
    waits: bool
    durable: bool
