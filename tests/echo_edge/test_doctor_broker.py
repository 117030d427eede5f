"""Doctor and broker: each cause that keeps alerts or orders away is told in words, with its mend, by a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from echo_edge.config_file import load_config
from echo_edge.doctor_broker import broker
from echo_edge.doctor_found import Found, Patient
from echo_edge.operator_keys import SharedKey, write_key
from tests.broker import Mosquitto, make_certificates, needs_mosquitto

pytestmark = needs_mosquitto
USER, PASSWORD = "gw-hall3", "correct horse"
TREE = "echo-edge/v1/gw-hall3"
ALL = f"user {USER}\ntopic readwrite {TREE}/#\n"
POINTS = """
devices: {mic1: {kind: simulator}}
machines: {pump: {points: {de: {device: mic1}}}}
"""


def found(folder: Path, mqtt: str, *, orders: bool = False) -> list[Found]:
    """What the doctor finds with these lines about the broker."""
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "password").chmod(0o600)
    text = f"gateway: {{id: gw-hall3}}\nmqtt: {{{mqtt}}}\n{POINTS}"
    if orders:
        if not (folder / "lang.key").exists():
            write_key(folder / "lang.key", SharedKey(bytes(32)))
        text += "orders: {mqtt: true, operators: {lang: {role: viewer, key_file: lang.key}}}\n"
    (folder / "line1.yaml").write_text(text)
    path = folder / "line1.yaml"
    return list(broker(Patient(path, load_config(path), folder, None)))


def broken(findings: list[Found]) -> list[str]:
    return [one.what for one in findings if one.how == "broken"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker with a password and an access list."""
    with Mosquitto(tmp_path_factory.mktemp("guarded"), passwords={USER: PASSWORD}, acl=ALL) as running:
        yield running


def login(running: Mosquitto) -> str:
    return f"port: {running.port}, username: {USER}, password_file: password"


def test_a_broker_that_lets_us_do_all_is_fine_and_orders_come_back(tmp_path: Path, guarded: Mosquitto):
    guarded.set_acl(ALL)
    told = found(tmp_path, login(guarded), orders=True)
    assert {one.how for one in told} == {"ok"}
    assert "orders arrive" in told[-1].what


def test_a_denied_subscription_that_the_broker_calls_granted_is_found(tmp_path: Path, guarded: Mosquitto):
    guarded.set_acl(f"user {USER}\ntopic write {TREE}/#\n")
    told = found(tmp_path, login(guarded), orders=True)
    (what,) = broken(told)
    assert "no order would arrive" in what
    assert f"read {TREE}/cmd/+" in told[-1].mend


def test_a_denied_publish_is_found(tmp_path: Path, guarded: Mosquitto):
    guarded.set_acl(f"user {USER}\ntopic read {TREE}/#\n")
    (what,) = broken(found(tmp_path, login(guarded)))
    assert "access list refuses" in what


def test_a_wrong_password_is_named_and_not_shown(tmp_path: Path, guarded: Mosquitto):
    (tmp_path / "wrong").write_text("battery staple\n")
    (tmp_path / "wrong").chmod(0o600)
    (one,) = found(tmp_path, f"port: {guarded.port}, username: {USER}, password_file: wrong")
    assert "refused: not authorised" in one.what
    assert "mqtt.username" in one.mend
    assert "battery" not in one.what + one.mend


def test_no_broker_there_is_named(tmp_path: Path):
    (one,) = found(tmp_path, "port: 1")
    assert "connection refused" in one.what
    assert "start the broker" in one.mend


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the client library drops a failed handshake's socket
def test_an_unknown_authority_is_named_and_a_known_one_is_fine(tmp_path: Path):
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    make_certificates(ours)
    make_certificates(other)
    with Mosquitto(tmp_path / "broker", certificates=ours) as running:
        port = f"port: {running.port}, tls: {{ca_file: "
        assert broken(found(tmp_path, f"host: localhost, {port}ours/ca.crt}}")) == []
        (one,) = found(tmp_path, f"host: localhost, {port}other/ca.crt}}")
        assert "TLS" in one.what
        assert "ca_file" in one.mend
        (plain,) = found(tmp_path, f"port: {running.port}")
        assert "wants TLS" in plain.mend
