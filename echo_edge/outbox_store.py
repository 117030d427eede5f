"""What the thread of the outbox does: events to disk, or to memory where that fails, and rows from there to the front.

No thread of its own. All that other threads see is in the ``Front``, and changed under its lock.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from echo_edge import outbox_file
from echo_edge.envelope import Payload, timestamp
from echo_edge.outbox_db import AT_ONCE, MAX_PAYLOAD_BYTES, Entry, Loss, NoRoomError, OutboxDb
from echo_edge.outbox_front import Front
from echo_edge.outgoing import Outgoing, Row
from echo_edge.payload import encode

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_LARGE = 10**15  # a number as long as any

FAILURES = (sqlite3.Error, OSError, MemoryError)  # the last: a length that is damaged
DAMAGE_TOLD_S = 86_400.0
LOST_LOGGED_EVERY_S = 60.0
RATE_STEP_S, RATE_STEPS = 600.0, 18  # the rate is that of three hours


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How the outbox is."""

    waiting: int = 0
    """Events that the broker has not taken."""

    storing: int = 0
    """Of these: on their way to the disk."""

    oldest_ns: int | None = None
    """When the oldest of them on disk was made; None: there is none, or the clock was not set then."""

    used_bytes: int = 0
    free_bytes: int = 0
    hours_left: float | None = None
    """Until it is full, at the rate of the last three hours; None where nothing came, or nothing waits."""

    lost: int = 0
    """Events given up: on disk since the file was made, in memory since the start."""

    dead: int = 0
    """Put aside because the broker called them unfit."""

    durable: bool = False
    problem: str | None = None
    """``disk_full``, ``disk_slow``, ``storage_ro``, ``io_error``, ``damaged`` or ``outbox_full``, and what about it."""

    epoch: str = ""


class Store:
    """The file and what stands in for it.

    Args:
        path: of the database; None: in memory only.
        front: what other threads see; its lock is held for memory work only.
        open_db: opens the file, or makes it.
        wake: called when the front may have changed.
    """

    def __init__(
        self,
        path: Path | None,
        gateway: str,
        front: Front,
        lock: threading.Condition,
        *,
        open_db: Callable[[Path], OutboxDb],
        now_ns: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        self._path, self._gateway, self._front, self._lock = path, gateway, front, lock
        self._open_db, self._now_ns, self._wake = open_db, now_ns, wake
        self.tried_s = 0.0
        """When the file was opened, or failed (monotonic)."""

        self._db: OutboxDb | None = None
        self._problem: str | None = None
        self._refusing = False
        self._damage: tuple[str, float] | None = None  # what was found on opening, and when
        self._epoch = ""
        self._last_seq = 0  # that was given to anybody
        self._untold: Loss | None = None
        self._lost_logged_s = -LOST_LOGGED_EVERY_S
        self._rate = _Rate()
        self._lost, self._dead = 0, 0  # as the file said last
        # these are shared, under the lock
        self._at_work: list[Outgoing] = []  # taken, and neither on disk nor in memory yet
        self._rescued = False
        self._memory_epoch, self._memory_seq = secrets.token_hex(8), 0
        self._memory_loss: Loss | None = None
        self._forgotten = 0
        self._lives: dict[str, Payload | None] = {}  # not on disk yet

    @property
    def open(self) -> bool:
        """The disk takes events."""
        return self._db is not None

    def attempt(self, work: Callable[[], None]) -> None:
        """Do something; where the disk fails, go on in memory."""
        try:
            work()
        except FAILURES as error:
            self.fail(error)

    # the file

    def open_file(self) -> None:
        """Open or make it; one that is damaged is moved aside, and nothing in it is thrown away."""
        if self._path is None:
            return
        self.tried_s = time.monotonic()
        try:
            try:
                db = self._open_db(self._path)
            except FAILURES as error:
                if outbox_file.kind_of(error) != "damaged":
                    raise
                self._move_aside(self._path, error)
                db = self._open_db(self._path)
            self._db = db
            self._take_up(db)
        except FAILURES as error:
            self.fail(error)
        else:
            if self._problem is not None:
                log.warning("%s can be written again", self._path)
            self._problem = None

    def _take_up(self, db: OutboxDb) -> None:
        if db.epoch == self._epoch and db.next_seq > self._last_seq + 1:
            db.forget_after(self._last_seq, self._untold)
        self._write_lives()
        with self._lock:
            if db.epoch != self._epoch:
                self._front.disk_is_new(db.epoch)
            self._front.on_disk = db.waiting()
            self._front.outdate()
        self._epoch, self._last_seq, self._untold = db.epoch, db.next_seq - 1, db.untold

    def lives(self) -> dict[str, Payload]:
        """The alerts that are open, as the file has them."""
        return {} if self._db is None else self._db.lives()

    def _move_aside(self, path: Path, error: Exception) -> None:
        mark = timestamp(self._now_ns()).translate(str.maketrans("", "", ":-"))
        aside = outbox_file.move_aside(path, mark)
        problem = f"damaged: {path.name} could not be used ({error}); it is kept as {aside.name}"
        log.error("%s: %s; events in it are not sent", path, problem)
        self._damage = problem, time.monotonic()

    def fail(self, error: Exception) -> None:
        """Go on in memory, and say why."""
        self.close()
        with self._lock:
            self._front.disk_is_away()
        self.tried_s = time.monotonic()
        kind = outbox_file.kind_of(error) if isinstance(error, FAILURES) else "defect"
        problem = f"{kind}: {str(error) or type(error).__name__}"
        if problem != self._problem:
            log.error("%s: %s; events go on in memory", self._path, problem)
        self._problem = problem

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    # in

    def store(self, items: Sequence[Outgoing]) -> None:
        """Put events on disk and say so; into memory where that cannot be. In their order, or an old life would win."""
        with self._lock:
            self._at_work, self._rescued = list(items), False
        fit = deque[Outgoing]()
        for item in items:
            if self._size_bytes(item) <= MAX_PAYLOAD_BYTES:
                fit.append(item)
            else:
                self._store_fit(fit)
                self._to_memory([item])
        self._store_fit(fit)
        with self._lock:
            self._front.coming = 0

    def rescue(self, more: Sequence[Outgoing] = ()) -> list[tuple[Outgoing, Payload]]:
        """While the disk hangs: send from memory what it holds up, and more; from any thread that holds the lock.

        Returns:
            What is to be told, when the lock was let go.
        """
        items = [*self._at_work, *more]
        self._front.coming -= len(self._at_work)
        self._at_work, self._rescued = [], True
        return self._remember(items)

    def _size_bytes(self, item: Outgoing) -> int:
        loss = Loss(_LARGE, _LARGE, _LARGE)
        try:
            size_bytes = len(encode(self._stamped(item.payload, self._memory_epoch, _LARGE, loss)))
            if item.life is not None:
                encode(item.life[1] or {})
        except (TypeError, ValueError):
            return MAX_PAYLOAD_BYTES + 1  # for whoever holds it in memory to say
        if size_bytes > MAX_PAYLOAD_BYTES:
            log.error("an event on %s has %d bytes: it is sent, but not stored", item.topic, size_bytes)
        return size_bytes

    def _store_fit(self, left: deque[Outgoing]) -> None:
        """Take them all: to disk, or to memory."""
        if left:
            self.attempt(lambda: self._to_disk(left))
            self._to_memory(list(left))
            left.clear()

    def _to_disk(self, left: deque[Outgoing]) -> None:
        """Take from ``left`` what is on disk, or was refused there and is in memory."""
        if self._db is None or self._rescued:
            return
        try:
            self._insert(self._db, list(left))
            left.clear()
        except NoRoomError:  # not for all of them
            while left and not self._rescued:
                try:
                    self._insert(self._db, [left[0]])
                except NoRoomError:
                    self._refusing = True
                    self._to_memory([left[0]])
                left.popleft()

    def _insert(self, db: OutboxDb, items: Sequence[Outgoing]) -> None:
        """All or none."""
        entries, told = self._complete(db, items)
        if db.is_short(entries):
            self._write_all_settled()  # nothing is given up that has arrived
            if evicted := db.make_room(entries):
                self._gave_up(db, evicted, "there was no room")
                entries, told = self._complete(db, items)
        self._write_lives()
        db.insert(entries, told=db.untold is not None)
        with self._lock:
            claimed = self._claim(items)
            if claimed:
                self._last_seq, self._untold = db.next_seq - 1, db.untold
                for entry in entries:
                    self._front.add(
                        Row(db.epoch, entry.seq, entry.rank, entry.topic, entry.payload, entry.waits, durable=True)
                    )
                self._front.on_disk = db.waiting()
        if claimed:
            self._rate.add(sum(len(entry.payload) for entry in entries))
            self.tell(told)
        else:  # the disk took so long that they went from memory
            db.forget_after(self._last_seq, self._untold)

    def _claim(self, items: Sequence[Outgoing]) -> bool:
        """Take these out of work, with the lock held; False: they were rescued meanwhile."""
        if self._rescued:
            return False
        claimed = set(map(id, items))
        self._at_work = [item for item in self._at_work if id(item) not in claimed]
        self._front.coming -= len(items)
        return True

    def _complete(self, db: OutboxDb, items: Sequence[Outgoing]) -> tuple[list[Entry], list[tuple[Outgoing, Payload]]]:
        entries, told = [], []
        for number, item in enumerate(items):
            seq = db.next_seq + number
            payload = self._stamped(item.payload, db.epoch, seq, None if number else db.untold)
            entries.append(Entry(seq, item.rank, item.topic, self._now_ns(), item.waits, encode(payload), item.life))
            told.append((item, payload))
        return entries, told

    def _to_memory(self, items: Sequence[Outgoing]) -> None:
        with self._lock:
            told = self._remember(items) if self._claim(items) else []
        if told:
            self.attempt(self._write_lives)
            self.tell(told)

    def _remember(self, items: Sequence[Outgoing]) -> list[tuple[Outgoing, Payload]]:
        """Put events into memory, with the lock held; return what is to be told."""
        told = []
        for item in items:
            seq = self._memory_seq + 1
            payload = self._stamped(item.payload, self._memory_epoch, seq, self._memory_loss) | {"durable": False}
            try:
                data = encode(payload)
                if item.life is not None:
                    encode(item.life[1] or {})
            except (TypeError, ValueError) as error:  # a defect of whoever made it; the others must go on
                log.error("an event on %s cannot be written as JSON and is given up: %s", item.topic, error)
                self._forgotten += 1
                continue
            self._memory_seq, self._memory_loss = seq, None
            row = Row(self._memory_epoch, seq, item.rank, item.topic, data, item.waits, durable=False)
            if (gone := self._front.remember(row, self._last_seq)) is not None:
                self._forgotten += 1
                self._memory_loss = _added(self._memory_loss, gone)
            if item.life is not None:
                self._lives[item.life[0]] = item.life[1]
            told.append((item, payload))
        return told

    def _write_lives(self) -> None:
        with self._lock:
            lives = dict(self._lives)
        if self._db is not None and lives:
            self._db.set_lives(lives.items())
            with self._lock:
                for key, known in lives.items():
                    if self._lives.get(key) is known:
                        self._lives.pop(key, None)

    def _stamped(self, payload: Payload, epoch: str, seq: int, loss: Loss | None) -> Payload:
        stamped = payload | {"seq": seq, "id": f"{self._gateway}:{epoch}:{seq}"}
        if loss is not None:
            lost = {"events": loss.events, "first_seq": loss.first_seq, "last_seq": loss.last_seq}
            stamped["outbox_lost"] = lost
        return stamped

    def tell(self, told: Sequence[tuple[Outgoing, Payload]]) -> None:
        """Call what follows each event."""
        for item, payload in told:
            self._call(item.then, payload)
        self._wake()

    @staticmethod
    def _call(then: Callable[[_T], None], value: _T) -> None:
        try:
            then(value)
        except Exception:
            log.exception("what follows the storing of an event failed")

    def _gave_up(self, db: OutboxDb, seqs: Sequence[int], why: str) -> None:
        now_s = time.monotonic()
        if now_s - self._lost_logged_s >= LOST_LOGGED_EVERY_S:
            self._lost_logged_s = now_s
            log.error("events are given up, now %d to %d: %s", min(seqs), max(seqs), why)
        self._untold = db.untold
        with self._lock:
            self._front.evicted(seqs)
            self._front.on_disk = db.waiting()

    # out

    def write_settled(self) -> None:
        """Note on disk what the publisher settled, at most ``AT_ONCE``."""
        with self._lock:
            batch = list(self._front.settled.items())[:AT_ONCE]
        if self._db is None or not batch:
            return
        sent = [seq for seq, reason in batch if reason is None]
        dead = [(seq, reason) for seq, reason in batch if reason is not None]
        self._db.settle(sent, dead, self._now_ns())
        with self._lock:
            for seq, _ in batch:
                del self._front.settled[seq]
            self._front.on_disk = self._db.waiting()

    def _write_all_settled(self) -> None:
        while self._front.settled:
            self.write_settled()

    def replay(self, from_seq: int, done: Callable[[int], None]) -> None:
        """Owe again what was sent, from this number on; ``done`` gets how many."""
        count = 0
        try:
            if self._db is not None:
                self._write_all_settled()
                count = self._db.replay(from_seq)
                with self._lock:
                    self._front.on_disk = self._db.waiting()
                    self._front.outdate()
        finally:
            self._call(done, count)

    def read_on(self) -> None:
        """Bring rows from the disk to the front, where they are needed."""
        with self._lock:
            if not self._front.needs_rows():
                return
            if self._db is None:
                self._front.disk_is_away()
            after, without, count = self._front.to_read()
        if self._db is not None:
            rows = self._db.front(count, without, after)
            with self._lock:
                self._front.read(rows, all_read=len(rows) < count)
        self._wake()

    def hour(self, max_age_hours: int) -> None:
        """Another hour of running went by: give up what has waited for too many of them."""
        if self._db is not None:
            self._write_all_settled()
            lost, untold = self._db.hour(max_age_hours), self._db.untold
            self._untold = untold
            if lost is not None:
                log.error("%d events given up: the broker did not take them for too long", lost.events)
                with self._lock:
                    self._front.on_disk = self._db.waiting()
                    self._front.outdate()

    def status(self) -> OutboxStatus:
        """All but ``waiting``."""
        db, problem = self._db, self._problem
        self._refusing = self._refusing and db is not None and db.is_short(())  # it ends with the shortage
        if problem is None and self._refusing:
            problem = "outbox_full: what is in it is as severe as what comes, which goes on in memory"
        if problem is None and self._damage is not None and time.monotonic() - self._damage[1] < DAMAGE_TOLD_S:
            problem = self._damage[0]
        if db is None:
            lost = self._lost + self._forgotten
            return OutboxStatus(lost=lost, dead=self._dead, problem=problem, epoch=self._memory_epoch)
        self._lost, self._dead = db.lost, db.dead()
        per_hour = self._rate.per_hour()
        fills = per_hour > 0 and bool(db.waiting())  # while nothing waits, what comes takes nobody's room
        return OutboxStatus(
            oldest_ns=db.oldest_ns(),
            used_bytes=db.used_bytes,
            free_bytes=db.free_bytes,
            hours_left=db.free_bytes / per_hour if fills else None,
            lost=db.lost + self._forgotten,
            dead=db.dead(),
            durable=not self._refusing,
            problem=problem,
            epoch=db.epoch,
        )


def _added(loss: Loss | None, gone: Row) -> Loss:
    if loss is None:
        return Loss(1, gone.seq, gone.seq)
    return Loss(loss.events + 1, min(loss.first_seq, gone.seq), max(loss.last_seq, gone.seq))


class _Rate:
    """Bytes an hour, of the last hours."""

    def __init__(self) -> None:
        self._steps: deque[int] = deque([0], RATE_STEPS)
        self._begun_s = self._step_s = time.monotonic()

    def add(self, size_bytes: int) -> None:
        self._advance()
        self._steps[-1] += size_bytes

    def per_hour(self) -> float:
        self._advance()
        now_s = time.monotonic()
        covered_s = (len(self._steps) - 1) * RATE_STEP_S + now_s - self._step_s
        return sum(self._steps) / max(covered_s, 60.0) * 3600

    def _advance(self) -> None:
        while time.monotonic() - self._step_s >= RATE_STEP_S:
            self._step_s += RATE_STEP_S
            self._steps.append(0)
