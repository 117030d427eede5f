"""A release is put in force only where it can go on with what is there: models, configurations, stored state."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echo_edge import outbox_db
from echo_edge.cli import app
from echo_edge.release_test import release_test
from echo_edge.store import database, outbox_file
from tests.baselines import GATEWAY, enroll, make_store, small
from tests.world import POINT

CONFIG = f"""
gateway: {{id: {GATEWAY}}}
mqtt: {{host: 127.0.0.1}}
devices: {{mic: {{kind: simulator}}}}
machines: {{{POINT.split("/")[0]}: {{points: {{{POINT.split("/")[1]}: {{device: mic}}}}}}}}
"""


@pytest.fixture
def gateway(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of configurations and of states, with one instance that was enrolled."""
    configs, states = tmp_path / "etc", tmp_path / "var"
    configs.mkdir()
    states.mkdir()
    (configs / "line1.yaml").write_text(CONFIG)
    enroll(make_store(states / "line1"), small(1))
    return configs, states


def refused(configs: Path, states: Path) -> dict[str, str]:
    return {found.what: found.problem for found in release_test(configs, states) if found.problem is not None}


def set_version(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version={version}")


def test_state_of_this_version_is_taken_and_left_as_it_was(gateway: tuple[Path, Path]) -> None:
    folder = gateway[1] / "line1"
    set_version(outbox_file(folder), outbox_db.VERSION)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    looked_at = [found.what for found in release_test(*gateway)]
    assert refused(*gateway) == {}
    assert looked_at == [str(gateway[0] / "line1.yaml"), "model echo-tiny", str(folder)]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_state_is_read_while_a_daemon_writes_to_it(gateway: tuple[Path, Path]) -> None:
    with closing(sqlite3.connect(database(gateway[1] / "line1"), isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE half_done(x)")
        assert refused(*gateway) == {}


@pytest.mark.parametrize("file_of", [database, outbox_file])
def test_state_of_a_newer_version_is_refused(gateway: tuple[Path, Path], file_of) -> None:  # type: ignore[no-untyped-def]
    folder = gateway[1] / "line1"
    set_version(file_of(folder), 99)
    problems = refused(*gateway)
    assert list(problems) == [str(folder)]
    assert f"{file_of(folder).name}: written by another version of echo-edge (99)" in problems[str(folder)]


def test_state_without_a_configuration_is_looked_at_too(gateway: tuple[Path, Path]) -> None:
    (gateway[0] / "line1.yaml").unlink()
    assert refused(*gateway) == {}
    set_version(database(gateway[1] / "line1"), 99)
    assert list(refused(*gateway)) == [str(gateway[1] / "line1")]


def test_a_baseline_that_does_not_verify_is_refused(gateway: tuple[Path, Path]) -> None:
    with closing(sqlite3.connect(database(gateway[1] / "line1"))) as db, db:
        db.execute("DROP TRIGGER baseline_keeps_text")
        db.execute("UPDATE baseline SET signature = zeroblob(64)")
        db.execute(
            "CREATE TRIGGER baseline_keeps_text BEFORE UPDATE ON baseline BEGIN SELECT RAISE(ABORT, 'rows stay'); END"
        )
    assert list(refused(*gateway)) == [str(gateway[1] / "line1")]


def test_a_configuration_that_cannot_be_used_is_named_with_its_line(gateway: tuple[Path, Path]) -> None:
    (gateway[0] / "line2.yaml").write_text(CONFIG.replace("mqtt", "mqt"))
    problems = refused(*gateway)
    assert list(problems) == [str(gateway[0] / "line2.yaml")]
    assert "mqt" in problems[str(gateway[0] / "line2.yaml")]


def test_an_instance_that_no_service_runs_stops_no_release(gateway: tuple[Path, Path]) -> None:
    draft = gateway[0] / "draft.yaml"
    draft.write_text(CONFIG.replace("mqtt", "mqt"))
    options = ["--configs", str(gateway[0]), "--states", str(gateway[1])]
    done = CliRunner().invoke(app, ["self-test", *options, "--idle", "draft"])
    assert done.exit_code == 0
    assert f"warning: not in service: {draft}: " in done.stderr
    done = CliRunner().invoke(app, ["self-test", *options, "--idle", "line1"])
    assert done.exit_code == 78
    assert f"bad: {draft}: " in done.stderr


def test_the_command_leaves_nothing_in_the_home_folder_and_says_what_it_looked_at(
    gateway: tuple[Path, Path], tmp_path: Path
) -> None:
    """onnxruntime would put a device id and a database of what was run there."""
    home = tmp_path / "home"
    home.mkdir()
    options = ["--configs", str(gateway[0]), "--states", str(gateway[1])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    command = [sys.executable, "-m", "echo_edge", "self-test", *options]
    done = subprocess.run(command, env={**environment, "HOME": str(home)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ok: model echo-tiny" in done.stdout
    assert list(home.iterdir()) == []
