"""Commands while the file is broken: they go by the last configuration that worked, as the daemon does, and say so."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echo_edge.cli import app
from echo_edge.errors import ConfigError

WORKS = """
gateway: {id: gw}
devices: {acc: {kind: simulator}}
machines: {pump: {points: {de: {device: acc}}}}
"""


@pytest.fixture
def broken(tmp_path: Path, state_folder: Path) -> Path:
    """A configuration with a mistake; the one before it worked."""
    path = tmp_path / "line1.yaml"
    path.write_text(WORKS + "surplus: 1\n")
    (state_folder / "config_versions").mkdir()
    (state_folder / "config_versions" / "works.yaml").write_text(WORKS)
    return path


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (("status", "CONFIG", "--json"), "status"),
        (("alert", "list", "CONFIG", "--json"), "alert.list"),
        (("mute", "CONFIG", "pump", "--for", "2h"), "maintenance.mute"),
        (("threshold", "CONFIG", "pump/de", "2", "--dry-run"), "threshold.set"),
        (("order", "CONFIG", "baseline.list"), "baseline.list"),
    ],
)
def test_the_daemon_in_safe_mode_is_reached(broken: Path, state_folder: Path, words: tuple[str, ...], verb: str):
    given: list[dict[str, object]] = []

    def answer() -> None:
        with desk.accept()[0] as client, client.makefile("rw") as lines:
            given.append(json.loads(lines.readline()))
            lines.write(json.dumps({"ok": True, "result": {}}) + "\n")

    with socket.socket(socket.AF_UNIX) as desk:
        desk.bind(str(state_folder / "control.sock"))
        desk.listen(1)
        daemon = threading.Thread(target=answer)
        daemon.start()
        done = CliRunner().invoke(app, [str(broken) if word == "CONFIG" else word for word in words])
        daemon.join()
    assert done.exit_code == 0, done.output
    assert [order["verb"] for order in given] == [verb]
    (told,) = done.stderr.splitlines()
    assert told.startswith(f"{broken}:5: surplus: unknown key")
    assert told.endswith("going by the last configuration that worked")


@pytest.mark.parametrize("words", [("check",), ("enroll", "start")])
def test_what_goes_by_the_file_itself_does_not_look_past_it(broken: Path, words: tuple[str, ...]):
    point = ["pump/de"] if "start" in words else []
    done = CliRunner().invoke(app, [*words, str(broken), *point])
    assert done.exit_code == 78 or isinstance(done.exception, ConfigError)


def test_without_one_that_worked_the_file_is_what_is_told(broken: Path, state_folder: Path):
    (state_folder / "config_versions" / "works.yaml").unlink()
    done = CliRunner().invoke(app, ["status", str(broken)])
    assert isinstance(done.exception, ConfigError)
    assert "surplus" in str(done.exception)
