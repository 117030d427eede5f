"""Which folders a command uses, and what it says where it may not; room that is put by for a start on a full disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from echo_edge.store import (
    RESERVE,
    RESERVE_BYTES,
    control_socket,
    how_to_start,
    keep_reserve,
    service_folders,
    spend_reserve,
    state_path,
)

FOLDERS = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOLDERS:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)


def test_a_configuration_of_a_service_leads_to_the_folders_of_the_service() -> None:
    service_folders(Path("/etc/echo-edge/hall3.yaml"))
    folder = state_path("any")
    assert folder == Path("/var/lib/echo-edge/hall3")
    assert control_socket(folder) == Path("/run/echo-edge/hall3/control.sock")
    assert how_to_start(folder) == "sudo systemctl start echo-edge@hall3"


def test_a_configuration_elsewhere_and_folders_that_are_named_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service_folders(tmp_path / "hall3.yaml")
    assert not [name for name in FOLDERS if name in os.environ]
    assert how_to_start(state_path("gw")) == "echo-edge run"
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}:/elsewhere")
    service_folders(Path("/etc/echo-edge/hall3.yaml"))
    assert state_path("gw") == tmp_path


def test_room_is_put_by_where_there_is_some_and_kept_while_there_is(tmp_path: Path) -> None:
    keep_reserve(tmp_path)
    assert (tmp_path / RESERVE).stat().st_size == RESERVE_BYTES
    spend_reserve(tmp_path)
    assert (tmp_path / RESERVE).exists()
