"""Support archive: no secret, name or serial number leaves with it, wherever it stood; and it has an upper size."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from echo_edge import bundle
from echo_edge.bundle_redaction import Redaction
from echo_edge.cli import app
from echo_edge.operator_keys import SharedKey
from tests.baselines import enroll, make_store, small

PASSWORD = 'canary/p@ss "w0rd"'
KEY = SharedKey(b"canary-canary-canary-canary-1234")
CONFIGURATION = """
# the old password: canary-in-a-comment
gateway: {id: gw-hall3}
mqtt: {host: 127.0.0.1, port: 1, username: hall3-user, password_file: password}
orders: {mqtt: true, operators: {m-lang: {role: admin, person: maria, key_file: m-lang.key}}}
devices:
  acc1: {kind: accelerometer, port: /dev/serial/by-id/usb-Raspberry_Pi_Pico_E66118F5D7-if00}
machines: {pump: {points: {de: {device: acc1}}}}
"""
LOG = f"""
WARNING publisher: mqtt://hall3-user:{PASSWORD}@broker: refused
INFO client: https://broker/?key={quote(PASSWORD, safe="")} and {base64.b64encode(PASSWORD.encode()).decode()}
INFO orders: maria logs from 'debug' on; m-lang signed with {KEY.line()}
INFO capture: acc1: usb:2e8a:000a:E66118F5D7 at 2000 Hz; ee1:ABCDEF012
INFO config: /home/erika/line1.yaml
INFO capture: mic: usb:0d8c:0014:K7M3X9@1-1.2 and /dev/echo-edge/1a86-7523-Q5W8Z2-00
"""
SECRETS = (
    PASSWORD,
    "w0rd",
    quote(PASSWORD, safe=""),
    base64.b64encode(PASSWORD.encode()).decode(),
    KEY.line(),
    "canary",
)
NAMES = ("hall3-user", "m-lang", "maria", "E66118F5D7", "ABCDEF012", "K7M3X9", "Q5W8Z2", "erika")


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of a gateway with a past; its journal is what a program of this name prints."""
    (tmp_path / "line1.yaml").write_text(CONFIGURATION)
    for name, line in (("password", PASSWORD), ("m-lang.key", KEY.line())):
        (tmp_path / name).write_text(line + "\n")
        (tmp_path / name).chmod(0o600)
    journalctl = tmp_path / "bin" / "journalctl"
    journalctl.parent.mkdir()
    (tmp_path / "log").write_text(LOG)
    journalctl.write_text(f"#!/bin/sh\ncat {tmp_path}/log\n")
    journalctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{journalctl.parent}:/usr/bin:/bin")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    enroll(make_store(tmp_path / "state", "gw-hall3"), small(1, "pump/de"), by="maria")
    return tmp_path


def contents(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as opened:
        found = {}
        for member in opened.getmembers():
            file = opened.extractfile(member)
            assert file is not None
            found[member.name.rpartition("/")[2]] = io.TextIOWrapper(file, "utf-8").read()
        return found


def test_the_archive_has_what_helps_and_no_secret_name_or_serial_number(gateway: Path):
    archive = gateway / "out.tar.gz"
    done = CliRunner().invoke(app, ["bundle", str(gateway / "line1.yaml"), "--output", str(archive)])
    assert done.exit_code == 0, done.output
    found = contents(archive)
    told = "\n".join([*found.values(), done.output])
    assert [word for word in (*SECRETS, *NAMES) if word in told] == []
    assert archive.stat().st_mode & 0o777 == 0o600
    assert "refused" in found["journal.txt"]
    assert "usb:2e8a:000a:E6..." in found["journal.txt"]
    assert "usb:0d8c:0014:K7...@1-1.2 and /dev/echo-edge/1a86-7523-Q5...-00" in found["journal.txt"]
    assert "person-3 logs from" in found["journal.txt"]
    assert json.loads(found["audit.json"])["problems"] == []
    (manifest,) = json.loads(found["baselines.json"])
    assert (manifest["id"], manifest["status"], manifest["vectors_sha256"]) == (
        "bl_0001",
        "active",
        manifest["vectors_sha256"],
    )
    assert {"author", "note", "vectors"} & manifest.keys() == set()
    assert "state.db" in {one["file"] for one in json.loads(found["files.json"])}
    assert "no daemon runs" in json.loads(found["status.json"])["problem"]
    assert any(one["where"] == "broker" for one in json.loads(found["doctor.json"]))
    assert "look through it before" in done.output


def test_it_is_written_for_a_broken_configuration_too_and_overwrites_nothing(gateway: Path):
    (gateway / "line1.yaml").write_text(CONFIGURATION + "surplus: 1\n")
    archive = gateway / "out.tar.gz"
    arguments = ["bundle", str(gateway / "line1.yaml"), "--output", str(archive)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    found = contents(archive)
    assert "surplus: unknown key" in found["doctor.json"]
    assert [word for word in (*SECRETS, *NAMES) if word in "".join(found.values())] == []
    before = archive.read_bytes()
    again = CliRunner().invoke(app, arguments)
    assert (again.exit_code, archive.read_bytes()) == (1, before)


def test_of_what_is_no_yaml_the_secrets_are_known_all_the_same(gateway: Path):
    (gateway / "line1.yaml").write_text(CONFIGURATION + "surplus: {\n")
    found = dict(bundle.gather(gateway / "line1.yaml"))
    assert b"left out" in found["configuration.yaml"]
    assert [word for word in (*SECRETS, *NAMES) if word.encode() in b"".join(found.values())] == []


def test_a_long_log_is_cut_to_its_newest_lines(gateway: Path):
    lines = "".join(f"{number:07d} {'x' * 90}\n" for number in range(12_000))
    (gateway / "log").write_text(lines)
    kept = dict(bundle.gather(gateway / "line1.yaml"))["journal.txt"].decode()
    assert len(kept) <= bundle.MEMBER_BYTES
    assert lines.endswith(kept)
    assert kept[7] == " "


def test_a_name_that_is_the_gateways_id_stays_in_topics_but_not_as_user_name(tmp_path: Path):
    text = "gateway: {id: gw-hall3}\nmqtt:\n  username: gw-hall3\n"
    cleaned = Redaction(text, tmp_path, None).clean(text + "# echo-edge/v1/gw-hall3/status")
    assert "username: ***" in cleaned
    assert "v1/gw-hall3/status" in cleaned


def test_what_a_user_without_rights_cannot_have_is_told_on_the_terminal_and_in_the_archive(
    gateway: Path, monkeypatch: pytest.MonkeyPatch
):
    hint = "Hint: You are currently not seeing messages from other users and the system."
    (gateway / "bin" / "journalctl").write_text(f"#!/bin/sh\necho '-- No entries --'\necho '{hint}' >&2\n")
    state = gateway / "state"
    real = os.access  # root, who may run this test, is refused nothing
    monkeypatch.setattr(os, "access", lambda path, mode, **how: path != state and real(path, mode, **how))
    archive = gateway / "out.tar.gz"
    done = CliRunner().invoke(app, ["bundle", str(gateway / "line1.yaml"), "--output", str(archive)])
    assert done.exit_code == 0, done.output
    told = contents(archive)["missing.txt"].splitlines()
    assert f"files, audit, baselines: this user may not use {state}; run it with sudo" in told
    assert "journal: this user may not see the service's lines; run it with sudo" in told
    assert [line.removeprefix("missing: ") for line in done.stderr.splitlines()] == told
    assert any(one.startswith(f"status: {state}: cannot be written by this user") for one in told)
    assert " kB, only you" in done.stdout
