"""Certificates that are no good: the reason is told at once, nothing goes out in plain text, nobody is pestered."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from echo_edge.demo_broker import HOST
from echo_edge.envelope import Envelope, Topics
from echo_edge.mqtt import MqttSettings
from echo_edge.outgoing import CRITICAL, Outgoing
from echo_edge.publisher import Publisher
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.outboxes import memory_outbox

pytestmark = needs_mosquitto
TOPICS = Topics("echo-edge/v1", "gw1")
DAY = datetime.timedelta(days=1)
TOLD_S = 10.0
CANARY = "canary-password"
SECRETS = (CANARY.encode(), b"canary-alarm", b"echo-edge/v1")
CLOCK = "; this machine's clock says "
REASONS = {
    "expired": f"TLS: certificate has expired{CLOCK}",
    "early": f"TLS: certificate is not yet valid{CLOCK}",
    "elsewhere": "TLS: Hostname mismatch, certificate is not valid for 'localhost'",
    "unknown": "TLS: unable to get local issuer certificate",
    "plain": "TLS: ",
}


class Authority:
    """Signs certificates of any period for any host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        self.file = folder / "ca.crt"
        self._issue("ca", self._key, self._name, -1, 365, x509.BasicConstraints(ca=True, path_length=None))

    def server(self, host: str, begin: int = -1, end: int = 1) -> Path:
        """A folder with ``server.crt`` and ``server.key``, good from ``begin`` to ``end`` days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (self.folder / "server.key").write_bytes(key.private_bytes(*pem))
        alternative = x509.SubjectAlternativeName([x509.DNSName(host)])
        self._issue("server", key, name, begin, end, alternative)
        return self.folder

    def _issue(
        self,
        file: str,
        key: ec.EllipticCurvePrivateKey,
        name: x509.Name,
        begin: int,
        end: int,
        extension: x509.ExtensionType,
    ) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        made = (
            x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now + begin * DAY)
            .not_valid_after(now + end * DAY)
            .add_extension(extension, critical=file == "ca")
        )
        if file == "ca":
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            made = made.add_extension(usage, critical=True)
        signed = made.sign(self._key, hashes.SHA256())
        (self.folder / f"{file}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))


class Wire:
    """Stands between gateway and broker, and keeps every byte that the gateway sends."""

    def __init__(self, to: int) -> None:
        self.sent = b""
        self.connections = 0
        self._to = to
        self._server = socket.create_server((HOST, 0))
        self.port: int = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="wire")]

    def __enter__(self) -> Wire:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            theirs = socket.create_connection((HOST, self._to))
            back = threading.Thread(target=self._pump, args=(theirs, ours), name="wire back")
            self._threads.append(back)
            back.start()
            self._pump(ours, theirs, keep=True)
            back.join(10)
            ours.close()
            theirs.close()

    def _pump(self, source: socket.socket, sink: socket.socket, *, keep: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.sent += data if keep else b""
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def gateway(port: int, ca: Path, host: str = "localhost") -> Iterator[Publisher]:
    """One with a password and an alarm to lose, at its usual patience."""
    settings = MqttSettings(host=host, port=port, ca_file=ca, username="gw1", password=SecretStr(CANARY))
    with memory_outbox() as outbox:
        made = Publisher(settings, TOPICS, Envelope("gw1"), outbox)
        outbox.put(Outgoing(TOPICS.alert("pump-12/de"), CRITICAL, {"text": "canary-alarm"}))
        made.start()
        try:
            yield made
        finally:
            made.stop()


def broker_of(case: str, folder: Path) -> tuple[Path | None, Path]:
    """Certificates of the broker, None for one that speaks in plain text, and the authority that the gateway trusts."""
    good = Authority(folder / "good")
    if case == "plain":
        return None, good.file
    if case == "unknown":
        return Authority(folder / "other").server("localhost"), good.file
    host = "elsewhere" if case == "elsewhere" else "localhost"
    period = {"expired": (-9, -1), "early": (1, 9)}.get(case, (-1, 1))
    return good.server(host, *period), good.file


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the client library drops a failed handshake's socket
@pytest.mark.parametrize("case", REASONS)
def test_a_certificate_that_is_no_good_is_named_and_no_secret_leaves(tmp_path: Path, case: str) -> None:
    certificates, ca = broker_of(case, tmp_path)
    with Mosquitto(tmp_path / "broker", certificates=certificates) as broker, Wire(broker.port) as wire:
        begun_s = time.monotonic()
        with gateway(wire.port, ca) as made:
            wait_for(lambda: bool(made.problems), "the reason", TOLD_S)
            told_s = time.monotonic() - begun_s
            time.sleep(0.3)  # another try would come now, if at all
            assert not made.connected
            assert made.problems[0].startswith(REASONS[case]), made.problems
            assert made.outbox.status.lost == 0
            assert case == "plain" or wire.connections == 1, "a certificate is no better a moment later"
    assert wire.sent[:1] == b"\x16", "a handshake of TLS"
    assert not [secret for secret in SECRETS if secret in wire.sent]
    print(f"{case}: told after {told_s:.2f} s, {len(wire.sent)} bytes, none of them in plain text")


def test_with_a_good_certificate_the_same_wire_carries_no_plain_text_either(tmp_path: Path) -> None:
    certificates, ca = broker_of("good", tmp_path)
    with (
        Mosquitto(tmp_path / "broker", certificates=certificates) as broker,
        Wire(broker.port) as wire,
        gateway(wire.port, ca) as made,
    ):
        wait_for(lambda: made.connected, "a connection")
    assert len(wire.sent) > 500
    assert not [secret for secret in SECRETS if secret in wire.sent]
