"""The disk guard: what is least valuable goes first, what is needed never, and the history rests in time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from echo_edge import outbox_file
from echo_edge.disk_guard import FILES_AT_ONCE, DiskGuard, floor_bytes
from echo_edge.history import History
from echo_edge.store import exclusive
from tests.echo_edge.remembered import DAY_NS, HOUR_NS, POINT, kept, memory

KB = 1000
TOTAL = 1000 * KB  # its floor is 200 KB


class Gateway:
    """A state folder on a small disk, and a clock to turn."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now_s, self.others = folder, 0.0, 0
        now_ns = time.time_ns()
        days = (1, 2, 3, 4)
        self.history = kept(folder / "history", [memory(now_ns - HOUR_NS - day * DAY_NS) for day in (0, *days)])
        for number in range(3):
            self.write(f"examples/{number:032x}/{POINT}/h.facts", 20, number)
            self.write(f"examples/{number:032x}/about.json", 1, number)
            self.write(f"evidence/{number:032x}-1.png", 5, number)
        self.write("outbox.db", 64)
        self.write("state.db", 10)
        self.guard = DiskGuard(
            folder / "outbox.db",
            self.history,
            folder / "examples",
            folder / "evidence",
            lambda _: SimpleNamespace(total=TOTAL, free=self.free),
            lambda: self.now_s,
        )

    def write(self, name: str, kilobytes: int, age: int = 0) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(kilobytes * KB))
        os.utime(path, (1e9 + age, 1e9 + age))
        return path

    @property
    def used(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def free(self) -> int:
        return TOTAL - self.used - self.others

    def leave(self, free: int) -> None:
        """Somebody else fills the disk up to here; then the guard looks."""
        self.others += self.free - free
        self.look()

    def look(self) -> None:
        self.now_s += 60
        self.guard.tick()

    def names(self, pattern: str) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.glob(pattern))

    @property
    def hours(self) -> list[str]:
        """Of the files of vectors that are left."""
        return [Path(name).name[:8] for name in self.names("history/*/*/*.vectors")]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


@pytest.mark.parametrize(("total", "floor"), [(1e9, 200e6), (0.5e9, 100e6), (8e9, 200e6), (64e9, 1.28e9)])
def test_the_floor_is_200_mb_or_2_percent_and_never_a_large_part_of_a_small_disk(total: float, floor: float) -> None:
    assert floor_bytes(total) == pytest.approx(floor)


def test_nothing_goes_while_there_is_room(gateway: Gateway) -> None:
    before = gateway.names("**/*")
    gateway.leave(free=251 * KB)
    assert gateway.names("**/*") == before
    assert not gateway.history.rests


def test_the_oldest_hours_vectors_go_first_and_no_more_than_needed(gateway: Gateway) -> None:
    hours, facts = gateway.hours, gateway.names("history/*/*/*.facts")
    gateway.leave(free=250 * KB - 1)
    assert gateway.hours == hours[1:]
    assert gateway.names("history/*/*/*.facts") == facts
    assert gateway.free >= 250 * KB
    assert len(gateway.names("examples/*")) == len(gateway.names("evidence/*")) == 3


def test_examples_go_after_the_history_and_pictures_after_them(gateway: Gateway) -> None:
    history = sum(path.stat().st_size for path in gateway.folder.glob("history/*/*/*"))
    gateway.leave(free=200 * KB - history)
    assert len(gateway.hours) == 1  # of the newest day
    assert gateway.names("examples/*") == [f"examples/{number:032x}" for number in (1, 2)]
    assert len(gateway.names("evidence/*")) == 3
    gateway.leave(free=200 * KB - 43 * KB)
    assert gateway.names("examples/*") == []
    assert gateway.names("evidence/*") == [f"evidence/{number:032x}-1.png" for number in (1, 2)]


def test_a_clock_that_is_not_set_yet_saves_no_old_history_at_the_cost_of_confirmed_faults(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echo_edge.history.time", SimpleNamespace(time_ns=lambda: HOUR_NS, monotonic=time.monotonic))
    hours = gateway.hours
    gateway.leave(free=250 * KB - 1)
    assert gateway.hours == hours[1:]
    gateway.leave(free=0)
    assert gateway.hours == hours[-2:], "the newest day that was heard"


def test_what_the_daemon_lives_by_stays_whatever_others_do_to_the_disk(gateway: Gateway) -> None:
    gateway.leave(free=0)
    gateway.look()
    assert gateway.names("*.db") == ["outbox.db", "state.db"]
    assert len(gateway.hours) == 1
    assert not gateway.names("examples/*") + gateway.names("evidence/*")


def test_the_history_rests_before_the_disk_is_full_and_goes_on_when_there_is_room(gateway: Gateway) -> None:
    gateway.leave(free=221 * KB)
    assert not gateway.history.rests
    gateway.leave(free=219 * KB)
    used = gateway.used
    gateway.history.add(POINT, memory(time.time_ns()))
    gateway.history.flush()
    assert (gateway.used, gateway.history.lost) == (used, 1)
    gateway.leave(free=249 * KB)
    assert gateway.history.rests, "not again and again about one mark"
    gateway.leave(free=251 * KB)
    gateway.history.add(POINT, memory(time.time_ns()))
    gateway.history.flush()
    assert gateway.used > used
    assert gateway.history.lost == 1


def test_windows_do_not_wait_for_a_large_house_to_be_cleaned(tmp_path: Path) -> None:
    for number in range(FILES_AT_ONCE + 20):
        (tmp_path / f"{number:032x}-1.png").write_bytes(b"\0")
    usage = SimpleNamespace(total=TOTAL, free=0)
    history = History(tmp_path / "history")
    DiskGuard(tmp_path / "outbox.db", history, tmp_path / "examples", tmp_path, lambda _: usage).tick()
    assert len(list(tmp_path.glob("*.png"))) == 20


def test_a_disk_that_does_not_answer_stops_nothing(tmp_path: Path) -> None:
    def usage(_: Path) -> SimpleNamespace:
        raise OSError(5, "Input/output error")

    DiskGuard(tmp_path / "outbox.db", History(tmp_path), tmp_path, tmp_path, usage).tick()


def test_of_damaged_files_the_newest_three_are_kept_and_one_when_the_disk_is_full(gateway: Gateway) -> None:
    for number in range(5):
        gateway.write("outbox.db", 10 + number)
        gateway.write("outbox.db-wal", 1)
        outbox_file.move_aside(gateway.folder / "outbox.db", "20260503T080000Z")
        time.sleep(0.02)  # the order is told by the file system's clock
    sizes = sorted((gateway.folder / name).stat().st_size // KB for name in gateway.names("*.corrupt-*"))
    assert sizes == [1, 1, 1, 12, 13, 14]
    gateway.leave(free=199 * KB)
    assert len(gateway.names("*.corrupt-*")) == 2
    assert len(gateway.names("examples/*")) == 3


def test_what_a_kill_left_half_written_goes_at_the_next_start(gateway: Gateway) -> None:
    left = [gateway.write(".crashes.json.ab12_x9z", 1), gateway.write("exports/.bl_0001.eebase.qqqqqqqq", 1)]
    young = gateway.write(".crashes.json.ab12_x9y", 1)
    os.utime(young)
    with exclusive(gateway.folder):
        assert not any(path.exists() for path in left)
        assert young.exists(), "another command may be writing it"
        assert (gateway.folder / "state.db").exists()
