"""A thousand ways to change ``state.db`` behind the daemon's back: each is found, or changes nothing that is read."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from echo_edge.errors import BaselineError
from tests.baselines import OTHER_POINT, enroll, make_store, small
from tests.world import POINT

MUTATIONS = 10_000 if os.environ.get("ECHO_EDGE_TORTURE") else 300
TABLES = {
    "baseline": ("number", "point", "manifest", "signature", "vectors"),
    "active": ("point", "baseline", "since_ns", "manifest_sha256", "audit_seq", "signature"),
    "audit": ("seq", "time_ns", "who", "what", "why", "point", "object", "sha256", "previous", "hash"),
    "audit_head": ("seq", "hash", "signature"),
    "trusted_key": ("key_id", "public_key", "added_ns", "signature"),
}


def make_world(folder: Path, gateway: str, seed: int) -> None:
    """Two points, four versions of one, one of the other; the last is brought in; a rollback and a rejection."""
    folder.mkdir(exist_ok=True)
    twin = make_store(folder / "twin", f"{gateway}-twin")
    enroll(twin, small(seed + 5, OTHER_POINT))
    twin.export("bl_0001", folder / "twin" / "one.eebl")
    store = make_store(folder / "state", gateway)
    for i in range(3):
        enroll(store, small(seed + i))
    enroll(store, small(seed + 3, OTHER_POINT), by="vogt")
    store.rollback(POINT, "lang", "too many alarms")
    store.reject("bl_0003", "vogt", "loose foot")
    store.import_(folder / "twin" / "one.eebl", POINT, "lang", (folder / "twin" / "signing.pub").read_bytes())
    with sqlite3.connect(folder / "state" / "state.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def seen(folder: Path) -> Any:
    """All that anybody can learn of the baselines in a folder.

    Raises:
        BaselineError: something is wrong, and whoever reads is told so.
    """
    store = make_store(folder)
    listed = store.list()
    report = store.verify_audit()
    if found := [*report.problems, *report.notes, *(one.problem for one in listed if one.problem)]:
        raise BaselineError(found[0])
    baselines = [store.load(one.id) for one in listed]
    arrays = [[(k, a.tobytes()) for s in one.states for k, a in s.arrays().items()] for one in baselines]
    manifests = [store.manifest(one.id).canonical() for one in listed]
    active = [None if (one := store.active(point)) is None else one.id for point in (POINT, OTHER_POINT)]
    return listed, arrays, manifests, active, store.audit(), sorted(key.id for key in store.trusted_keys())


def flip_a_bit_of_the_file(rng: random.Random, state: Path, _: Path) -> None:
    file = state / "state.db"
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def wipe_a_stretch_of_the_file(rng: random.Random, state: Path, _: Path) -> None:
    file = state / "state.db"
    data = bytearray(file.read_bytes())
    start, length = rng.randrange(len(data)), rng.choice((1, 16, 512, 4096))
    data[start : start + length] = bytes(len(data[start : start + length]))
    file.write_bytes(data)


def cut_the_file_short(rng: random.Random, state: Path, _: Path) -> None:
    file = state / "state.db"
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def change_the_key(rng: random.Random, state: Path, other: Path) -> None:
    key = state / "signing.key"
    data = bytearray(key.read_bytes())
    way = rng.randrange(3)
    if way == 0:
        key.unlink()
    elif way == 1:
        shutil.copy(other / "signing.key", key)
    else:
        data[rng.randrange(40, 90)] ^= 1
        key.write_bytes(data)


def cells(db: sqlite3.Connection, rng: random.Random) -> tuple[str, str, Any]:
    """A table, one of its columns, and the value of a row's first column."""
    table = rng.choice(list(TABLES))
    (key,) = rng.choice(db.execute(f"SELECT {TABLES[table][0]} FROM {table}").fetchall())
    return table, rng.choice(TABLES[table]), key


def change_a_cell(rng: random.Random, db: sqlite3.Connection, _: sqlite3.Connection) -> None:
    table, column, key = cells(db, rng)
    first = TABLES[table][0]
    (value,) = db.execute(f"SELECT {column} FROM {table} WHERE {first} = ?", (key,)).fetchone()
    if isinstance(value, int):
        new: object = value + rng.choice((-1, 1, 1000))
    elif isinstance(value, str):
        where = rng.randrange(len(value) + 1)
        new = value[:where] + rng.choice("abc0") + value[where + rng.randrange(2) :]
    else:
        data = bytearray(value)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        new = bytes(data)
    db.execute(f"UPDATE {table} SET {column} = ? WHERE {first} = ?", (new, key))


def cut_a_cell_short(rng: random.Random, db: sqlite3.Connection, _: sqlite3.Connection) -> None:
    table = rng.choice(("baseline", "active", "audit_head", "trusted_key"))
    column = {"baseline": rng.choice(("manifest", "signature", "vectors"))}.get(table, "signature")
    first = TABLES[table][0]
    key, value = rng.choice(db.execute(f"SELECT {first}, {column} FROM {table}").fetchall())
    db.execute(f"UPDATE {table} SET {column} = ? WHERE {first} = ?", (value[: rng.randrange(len(value))], key))


def swap_cells_of_two_rows(rng: random.Random, db: sqlite3.Connection, _: sqlite3.Connection) -> None:
    table = rng.choice(("baseline", "active", "audit"))
    first, *rest = TABLES[table]
    columns = rng.sample(rest, rng.randint(1, len(rest)))
    one, two = rng.sample(db.execute(f"SELECT {first}, {', '.join(columns)} FROM {table}").fetchall(), 2)
    for key, values in ((one[0], two[1:]), (two[0], one[1:])):
        told = ", ".join(f"{column} = ?" for column in columns)
        db.execute(f"UPDATE {table} SET {told} WHERE {first} = ?", (*values, key))


def take_a_row_away(rng: random.Random, db: sqlite3.Connection, _: sqlite3.Connection) -> None:
    table, _, key = cells(db, rng)
    db.execute(f"DELETE FROM {table} WHERE {TABLES[table][0]} = ?", (key,))


def copy_a_row_to_another_place(rng: random.Random, db: sqlite3.Connection, _: sqlite3.Connection) -> None:
    table = rng.choice(("baseline", "active", "audit"))
    first, *rest = TABLES[table]
    row = rng.choice(db.execute(f"SELECT {first}, {', '.join(rest)} FROM {table}").fetchall())
    new = {"baseline": rng.randint(1, 9), "active": rng.choice((POINT, OTHER_POINT, "pump/x")), "audit": 20}[table]
    if rng.randrange(2) and table == "baseline":
        row = (row[0], rng.choice((POINT, OTHER_POINT)), *row[2:])
    db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", (new, *row[1:]))


def bring_a_row_of_another_gateway(rng: random.Random, db: sqlite3.Connection, other: sqlite3.Connection) -> None:
    table = rng.choice(list(TABLES))
    row = rng.choice(other.execute(f"SELECT * FROM {table}").fetchall())
    db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(row))})", row)


FILES: tuple[Callable[[random.Random, Path, Path], None], ...] = (
    flip_a_bit_of_the_file,
    flip_a_bit_of_the_file,
    wipe_a_stretch_of_the_file,
    cut_the_file_short,
    change_the_key,
)
ROWS: tuple[Callable[[random.Random, sqlite3.Connection, sqlite3.Connection], None], ...] = (
    change_a_cell,
    change_a_cell,
    cut_a_cell_short,
    swap_cells_of_two_rows,
    take_a_row_away,
    copy_a_row_to_another_place,
    bring_a_row_of_another_gateway,
)


def mutate(rng: random.Random, state: Path, other: Path) -> str:
    """Change something; returns what was done."""
    change = rng.choice((*FILES, *ROWS))
    if change in FILES:
        change(rng, state, other)  # type: ignore[arg-type]
        return change.__name__
    db, foreign = (sqlite3.connect(folder / "state.db", isolation_level=None) for folder in (state, other))
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    with suppress(sqlite3.IntegrityError):  # the place is taken: nothing is changed
        change(rng, db, foreign)  # type: ignore[arg-type]
    for _, trigger in triggers:
        db.execute(trigger)
    db.execute("COMMIT")
    db.close()
    foreign.close()
    return change.__name__


@pytest.mark.timeout(180 if MUTATIONS == 300 else 3600)
def test_every_mutation_is_found_or_changes_nothing(tmp_path: Path) -> None:
    make_world(tmp_path, "gw", seed=1)
    make_world(tmp_path / "other", "gw2", seed=11)
    before = seen(tmp_path / "state")
    whole = {file.name: file.read_bytes() for file in (tmp_path / "state").iterdir()}
    found, harmless = Counter[str](), Counter[str]()
    state = tmp_path / "mutated"
    state.mkdir()
    for number in range(MUTATIONS):
        for name in ("state.db-wal", "state.db-shm"):
            (state / name).unlink(missing_ok=True)
        for name, content in whole.items():
            (state / name).write_bytes(content)
        what = mutate(random.Random(number), state, tmp_path / "other" / "state")
        try:
            after = seen(state)
        except BaselineError:
            found[what] += 1
        else:
            assert after == before, f"mutation {number}: {what} got through"
            harmless[what] += 1
    print(f"{found.total()} found, {harmless.total()} changed nothing: {dict(found)}, {dict(harmless)}")
    assert found.total() + harmless.total() == MUTATIONS
    assert found.total() > MUTATIONS / 2
