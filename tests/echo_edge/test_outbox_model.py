"""The outbox's file against a list: whatever is done, both hold the same, and no alarm is lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from echo_edge.outbox_db import Entry, NoRoomError, OutboxDb
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
        try:
            loss = self.db.insert(entries)
        except NoRoomError:
            assert all(rank == CRITICAL for seq, rank in self.waiting.items()) or any(
                rank != CRITICAL for rank, _ in events
            ), "while something less severe waits, an alarm has room"
            assert self.held() == before, "all or none"
            return
        assert not self.given & {entry.seq for entry in entries}, "a number is given once"
        self.given |= {entry.seq for entry in entries}
        gone = before - self.held()
        evicted = {seq for seq in gone if seq in self.waiting}
        assert all(self.waiting[seq] != CRITICAL for seq in evicted)
        worst_kept = max((self.waiting[seq] for seq in self.waiting.keys() - evicted), default=CRITICAL)
        assert all(self.waiting[seq] >= worst_kept for seq in evicted), "the least severe goes first"
        assert (0 if loss is None else loss.events) == len(evicted)
        assert not evicted or not self.sent - gone, "what was sent goes before what was not"
        self.lost += len(evicted)
        self.sent -= gone
        self.waiting = {seq: rank for seq, rank in self.waiting.items() if seq not in evicted}
        self.waiting |= {entry.seq: entry.rank for entry in entries}

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
        assert self.db.lost == self.lost
        assert self.db.epoch == self.epoch
        assert self.db.waiting() == len(self.waiting)

    def held(self) -> set[int]:
        return {seq for (seq,) in self.db._db.execute("SELECT seq FROM alert")}


TestOutboxFile = OutboxFile.TestCase
TestOutboxFile.settings = settings(
    max_examples=1000 if LONG else 12, stateful_step_count=50 if LONG else 25, deadline=None, derandomize=not LONG
)
