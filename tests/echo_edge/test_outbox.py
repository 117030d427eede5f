"""The outbox keeps what it took: over restarts, overflow, damage and disks that are full, read-only or broken."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from echo_edge.envelope import Payload
from echo_edge.outbox import Outbox
from echo_edge.outbox_db import Entry, Loss, OutboxDb
from echo_edge.outgoing import CRITICAL, REST, WARNING, Outgoing, Row
from tests.broker import wait_for
from tests.small_disk import fill, free, small_disk

LONG = os.environ.get("ECHO_EDGE_TORTURE") == "1"
TOPIC = "gw1/alert"


@contextmanager
def outbox(path: Path, **settings: Any) -> Iterator[Outbox]:
    made = Outbox(path, "gw1", **{"max_mb": 4.0, **settings})
    made.start()
    try:
        yield made
    finally:
        made.stop()


def put(box: Outbox, number: int, rank: int = CRITICAL, size: int = 10, topic: str = TOPIC, **more: Any) -> None:
    box.put(Outgoing(topic, rank, {"n": number, "text": "x" * size}, **more))


def stored(box: Outbox, count: int) -> list[Row]:
    """What is next, once so many wait and the disk has been asked."""
    wait_for(lambda: box.status.waiting == count and len(box.front()) == min(count, 100), f"{count} events")
    return box.front()


def overflowed(box: Outbox, count: int) -> None:
    """All of so many came to the disk, and some were given up."""

    def settled() -> bool:
        status = box.status
        return status.lost > 0 and not status.storing and status.lost + status.waiting == count

    wait_for(settled, "an overflow")


def numbers(rows: list[Row]) -> list[int]:
    return [json.loads(row.payload)["n"] for row in rows]


def settle(box: Outbox, rows: list[Row]) -> None:
    for row in rows:
        box.settle(row)


def drained(box: Outbox) -> list[Row]:
    """Take everything as the publisher would."""
    rows: list[Row] = []
    deadline_s = time.monotonic() + 20
    while box.status.waiting:
        assert time.monotonic() < deadline_s, box.status
        if front := box.front():
            rows += front[:20]
            settle(box, front[:20])
        else:
            time.sleep(0.001)
    return rows


def test_events_are_next_by_rank_and_then_by_number_and_so_again_after_a_restart(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        for number, rank in enumerate((REST, WARNING, CRITICAL, REST, CRITICAL)):
            put(box, number, rank)
        before = stored(box, 5)
        assert numbers(before) == [2, 4, 1, 0, 3]
        settle(box, before[:1])
    with outbox(tmp_path / "outbox.db") as box:
        after = stored(box, 4)
        assert [(row.seq, row.payload) for row in after] == [(row.seq, row.payload) for row in before[1:]]
        put(box, 9)
        (new,) = [row for row in stored(box, 5) if json.loads(row.payload)["n"] == 9]
        assert new.seq == max(row.seq for row in before) + 1


def test_it_tells_when_it_will_be_full_only_while_something_waits(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        put(box, 1)
        wait_for(lambda: box.status.hours_left is not None, "a time until it is full")
        settle(box, stored(box, 1))
        wait_for(lambda: box.status.hours_left is None, "room enough for what the broker takes at once")


def test_an_event_is_on_disk_before_it_is_told(tmp_path: Path) -> None:
    told: list[Payload] = []

    def then(whole: Payload) -> None:
        shutil.copytree(tmp_path, copy := tmp_path / "as after a kill")
        with sqlite3.connect(copy / "outbox.db") as db:
            (payload,) = db.execute("SELECT payload FROM alert WHERE seq = ?", (whole["seq"],)).fetchone()
        db.close()
        assert json.loads(payload) == whole
        told.append(whole)

    with outbox(tmp_path / "outbox.db") as box:
        put(box, 1, then=then)
        wait_for(lambda: len(told) == 1, "the word")
        assert told[0]["id"] == f"gw1:{box.status.epoch}:1"
        assert "durable" not in told[0]


def test_an_alerts_life_is_stored_with_its_event(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        put(box, 1, life=("machine:a/b", {"alert_id": "1"}))
        put(box, 2, life=("machine:a/c", {"alert_id": "2"}))
        put(box, 3, life=("machine:a/c", None))
        stored(box, 3)
    with outbox(tmp_path / "outbox.db") as box:
        assert box.lives == {"machine:a/b": {"alert_id": "1"}}


def test_a_full_outbox_gives_up_the_least_severe_and_oldest_and_the_next_event_says_so(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        for number in range(100):
            put(box, number, CRITICAL, 3000)
        for number in range(1000, 1100):
            put(box, number, WARNING, 3000)
        for number in range(2000, 3000):
            put(box, number, REST, 3000)
        overflowed(box, 1200)
        kept = numbers(drained(box))
        lost = box.status.lost
    assert kept[:200] == [*range(100), *range(1000, 1100)]
    assert kept[200:] == list(range(3000 - len(kept[200:]), 3000)), "the newest of the least severe"
    assert lost == 1000 - len(kept[200:])


def test_a_loss_is_told_in_the_next_event_with_the_numbers_that_are_missing(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        for number in range(1500):
            put(box, number, WARNING, 3000)
        overflowed(box, 1500)
        told = [json.loads(row.payload) for row in drained(box)]
        seqs = {one["seq"] for one in told}
        lost = [one["outbox_lost"] for one in told if "outbox_lost" in one]
        put(box, 2000)
        stored(box, 1)
        lost += [json.loads(row.payload)["outbox_lost"] for row in box.front() if b"outbox_lost" in row.payload]
    missing = set(range(1, 1501)) - seqs
    assert missing
    assert max(one["last_seq"] for one in lost) == max(missing)


def test_an_outbox_full_of_alarms_keeps_them_all_and_sends_what_else_comes_from_memory(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        for number in range(1200):
            put(box, number, CRITICAL, 3000)
        wait_for(lambda: box.status.waiting == 1200, "all of them")
        put(box, 2000, WARNING)
        wait_for(lambda: (box.status.problem or "").startswith("outbox_full"), "the problem")
        rows = drained(box)
        problem_over = box.status
    assert sorted(numbers(rows)) == [*range(1200), 2000]
    assert {row.durable for row in rows} == {True, False}
    in_memory = [json.loads(row.payload) for row in rows if not row.durable]
    assert all(payload["durable"] is False for payload in in_memory)
    assert problem_over.lost == 0


def test_a_held_topic_is_left_out_and_comes_back_in_order(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        for number in range(700):
            put(box, number, topic="a" if number % 2 else "b")
        stored(box, 700)
        box.hold("a")
        assert {row.topic for row in box.front()} == {"b"}
        put(box, 700, topic="a")
        put(box, 702, topic="b")
        wait_for(lambda: box.status.waiting == 702, "two more")
        box.release("a")
        wait_for(lambda: {row.topic for row in box.front()} == {"a", "b"}, "the released topic")
        assert numbers(drained(box)) == [*range(701), 702]


def test_what_was_sent_can_be_sent_again_from_a_number_on(tmp_path: Path) -> None:
    counts: list[int] = []
    with outbox(tmp_path / "outbox.db") as box:
        for number in range(10):
            put(box, number)
        before = stored(box, 10)
        drained(box)
        box.replay(before[7].seq, counts.append)
        wait_for(lambda: counts == [3], "the replay")
        again = stored(box, 3)
    assert [row.payload for row in again] == [row.payload for row in before[7:]]


def test_an_unfit_event_is_put_aside(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        put(box, 1)
        put(box, 2)
        box.dead(stored(box, 2)[0], 0x95)
        assert numbers(stored(box, 1)) == [2]
        wait_for(lambda: box.status.dead == 1, "the dead letter", 3)


def test_an_event_too_large_to_be_stored_is_sent_from_memory(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        put(box, 1, size=9000)
        (row,) = stored(box, 1)
        assert not row.durable


def test_an_event_is_given_up_after_so_many_hours_of_running_whatever_the_clock_says(tmp_path: Path) -> None:
    db = OutboxDb(tmp_path / "outbox.db", 4.0)
    try:
        db.insert([Entry(db.next_seq, CRITICAL, TOPIC, 0, True, b"{}", None)])
        assert [db.hour(24) for _ in range(24)] == [None] * 24
        db.insert([Entry(db.next_seq, CRITICAL, TOPIC, 0, True, b"{}", None)])
        lost = db.hour(24) or db.hour(24)
        assert lost is not None
        assert (lost.events, lost.first_seq) == (1, 1)
        assert db.lost == 1
    finally:
        db.close()


@pytest.mark.parametrize("damage", ["text", "newer", "header", "empty"])
def test_a_damaged_file_is_kept_aside_and_the_outbox_begins_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "outbox.db"
    with outbox(path) as box:
        put(box, 1)
        epoch = stored(box, 1) and box.status.epoch
    if damage == "newer":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        data = bytearray(path.read_bytes())
        data[:100] = {"text": b"x" * 100, "header": b"SQLite format 3\0" + b"\xff" * 84, "empty": b""}[damage]
        path.write_bytes(data if damage != "empty" else b"no database at all")
    with outbox(path) as box:
        assert (box.status.problem or "").startswith("damaged")
        assert box.status.epoch != epoch, "numbers begin anew, so they must be other ones"
        put(box, 2)
        assert numbers(stored(box, 1)) == [2]
        assert box.front()[0].durable
    assert len(list(tmp_path.glob("outbox.db.corrupt-*"))) == 1


def test_whatever_happens_to_the_file_the_outbox_starts(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with outbox(path) as box:
        for number in range(50):
            put(box, number, size=500)
        stored(box, 50)
    whole, chance = path.read_bytes(), random.Random(5)
    for _ in range(200 if LONG else 15):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 8, 200))):
            data[chance.randrange(len(data) if chance.random() < 0.5 else 20_000)] = chance.randrange(256)
        path.write_bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))])
        with outbox(path) as box:
            put(box, 99, CRITICAL)
            wait_for(lambda: any(b'"n":99' in row.payload for row in box.front()), "an event to be taken")
        for left in tmp_path.iterdir():
            left.unlink()


class Disk:
    """Opens the database, or fails as a disk does."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.db: OutboxDb | None = None

    def __call__(self, path: Path, max_mb: float) -> OutboxDb:
        if self.error is not None:
            raise self.error
        self.db = OutboxDb(path, max_mb)
        return self.db


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (sqlite3.OperationalError("attempt to write a readonly database"), "storage_ro"),
        (sqlite3.OperationalError("disk I/O error"), "io_error"),
        (OSError(28, "No space left on device"), "disk_full"),
    ],
)
def test_without_a_disk_events_go_on_in_memory_and_say_so_until_it_is_back(
    tmp_path: Path, error: Exception, problem: str
) -> None:
    disk = Disk()
    disk.error = error
    with outbox(tmp_path / "outbox.db", open_db=disk, retry_s=0.2) as box:
        put(box, 1, life=("machine:a/b", {"alert_id": "1"}))
        (row,) = stored(box, 1)
        assert (row.durable, json.loads(row.payload)["durable"]) == (False, False)
        wait_for(lambda: (box.status.problem or "").startswith(problem), "the problem")
        disk.error = None
        wait_for(lambda: box.status.durable, "the disk")
        put(box, 2)
        assert sorted(row.durable for row in stored(box, 2)) == [False, True]
        assert box.status.problem is None
    with outbox(tmp_path / "outbox.db") as box:
        assert box.lives == {"machine:a/b": {"alert_id": "1"}}, "known before it was restarted"


def test_on_a_disk_without_a_free_byte_a_thousand_alarms_are_recorded_and_delivered(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=20m") as disk:
        with outbox(disk / "outbox.db", max_mb=8.0) as box:
            fill(disk)
            for number in range(1000):
                put(box, number, CRITICAL, 1500)
            rows = []
            while len(rows) < 1000:
                front = box.front()[:20]
                rows += front
                settle(box, front)
                time.sleep(0.001)
            assert all(row.durable for row in rows)
            assert sorted(numbers(rows)) == list(range(1000))
            assert free(disk) == 0
        with outbox(disk / "outbox.db") as box:  # the disk is full still
            put(box, 2000)
            wait_for(lambda: numbers(box.front()) == [2000], "an event after a restart")
            assert box.front()[0].durable


WRITER = """
import os, sys, time
from pathlib import Path
from echo_edge.outbox import Outbox
from echo_edge.outgoing import Outgoing
box = Outbox(Path(sys.argv[1]), "gw1", max_mb=4)
box.start()
for number in range(int(sys.argv[2])):
    told = []
    box.put(Outgoing("t", 0, {"n": number}, then=told.append))
    while not told:
        time.sleep(0.0002)
    os.write(1, f"{number} {int(told[0].get('durable', True))}\\n".encode())
box.stop()
"""


@pytest.mark.parametrize(
    ("calls", "failure"),
    [
        ("fdatasync", "error=EIO:when=5+7"),  # now and then
        ("pwrite64", "error=EROFS:when=80+"),  # from some time on
        ("pwrite64", "error=ENOSPC:when=80..180"),
    ],
)
def test_what_the_disk_refused_is_never_taken_for_stored(tmp_path: Path, calls: str, failure: str) -> None:
    trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{failure}"]
    try:
        subprocess.run([*trace, "true"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("strace cannot trace here")
    with outbox(tmp_path / "outbox.db"):
        pass  # made while the disk is well
    writer = [sys.executable, "-c", WRITER, str(tmp_path / "outbox.db"), "60"]
    done = subprocess.run([*trace, *writer], check=True, capture_output=True, text=True, timeout=50)
    promised = {int(line.split()[0]) for line in done.stdout.splitlines() if line.endswith(" 1")}
    assert len(done.stdout.splitlines()) == 60, "every event was taken, one way or the other"
    assert len(promised) < 60, "the disk did fail"
    with outbox(tmp_path / "outbox.db") as box:
        wait_for(lambda: len(box.front()) == box.status.waiting, "the rows")
        assert promised <= set(numbers(box.front()))


@pytest.mark.parametrize("in_memory", [False, True])
def test_an_event_that_is_no_json_costs_only_itself(tmp_path: Path, in_memory: bool) -> None:
    disk = Disk()
    disk.error = OSError(5, "Input/output error") if in_memory else None
    with outbox(tmp_path / "outbox.db", open_db=disk) as box:
        box.put(Outgoing(TOPIC, CRITICAL, {"n": float("nan")}))
        put(box, 2)
        assert numbers(stored(box, 1)) == [2]
        assert box.alive


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        put(box, 1)
        stored(box, 1)
        assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}


def test_a_file_that_is_lost_while_it_is_used_costs_nothing_that_is_still_known(tmp_path: Path) -> None:
    disk = Disk()
    with outbox(tmp_path / "outbox.db", open_db=disk, retry_s=0.2) as box:
        for number in range(5):
            put(box, number)
        old = stored(box, 5)
        assert disk.db is not None
        disk.db._db.execute("PRAGMA max_page_count = 1")
        disk.db._db.execute("DROP TABLE alert")
        for file in tmp_path.glob("outbox.db*"):
            file.unlink()
        put(box, 5)
        wait_for(lambda: box.status.durable and box.status.epoch != old[0].epoch, "a new file")
        put(box, 6)
        wait_for(lambda: box.status.waiting == 7, "all of them")
        box.settle(old[0])  # number 1 of the old file; the new file has a number 1, too
        wait_for(lambda: box.status.waiting == 6, "one less")
        wait_for(lambda: sorted(numbers(box.front())) == [1, 2, 3, 4, 5, 6], "each of them once")


class Hanging(OutboxDb):
    """A database on a disk that does not answer until it is let."""

    def __init__(self, path: Path, max_mb: float) -> None:
        super().__init__(path, max_mb)
        self.answers = threading.Event()

    def insert(self, entries: Sequence[Entry], *more: Any, **told: bool) -> Loss | None:
        assert self.answers.wait(20)
        return super().insert(entries, *more, **told)


def test_while_the_disk_hangs_alarms_go_from_memory_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echo_edge.outbox.SLOW_S", 0.2)
    made: list[Hanging] = []

    def open_db(path: Path, max_mb: float) -> OutboxDb:
        made.append(Hanging(path, max_mb))
        return made[0]

    with outbox(tmp_path / "outbox.db", open_db=open_db) as box:
        for number in range(5):
            put(box, number)
        wait_for(lambda: len(box.front()) == 5, "all of them")
        assert not any(row.durable for row in box.front())
        assert (box.status.problem or "").startswith("disk_slow")
        made[0].answers.set()
        wait_for(lambda: box.status.problem is None, "the disk to answer")
        put(box, 5)
        wait_for(lambda: any(row.durable and b'"n":5' in row.payload for row in box.front()), "the next one, stored")
        assert numbers(stored(box, 6)) == [0, 1, 2, 3, 4, 5], "each of them once, in order"


def test_nothing_gives_way_to_what_is_less_severe(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        for number in range(1000):
            put(box, number, WARNING, 3000)
        wait_for(lambda: not box.status.storing and box.status.lost > 0, "an overflow")
        warnings = box.status.waiting
        for number in range(50):
            put(box, 5000 + number, REST)
        wait_for(lambda: not box.status.storing, "all of them taken in, or not")
        assert sum(number < 5000 for number in numbers(drained(box))) == warnings


def test_an_alert_that_cleared_while_there_was_no_room_is_over_after_a_restart(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        put(box, 0, CRITICAL, 3000, life=("machine:a/b", {"alert_id": "1"}))
        for number in range(1, 1200):
            put(box, number, CRITICAL, 3000)
        wait_for(lambda: not box.status.storing, "a full outbox")
        put(box, 2000, REST, life=("machine:a/b", None))
        wait_for(lambda: (box.status.problem or "").startswith("outbox_full"), "the refusal")
        wait_for(lambda: not box.status.storing, "all of them taken in")
    with outbox(tmp_path / "outbox.db") as box:
        assert box.lives == {}


def test_a_disk_too_small_for_the_outbox_is_not_filled_in_vain(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=10m") as disk, outbox(disk / "outbox.db", max_mb=64.0) as box:
        put(box, 1)
        wait_for(lambda: len(box.front()) == 1, "the alarm")
        assert (box.status.problem or "").startswith("disk_full")
        assert os.statvfs(disk).f_bavail > 0.9 * os.statvfs(disk).f_blocks
