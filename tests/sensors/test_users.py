"""Who has a device open, on a made-up /proc whose processes end while they are looked at."""

from __future__ import annotations

import os
import subprocess
import termios
from pathlib import Path

import pytest

from sensors import SensorUnavailable
from sensors.serial_ports import open_port
from sensors.users import user_of


def process(proc: Path, pid: int, opened: Path | None, name: str = "minicom") -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    if opened is not None:
        (folder / "fd/3").symlink_to(opened)


def test_the_process_that_has_it_open_is_named(tmp_path: Path) -> None:
    device = tmp_path / "ttyUSB0"
    device.touch()
    process(tmp_path / "proc", 7, None)
    process(tmp_path / "proc", 812, device)
    assert user_of(device, tmp_path / "proc") == "minicom (pid 812)"
    assert user_of(tmp_path / "other", tmp_path / "proc") == ""


def test_processes_that_end_meanwhile_are_no_trouble(tmp_path: Path) -> None:
    device = tmp_path / "ttyUSB0"
    device.touch()
    (tmp_path / "proc/5").mkdir(parents=True)  # its folder of open files is gone already
    process(tmp_path / "proc", 6, device)
    (tmp_path / "proc/6/comm").unlink()
    process(tmp_path / "proc", 9, device)
    assert user_of(device, tmp_path / "proc") == "minicom (pid 9)"
    assert user_of(device, tmp_path / "no proc at all") == ""


def test_looking_among_processes_that_come_and_go_never_fails(tmp_path: Path) -> None:
    with subprocess.Popen(["sh", "-c", "while :; do true & /bin/true; done"]) as churn:
        try:
            assert [user_of(tmp_path / "nobody has this") for _ in range(100)] == [""] * 100
        finally:
            churn.kill()


def test_a_port_that_vanishes_while_it_is_opened_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise termios.error(5, "Input/output error")

    monkeypatch.setattr(termios, "tcflush", gone)
    master, slave = os.openpty()
    try:
        with pytest.raises(SensorUnavailable, match=r"acc: .* did not open"):
            open_port("acc", os.ttyname(slave), 115_200, 0.1)
    finally:
        os.close(master)
        os.close(slave)
