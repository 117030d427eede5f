"""What the publisher sees of the outbox: best first, whatever is held, released, settled or only in memory."""

from __future__ import annotations

import random

from echo_edge.outbox_front import SHOWN, SIZE, Front
from echo_edge.outgoing import CRITICAL, REST, WARNING, Row

EPOCH = "aa"


def row(seq: int, rank: int = WARNING, topic: str = "t", epoch: str = EPOCH) -> Row:
    return Row(epoch, seq, rank, topic, b"", True, epoch == EPOCH)


class Disk:
    """A list beside the front: what is on disk and waits."""

    def __init__(self, in_memory: int = 10) -> None:
        self.front, self.rows = Front(in_memory), list[Row]()
        self.front.disk_is_new(EPOCH)

    def put(self, *rows: Row) -> None:
        for one in rows:
            self.rows.append(one)
            self.front.add(one)

    def read(self) -> None:
        while self.front.needs_rows():
            (rank, seq), without, count = self.front.to_read()
            found = [r for r in self.rows if (r.rank, r.seq) > (rank, seq) and r.topic not in without]
            found.sort(key=lambda r: (r.rank, r.seq))
            self.front.read(found[:count], all_read=len(found) < count)

    def seqs(self) -> list[int]:
        self.read()
        return [one.seq for one in self.front.rows()]

    def settle(self, one: Row) -> None:
        self.front.settle(one)
        self.rows.remove(one)
        del self.front.settled[one.seq]  # noted on disk


def test_the_most_severe_is_first_and_of_them_the_oldest() -> None:
    disk = Disk()
    disk.put(row(1, REST), row(2, WARNING), row(3, CRITICAL), row(4, WARNING), row(5, CRITICAL))
    assert disk.seqs() == [3, 5, 2, 4, 1]


def test_many_rows_are_seen_a_hundred_at_a_time_and_none_is_left_out() -> None:
    disk, seen = Disk(), list[int]()
    disk.put(*(row(seq) for seq in range(1, 3 * SIZE)))
    while seqs := disk.seqs():
        assert len(seqs) <= SHOWN
        seen.append(seqs[0])
        disk.settle(disk.front.rows()[0])
    assert seen == list(range(1, 3 * SIZE))


def test_an_alarm_overtakes_what_is_read_already() -> None:
    disk = Disk()
    disk.put(*(row(seq, REST) for seq in range(1, 2 * SIZE)))
    disk.put(row(5000, CRITICAL))
    assert disk.seqs()[:3] == [5000, 1, 2]


def test_a_topic_that_is_released_begins_with_its_oldest_row() -> None:
    disk = Disk()
    disk.put(row(1, topic="held"), row(2), row(3, topic="held"))
    disk.front.hold("held")
    assert disk.seqs() == [2]
    disk.front.release("held")
    disk.put(row(4, topic="held"))  # before the disk is asked
    assert [one.seq for one in disk.front.rows()] == [2]
    assert disk.seqs() == [1, 2, 3, 4]


def test_a_topic_that_is_held_while_the_disk_is_asked_stays_held() -> None:
    disk = Disk()
    disk.put(row(1, topic="held"), row(2))
    disk.front.hold("held")
    disk.front.release("held")
    _, without, _ = disk.front.to_read()
    assert not without
    disk.front.hold("held")
    disk.front.read(list(disk.rows), all_read=True)
    assert disk.seqs() == [2]


def test_rows_of_a_held_topic_ask_nothing_of_the_disk() -> None:
    disk = Disk()
    disk.front.hold("held")
    disk.read()
    disk.put(*(row(seq, topic="held") for seq in range(1, 2000)))
    assert not disk.front.needs_rows()


def test_what_is_only_in_memory_stands_where_it_came() -> None:
    disk = Disk()
    disk.put(row(1), row(2))
    disk.front.remember(row(1, epoch="memory"), after_seq=2)
    disk.front.remember(row(2, CRITICAL, epoch="memory"), after_seq=2)
    disk.put(row(3))
    assert [(one.epoch, one.seq) for one in disk.front.rows()] == [
        ("memory", 2), (EPOCH, 1), (EPOCH, 2), ("memory", 1), (EPOCH, 3),
    ]  # fmt: skip


def test_what_is_only_in_memory_does_not_pass_rows_that_are_not_read_yet() -> None:
    disk = Disk()
    disk.put(*(row(seq) for seq in range(1, 2 * SIZE)))
    disk.front.remember(row(1, epoch="memory"), after_seq=2 * SIZE)
    seen = []
    while rows := (disk.read(), disk.front.rows())[1]:
        seen.append(rows[0].epoch)
        if rows[0].epoch == EPOCH:
            disk.settle(rows[0])
        else:
            disk.front.settle(rows[0])
    assert seen == [EPOCH] * (2 * SIZE - 1) + ["memory"]


def test_when_memory_is_full_the_least_severe_and_oldest_gives_way_and_an_alarm_only_to_alarms() -> None:
    front = Front(3)
    ranks = {1: WARNING, 2: REST, 3: REST, 4: CRITICAL, 5: CRITICAL, 6: CRITICAL, 7: CRITICAL}
    gone = [front.remember(row(seq, rank, epoch="memory"), 0) for seq, rank in ranks.items()]
    assert [one and one.seq for one in gone] == [None, None, None, 2, 3, 1, 7]


def test_rows_of_a_file_that_was_moved_aside_are_sent_still_and_settle_nothing_of_the_new_one() -> None:
    disk = Disk()
    old = row(1)
    disk.put(old)
    disk.front.disk_is_new("bb")
    new = Row("bb", 1, WARNING, "t", b"", True, True)
    disk.front.add(new)
    assert disk.front.rows() == [old, new]
    disk.front.settle(old)
    assert (disk.front.rows(), disk.front.settled) == ([new], {})


def test_in_any_order_of_things_the_best_row_that_is_not_held_is_next() -> None:
    chance = random.Random(1)
    for _ in range(5):
        disk, held, last = Disk(), set[str](), 0
        for _ in range(150):
            what = chance.random()
            topic = chance.choice("abc")
            if what < 0.4:
                burst = chance.choice((1, 5, 2 * SHOWN))
                disk.put(*(row(last + i, chance.randrange(3), chance.choice("abc")) for i in range(1, burst + 1)))
                last += burst
            elif what < 0.5:
                disk.front.hold(topic)
                held.add(topic)
            elif what < 0.6:
                disk.front.release(topic)
                held.discard(topic)
            elif disk.seqs():
                disk.settle(disk.front.rows()[0])
            best = sorted((one for one in disk.rows if one.topic not in held), key=lambda one: (one.rank, one.seq))
            assert disk.seqs() == [one.seq for one in best[:SHOWN]]
