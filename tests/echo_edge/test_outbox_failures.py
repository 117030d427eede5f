"""The outbox when its disk fails, or never was well: nothing is taken from others, kept too long, or sent too early."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from echo_edge.outbox import PUTS_AT_ONCE, Outbox
from echo_edge.outbox_db import AT_ONCE, MAX_PAYLOAD_BYTES, Entry, NoRoomError, OutboxDb
from echo_edge.outbox_file import LOG_BYTES
from echo_edge.outgoing import CRITICAL, REST, WARNING
from tests.broker import wait_for
from tests.echo_edge.test_outbox import numbers, outbox, put, settle, stored
from tests.small_disk import small_disk

LIFE = "machine:a/b"


class Disk:
    """Opens the database; what is written to it fails while it is ``away``, or once ``after`` it was committed."""

    def __init__(self) -> None:
        self.away = self.after = False
        self.opened = 0

    def __call__(self, path: Path, max_mb: float) -> OutboxDb:
        disk = self

        class Flaky(OutboxDb):
            def insert(self, *entries: Any, **more: Any) -> Any:
                disk.check()
                loss = super().insert(*entries, **more)
                if disk.after:
                    disk.after = False
                    raise sqlite3.OperationalError("disk I/O error")
                return loss

        self.check()
        db = Flaky(path, max_mb)
        self.opened += 1
        return db

    def check(self) -> None:
        if self.away:
            raise sqlite3.OperationalError("disk I/O error")


def fail(box: Outbox, disk: Disk, number: int) -> None:
    """Let the disk fail at this event."""
    disk.away = True
    put(box, number)
    wait_for(lambda: not box.status.durable, "the failure")


def test_a_file_for_which_there_is_no_room_takes_none(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=8m") as disk, outbox(disk / "outbox.db", max_mb=16.0) as box:
        assert (box.status.problem or "").startswith("disk_full")
        assert not list(disk.iterdir())
        put(box, 1)
        assert not stored(box, 1)[0].durable


def test_a_file_of_others_is_kept_aside(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        db.execute("CREATE TABLE other(x)")
        db.execute("PRAGMA user_version = 1")
    db.close()
    with outbox(tmp_path / "outbox.db") as box:
        assert box.status.durable
        assert "its tables are not ours" in (box.status.problem or "")
    assert len(list(tmp_path.glob("outbox.db.corrupt-*"))) == 1


def test_the_log_of_a_file_that_was_taken_away_is_not_applied_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "killed").mkdir()
    with outbox(tmp_path / "outbox.db") as box:
        put(box, 1)
        stored(box, 1)
        shutil.copy(tmp_path / "outbox.db-wal", tmp_path / "killed")
        epoch = box.status.epoch
    with outbox(tmp_path / "killed" / "outbox.db") as box:
        assert (box.status.waiting, box.status.problem) == (0, None)
        assert box.status.epoch != epoch


def test_the_life_of_an_alert_is_on_disk_though_its_event_was_too_large(tmp_path: Path) -> None:
    with outbox(tmp_path / "outbox.db") as box:
        put(box, 1, size=9000, life=(LIFE, {"alert_id": "1"}))
        stored(box, 1)
    with outbox(tmp_path / "outbox.db") as box:
        assert box.lives == {LIFE: {"alert_id": "1"}}


def test_an_alert_that_is_over_does_not_come_back_when_the_disk_does(tmp_path: Path) -> None:
    disk = Disk()
    with outbox(tmp_path / "outbox.db", open_db=disk, retry_s=0.2) as box:
        put(box, 1, size=9000, life=(LIFE, {"alert_id": "1"}))
        put(box, 2, life=(LIFE, None))
        stored(box, 2)
        fail(box, disk, 3)
        disk.away = False
        wait_for(lambda: box.status.durable, "the disk")
    with outbox(tmp_path / "outbox.db") as box:
        assert box.lives == {}


def test_what_is_only_in_memory_waits_for_what_came_before(tmp_path: Path) -> None:
    disk = Disk()
    with outbox(tmp_path / "outbox.db", open_db=disk) as box:
        for number in range(5):
            put(box, number)
        stored(box, 5)
        fail(box, disk, 5)
        put(box, 6)
        assert numbers(stored(box, 7)) == list(range(7))


def test_a_thousand_rows_on_a_disk_that_is_away_cost_no_work(tmp_path: Path) -> None:
    disk = Disk()
    with outbox(tmp_path / "outbox.db", open_db=disk) as box:
        for number in range(1000):
            put(box, number)
        wait_for(lambda: box.status.storing == 0, "all on disk")
        fail(box, disk, 1000)
        while rows := box.front():
            settle(box, rows)
        begun_s = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - begun_s < 0.1


def test_the_largest_transactions_fit_into_the_log(tmp_path: Path) -> None:
    db = OutboxDb(tmp_path / "outbox.db", 24.0)
    payload, log = b"x" * MAX_PAYLOAD_BYTES, tmp_path / "outbox.db-wal"
    try:
        for rank, batches in ((CRITICAL, 24), (REST, 60), (CRITICAL, 20), (WARNING, 20)):
            for _ in range(batches):
                first = db.next_seq
                entries = [Entry(first + i, rank, "t", 0, True, payload, None) for i in range(PUTS_AT_ONCE)]
                with suppress(NoRoomError):
                    db.insert(entries)
        assert db.lost > 0
        while rows := db.front(AT_ONCE, ()):
            db.settle([row.seq for row in rows[5:]], [(row.seq, 0x95) for row in rows[:5]], 1)
        db.replay(0)
        assert log.stat().st_size == LOG_BYTES
    finally:
        db.close()


def test_an_event_that_went_from_memory_does_not_come_from_the_disk_again(tmp_path: Path) -> None:
    """A commit whose sync fails may be on disk after all."""
    disk = Disk()
    with outbox(tmp_path / "outbox.db", open_db=disk, retry_s=0.2) as box:
        put(box, 1)
        stored(box, 1)
        disk.after = True
        put(box, 2)
        wait_for(lambda: disk.opened == 2, "the disk")
        put(box, 3)
        rows = stored(box, 3)
    assert numbers(rows) == [1, 2, 3]
    assert [row.seq for row in rows if row.durable] == [1, 2], "no number is missing on disk"
