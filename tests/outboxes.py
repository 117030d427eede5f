"""An outbox without a disk or a thread: what is put into it is to be sent at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from echo_edge.outbox import Outbox
from echo_edge.outgoing import CRITICAL, Outgoing, Row


class ListOutbox:
    """The publisher's half of an outbox, with everything that was done to it."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.settled: list[Row] = []
        self.given_up: list[Row] = []
        self.held: set[str] = set()

    def add(self, topic: str, payload: bytes, rank: int = CRITICAL, *, waits: bool = True) -> None:
        seq = len(self.rows) + len(self.settled) + len(self.given_up) + 1
        self.rows = sorted(
            [*self.rows, Row("e", seq, rank, topic, payload, waits, True)], key=lambda r: (r.rank, r.seq)
        )

    def front(self) -> Sequence[Row]:
        return [row for row in self.rows if row.topic not in self.held]

    def settle(self, row: Row) -> None:
        self.rows.remove(row)
        self.settled.append(row)

    def dead(self, row: Row, reason: int) -> None:  # noqa: ARG002  as an outbox has it
        self.rows.remove(row)
        self.given_up.append(row)

    def hold(self, topic: str) -> None:
        self.held.add(topic)

    def release(self, topic: str) -> None:
        self.held.discard(topic)


@contextmanager
def memory_outbox() -> Iterator[Outbox]:
    """The real one, with its thread, in memory."""
    outbox = Outbox(None, "gw1")
    outbox.start()
    try:
        yield outbox
    finally:
        outbox.stop()


def event(topic: str, number: int | str, rank: int = CRITICAL, then: Callable[..., None] = lambda _: None) -> Outgoing:
    return Outgoing(topic, rank, {"n": number}, then=then)
