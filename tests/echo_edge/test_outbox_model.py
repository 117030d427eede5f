"""The outbox's file against a list: whatever is done, both hold the same, and no alarm is lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from echo_edge import outbox_file
from echo_edge.outbox_db import Entry, Loss, NoRoomError, OutboxDb
from echo_edge.outgoing import CRITICAL, REST, WARNING

LONG = os.environ.get("ECHO_EDGE_TORTURE") == "1"
MAX_MB = 0.6
ALL = 100_000
EVENTS = st.lists(st.tuples(st.sampled_from((CRITICAL, WARNING, REST)), st.integers(0, 8)), min_size=1, max_size=6)
"""Rank and thousands of bytes of each event of one transaction."""


class OutboxFile(RuleBasedStateMachine):
    """What waits, what was sent, what was put aside and what was lost, beside the file."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.db = OutboxDb(self.folder / "outbox.db", MAX_MB)
        self.epoch = self.db.epoch
        self.waiting: dict[int, int] = {}  # seq -> rank
        self.sent: set[int] = set()
        self.given: set[int] = set()
        self.lost = 0
        self.untold: Loss | None = None

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.folder)

    @rule(
        events=st.lists(
            st.tuples(st.sampled_from((CRITICAL, WARNING, REST)), st.integers(0, 8)), min_size=1, max_size=6
        )
    )
    def insert(self, events: list[tuple[int, int]]) -> None:
        first = self.db.next_seq
        entries = [
            Entry(first + i, rank, "t", 0, True, b"x" * (1 + 1000 * size), None)
            for i, (rank, size) in enumerate(events)
        ]
        before = self.held()
        told = self.untold is not None and self.db.untold == self.untold
        try:
            loss = self.db.insert(entries, told=told)
        except NoRoomError:
            gone = before - self.held()
            self.take_out(gone, max(rank for rank, _ in events))
            assert not self.held() - before, "all or none"
            assert all(rank < REST for rank in self.waiting.values()), "what is less severe makes room for any"
            if all(rank == CRITICAL for rank, _ in events):
                assert set(self.waiting.values()) == {CRITICAL}, "an alarm has room while something less severe waits"
            return
        assert not self.given & {entry.seq for entry in entries}, "a number is given once"
        self.given |= {entry.seq for entry in entries}
        evicted = self.take_out(before - self.held(), max(rank for rank, _ in events))
        assert (0 if loss is None else loss.events) == evicted
        if told and not evicted:
            self.untold = None
        self.waiting |= {entry.seq: entry.rank for entry in entries}

    def take_out(self, gone: set[int], least: int) -> int:
        """Follow what gave way to events of which this is the least severe; return how many had not been sent."""
        evicted = sorted(gone & self.waiting.keys(), key=lambda seq: (-self.waiting[seq], seq))
        order = sorted(self.waiting, key=lambda seq: (-self.waiting[seq], seq))
        assert evicted == order[: len(evicted)], "the least severe goes first, and of them the oldest"
        assert all(self.waiting[seq] >= max(least if least == REST else WARNING, WARNING) for seq in evicted)
        assert not evicted or not self.sent - gone, "what was sent goes before what was not"
        self.lost += len(evicted)
        if evicted:
            before = self.untold or Loss(0, evicted[0], evicted[0])
            self.untold = Loss(
                before.events + len(evicted), min(before.first_seq, *evicted), max(before.last_seq, *evicted)
            )
        self.sent -= gone
        self.waiting = {seq: rank for seq, rank in self.waiting.items() if seq not in gone}
        return len(evicted)

    @rule(count=st.integers(1, 20))
    def send(self, count: int) -> None:
        seqs = [row.seq for row in self.db.front(count, ())]
        self.db.settle(seqs, [], 1)
        self.sent |= set(seqs)
        for seq in seqs:
            del self.waiting[seq]

    @rule()
    def put_aside(self) -> None:
        for row in self.db.front(1, ()):
            self.db.settle([], [(row.seq, 0x95)], 1)
            del self.waiting[row.seq]

    @rule(back=st.integers(0, 30))
    def replay(self, back: int) -> None:
        from_seq = self.db.next_seq - back
        again = {seq for seq in self.sent if seq >= from_seq}
        ranks = dict(self.db._db.execute("SELECT seq, rank FROM alert"))
        assert self.db.replay(from_seq) == len(again)
        self.sent -= again
        self.waiting |= {seq: ranks[seq] for seq in again}

    @rule()
    def restart(self) -> None:
        self.db.close()
        self.db = OutboxDb(self.folder / "outbox.db", MAX_MB)

    @rule()
    def kill(self) -> None:
        """Go on with a copy of the files as they lie there, as after ``kill -9``."""
        copy = Path(tempfile.mkdtemp())
        for part in self.folder.iterdir():
            shutil.copy(part, copy)
        self.db.close()
        shutil.rmtree(self.folder)
        self.folder, self.db = copy, OutboxDb(copy / "outbox.db", MAX_MB)

    @invariant()
    def both_hold_the_same(self) -> None:
        rows = [(row.rank, row.seq) for row in self.db.front(ALL, ())]
        assert rows == sorted((rank, seq) for seq, rank in self.waiting.items())
        assert self.held() == self.waiting.keys() | self.sent
        assert (self.db.lost, self.db.untold) == (self.lost, self.untold)
        assert self.db.epoch == self.epoch
        assert self.db.waiting() == len(self.waiting)
        log = self.folder / "outbox.db-wal"
        assert log.stat().st_size == outbox_file.LOG_BYTES, "the log has its size"

    def held(self) -> set[int]:
        return {seq for (seq,) in self.db._db.execute("SELECT seq FROM alert")}


TestOutboxFile = OutboxFile.TestCase
TestOutboxFile.settings = settings(
    max_examples=1000 if LONG else 12, stateful_step_count=50 if LONG else 25, deadline=None, derandomize=not LONG
)
