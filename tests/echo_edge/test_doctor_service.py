"""Doctor and check for a service, by root: what its user will miss is told before the first start, with the mend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from echo_edge.config_check import check
from echo_edge.config_file import load_config
from echo_edge.credentials import credential, credentials_of
from echo_edge.doctor_files import rights
from echo_edge.doctor_found import Patient, Reader
from echo_edge.doctor_steps import examine
from echo_edge.errors import ConfigError
from echo_edge.operator_keys import SharedKey, write_key

MACHINES = "devices: {mic1: {kind: simulator, realtime: false}}\nmachines: {pump: {points: {de: {device: mic1}}}}\n"
WITH_CREDENTIALS = f"""
gateway: {{id: gw}}
mqtt: {{port: 1, username: gw, password_credential: mqtt-password}}
orders: {{mqtt: true, operators: {{alice: {{role: viewer, key_credential: operators_alice}}}}}}
{MACHINES}"""


@pytest.fixture
def etc(tmp_path: Path, state_folder: Path) -> Path:  # noqa: ARG001  the doctor's
    """What stands for ``/etc/echo-edge``."""
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "etc" / "hall3.yaml").write_text(WITH_CREDENTIALS)
    return tmp_path / "etc"


def test_before_the_first_start_root_looks_where_systemd_will(etc: Path, tmp_path: Path):
    run = tmp_path / "credentials"
    seen = credentials_of(etc / "hall3.yaml", etc, run, root=True)
    assert seen == str(etc / "secrets" / "hall3")
    assert credentials_of(etc / "hall3.yaml", etc, run, root=False) is None
    assert credentials_of(tmp_path / "hall3.yaml", etc, run, root=True) is None
    (run / "echo-edge@hall3.service").mkdir(parents=True)
    assert credentials_of(etc / "hall3.yaml", etc, run, root=True) == str(run / "echo-edge@hall3.service")


def test_a_credential_that_is_missing_is_broken_and_its_file_is_named(etc: Path):
    secrets = etc / "secrets" / "hall3"
    with pytest.raises(ConfigError, match=f"put it into {secrets}/mqtt-password"):
        check(etc / "hall3.yaml", None, str(secrets))
    told = {
        found.mend.partition(",")[0] for found in examine(etc / "hall3.yaml", str(secrets)) if found.how == "broken"
    }
    assert told == {f"put it into {secrets}/mqtt-password", f"put it into {secrets}/operators/alice"}

    (secrets / "operators").mkdir(parents=True)
    (secrets / "mqtt-password").write_text("secret\n")
    write_key(secrets / "operators" / "alice", SharedKey(bytes(32)))
    assert check(etc / "hall3.yaml", None, str(secrets)).gateway.id == "gw"
    broken = [found for found in examine(etc / "hall3.yaml", str(secrets)) if found.how == "broken"]
    assert [found.where for found in broken] == ["broker"]
    assert "127.0.0.1:1" in broken[0].what or "localhost:1" in broken[0].what  # it was tried, with the password


def test_the_daemon_names_the_file_that_its_unit_takes_it_from(tmp_path: Path):
    folder = tmp_path / "echo-edge@hall3.service"
    folder.mkdir()
    (folder / "mqtt-password").write_text("-")
    for name, file in (("mqtt-password", "mqtt-password"), ("operators_alice", "operators/alice")):
        with pytest.raises(ConfigError, match=f"put it into /etc/echo-edge/secrets/hall3/{file},"):
            credential(str(folder), name, "where")


@pytest.fixture
def open_etc() -> Iterator[Path]:
    """The same in a place that everybody reaches; the folders of tests are closed to others."""
    with TemporaryDirectory(dir="/tmp") as made:
        Path(made).chmod(0o755)
        (Path(made) / "etc").mkdir(mode=0o755)
        yield Path(made) / "etc"


def test_a_password_that_root_can_read_and_the_service_cannot_is_broken(open_etc: Path):
    path, password = open_etc / "hall3.yaml", open_etc / "password"
    path.write_text(f"gateway: {{id: gw}}\nmqtt: {{username: gw, password_file: password}}\n{MACHINES}")
    path.chmod(0o640)
    password.write_text("secret\n")
    password.chmod(0o600)
    stranger = Reader("echo-edge", 64000, frozenset({path.stat().st_gid}))
    patient = Patient(path, load_config(path), open_etc / "state", None, reader=stranger)
    assert [(f.where, f.mend) for f in rights(patient) if f.how == "broken"] == [
        ("rights", f"chown echo-edge {password}")
    ]
    owner = Reader("echo-edge", password.stat().st_uid, frozenset())
    assert [f for f in rights(replace(patient, reader=owner)) if f.how == "broken"] == []
    secrets = open_etc / "secrets"
    secrets.mkdir(mode=0o700)
    path.write_text(path.read_text().replace("password_file: ", "password_file: secrets/"))
    password.rename(secrets / "password")
    patient = replace(patient, config=load_config(path))
    assert {f.mend for f in rights(patient) if f.how == "broken"} == {f"move it to {open_etc}"}
