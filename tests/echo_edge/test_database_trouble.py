"""A database that fails: full, not ours to use, locked and damaged are told apart, and only damage is moved away."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from echo_edge.database_trouble import trouble


def failure(path: Path, *statements: str) -> sqlite3.Error:
    try:
        with closing(sqlite3.connect(path, timeout=0)) as db:
            for statement in statements:
                db.execute(statement)
    except sqlite3.Error as error:
        return error
    pytest.fail("nothing failed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.execute("CREATE TABLE a(b)")
    return tmp_path / "state.db"


def test_full_by_its_own_words_or_by_the_disks(path: Path):
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 99)"
    grow = f"{count} INSERT INTO a SELECT zeroblob(999) FROM n"
    full = failure(path, "PRAGMA max_page_count=3", grow)
    unreadable = sqlite3.OperationalError("disk I/O error")
    for error, room in ((full, None), (unreadable, 0)):
        what, mend = trouble(error, path, room=room)
        assert "the disk is full" in what
        assert mend == f"free space on the disk of {path.parent}"
    assert trouble(unreadable, path, room=1 << 30) == ("disk I/O error", "look at the disk's health")


def test_a_user_without_rights_is_told_whose_they_are(path: Path):
    error = failure(path.parent / "absent" / "state.db", "PRAGMA user_version")
    what, mend = trouble(error, path, may_use=False)
    assert "this user may not use it" in what
    assert "sudo -u echo-edge" in mend


def test_one_that_is_in_use_is_left_alone(path: Path):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        error = failure(path, "SELECT * FROM a")
    assert "wait" in trouble(error, path)[1]


def test_a_damaged_one_is_moved_away_even_where_the_disk_is_full(path: Path):
    path.write_bytes(b"no database at all" * 500)
    error = failure(path, "SELECT * FROM a")
    assert "move the file away" in trouble(error, path, room=0)[1]
