"""Doctor: each thing that can be wrong at a gateway is found, named, and told with its mend; nothing is changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from echo_edge.cli import app
from echo_edge.clock import Clock
from echo_edge.config_file import load_config
from echo_edge.doctor_broker import broker
from echo_edge.doctor_files import databases, disk, rights
from echo_edge.doctor_found import Found, Patient
from echo_edge.doctor_machine import clock, daemon, devices
from echo_edge.doctor_model import model
from echo_edge.doctor_steps import examine
from echo_edge.engine.cuda import nvidia_here
from echo_edge.errors import OrderError
from echo_edge.outbox_db import OutboxDb
from echo_edge.verb_client import give_order
from tests.baselines import enroll, make_store, small
from tests.broker import wait_for

SIMULATED = "{kind: simulator, realtime: false}"


def patient(folder: Path, *, device: str = SIMULATED, more: str = "", **answers: object) -> Patient:
    """A gateway whose configuration and state lie in ``folder``."""
    (folder / "etc").mkdir(mode=0o755, exist_ok=True)
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    path = folder / "etc" / "line1.yaml"
    machines = "machines: {pump: {points: {de: {device: mic1}}}}"
    path.write_text(f"gateway: {{id: gw}}\n{more}devices: {{mic1: {device}}}\n{machines}\n")
    path.chmod(0o640)
    return Patient(path, load_config(path), folder / "state", None, answers or None)


def whats(findings: list[Found], how: str) -> list[str]:
    return [one.what for one in findings if one.how == how]


def test_a_secret_that_others_can_read_and_a_file_that_all_can_change_are_broken(tmp_path: Path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "password").write_text("x\n")
    (tmp_path / "etc" / "password").chmod(0o640)
    one = patient(tmp_path, more="mqtt: {username: gw, password_file: password}\n")
    one.path.chmod(0o666)
    found = list(rights(one))
    assert [(f.how, f.mend) for f in found] == [
        ("broken", f"chmod o-w {one.path}"),
        ("broken", f"chmod 600 {tmp_path}/etc/password"),
    ]
    for mend in (f.mend for f in found):
        subprocess.run(mend.split(), check=True)
    one.path.chmod(0o640)
    assert [f.how for f in rights(one)] == ["ok"]


def test_a_clock_in_1970_is_broken_and_one_that_nobody_keeps_is_a_warning():
    (lost,) = clock(lambda: 3600.0, lambda: None)
    assert (lost.how, "1970-01-01" in lost.what, "NTP" in lost.mend) == ("broken", True, True)
    drifting, kept = Clock(False, 0.0, 16e3), Clock(True, 0.1, 3.0)
    assert [f.how for f in clock(lambda: 1.8e9, lambda: drifting)] == ["warning"]
    assert [f.how for f in clock(lambda: 1.8e9, lambda: kept)] == ["ok"]


def test_the_disk_is_written_to_and_nothing_is_left_there(tmp_path: Path):
    one = patient(tmp_path)
    assert "can be written" in list(disk(one))[-1].what
    assert list(one.folder.iterdir()) == []


def test_it_leaves_the_state_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = patient(tmp_path, more="mqtt: {port: 1}\n")
    monkeypatch.setenv("STATE_DIRECTORY", str(one.folder))
    enroll(make_store(one.folder), small(1, "pump/de"))
    with closing(OutboxDb(one.folder / "outbox.db", 4)):
        pass

    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in one.folder.iterdir()}

    before = contents()
    assert [found.what for found in examine(one.path) if found.how == "broken" and found.where == "state"] == []
    assert contents().keys() == before.keys()
    assert contents() == before


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path: Path):
    one = patient(tmp_path)
    one.folder.rmdir()
    assert {f.how for f in (*disk(one), *databases(one))} <= {"ok", "warning"}
    assert not one.folder.exists()


def test_a_database_is_whole_damaged_or_of_a_newer_version(tmp_path: Path):
    one = patient(tmp_path)
    make_store(one.folder)
    assert whats(list(databases(one)), "broken") == []
    with closing(sqlite3.connect(one.folder / "state.db")) as db:
        db.execute("PRAGMA user_version=99")
    (newer,) = whats(list(databases(one)), "broken")
    assert "newer version" in newer
    (one.folder / "state.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    assert len(whats(list(databases(one)), "broken")) == 1


@pytest.mark.parametrize("name", ["ModemManager", "brltty"])
def test_who_holds_a_serial_port_is_named_with_what_makes_it_let_go(tmp_path: Path, name: str):
    program = tmp_path / name
    shutil.copy(shutil.which("sleep") or "", program)
    master, slave = os.openpty()
    port = os.ttyname(slave)
    one = patient(tmp_path, device=f"{{kind: accelerometer, port: {port}}}")
    with subprocess.Popen([program, "60"], stdin=slave) as holder:
        try:
            comm = Path(f"/proc/{holder.pid}/comm")
            wait_for(lambda: comm.read_text().strip() == name, "the program")
            os.close(slave)
            (held,) = devices(one)
        finally:
            holder.kill()
            os.close(master)
    assert (held.how, held.what) == ("broken", f"{port} is in use by {name} (pid {holder.pid})")
    assert {"ModemManager": "ID_MM_DEVICE_IGNORE", "brltty": "package brltty"}[name] in held.mend


def test_a_device_is_opened_once_and_one_that_is_absent_is_broken(tmp_path: Path):
    (good,) = devices(patient(tmp_path))
    assert (good.how, "opens and delivers" in good.what) == ("ok", True)
    (absent,) = devices(patient(tmp_path, device="{kind: accelerometer, port: /dev/serial/by-id/none}"))
    assert (absent.how, "no port" in absent.what) == ("broken", True)


def test_a_running_daemon_is_asked_instead_of_its_devices(tmp_path: Path):
    told = {"where": "mic1", "what": "absent: unplugged", "mend": "plug it in"}
    (found,) = devices(patient(tmp_path, well=False, findings=[told]))
    assert found == Found("device mic1", "broken", "absent: unplugged", "plug it in")
    (fine,) = devices(patient(tmp_path, well=True, findings=[]))
    assert fine.how == "ok"


def test_a_stand_in_for_a_sensor_is_no_stranger_at_its_port(tmp_path: Path):
    told = {"where": "mic1", "what": "absent", "mend": "look"}
    master, slave = os.openpty()
    one = patient(tmp_path, device=f"{{kind: accelerometer, port: {os.ttyname(slave)}}}", well=False, findings=[told])
    command = ["sh", "-c", "sleep 60; true", "echo-edge", "simulate", "accelerometer"]
    with subprocess.Popen(command, stdin=slave, start_new_session=True) as stand_in:
        try:
            arguments = Path(f"/proc/{stand_in.pid}/cmdline")
            wait_for(lambda: b"simulate" in arguments.read_bytes(), "the program")
            os.close(slave)
            (found,) = devices(one)
        finally:
            os.killpg(stand_in.pid, signal.SIGKILL)
            os.close(master)
    assert found.what == "absent"


def test_a_password_that_only_systemd_shows_is_no_fault(tmp_path: Path):
    one = patient(tmp_path, more="mqtt: {username: gw, password_credential: mqtt-password}\n")
    (untried,) = broker(one)
    assert (untried.how, "root" in untried.mend) == ("warning", True)
    (told,) = broker(replace(one, status={"gateway": {"connected": True, "broker": "b:1883"}}))
    assert (told.how, "the daemon is connected to b:1883" in told.what) == ("ok", True)


def test_in_safe_mode_the_configuration_that_is_in_force_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = patient(tmp_path, more="mqtt: {port: 1}\n")
    monkeypatch.setenv("STATE_DIRECTORY", str(one.folder))
    (one.folder / "config_versions").mkdir()
    shutil.copy(one.path, one.folder / "config_versions" / "works.yaml")
    one.path.write_text("gatewy: {id: gw}\n")
    told = [(found.where, found.how) for found in examine(one.path)]
    assert {("config", "broken"), ("device mic1", "ok"), ("broker", "broken"), ("model", "ok")} <= set(told)


def test_a_daemon_that_does_not_answer_is_told_and_its_devices_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = patient(tmp_path, more="mqtt: {port: 1}\n")
    monkeypatch.setenv("STATE_DIRECTORY", str(one.folder))
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(one.folder / "control.sock"))
        deaf.listen(1)
        hang_up = threading.Thread(target=lambda: deaf.accept()[0].close())  # noqa: PLW0108  accept is for the thread
        hang_up.start()
        told = {found.where: found for found in examine(one.path)}
        hang_up.join()
    assert told["daemon"].how == "broken"
    assert "device mic1" not in told


def test_a_daemon_that_hangs_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = patient(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", str(one.folder))
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(one.folder / "control.sock"))
        deaf.listen(1)
        with pytest.raises(OrderError, match="does not answer: timed out"):
            give_order(one.config, "doctor", by="test", timeout_s=0.1)


def test_a_point_that_nobody_taught_and_a_baseline_of_another_model_are_told(tmp_path: Path):
    one = patient(tmp_path)
    assert [(f.where, f.how) for f in model(one)][-1] == ("baseline pump/de", "warning")
    enroll(make_store(one.folder), small(1, "pump/de"))
    found = list(model(one))
    assert {f.how for f in found[:-1]} == {"ok"}
    assert found[-1].how == "broken"
    assert "was made with model" in found[-1].what
    assert "enroll again" in found[-1].mend


def test_a_damaged_model_is_broken_and_named(tmp_path: Path):
    models = Path(__file__).resolve().parents[2] / "echo_edge" / "models"
    for suffix in ("json", "onnx"):
        shutil.copy(models / f"echo-tiny.{suffix}", tmp_path)
    with (tmp_path / "echo-tiny.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    (found,) = model(patient(tmp_path, more=f"model: {tmp_path}/echo-tiny.onnx\n"))
    assert (found.how, "damaged or changed" in found.what) == ("broken", True)


def test_a_broken_configuration_is_told_line_by_line_and_the_rest_is_not_guessed(tmp_path: Path):
    (tmp_path / "line1.yaml").write_text("gatewy: {id: gw}\n")
    done = CliRunner().invoke(app, ["doctor", str(tmp_path / "line1.yaml"), "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["well"]) == (1, False)
    assert any("did you mean 'gateway'" in f["what"] for f in told["findings"])
    assert told["findings"][-1]["what"].startswith("the rest was not looked at")


def test_one_fault_of_the_link_is_told_once_with_the_mend_that_was_found_by_trying(tmp_path: Path):
    told = [
        {"where": "mqtt", "what": "connection refused", "mend": "look at the broker"},
        {"where": "mqtt", "what": "client_id_conflict: twice", "mend": "stop the other process"},
        {"where": "outbox", "what": "it is full in 2 h", "mend": "bring the broker back before"},
    ]
    one = patient(tmp_path, more="mqtt: {port: 1}\n", well=False, findings=told)
    assert [(f.where, f.mend) for f in (*daemon(one), *broker(one)) if f.how == "broken"] == [
        ("daemon", "bring the broker back before"),
        ("broker", "start the broker, or correct `mqtt.host` and `mqtt.port`"),
        ("daemon", "stop the other process"),
    ]


@pytest.mark.skipif(nvidia_here(), reason="there is something of NVIDIA's here")
def test_without_a_gpu_nobody_is_told_what_cuda_lacks(tmp_path: Path):
    found = list(model(patient(tmp_path)))
    assert [f.what for f in found if f.where == "engine"][-1] == "the CPU would serve: no NVIDIA GPU here"
    assert found[-1].mend == f"echo-edge enroll start {tmp_path}/etc/line1.yaml pump/de"
