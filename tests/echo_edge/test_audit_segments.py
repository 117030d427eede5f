"""The audit log is closed part by part: the table stays short, and the chain can be followed all the same."""

from __future__ import annotations

import gzip
import logging
import shutil
from pathlib import Path

import pytest

from echo_edge import audit_segments
from echo_edge.baseline_store import AUDIT_FOLDER, BaselineStore
from tests.baselines import GATEWAY, enroll, make_store, small, sql
from tests.world import POINT

EACH = 10


def long_log(folder: Path, orders: int = 26) -> BaselineStore:
    """Two versions of a baseline, then so many orders."""
    make_store(folder)
    store = BaselineStore(folder / "state.db", GATEWAY, closes_after=EACH)
    enroll(store, small(1))
    enroll(store, small(2))
    store.reject(store.propose(small(3), "lang").id, "vogt", "bearing was loose")
    for number in range(orders):
        store.note("lang", "order", f"number {number}", "", "ping")
    return store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    long_log(folder)
    return folder


@pytest.fixture
def state(made: Path, tmp_path: Path) -> Path:
    """A log of which two parts are closed."""
    return shutil.copytree(made, tmp_path / "state")


def parts(folder: Path) -> list[Path]:
    return audit_segments.files(folder / AUDIT_FOLDER)


def test_old_entries_go_into_files_and_the_chain_leads_through_them(state: Path) -> None:
    assert [path.name[:19] for path in parts(state)] == ["000000001-000000010", "000000011-000000020"]
    report = make_store(state).verify_audit()
    assert (report.problems, report.notes) == ([], [])
    assert report.entries < 2 * EACH + 10
    told = [one for path in parts(state) for one in audit_segments.read(path)]
    assert [one.seq for one in told] == list(range(1, 21))
    assert all(one.whole for one in told)


def test_what_became_of_baselines_is_known_all_the_same(state: Path) -> None:
    store = make_store(state)
    assert [one.status for one in store.list(POINT)] == ["retired", "active", "rejected"]
    assert store.rollback(POINT, "lang").id == "bl_0001"
    with pytest.raises(Exception, match="was rejected"):
        store.activate(POINT, "bl_0003", "lang")
    assert make_store(state).verify_audit().problems == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE audit SET why = 'x' WHERE seq = 3", "entry 3 was changed"),
        ("DELETE FROM audit WHERE seq = 3", "the entries up to 20 are not those that stayed"),
        ("DELETE FROM audit WHERE seq = 21", "entries 21 to 21 are missing"),
        ("DELETE FROM audit WHERE what = 'log.close'", "entries "),
        ("UPDATE audit SET object = '25' WHERE what = 'log.close'", "entry "),
    ],
)
def test_what_was_changed_in_the_table_is_found(state: Path, change: str, problem: str) -> None:
    sql(state, change)
    problems = make_store(state).verify_audit().problems
    assert any(found.startswith(problem) for found in problems), problems


def test_what_was_changed_in_a_file_is_found(state: Path) -> None:
    store = make_store(state)
    first, second = parts(state)
    whole = second.read_bytes()
    second.write_bytes(gzip.compress(gzip.decompress(whole).replace(b"number 10", b"number 99")))
    assert second.name in store.verify_audit().problems[0]
    second.write_bytes(whole[:100])
    assert "cannot be read" in store.verify_audit().problems[0]
    second.unlink()
    assert first.name in store.verify_audit().problems[0]
    first.unlink()
    assert "up to entry 20 is missing" in store.verify_audit().problems[0]


def test_only_the_newest_files_are_kept(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_segments, "FILES", 2)
    store = BaselineStore(state / "state.db", GATEWAY, closes_after=EACH)
    for _ in range(EACH):
        store.note("lang", "order", "", "", "ping")
    assert [path.name[:9] for path in parts(state)] == ["000000011", "000000021"]
    assert store.verify_audit().problems == []


def test_a_log_that_is_broken_is_not_closed_and_so_never_looks_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = long_log(tmp_path, 8)
    sql(tmp_path, "UPDATE audit SET why = 'x' WHERE seq = 9")
    for _ in range(10):
        store.note("lang", "order", "", "", "ping")
    assert parts(tmp_path) == []
    assert "entry 9 was changed" in store.verify_audit().problems
    assert "it does not verify" in caplog.text


def test_a_disk_that_takes_no_file_costs_no_entry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / AUDIT_FOLDER).write_text("in the way")
    store = long_log(tmp_path)
    assert store.verify_audit().problems == []
    assert store.verify_audit().entries == 32
    assert [r.levelno for r in caplog.records if "stay in the table" in r.message][:1] == [logging.ERROR]
