"""Baselines are kept by version, verified as they are read, and judged by only once somebody activated them."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from echo_edge.baseline_rows import GENERATIONS, WHOLE
from echo_edge.baseline_store import BaselineStore
from echo_edge.errors import BaselineError
from echo_edge.signing import load_key
from tests.baselines import OTHER_POINT, enroll, learned, make_store, same, small, sql, world
from tests.world import POINT, machine_windows


def test_a_baseline_comes_back_with_bit_equal_arrays_and_scores(tmp_path: Path) -> None:
    before, after = world(), world()
    stored = enroll(make_store(tmp_path), learned(before))
    before.points[POINT].adopt(stored)
    again = make_store(tmp_path).active(POINT)
    assert again is not None
    assert same(again, stored)
    after.points[POINT].adopt(again)
    windows = machine_windows(5, fault="cavitation")
    scores = [[v.score for v in pipeline.step(windows)] for pipeline in (before, after)]
    assert scores[0] == scores[1]
    assert scores[0][0] is not None


def test_all_that_is_known_of_a_baseline_comes_back_with_it(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    given = replace(learned(), settings={"gain": "12 dB"}, parent="bl_0000")
    stored = store.propose(given, "lang", "after the repair")
    loaded = store.load(stored.id)
    assert (loaded.author, loaded.note, loaded.id) == ("lang", "after the repair", "bl_0001")
    assert replace(loaded, states=()) == replace(stored, states=())
    assert replace(loaded, states=(), id="", author="", note="", created_ns=0) == replace(given, states=())


def test_what_could_not_be_read_again_is_not_stored(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    promise = replace(small(1).false_alarms[0], estimated=math.inf)
    with pytest.raises(BaselineError, match="the new baseline: its manifest cannot be written"):
        store.propose(replace(small(1), false_alarms=(promise,)), "lang")
    assert store.list() == []
    assert store.audit() == []


def test_a_point_without_a_baseline_has_none(tmp_path: Path) -> None:
    assert make_store(tmp_path).active(POINT) is None


def test_a_proposal_judges_nobody_until_it_is_activated(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    proposal = store.propose(small(1), "lang")
    assert store.active(POINT) is None
    assert [one.status for one in store.list(POINT)] == ["proposed"]
    store.activate(POINT, proposal.id, "lang", "looks well")
    active = store.active(POINT)
    assert active is not None
    assert active.id == proposal.id
    assert [one.status for one in store.list(POINT)] == ["active"]


def test_rollback_goes_back_version_by_version_to_bit_equal_arrays(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    versions = [enroll(store, small(seed)) for seed in (1, 2, 3)]
    for expected in (versions[1], versions[0]):
        back = store.rollback(POINT, "lang", "false alarms")
        active = store.active(POINT)
        assert active is not None
        assert back.id == active.id == expected.id
        assert same(active, expected)
    with pytest.raises(BaselineError, match="no baseline was active before"):
        store.rollback(POINT, "lang")
    assert [one.status for one in store.list(POINT)] == ["active", "retired", "retired"]


def test_rollback_passes_over_what_was_rejected(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    first, second, _ = (enroll(store, small(seed)) for seed in (1, 2, 3))
    store.reject(second.id, "lang", "the machine was faulty")
    assert store.rollback(POINT, "lang").id == first.id


def test_points_have_their_own_versions(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    here, there = enroll(store, small(1)), enroll(store, small(2, OTHER_POINT))
    assert [one.id for one in store.list(POINT)] == [here.id]
    assert [one.id for one in store.list()] == [here.id, there.id]
    with pytest.raises(BaselineError, match="bl_0002 is a baseline of pump/nde, not of pump/de"):
        store.activate(POINT, there.id, "lang")
    with pytest.raises(BaselineError, match="no baseline was active before"):
        store.rollback(POINT, "lang")


def test_what_must_not_be_done_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    first, second = enroll(store, small(1)), store.propose(small(2), "lang")
    store.reject(second.id, "lang")
    entries = store.audit()
    for refused, message in (
        (lambda: store.activate(POINT, "bl_0009", "lang"), "there is no baseline 'bl_0009'"),
        (lambda: store.activate(POINT, first.id, "lang"), "is active already"),
        (lambda: store.activate(POINT, second.id, "lang"), "was rejected"),
        (lambda: store.reject(first.id, "lang"), "is active: roll back"),
        (lambda: store.reject(second.id, "lang"), "is rejected already"),
        (lambda: store.propose(small(3), " "), "nobody is named"),
        (lambda: store.propose(small(3), "la\x1bng"), "names and reasons are one line"),
    ):
        with pytest.raises(BaselineError, match=message):
            refused()
    assert store.audit() == entries
    assert len(store.list()) == 2


def test_with_two_persons_the_author_cannot_activate(tmp_path: Path) -> None:
    store = make_store(tmp_path, two_person=(POINT,))
    proposal = store.propose(small(1), "Lang")
    with pytest.raises(BaselineError, match="another person activates it"):
        store.activate(POINT, proposal.id, "lang")
    assert store.active(POINT) is None
    store.activate(POINT, proposal.id, "vogt", "compared on site")
    assert store.active(POINT) is not None


@pytest.mark.parametrize("column", ["vectors", "manifest", "signature"])
def test_a_damaged_row_takes_only_its_point_out_of_service_and_is_left_alone(tmp_path: Path, column: str) -> None:
    store = make_store(tmp_path)
    enroll(store, small(1))
    enroll(store, small(2, OTHER_POINT))
    ((value,),) = sql(tmp_path, f"SELECT {column} FROM baseline WHERE number = 1")
    assert isinstance(value, bytes)
    data = bytearray(value)
    data[-5] ^= 1  # of the manifest: in a hash, not in the name of the key
    sql(tmp_path, f"UPDATE baseline SET {column} = ? WHERE number = 1", bytes(data))
    with pytest.raises(BaselineError, match="pump/de: baseline bl_0001 is damaged"):
        store.active(POINT)
    assert store.active(OTHER_POINT) is not None
    assert sql(tmp_path, f"SELECT {column} FROM baseline WHERE number = 1") == [(bytes(data),)]


def test_a_point_that_is_out_of_service_is_mended_by_a_new_enrollment_or_by_rolling_back(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    first, _ = enroll(store, small(1)), enroll(store, small(2))
    sql(tmp_path, "UPDATE baseline SET vectors = x'00' WHERE number = 2")
    assert [one.status for one in store.list()] == ["retired", "active"]  # a list does not read the vectors
    assert store.rollback(POINT, "lang").id == first.id
    sql(tmp_path, "UPDATE active SET baseline = 'bl_0002'")
    with pytest.raises(BaselineError, match="active is damaged"):
        store.active(POINT)
    assert enroll(store, small(3)).id == "bl_0003"
    assert store.active(POINT) is not None


def test_a_lost_note_of_what_is_active_is_not_taken_for_a_point_without_baseline(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    enroll(store, small(1))
    sql(tmp_path, "DELETE FROM active")
    with pytest.raises(BaselineError, match="was lost; activate the one that you want"):
        store.active(POINT)
    store.activate(POINT, "bl_0001", "lang", "mended")
    assert store.active(POINT) is not None


def test_an_old_note_of_what_is_active_is_refused_though_it_was_signed_once(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    enroll(store, small(1))
    (old,) = sql(tmp_path, "SELECT * FROM active")
    enroll(store, small(2))
    sql(tmp_path, "INSERT OR REPLACE INTO active VALUES (?, ?, ?, ?, ?, ?)", *old)
    with pytest.raises(BaselineError, match="the audit log tells of another active baseline than bl_0001"):
        store.active(POINT)


def test_a_lost_key_is_named_and_a_new_enrollment_makes_another(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    enroll(store, small(1))
    key = tmp_path / "signing.key"
    assert key.stat().st_mode & 0o777 == 0o600
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(BaselineError, match=r"signing\.key, which baseline bl_0001 was signed with, is missing"):
        store.active(POINT)
    enroll(store, small(2))
    active = store.active(POINT)
    assert active is not None
    assert active.id == "bl_0002"
    with pytest.raises(BaselineError, match=r"signing\.key was replaced"):
        store.load("bl_0001")
    key.write_bytes(kept)
    assert store.load("bl_0001").id == "bl_0001"
    with pytest.raises(BaselineError, match=r"signing\.key was replaced"):
        store.active(POINT)


def test_a_file_that_is_no_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    (tmp_path / "signing.key").write_text("lost")
    with pytest.raises(BaselineError, match=r"signing\.key: is damaged"):
        store.propose(small(1), "lang")
    assert (tmp_path / "signing.key").read_text() == "lost"


def test_the_database_of_another_gateway_is_refused_even_with_its_key(tmp_path: Path) -> None:
    enroll(make_store(tmp_path), small(1))
    with pytest.raises(BaselineError, match="was made on gateway 'gw', this is 'gw-hall3'"):
        make_store(tmp_path, "gw-hall3").active(POINT)


def test_the_rows_of_another_gateway_are_refused_without_its_key(tmp_path: Path) -> None:
    enroll(make_store(tmp_path / "one"), small(1))
    make_store(tmp_path / "two", "gw2").propose(small(2), "lang")
    (tmp_path / "one" / "state.db").replace(tmp_path / "two" / "state.db")
    for end in ("-wal", "-shm"):
        (tmp_path / "two" / f"state.db{end}").unlink(missing_ok=True)
    with pytest.raises(BaselineError, match=r"on gateway 'gw'.*the row is another gateway's"):
        make_store(tmp_path / "two", "gw2").active(POINT)


def test_rows_cannot_be_changed_or_taken_away_by_sql(tmp_path: Path) -> None:
    enroll(make_store(tmp_path), small(1))
    db = sqlite3.connect(tmp_path / "state.db")
    for text in (
        "UPDATE audit SET who = 'nobody'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE seq = 1",
        "UPDATE baseline SET point = 'pump/nde'",
        "DELETE FROM baseline",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="rows"):
            db.execute(text)
    db.close()


def test_a_database_without_its_triggers_is_refused(tmp_path: Path) -> None:
    make_store(tmp_path)
    db = sqlite3.connect(tmp_path / "state.db")
    db.execute("DROP TRIGGER audit_keeps_rows")
    db.close()
    with pytest.raises(BaselineError, match="its tables are not ours"):
        make_store(tmp_path)


def test_a_database_that_is_none_is_named_and_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(BaselineError, match=r"state\.db: file is not a database"):
        make_store(tmp_path)


def test_a_baseline_of_an_older_version_asks_to_enroll_again(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "state.db")
    db.execute(
        "CREATE TABLE baseline(id INTEGER PRIMARY KEY AUTOINCREMENT, point TEXT NOT NULL, manifest TEXT NOT NULL,"
        " vectors BLOB NOT NULL, sha256 TEXT NOT NULL)"
    )
    db.executemany("INSERT INTO baseline(point, manifest, vectors, sha256) VALUES (?, '{}', x'', '')", [(POINT,)] * 2)
    db.commit()
    db.close()
    store = make_store(tmp_path)
    with pytest.raises(BaselineError, match="pump/de: its baseline was made by an older version; enroll again"):
        store.active(POINT)
    assert store.active(OTHER_POINT) is None
    assert enroll(store, small(1)).id == "bl_0003"  # ids are not given twice: alerts of the past name them
    assert make_store(tmp_path).active(POINT) is not None


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    make_store(tmp_path)
    sql(tmp_path, "PRAGMA user_version = 7")
    with pytest.raises(BaselineError, match=r"written by another version of echo-edge \(7\)"):
        make_store(tmp_path)


def test_a_reader_beside_a_writer_sees_the_old_or_the_new(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    enroll(store, small(1))
    writer = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM active")
    active = BaselineStore(tmp_path / "state.db", "gw").active(POINT)
    writer.execute("ROLLBACK")
    writer.close()
    assert active is not None


def test_the_manifest_is_canonical_and_tells_all(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    enroll(store, small(1))
    ((signed,),) = sql(tmp_path, "SELECT manifest FROM baseline")
    assert isinstance(signed, bytes)
    told = json.loads(signed)
    assert json.dumps(told, sort_keys=True, separators=(",", ":")).encode() == signed
    key = load_key(tmp_path)
    assert key is not None
    assert (told["format"], told["id"], told["gateway"], told["key_id"]) == (1, "bl_0001", "gw", key.public.id)
    assert told["states"][0]["learned"] == {
        "how": "live",
        "windows": 30,
        "excluded": {},
        "checks": [],
        "self_test": {},
        "added_windows": 0,
    }


def test_no_number_of_proposals_takes_away_what_rollbacks_lead_to(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    in_force = [enroll(store, small(seed % 2)).id for seed in range(13)]
    for _ in range(WHOLE):
        store.propose(small(1), "mallory")
    assert [store.rollback(POINT, "vogt").id for _ in range(GENERATIONS)] == in_force[-2::-1][:GENERATIONS]
    assert [one.object for one in store.audit(point=POINT) if one.what == "thin"] == in_force[:2]


def test_of_old_versions_the_vectors_go_and_what_is_known_of_them_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echo_edge.baseline_rows.WHOLE", 2)
    monkeypatch.setattr("echo_edge.baseline_rows.GENERATIONS", 1)
    store = make_store(tmp_path)
    other = enroll(store, small(1, OTHER_POINT))
    for seed in (1, 2, 1, 2, 1):
        enroll(store, small(seed))
    store.rollback(POINT, "lang")
    for _ in range(3):
        store.propose(small(3), "lang")
    gone = [one.object for one in store.audit(point=POINT) if one.what == "thin"]
    assert gone == ["bl_0002", "bl_0003", "bl_0006", "bl_0007"]
    for id_ in gone:
        with pytest.raises(BaselineError, match=f"the vectors of baseline {id_} were given up for room"):
            store.load(id_)
        assert store.manifest(id_).id == id_
    active = store.active(POINT)
    assert active is not None
    assert active.id == "bl_0005"
    assert store.rollback(POINT, "lang").id == "bl_0004", "what a rollback leads to is whole"
    assert same(store.load(other.id), other), "another point's stay"
    assert store.verify_audit().problems == []
    assert [one.status for one in make_store(tmp_path).list(POINT)].count("damaged") == 0
