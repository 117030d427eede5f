"""Outbox: events survive restarts, power cuts and a broker that is away. A thread, ``store``, that owns ``outbox.db``.

Any thread puts events in; none of them waits for the disk. The publisher takes what is next, and settles it when the
broker answered. Where the disk fails events go on in memory, marked ``durable: false``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from echo_edge import outbox_file
from echo_edge.envelope import Payload
from echo_edge.outbox_db import AT_ONCE, OutboxDb
from echo_edge.outbox_front import Front
from echo_edge.outbox_store import OutboxStatus, Store
from echo_edge.outgoing import CRITICAL, Outgoing, Row

__all__ = ["Outbox", "OutboxStatus"]

log = logging.getLogger(__name__)

PUTS_AT_ONCE = 50  # a transaction must fit into the log, whose size is fixed
SETTLE_EVERY_S = 0.05
TELL_EVERY_S = 0.25
HOUR_S = 3600.0
SLOW_S = 5.0  # a disk that takes longer is as good as one that fails, until it answers
RETRY_S = 30.0  # a disk that failed is tried again
IN_MEMORY, IN_MEMORY_ALONE = 1000, 10_000  # rows: beside a disk that failed; without any
NOT_TAKEN = 10_000  # events that wait for a disk that does not answer


class Outbox:
    """Events on their way, in order of rank and then of number.

    Args:
        path: of the database; None: in memory only.
        gateway: its id is part of every event's.
        max_mb: what the file takes on disk, from the start.
        max_age_days: of running; an event that waited for longer is given up.
        retry_s: a disk that failed is tried again this often.
        open_db: opens the file of such a size, or makes it.
    """

    def __init__(
        self,
        path: Path | None,
        gateway: str,
        *,
        max_mb: float = 64.0,
        max_age_days: float = 90.0,
        retry_s: float = RETRY_S,
        now_ns: Callable[[], int] = time.time_ns,
        open_db: Callable[[Path, float], OutboxDb] = OutboxDb,
    ) -> None:
        self.wake: Callable[[], None] = lambda: None
        """Called in the store's thread when ``front`` may have changed."""

        self.lives: dict[str, Payload] = {}
        """Key -> what was last known of an alert that was open at the start."""

        self._path, self._max_age_hours, self._retry_s = path, round(max_age_days * 24), retry_s
        self._lock = threading.Condition()  # held for memory work only
        self._front = Front(IN_MEMORY_ALONE if path is None else IN_MEMORY)
        self._puts: deque[Outgoing] = deque()
        self._refused = 0
        self._replays: deque[tuple[int, Callable[[int], None]]] = deque()
        self._stopping = False
        self._busy_since_s: float | None = None  # since when the thread works on the disk
        # the thread's own
        self._store = Store(
            path,
            gateway,
            self._front,
            self._lock,
            open_db=lambda path: open_db(path, max_mb),
            now_ns=now_ns,
            wake=self._wake,
        )
        self._settled_s = self._told_s = self._hour_s = time.monotonic()
        self._status = self._store.status()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        """Open the file, or make it, which may take seconds; then begin to store."""
        if self._path is not None:
            if (name := outbox_file.copies_on_write(self._path)) is not None:
                log.warning("%s: %s needs room for every change; when it is full nothing is stored", self._path, name)
            self._store.open_file()
            self._store.attempt(self._read_lives)
            self._store.attempt(self._store.read_on)
        self._tell_status()
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, and end the thread."""
        if self._thread.ident is None:
            return
        with self._lock:
            self._stopping = True
            self._lock.notify()
        self._thread.join(10)
        if self._thread.is_alive():
            log.error("the disk does not answer; %d events are not stored", len(self._puts) + self._front.coming)

    def put(self, item: Outgoing) -> None:
        """Take in an event; never waits, whatever the disk does."""
        with self._lock:
            if len(self._puts) >= NOT_TAKEN and item.rank != CRITICAL:
                self._refused += 1
                return
            self._puts.append(item)
            self._lock.notify()
        self._rescue_if_hung()

    def front(self) -> list[Row]:
        """What to publish next, best first, at most 100 rows."""
        self._rescue_if_hung()
        with self._lock:
            return self._front.rows()

    def settle(self, row: Row) -> None:
        """The broker took it."""
        self._settle(row, None)

    def dead(self, row: Row, reason: int) -> None:
        """The broker will never take it: put it aside."""
        self._settle(row, reason)

    def hold(self, topic: str) -> None:
        """Leave its rows out of ``front``."""
        with self._lock:
            self._front.hold(topic)
            self._notify_if_busy()

    def release(self, topic: str) -> None:
        """Do not leave them out any more, as soon as the disk was asked for the oldest of them."""
        with self._lock:
            self._front.release(topic)
            self._notify_if_busy()

    def replay(self, from_seq: int, done: Callable[[int], None]) -> None:
        """Send again what was sent, from this number on; ``done`` gets how many, in the store's thread."""
        with self._lock:
            self._replays.append((from_seq, done))
            self._lock.notify()

    @property
    def status(self) -> OutboxStatus:
        """How it is; all but ``waiting`` and ``storing`` as of the last quarter of a second."""
        with self._lock:
            status = replace(
                self._status,
                waiting=self._front.waiting + len(self._puts),
                storing=self._front.coming + len(self._puts),
                lost=self._status.lost + self._refused,
            )
        if self._hung:
            return replace(status, durable=False, problem=f"disk_slow: no answer for {SLOW_S:.0f} s and more")
        return status

    @property
    def alive(self) -> bool:
        """The thread runs; False after ``start`` and before ``stop`` is a defect."""
        return self._thread.is_alive()

    @property
    def _hung(self) -> bool:
        """The disk has not answered for longer than any healthy one takes."""
        return self._busy_since_s is not None and time.monotonic() - self._busy_since_s > SLOW_S

    def _rescue_if_hung(self) -> None:
        """While the disk hangs, what waits for it goes from memory. What it stores of that after all, is dropped."""
        if self._hung:
            with self._lock:
                puts = list(self._puts)
                self._puts.clear()
                told = self._store.rescue(puts)
            if told:
                self._store.tell(told)

    def _settle(self, row: Row, dead: int | None) -> None:
        with self._lock:
            self._front.settle(row, dead)
            if len(self._front.settled) == 1:
                self._lock.notify()
            self._notify_if_busy()

    def _notify_if_busy(self) -> None:
        if self._front.needs_rows() or len(self._front.settled) == AT_ONCE:
            self._lock.notify()

    # the thread

    def _run(self) -> None:
        while True:
            try:
                if not self._turn():
                    break
            except Exception as error:  # alerts must go on
                log.critical("a defect of the outbox; it begins anew", exc_info=True)
                self._store.fail(error)
                with self._lock:
                    told = self._store.rescue()
                self._store.tell(told)
                time.sleep(1)
        self._store.close()

    def _turn(self) -> bool:
        """Wait for work and do it; False: we were told to end, and nothing is left."""
        with self._lock:
            while not self._has_work() and (wait_s := self._due_s() - time.monotonic()) > 0:
                self._lock.wait(wait_s)
            puts = [self._puts.popleft() for _ in range(min(len(self._puts), PUTS_AT_ONCE))]
            self._front.coming, stopping = len(puts), self._stopping
            now_s = self._busy_since_s = time.monotonic()
        if puts:
            self._store.store(puts)
        if stopping or self._many_settled() or now_s - self._settled_s >= SETTLE_EVERY_S:
            self._settled_s = now_s
            self._store.attempt(self._store.write_settled)
        self._store.attempt(self._replay)
        self._store.attempt(self._store.read_on)
        self._keep_house(now_s)
        if stopping or now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._store.attempt(self._tell_status)
        with self._lock:
            self._busy_since_s = None
            return not stopping or bool(self._puts) or (self._store.open and bool(self._front.settled))

    def _has_work(self) -> bool:
        if self._puts or self._replays or self._stopping:
            return True
        return self._many_settled() or self._front.needs_rows()

    def _many_settled(self) -> bool:
        return self._store.open and len(self._front.settled) >= AT_ONCE

    def _due_s(self) -> float:
        tell_s = self._told_s + TELL_EVERY_S
        settling = self._store.open and self._front.settled
        return min(tell_s, self._settled_s + SETTLE_EVERY_S) if settling else tell_s

    def _wake(self) -> None:
        self.wake()

    def _read_lives(self) -> None:
        self.lives = self._store.lives()

    def _replay(self) -> None:
        while self._replays:
            from_seq, done = self._replays.popleft()
            self._store.replay(from_seq, done)

    def _keep_house(self, now_s: float) -> None:
        if self._path is not None and not self._store.open and now_s - self._store.tried_s >= self._retry_s:
            self._store.open_file()
        if now_s - self._hour_s >= HOUR_S:
            self._hour_s = now_s
            self._store.attempt(lambda: self._store.hour(self._max_age_hours))

    def _tell_status(self) -> None:
        status = self._store.status()
        with self._lock:
            self._status = status
