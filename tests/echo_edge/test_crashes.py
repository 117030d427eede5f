"""A daemon that ends without a word three times over the same part leaves that part out, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from echo_edge.crashes import Crashes
from echo_edge.errors import ConfigError


class Clock:
    """Seconds since the machine was switched on, set by hand."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def __call__(self) -> float:
        return self.at_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def dies_at(part: str, folder: Path, clock: Clock, after_s: float = 5) -> str:
    """One life of the daemon that is killed at this part; returns what it left out."""
    with Crashes(folder, clock) as crashes:
        crashes.note("engine:onnx")
        crashes.note(part)
    clock.at_s += after_s
    return crashes.suspect


def test_the_same_part_at_work_in_three_ends_within_ten_minutes_is_left_out(tmp_path: Path, clock: Clock) -> None:
    assert [dies_at("point:pump/de", tmp_path, clock) for _ in range(4)] == ["", "", "", "point:pump/de"]
    with Crashes(tmp_path, clock) as crashes:
        assert crashes.leaves_out("point") == "pump/de"
        assert crashes.leaves_out("engine") == ""
        assert "pump/de is not monitored" in crashes.sentence


def test_different_parts_or_ends_far_apart_leave_nothing_out(tmp_path: Path, clock: Clock) -> None:
    for part in ("point:a/de", "point:b/de", "point:a/de", "point:b/de"):
        assert dies_at(part, tmp_path, clock) == ""
    for _ in range(5):
        assert dies_at("point:a/de", tmp_path, clock, after_s=400) == ""


def test_a_clean_end_forgets_the_crashes_before(tmp_path: Path, clock: Clock) -> None:
    for _ in range(3):
        dies_at("point:a/de", tmp_path, clock)
    with Crashes(tmp_path, clock) as crashes:
        assert crashes.suspect
        crashes.ended_well = True
    assert list(tmp_path.iterdir()) == []
    assert dies_at("point:a/de", tmp_path, clock) == ""


def test_an_error_that_explains_itself_is_no_crash(tmp_path: Path, clock: Clock) -> None:
    def refuses() -> None:
        with Crashes(tmp_path, clock) as crashes:
            crashes.note("point:a/de")
            raise ConfigError(["a line"])

    for _ in range(5):
        with pytest.raises(ConfigError):
            refuses()
    assert list(tmp_path.iterdir()) == []


def test_another_boot_or_a_damaged_record_tells_nothing(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "crashes.json").write_text('[[1, "another", "point:a/de"], 7]')
    (tmp_path / "at-work").write_bytes(b"another-boot point:a/de" + b" " * 200)
    with Crashes(tmp_path, clock) as crashes:
        assert crashes.suspect == ""
