"""The audit log: who did what, when and why; what was changed in it afterwards is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.baselines import OTHER_POINT, enroll, make_store, small, sql
from tests.world import POINT


def world(folder: Path) -> None:
    """Six entries of two points."""
    store = make_store(folder)
    enroll(store, small(1))
    enroll(store, small(2, OTHER_POINT), by="vogt")
    store.activate(POINT, store.propose(small(3), "lang", "new bearing").id, "vogt", "compared on site")


def test_every_change_is_told_with_who_what_and_why(tmp_path: Path) -> None:
    world(tmp_path)
    store = make_store(tmp_path)
    store.rollback(POINT, "lang", "too many alarms")
    store.reject("bl_0003", "vogt", "bearing was loose")
    told = [(one.who, one.what, one.point, one.object, one.why) for one in store.audit()]
    assert told == [
        ("lang", "propose", POINT, "bl_0001", ""),
        ("lang", "activate", POINT, "bl_0001", ""),
        ("vogt", "propose", OTHER_POINT, "bl_0002", ""),
        ("vogt", "activate", OTHER_POINT, "bl_0002", ""),
        ("lang", "propose", POINT, "bl_0003", "new bearing"),
        ("vogt", "activate", POINT, "bl_0003", "compared on site"),
        ("lang", "rollback", POINT, "bl_0001", "too many alarms"),
        ("vogt", "reject", POINT, "bl_0003", "bearing was loose"),
    ]
    assert [one.seq for one in store.audit(2)] == [7, 8]
    assert [one.seq for one in store.audit(point=OTHER_POINT)] == [3, 4]
    times = [one.time_ns for one in store.audit()]
    assert times == sorted(times)
    report = store.verify_audit()
    assert (report.entries, report.problems, report.notes) == (8, [], [])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE audit SET who = 'vogt' WHERE seq = 2", "entry 2 was changed"),
        ("UPDATE audit SET time_ns = time_ns + 1 WHERE seq = 5", "entry 5 was changed"),
        ("DELETE FROM audit WHERE seq = 3", "entries 3 to 3 are missing"),
        ("DELETE FROM audit WHERE seq > 4", "the log ends at entry 4, its signed head is entry 6"),
        ("DELETE FROM audit", "the log ends at entry 0, its signed head is entry 6"),
        ("DELETE FROM audit_head", "the signed head of the log is missing"),
        ("UPDATE audit_head SET signature = x'00'", "the head of the log is damaged"),
        ("DELETE FROM baseline WHERE number = 1", "there is no baseline 'bl_0001'"),
        ("DELETE FROM active WHERE point = 'pump/de'", "pump/de: the note of which baseline is active was lost"),
        ("UPDATE baseline SET number = 9 WHERE number = 3", "baseline bl_0009 is in no entry of the log"),
    ],
)
def test_what_was_changed_is_found(tmp_path: Path, change: str, problem: str) -> None:
    world(tmp_path)
    sql(tmp_path, change)
    assert any(found.startswith(problem) for found in make_store(tmp_path).verify_audit().problems)


def test_a_log_that_was_forged_whole_is_found_by_its_signed_head(tmp_path: Path) -> None:
    world(tmp_path / "ours")
    world(tmp_path / "theirs")
    rows = sql(tmp_path / "theirs", "SELECT * FROM audit")
    head = sql(tmp_path / "theirs", "SELECT * FROM audit_head")
    sql(tmp_path / "ours", "DELETE FROM audit")
    for row in rows:
        sql(tmp_path / "ours", f"INSERT INTO audit VALUES ({', '.join('?' * len(row))})", *row)
    sql(tmp_path / "ours", "INSERT OR REPLACE INTO audit_head VALUES (?, ?, ?, ?)", *head[0])
    assert "signed with another key" in make_store(tmp_path / "ours").verify_audit().problems[0]


@pytest.mark.parametrize(
    "change", ["DELETE FROM audit WHERE seq > 5", "UPDATE audit SET why = '' WHERE seq = 6", "DELETE FROM audit_head"]
)
def test_a_broken_log_stops_nobody_and_never_looks_whole_again(tmp_path: Path, change: str) -> None:
    world(tmp_path)
    sql(tmp_path, change)
    store = make_store(tmp_path)
    enroll(store, small(4))
    active = store.active(POINT)
    assert active is not None
    assert active.id == "bl_0004"
    report = store.verify_audit()
    assert report.problems or report.notes


def test_a_rollback_does_not_trust_a_broken_log(tmp_path: Path) -> None:
    world(tmp_path)
    sql(tmp_path, "UPDATE audit SET object = 'bl_0002' WHERE seq = 2")
    before = make_store(tmp_path).active(POINT)
    with pytest.raises(Exception, match="the audit log cannot tell what was active before"):
        make_store(tmp_path).rollback(POINT, "lang")
    after = make_store(tmp_path).active(POINT)
    assert before is not None
    assert after is not None
    assert before.id == after.id
