"""What the publisher sees of the outbox: the next rows, best first. Pure; whoever uses it holds a lock around it.

Of the rows on disk only the best are here, all up to a certain one; behind it the disk must be asked. Rows that are
only in memory stand among them where they came: behind what was on disk by then.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection
from operator import itemgetter

from echo_edge.outgoing import CRITICAL, Row

SHOWN = 100
LOW, SIZE = 400, 600  # when rows are read on, and up to how many: a flush must not wait for the disk
_Key = tuple[int, int, int]
"""Rank; number on disk; 0, or how many came to memory since that number was given."""

_BEGIN: _Key = (-1, 0, 0)
_key_of = itemgetter(0)


class Front:
    """Rows to be sent next, of topics that are not held.

    Args:
        in_memory: so many rows that are only in memory are kept.
    """

    def __init__(self, in_memory: int) -> None:
        self._in_memory = in_memory
        self._disk: list[Row] = []
        self._upto: _Key | None = None  # rows with a greater key may be on disk only; None: all are here
        self._memory: list[tuple[_Key, Row]] = []
        self._held: set[str] = set()
        self._releasing: set[str] = set()
        self._outdated = self._anew = False
        self._back: set[str] = set()
        self.epoch = ""
        """Of the file: a number alone may come again in another one."""

        self.coming = 0
        """Events that are being stored."""

        self.on_disk = 0
        """Rows that wait there, as of the last transaction."""

        self.settled: dict[int, int | None] = {}
        """Of rows on disk that were settled and are not noted there: why they are dead, None where they are not."""

    def rows(self) -> list[Row]:
        """At most ``SHOWN``, best first."""
        if not self._memory:
            return self._disk[:SHOWN]
        mixed = [(_key(row), row) for row in self._disk[:SHOWN]]
        last = len(mixed) + SHOWN
        for key, row in self._memory:
            if len(mixed) == last or (self._upto is not None and key > self._upto):
                break
            if row.topic not in self._held:
                mixed.append((key, row))
        mixed.sort(key=_key_of)
        return [row for _, row in mixed[:SHOWN]]

    # rows on disk

    def add(self, row: Row) -> None:
        """A row was put on disk."""
        if row.topic in self._held or (self._upto is not None and _key(row) > self._upto):
            return
        bisect.insort(self._disk, row, key=_key)
        self._cut()

    def needs_rows(self) -> bool:
        """It is time to read from the disk."""
        return self._outdated or bool(self._releasing) or (self._upto is not None and len(self._disk) <= LOW)

    def to_read(self) -> tuple[tuple[int, int], set[str], int]:
        """Where to read on, which topics to leave out, and how many; for one that was released all is read again."""
        self._anew, self._back = self._outdated or bool(self._releasing), set(self._releasing)
        rank, seq, _ = _BEGIN if self._anew or self._upto is None else self._upto
        count = SIZE if self._anew else SIZE - len(self._disk)
        return (rank, seq), self._held - self._back, count

    def read(self, rows: list[Row], *, all_read: bool) -> None:
        """Take what was read since ``to_read``; ``all_read``: there was no more."""
        if self._anew:
            back = self._back & self._releasing  # who is held again meanwhile stays held
            self._held -= back
            self._releasing -= back
            self._disk, self._outdated = [], False
        self._disk += [row for row in rows if row.seq not in self.settled and row.topic not in self._held]
        self._upto = None if all_read else _key(rows[-1])
        self._cut()

    def outdate(self) -> None:
        """Rows on disk have changed: all must be read again."""
        self._outdated = True

    def evicted(self, seqs: Collection[int]) -> None:
        gone = set(seqs)
        self._disk = [row for row in self._disk if row.seq not in gone]

    def disk_is_away(self) -> None:
        """Nothing more can be read; what is here can be sent."""
        self._upto, self._outdated = None, False
        self._held -= self._releasing
        self._releasing = set()

    def disk_is_new(self, epoch: str) -> None:
        """It is another file than before: rows of that one are from now on only in memory."""
        old = [((row.rank, -1, row.seq), row) for row in self._disk]
        # what was moved here once before goes first still
        kept = [((rank, min(after, 0), number), row) for (rank, after, number), row in self._memory]
        self._memory = sorted([*old, *kept], key=_key_of)
        self._disk, self._upto, self.epoch = [], None, epoch
        self.settled.clear()

    # rows in memory

    def remember(self, row: Row, after_seq: int) -> Row | None:
        """Add a row that is only in memory, and came after ``after_seq`` on disk; return what gives way for it.

        The least severe and of them the oldest; a critical one only when there is nothing else, and then the newest.
        """
        bisect.insort(self._memory, ((row.rank, after_seq, row.seq), row), key=_key_of)
        if len(self._memory) <= self._in_memory:
            return None
        worst = self._memory[-1][1].rank
        at = bisect.bisect_left(self._memory, (worst, -1, 0), key=_key_of) if worst != CRITICAL else -1
        return self._memory.pop(at)[1]

    # both

    @property
    def waiting(self) -> int:
        """What is not settled, on disk, in memory and on its way there."""
        return max(0, self.on_disk - len(self.settled)) + len(self._memory) + self.coming

    def settle(self, row: Row, dead: int | None = None) -> None:
        """The broker has it, or will never take it (``dead``: why)."""
        if row.epoch == self.epoch:
            self.settled.setdefault(row.seq, dead)
            at = bisect.bisect_left(self._disk, _key(row), key=_key)
            if at < len(self._disk) and self._disk[at].seq == row.seq:
                del self._disk[at]
            return
        for at, (_, other) in enumerate(self._memory):  # here, too, is what came from a file that was moved aside
            if (other.epoch, other.seq) == (row.epoch, row.seq):
                del self._memory[at]
                return

    def hold(self, topic: str) -> None:
        """Leave the topic's rows out."""
        self._held.add(topic)
        self._releasing.discard(topic)
        self._disk = [row for row in self._disk if row.topic != topic]

    def release(self, topic: str) -> None:
        """Do not leave them out any more, once those on disk were read again: the oldest must be the first."""
        if topic in self._held:
            self._releasing.add(topic)

    def _cut(self) -> None:
        if len(self._disk) > SIZE:
            del self._disk[SIZE:]
            self._upto = _key(self._disk[-1])


def _key(row: Row) -> _Key:
    return row.rank, row.seq, 0
