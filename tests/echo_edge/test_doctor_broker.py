"""Doctor and broker: each cause that keeps alerts or orders away is told in words, with its mend, by a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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


def test_with_3_1_1_it_is_said_that_a_refusal_cannot_be_seen(tmp_path: Path, guarded: Mosquitto):
    guarded.set_acl(ALL)
    told = found(tmp_path, f'{login(guarded)}, protocol: "3.1.1"', orders=True)
    assert [one.how for one in told] == ["ok", "warning", "ok"]
    assert "no broker can say" in told[1].what


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


def certificate(folder: Path, *, host: str = "localhost", from_days: float = -1, until_days: float = 60) -> Path:
    """A folder as Mosquitto and ``mqtt.tls`` want it, with a certificate that signs itself."""
    folder.mkdir()
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=from_days))
        .not_valid_after(now + timedelta(days=until_days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.key").write_bytes(key.private_bytes(*plain))
    for file in ("ca.crt", "server.crt"):
        (folder / file).write_bytes(made)
    return folder


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(
    ("made", "problem", "mend"),
    [
        ({"from_days": -9, "until_days": -1}, "certificate has expired", "renew the broker's certificate"),
        ({"from_days": 9}, "certificate is not yet valid", "set this machine's clock"),
        ({"host": "broker.other"}, "certificate is not valid for 'localhost'", "`mqtt.host` must be a name"),
    ],
)
def test_each_flaw_of_a_certificate_is_told_in_words(tmp_path: Path, made: dict[str, object], problem: str, mend: str):
    folder = certificate(tmp_path / "tls", **made)  # type: ignore[arg-type]
    with Mosquitto(tmp_path / "broker", certificates=folder) as running:
        (one,) = found(tmp_path, f"host: localhost, port: {running.port}, tls: {{ca_file: tls/ca.crt}}")
    assert problem in one.what
    assert one.mend.startswith(mend)


def test_a_certificate_that_ends_soon_is_a_warning(tmp_path: Path):
    for days, how in ((20, "warning"), (60, "ok")):
        folder = certificate(tmp_path / f"{days}", until_days=days)
        with Mosquitto(tmp_path / f"broker-{days}", certificates=folder) as running:
            told = found(tmp_path, f"host: localhost, port: {running.port}, tls: {{ca_file: {days}/ca.crt}}")
        (one,) = [one for one in told if "certificate is good for" in one.what]
        assert one.how == how
