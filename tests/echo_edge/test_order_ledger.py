"""The ledger of orders: what it remembers over restarts, and what a clock that jumps may do to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from echo_edge.errors import OrderRefusedError
from echo_edge.order_ledger import KEPT_S, MAX_ANSWER, Ledger

DONE = {"ok": True, "result": {"n": 1}}


class Clocks:
    """A wall clock that may be set, and one that may not."""

    def __init__(self) -> None:
        self.ns, self.mono_s = 1_777_886_000 * 10**9, 100.0

    def ledger(self, folder: Path) -> Ledger:
        return Ledger(folder / "state.db", lambda: self.ns, lambda: self.mono_s)


def carried_out(ledger: Ledger, id_: str, ctr: int) -> None:
    assert ledger.count("k", ctr)
    ledger.admit("m-lang", id_, "digest", "clients/1")
    ledger.begin("m-lang", id_, ("k", ctr))
    ledger.finish("m-lang", id_, DONE)


def test_counters_and_answers_survive_a_restart(tmp_path: Path) -> None:
    clocks = Clocks()
    carried_out(clocks.ledger(tmp_path), "a", 5)
    ledger = clocks.ledger(tmp_path)
    entry = ledger.find("m-lang", "a")
    assert entry is not None
    assert (entry.answer, entry.digest, entry.reply_to, entry.lost) == (DONE, "digest", "clients/1", False)
    assert ledger.counter("k") == 5
    assert not ledger.count("k", 5)
    assert ledger.find("e-eng", "a") is None


def test_a_counter_on_disk_never_falls(tmp_path: Path) -> None:
    ledger = Clocks().ledger(tmp_path)
    ledger.begin("m-lang", None, ("k", 9))
    ledger.begin("m-lang", None, ("k", 3))  # two were posted, and the later one came first
    assert Clocks().ledger(tmp_path).counter("k") == 9


@pytest.mark.parametrize("jump_s", [-20 * 365 * 86400, 20 * 365 * 86400])
def test_a_clock_that_jumps_makes_nothing_happen_twice_in_this_run(tmp_path: Path, jump_s: int) -> None:
    clocks = Clocks()
    ledger = clocks.ledger(tmp_path)
    carried_out(ledger, "a", 1)
    clocks.ns += jump_s * 10**9
    carried_out(ledger, "b", 2)
    assert ledger.find("m-lang", "a") is not None
    clocks.mono_s += KEPT_S
    assert ledger.find("m-lang", "a") is None


def test_orders_of_more_than_an_hour_ago_leave_the_disk(tmp_path: Path) -> None:
    clocks = Clocks()
    ledger = clocks.ledger(tmp_path)
    for number in range(5):
        carried_out(ledger, f"a{number}", number + 1)
        clocks.ns += 3_000 * 10**9
        clocks.mono_s += 3_000
    with sqlite3.connect(tmp_path / "state.db") as db:
        assert db.execute("SELECT count(*) FROM order_done").fetchone() == (2,)
    db.close()


def test_an_answer_that_is_too_long_is_kept_as_a_note(tmp_path: Path) -> None:
    ledger = Clocks().ledger(tmp_path)
    ledger.admit("m-lang", "a", "digest", None)
    ledger.begin("m-lang", "a", None)
    ledger.finish("m-lang", "a", {"ok": True, "result": {"x": "x" * MAX_ANSWER}})
    entry = ledger.find("m-lang", "a")
    assert entry is not None
    assert "too long" in str(entry.answer)


def test_a_disk_that_cannot_be_written_refuses_the_order(tmp_path: Path) -> None:
    ledger = Clocks().ledger(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "state.db").mkdir()
    with pytest.raises(OrderRefusedError, match=r"state\.db.*look at the disk"):
        ledger.begin("m-lang", None, ("k", 1))
