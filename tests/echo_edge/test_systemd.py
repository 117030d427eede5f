"""What the service manager hears: once per change; the watchdog only while something moves."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from echo_edge import daemon
from echo_edge.assembly import Parts
from echo_edge.log_lines import OneLine
from echo_edge.systemd import ServiceManager, on_journal


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        yield server


def heard(listener: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


def test_ready_and_status_are_said_once_per_change(listener: socket.socket) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.getsockname()})
    assert not manager.ready
    manager.come_up("2 points")
    manager.status("2 points")
    manager.status("1 point\nREADY=0")
    assert heard(listener) == ["READY=1\nSTATUS=2 points", "STATUS=1 point READY=0"]
    assert manager.ready


def test_a_mark_that_stands_still_feeds_no_watchdog(listener: socket.socket) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.getsockname()})
    for mark in (1.0, 1.0, 1.0, 2.0):
        manager.progress(mark)
    assert heard(listener) == ["WATCHDOG=1", "WATCHDOG=1"]


def test_who_is_not_up_yet_is_fed_and_does_not_become_up_by_a_reload_that_is_refused(listener: socket.socket) -> None:
    manager, asked = ServiceManager({"NOTIFY_SOCKET": listener.getsockname()}), daemon.Asked()
    parts = cast(Parts, SimpleNamespace(monitor=SimpleNamespace(proven=False), versions=None))
    asked.reload.set()
    for _ in range(2):
        assert not daemon._reloads(asked, parts, manager)
        daemon._tell_manager(manager, parts)
    assert heard(listener) == ["WATCHDOG=1", "WATCHDOG=1"]
    assert asked.reload.is_set(), "it is done once the daemon is up"


def test_without_a_manager_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "@echo-edge-nobody"}):
        ServiceManager(environment).come_up("well")


def test_on_the_journal_every_line_carries_its_priority(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        about = os.fstat(stream.fileno())
        assert on_journal(stream.fileno(), {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"})
        assert not on_journal(stream.fileno(), {})
    record = logging.LogRecord("echo_edge.x", logging.ERROR, "", 0, "gone", (), None)
    record.exc_text = "Traceback\n  line"
    assert OneLine(journal=True).format(record).splitlines() == ["<3>echo_edge.x: gone", "<3>Traceback", "<3>  line"]
