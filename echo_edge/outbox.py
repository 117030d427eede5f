"""Outbox: events survive restarts, power cuts and a broker that is away. A thread, ``store``, that owns ``outbox.db``.

Any thread puts events in; none of them waits for the disk. The publisher takes what is next, and settles it when the
broker answered. Where the disk fails, events go on in memory, marked ``durable: false``.
"""

from __future__ import annotations

import bisect
import logging
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from echo_edge.envelope import Payload, timestamp
from echo_edge.outbox_db import MAX_PAYLOAD_BYTES, Entry, Loss, NoRoomError, OutboxDb
from echo_edge.outgoing import CRITICAL, Outgoing, Row
from echo_edge.payload import encode

log = logging.getLogger(__name__)

FRONT, LOW, BUFFER = 100, 400, 600  # rows looked at for the next message, when more are read, and how many at most
PUTS_AT_ONCE, SETTLES_AT_ONCE = 50, 200  # a transaction must fit into the log, whose size is fixed
SETTLE_EVERY_S = 0.05
STATUS_EVERY_S = 0.25
SLOW_S = 5.0  # a disk that takes longer is as good as one that fails, until it answers
RETRY_S = 30.0  # a disk that failed is tried again
IN_MEMORY = 1000
HOUR_S = 3600.0
LOST_LOGGED_EVERY_S = 60.0
DAMAGE_TOLD_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How the outbox is."""

    waiting: int = 0
    """Events that the broker has not taken."""

    storing: int = 0
    """Of these: on their way to the disk."""

    oldest_ns: int | None = None
    """When the oldest of them was made."""

    used_bytes: int = 0
    free_bytes: int = 0
    hours_left: float | None = None
    """Until it is full, at the rate since the start; None where nothing came yet."""

    lost: int = 0
    """Events given up since the file was made: no room, too old."""

    dead: int = 0
    """Put aside because the broker called them unfit."""

    durable: bool = False
    problem: str | None = None
    epoch: str = ""


class Outbox:
    """Events on their way, in order of rank and then of number.

    Args:
        path: of the database; None: in memory only.
        gateway: its id is part of every event's.
        max_mb: the size that a new file gets.
        max_age_days: of running; an event that waited for longer is given up.
        retry_s: a disk that failed is tried again this often.
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

        self._path, self._gateway, self._max_mb, self._now_ns = path, gateway, max_mb, now_ns
        self._max_age_hours = round(max_age_days * 24)
        self._retry_s, self._open_db = retry_s, open_db
        self._db: OutboxDb | None = None  # belongs to the thread, once it runs
        self._problem: str | None = None
        self._damage: tuple[str, float] | None = None  # what was found at the start, and when (monotonic)
        self._memory_epoch, self._memory_seq = secrets.token_hex(8), 0
        self._pending_lives: dict[str, Payload | None] = {}
        self._loss: Loss | None = None  # not told yet
        self._started_s = self._hour_s = self._tried_s = time.monotonic()
        self._bytes_in = self._dead_count = self._lost_count = 0
        self._lost_logged_s = -LOST_LOGGED_EVERY_S
        # what follows is shared with other threads, under the lock
        self._lock = threading.Condition()
        self._puts: deque[Outgoing] = deque()
        self._buffer: list[Row] = []  # on disk, best first; held topics' are not in it
        self._more = False  # the disk has rows that are not in the buffer
        self._memory: list[Row] = []
        self._held: set[str] = set()
        self._releasing: set[str] = set()
        self._epoch = ""  # of the rows in the buffer
        self._done: set[int] = set()  # settled, and not written yet
        self._dead: dict[int, int] = {}  # of these: the reason of those that are put aside
        self._replays: deque[tuple[int, Callable[[int], None]]] = deque()
        self._stopping = False
        self._refused = 0
        self._in_work: list[Outgoing] = []  # being stored right now
        self._busy_since_s: float | None = None  # since when the thread works on the disk
        self._status = OutboxStatus(epoch=self._memory_epoch)
        self._waiting = self._storing = 0  # on disk and not settled; on their way there
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        """Open the file, or make it, which may take seconds; then begin to store."""
        if self._path is not None:
            self._open(self._path)
            if self._db is not None:
                with suppress(sqlite3.Error):
                    self.lives = self._db.lives()
                self._refill()
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
            log.error("the disk does not answer; %d events are not stored", len(self._puts))

    def put(self, item: Outgoing) -> None:
        """Take in an event; never waits, whatever the disk does."""
        with self._lock:
            self._puts.append(item)
            self._lock.notify()
        self._rescue()

    def front(self) -> list[Row]:
        """What to publish next, best first."""
        self._rescue()
        with self._lock:
            if not self._memory:
                return self._buffer[:FRONT]
            rows = [row for row in self._memory if row.topic not in self._held]
            return sorted([*rows[:FRONT], *self._buffer[:FRONT]], key=_key)[:FRONT]

    def settle(self, row: Row) -> None:
        """The broker took it."""
        self._drop(row, None)

    def dead(self, row: Row, reason: int) -> None:
        """The broker will never take it: put it aside."""
        self._drop(row, reason)

    def hold(self, topic: str) -> None:
        """Leave its rows out of ``front``."""
        with self._lock:
            self._held.add(topic)
            self._releasing.discard(topic)
            kept = [row for row in self._buffer if row.topic != topic]
            self._more = self._more or len(kept) < len(self._buffer)
            self._buffer = kept
            self._lock.notify()

    def release(self, topic: str) -> None:
        """Do not leave them out any more, as soon as the disk was asked for the oldest of them."""
        with self._lock:
            if topic in self._held:
                self._releasing.add(topic)
                self._lock.notify()

    def replay(self, from_seq: int, done: Callable[[int], None]) -> None:
        """Send again what was sent, from this number on; ``done`` gets how many, in the store's thread."""
        with self._lock:
            self._replays.append((from_seq, done))
            self._lock.notify()

    @property
    def alive(self) -> bool:
        """The thread runs; False after ``start`` and before ``stop`` is a defect."""
        return self._thread.is_alive()

    @property
    def status(self) -> OutboxStatus:
        """How it is; all but ``waiting`` and ``storing`` as of the last quarter of a second."""
        with self._lock:
            storing = len(self._puts) + self._storing
            waiting = self._waiting + len(self._memory) + storing
            told = replace(self._status, waiting=waiting, storing=storing)
            if self._hung:
                told = replace(told, durable=False, problem=f"disk_slow: no answer for {SLOW_S:.0f} s and more")
            return told

    @property
    def _hung(self) -> bool:
        """The disk has not answered for longer than any healthy one takes."""
        return self._busy_since_s is not None and time.monotonic() - self._busy_since_s > SLOW_S

    def _rescue(self) -> None:
        """While the disk hangs, send what waits for it from memory.

        What the disk holds up in the middle of a commit may come again, under another id, once it answers: twice is
        better than late.
        """
        if not self._hung:
            return
        with self._lock:
            items = [*self._in_work, *self._puts]
            self._in_work = []
            self._puts.clear()
        if items:
            self._remember(items)

    def _drop(self, row: Row, reason: int | None) -> None:
        with self._lock:
            if row.epoch != self._epoch:  # in memory, or of a file that is not there any more
                self._memory = [other for other in self._memory if other is not row]
                return
            if row.seq in self._done:
                return
            at = bisect.bisect_left(self._buffer, _key(row), key=_key)
            if at < len(self._buffer) and self._buffer[at].seq == row.seq:
                del self._buffer[at]
            self._done.add(row.seq)
            if reason is not None:
                self._dead[row.seq] = reason
            self._waiting = max(0, self._waiting - 1)
            if len(self._done) == 1 or len(self._buffer) == LOW:
                self._lock.notify()

    # the thread

    def _run(self) -> None:
        try:
            self._serve()
        except Exception:
            log.critical("the outbox has ended by a defect of its own", exc_info=True)
        finally:
            if self._db is not None:
                self._db.close()

    def _serve(self) -> None:
        settled_s = told_s = 0.0
        while True:
            with self._lock:
                self._lock.wait_for(self._has_work, SETTLE_EVERY_S if self._done else STATUS_EVERY_S)
                puts = [self._puts.popleft() for _ in range(min(len(self._puts), PUTS_AT_ONCE))]
                self._storing = len(puts)
                done, stopping = len(self._done), self._stopping
            now_s = self._busy_since_s = time.monotonic()
            if puts:
                self._in_work = puts
                self._store(puts)
                self._in_work = []
                with self._lock:
                    self._storing = 0
            if done and (stopping or done >= SETTLES_AT_ONCE or now_s - settled_s >= SETTLE_EVERY_S):
                settled_s = now_s
                self._attempt(self._write_settled)
            self._attempt(self._replay)
            self._refill_if_low()
            self._keep_house(now_s)
            if now_s - told_s >= STATUS_EVERY_S or stopping:
                told_s = now_s
                self._attempt(self._tell_status)
            self._busy_since_s = None
            with self._lock:
                if stopping and not self._puts and (not self._done or self._db is None):
                    return

    def _has_work(self) -> bool:
        if self._puts or self._replays or self._releasing or self._stopping:
            return True
        low = self._more and len(self._buffer) <= LOW
        return self._db is not None and (low or len(self._done) >= SETTLES_AT_ONCE)

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)

    def _store(self, items: list[Outgoing]) -> None:
        if self._db is None:
            self._remember(items)
            return
        entries, told, unfit = self._complete(items, self._db)
        try:
            self._insert(self._db, entries)
        except NoRoomError as error:
            self._problem = f"outbox_full: {error}"
            for item in items:
                self._store_or_refuse(item)
            return
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            self._remember(items)
            return
        if self._problem is not None and self._problem.startswith("outbox_full"):
            self._problem = None
        self._keep(entries, self._db.epoch)
        self._tell(told)
        if unfit:
            self._remember(unfit)

    def _store_or_refuse(self, item: Outgoing) -> None:
        """One at a time: who is less severe than what fills the outbox is given up, a critical one sent from memory."""
        if self._db is None:
            self._remember([item])
            return
        entries, told, unfit = self._complete([item], self._db)
        try:
            self._insert(self._db, entries)
        except NoRoomError:
            if item.rank == CRITICAL:
                self._remember([item])
            else:
                self._refused += 1
                if item.life is not None:  # what became of the alert must be known, though nobody hears of it
                    with self._lock:
                        self._pending_lives[item.life[0]] = item.life[1]
                    self._attempt(self._store_lives)
                self._tell([(item, item.payload)])
            return
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            self._remember([item])
            return
        self._keep(entries, self._db.epoch)
        self._tell(told)
        if unfit:
            self._remember(unfit)

    def _insert(self, db: OutboxDb, entries: list[Entry]) -> None:
        if not entries:
            return
        lost = db.insert(entries)
        with self._lock:
            for entry in entries:
                if entry.life is not None:
                    self._pending_lives.pop(entry.life[0], None)  # this one is newer
        if self._pending_lives:
            self._attempt(self._store_lives)
        self._loss = None
        self._bytes_in += sum(len(entry.payload) for entry in entries)
        if lost is not None:
            self._gave_up(lost, "there was no room")

    def _gave_up(self, lost: Loss, why: str) -> None:
        now_s = time.monotonic()
        if now_s - self._lost_logged_s >= LOST_LOGGED_EVERY_S:
            self._lost_logged_s = now_s
            log.error("events are given up, now %d to %d: %s", lost.first_seq, lost.last_seq, why)
        before = self._loss
        self._loss = lost if before is None else Loss(before.events + lost.events, before.first_seq, lost.last_seq)
        with self._lock:
            self._buffer, self._more = [], True  # some of them may be in it
            self._waiting = max(0, self._waiting - lost.events)

    def _complete(
        self, items: Iterable[Outgoing], db: OutboxDb
    ) -> tuple[list[Entry], list[tuple[Outgoing, Payload]], list[Outgoing]]:
        entries: list[Entry] = []
        told: list[tuple[Outgoing, Payload]] = []
        unfit: list[Outgoing] = []
        for item in items:
            seq = db.next_seq + len(entries)
            payload = self._stamped(item.payload, db.epoch, seq)
            if self._loss is not None and not entries:
                lost = self._loss
                told_lost = {"events": lost.events, "first_seq": lost.first_seq, "last_seq": lost.last_seq}
                payload["outbox_lost"] = told_lost
            if (data := self._written(item, payload)) is None:
                continue
            if len(data) > MAX_PAYLOAD_BYTES:
                log.error("an event on %s has %d bytes: it is not stored, and sent as it is", item.topic, len(data))
                unfit.append(item)
                continue
            entries.append(Entry(seq, item.rank, item.topic, self._now_ns(), item.waits, data, item.life))
            told.append((item, payload))
        return entries, told, unfit

    def _written(self, item: Outgoing, payload: Payload) -> bytes | None:
        try:
            return encode(payload)
        except (TypeError, ValueError) as error:  # a defect of whoever made it; the others must go on
            log.error("an event on %s cannot be written as JSON and is dropped: %s", item.topic, error)
            self._refused += 1
            return None

    def _stamped(self, payload: Payload, epoch: str, seq: int) -> Payload:
        return payload | {"seq": seq, "id": f"{self._gateway}:{epoch}:{seq}"}

    def _keep(self, entries: list[Entry], epoch: str) -> None:
        """Let the publisher see what is on disk now."""
        with self._lock:
            for entry in entries:
                self._waiting += 1
                row = Row(epoch, entry.seq, entry.rank, entry.topic, entry.payload, entry.waits, True)
                if row.topic in self._held or (self._more and (not self._buffer or _key(row) > _key(self._buffer[-1]))):
                    self._more = True
                    continue
                bisect.insort(self._buffer, row, key=_key)
                if len(self._buffer) > BUFFER:
                    del self._buffer[BUFFER:]
                    self._more = True

    def _remember(self, items: list[Outgoing]) -> None:
        """Hold events in memory: the disk does not take them."""
        told = []
        with self._lock:
            for item in items:
                self._memory_seq += 1
                payload = self._stamped(item.payload, self._memory_epoch, self._memory_seq)
                payload["durable"] = False
                if (data := self._written(item, payload)) is None:
                    continue
                row = Row(self._memory_epoch, self._memory_seq, item.rank, item.topic, data, item.waits, False)
                bisect.insort(self._memory, row, key=_key)
                told.append((item, payload))
                if item.life is not None:
                    self._pending_lives[item.life[0]] = item.life[1]
            if self._path is not None:
                while len(self._memory) > IN_MEMORY:
                    self._forget_one()
        self._tell(told)

    def _forget_one(self) -> None:
        """The least severe and oldest; of critical ones the newest."""
        worst = self._memory[-1].rank
        if worst == CRITICAL:
            self._memory.pop()
        else:
            del self._memory[next(i for i, row in enumerate(self._memory) if row.rank == worst)]
        self._refused += 1

    def _tell(self, told: list[tuple[Outgoing, Payload]]) -> None:
        for item, payload in told:
            try:
                item.then(payload)
            except Exception:
                log.exception("what follows an event on %s failed", item.topic)
        self.wake()

    def _write_settled(self) -> None:
        if self._db is None:
            return
        with self._lock:
            seqs = list(self._done)[:SETTLES_AT_ONCE]
            dead = [(seq, self._dead[seq]) for seq in seqs if seq in self._dead]
        put_aside = {seq for seq, _ in dead}
        self._db.settle([seq for seq in seqs if seq not in put_aside], dead, self._now_ns())
        with self._lock:
            self._done.difference_update(seqs)
            for seq in put_aside:
                del self._dead[seq]

    def _replay(self) -> None:
        while self._replays:
            from_seq, done = self._replays.popleft()
            count = 0
            if self._db is not None:
                while self._done:
                    self._write_settled()
                count = self._db.replay(from_seq)
                with self._lock:
                    self._buffer, self._more = [], True
                    self._waiting += count
            done(count)

    def _refill_if_low(self) -> None:
        with self._lock:
            low = self._more and len(self._buffer) <= LOW and self._db is not None
            if not low and not self._releasing:
                return
        self._attempt(self._refill)
        self.wake()

    def _refill(self) -> None:
        """Read on behind the buffer; where a topic is released, from the beginning: its rows lie before and between."""
        with self._lock:
            if self._releasing:
                self._buffer = []
            self._held -= self._releasing
            self._releasing.clear()
            held, done = set(self._held), len(self._done)
            after = _key(self._buffer[-1]) if self._buffer else (-1, -1)
            count = BUFFER - len(self._buffer) + (0 if self._buffer else done)
        if self._db is None:
            return
        rows = self._db.front(count, held, after)
        with self._lock:
            self._buffer += [row for row in rows if row.seq not in self._done and row.topic not in self._held]
            self._more = len(rows) == count

    def _keep_house(self, now_s: float) -> None:
        if self._path is not None and self._db is None and now_s - self._tried_s >= self._retry_s:
            self._open(self._path)
            if self._db is not None:
                log.warning("%s: can be written again", self._path)
                self._attempt(self._take_up)
        if self._db is not None and now_s - self._hour_s >= HOUR_S:
            self._hour_s = now_s
            self._attempt(self._expire)

    def _take_up(self) -> None:
        if self._db is not None:
            self._store_lives()
            self._refill()

    def _store_lives(self) -> None:
        """Those whose events went from memory; kept until they are on disk."""
        with self._lock:
            lives = dict(self._pending_lives)
        if self._db is not None and lives:
            self._db.set_lives(lives.items())
            with self._lock:
                for key, known in lives.items():
                    if self._pending_lives.get(key) is known:
                        self._pending_lives.pop(key, None)

    def _expire(self) -> None:
        if self._db is not None and (lost := self._db.hour(self._max_age_hours)) is not None:
            self._gave_up(lost, "the broker did not take them for too long")

    def _open(self, path: Path) -> None:
        """Open or make the file; one that is damaged is moved aside, and no event in it is thrown away."""
        self._tried_s = time.monotonic()
        try:
            try:
                self._db = self._open_db(path, self._max_mb)
            except sqlite3.OperationalError:
                raise
            except (sqlite3.DatabaseError, ValueError, TypeError) as error:
                self._move_aside(path, error)
                self._db = self._open_db(path, self._max_mb)
            waiting = self._db.waiting()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            return
        self._problem = None
        with self._lock:
            if self._db.epoch != self._epoch:
                # Another file than before: its numbers begin anew. What is still known of the old one goes from memory.
                self._memory = sorted([*self._memory, *self._buffer], key=_key)
                self._epoch, self._buffer, self._more = self._db.epoch, [], True
                self._done.clear()
                self._dead.clear()
            self._waiting = waiting - len(self._done)

    def _move_aside(self, path: Path, error: Exception) -> None:
        mark = timestamp(self._now_ns()).replace(":", "").replace("-", "")
        for part in ("-wal", "-shm", ""):  # the file last: its log must never meet a new one
            with suppress(FileNotFoundError):
                path.with_name(path.name + part).rename(path.with_name(f"{path.name}{part}.corrupt-{mark}"))
        problem = f"damaged: {path.name} could not be read ({error}); it is kept as {path.name}.corrupt-{mark}"
        log.error("%s: %s; events in it are not sent", path, problem)
        self._damage = problem, time.monotonic()

    def _fail(self, error: Exception) -> None:
        """Go on in memory, and say why."""
        if self._db is not None:
            self._db.close()
            self._db = None
        self._tried_s = time.monotonic()
        problem = f"{_kind(error)}: {error}"
        if problem != self._problem:
            log.error("%s: %s; events go on in memory", self._path, problem)
        self._problem = problem

    def _tell_status(self) -> None:
        db, now_s = self._db, time.monotonic()
        problem = self._problem
        if problem is None and self._damage is not None and now_s - self._damage[1] < DAMAGE_TOLD_S:
            problem = self._damage[0]
        oldest_ns = None if db is None else db.oldest_ns()
        free = 0 if db is None else db.free_bytes
        used = 0 if db is None else max(0, db.usable_bytes - free)
        per_hour = self._bytes_in / max(now_s - self._started_s, 60.0) * HOUR_S
        if db is not None:
            self._dead_count, self._lost_count = db.dead(), db.lost
        with self._lock:
            self._status = OutboxStatus(
                oldest_ns=oldest_ns,
                used_bytes=used,
                free_bytes=free,
                hours_left=free / per_hour if per_hour > 0 and db is not None else None,
                lost=self._lost_count + self._refused,
                dead=self._dead_count,
                durable=db is not None,
                problem=problem,
                epoch=self._memory_epoch if db is None else db.epoch,
            )


def _key(row: Row) -> tuple[int, int]:
    return row.rank, row.seq


def _kind(error: Exception) -> str:
    text = str(error).lower()
    if "full" in text or "no space" in text:
        return "disk_full"
    if "readonly" in text or "read-only" in text:
        return "storage_ro"
    return "damaged" if "malformed" in text or "not a database" in text else "io_error"
