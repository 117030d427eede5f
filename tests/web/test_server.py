"""The server: clients that are slow or many, its certificate, what it tells systemd, and how it ends."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from echo_edge.errors import ConfigError
from echo_edge.web.config import WebConfig, WebTlsConfig
from echo_edge.web.handshakes import AT_ONCE, WITHIN_S
from echo_edge.web.server import Certificate, ServerError, listen
from echo_edge.web.slow_clients import OF_ONE_ADDRESS
from tests.web.pages_served import PASSWORD, PATIENCE_S, Client, Served, free_port, served


def connect(page: Served, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", page.port), PATIENCE_S, source_address=(source, 0))
    client.sendall(sent.replace(b"HOST", f"127.0.0.1:{page.port}".encode()))
    return client


def is_ended(client: socket.socket) -> bool:
    """Whether the server ends the connection, within the patience of a test."""
    try:
        while client.recv(1 << 16):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def test_who_sends_or_takes_too_slowly_is_cut_off_and_holds_up_nobody(tmp_path: Path) -> None:
    with served(tmp_path, hurry=15) as page, ExitStack() as open_:
        page.accounts.add("ann", "technician")
        cookie = "; ".join(f"{k}={v}" for k, v in page.client("ann").cookies.items()).encode()
        head = b"POST /login HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: 100\r\n"
        get = b"GET /static/page.css HTTP/1.1\r\nHost: HOST\r\n\r\n"
        slow = {
            "says nothing": b"",
            "half a header": b"GET / HTTP/1.1\r\nHost: HO",
            "half a second header": get + b"GET / HTTP/1.1\r\nHos",
            "half a body": head + b"\r\ncsrf=",
            "no body after a refusal": head.replace(b"/login", b"/people") + b"\r\n",
            "takes nothing": (get[:-2] + b"Cookie: " + cookie + b"\r\n\r\n") * 400,
        }
        clients = {}
        for name, data in slow.items():
            clients[name] = open_.enter_context(connect(page))
            clients[name].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            clients[name].settimeout(0.05)
            try:
                clients[name].sendall(data.replace(b"HOST", f"127.0.0.1:{page.port}".encode()))
            except TimeoutError:
                assert name == "takes nothing"
        assert page.client().get("/login").status == 200
        deadline_s = time.monotonic() + PATIENCE_S
        while page.server.server_state.connections and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert not page.server.server_state.connections
        del clients["takes nothing"]  # what the kernel holds for it comes in drops
        for client in clients.values():
            client.settimeout(PATIENCE_S)
            assert is_ended(client)


def test_a_body_that_comes_in_pieces_is_whole_and_one_connection_serves_many_requests(tmp_path: Path) -> None:
    with served(tmp_path, hurry=15) as page:
        code = page.accounts.add("boss", "admin")
        client = page.client()
        fields = {"name": "boss", "code": code, "password": PASSWORD, "repeat": PASSWORD}
        body = urlencode({"csrf": client.get("/first").csrf, **fields}).encode()
        cookie = f"{page.door.visit_cookie}={client.cookies[page.door.visit_cookie]}"
        head = f"POST /first HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nCookie: {cookie}\r\nConnection: close\r\n"
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        with connect(page, b"GET /login HTTP/1.1\r\nHost: HOST\r\n\r\n" + head.encode()) as one:
            for n in range(0, len(body), 40):
                one.sendall(body[n : n + 40])
                time.sleep(0.01)
            answers = b""
            while more := one.recv(1 << 16):
                answers += more
        assert answers.count(b"HTTP/1.1 200") == 1
        assert answers.count(b"HTTP/1.1 303") == 1


def test_one_address_cannot_hold_all_connections_and_who_only_waits_gives_way(tmp_path: Path) -> None:
    half = b"POST /login HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: 100\r\n\r\ncsrf="
    held: list[socket.socket] = []
    with served(tmp_path) as page, ExitStack() as open_:

        def hold(count: int) -> None:
            """Have so many connections in the middle of something."""
            held.extend(open_.enter_context(connect(page, half)) for _ in range(count - len(held)))
            deadline_s = time.monotonic() + PATIENCE_S
            while sum(not one.is_idle for one in page.connections()) < count:
                assert time.monotonic() < deadline_s
                time.sleep(0.01)

        waits = open_.enter_context(connect(page))
        hold(OF_ONE_ADDRESS - 1)
        assert page.client().get("/login").status == 200
        assert is_ended(waits)
        while len(page.connections()) >= OF_ONE_ADDRESS:  # the answered one is being closed
            time.sleep(0.01)
        hold(OF_ONE_ADDRESS)
        assert is_ended(open_.enter_context(connect(page))), "nobody only waits, and there is no place"
        assert page.client(source="127.0.0.2").get("/login").status == 200


def test_its_end_does_not_wait_for_pages_that_are_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(tmp_path) as page:
        page.accounts.add("ann", "technician")
        cookie = "; ".join(f"{k}={v}" for k, v in page.client("ann").cookies.items())
        request = f"GET /live?part=daemon: HTTP/1.1\r\nHost: HOST\r\nCookie: {cookie}\r\n\r\n"
        with connect(page, request.encode()) as stream:
            assert b"text/event-stream" in stream.recv(1 << 16)
            page.server.should_exit = True
            assert is_ended(stream)
    assert "timeout graceful shutdown exceeded" not in caplog.text


def test_a_stream_ends_when_its_session_does(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        page.accounts.add("boss", "admin")
        page.accounts.add("ann", "technician")
        client = page.client("ann")
        cookie = "; ".join(f"{k}={v}" for k, v in client.cookies.items())
        request = f"GET /live?part=daemon: HTTP/1.1\r\nHost: HOST\r\nCookie: {cookie}\r\n\r\n"
        with connect(page, request.encode()) as stream:
            stream.recv(1 << 16)
            page.accounts.remove("ann")
            assert client.get("/live?part=daemon:", Accept="text/event-stream").status == 401


def test_a_form_whose_session_ends_while_it_comes_changes_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        for name in ("boss", "ann"):
            page.accounts.add(name, "admin")
        ann = page.client("ann")
        body = urlencode({"csrf": ann.get("/people").csrf, "name": "intruder", "role": "admin"}).encode()
        cookie = "; ".join(f"{k}={v}" for k, v in ann.cookies.items())
        head = f"POST /people/add HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nCookie: {cookie}\r\n"
        head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        with connect(page, head.encode() + body[:10]) as slow:
            while not any(not one.is_idle for one in page.connections()):
                time.sleep(0.01)
            page.accounts.set_role("ann", "viewer")
            slow.sendall(body[10:])
            assert slow.recv(1 << 16).startswith(b"HTTP/1.1 401 ")
        assert set(page.accounts.all()) == {"boss", "ann"}


def certificate(folder: Path, name: str) -> WebTlsConfig:
    """A certificate that signed itself, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    for file, data in (
        ("page.crt", made.public_bytes(pem)),
        ("page.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)),
    ):
        (folder / f"{file}.new").write_bytes(data)
        (folder / f"{file}.new").chmod(0o600)
        (folder / f"{file}.new").replace(folder / file)
    return WebTlsConfig.model_validate(
        {"certificate_file": "page.crt", "key_file": "page.key"}, context={"folder": folder}
    )


def shown(port: int) -> tuple[str, str]:
    """The login page over TLS, and the name in the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="gw") as client,
    ):
        client.sendall(f"GET /login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while more := client.recv(1 << 16):
            answer += more
        peer = client.getpeercert(binary_form=True)
    assert peer is not None
    name = x509.load_der_x509_certificate(peer).subject.rfc4514_string()
    return answer.decode(), name


def test_over_tls_cookies_are_bound_to_the_host_and_a_renewed_certificate_is_taken(tmp_path: Path) -> None:
    config = WebConfig(gateway="gw-hall3", port=free_port(), tls=certificate(tmp_path, "first"))
    with served(tmp_path, config, hurry=15) as page:
        answer, name = shown(page.port)
        assert name == "CN=first"
        assert "strict-transport-security: max-age=31536000" in answer
        assert "set-cookie: __Host-ee-gw-hall3-visit=" in answer
        assert "; Secure" in answer
        certificate(tmp_path, "second")
        deadline_s = time.monotonic() + PATIENCE_S
        while shown(page.port)[1] != "CN=second":
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        with connect(page, b"GET /login HTTP/1.1\r\nHost: HOST\r\n\r\n") as plain:
            assert is_ended(plain)


def test_who_connects_and_says_nothing_gives_way_before_a_handshake_and_keeps_nobody_out(tmp_path: Path) -> None:
    config = WebConfig(gateway="gw-hall3", port=free_port(), tls=certificate(tmp_path, "first"))
    with served(tmp_path, config) as page, ExitStack() as open_:
        waits = open_.enter_context(connect(page))
        flood = [open_.enter_context(connect(page, source="127.0.0.2")) for _ in range(AT_ONCE + 20)]
        assert shown(page.port)[1] == "CN=first"
        for client in flood[:20]:
            client.settimeout(WITHIN_S - 2)  # sooner than for being too slow
            assert is_ended(client)
        waits.settimeout(0.05)
        assert not is_ended(waits), "it is another address, that does not flood"


def test_a_certificate_and_a_key_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    tls = certificate(tmp_path, "first")
    held = Certificate(tls.certificate_file, tls.key())
    (tmp_path / "page.crt").write_text("nonsense")
    held.renew()
    with pytest.raises(ConfigError, match="give a certificate and its own key, PEM"):
        Certificate(tls.certificate_file, tls.key())


def test_a_port_that_is_taken_is_told_with_the_mend() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1 port {port}: another program has the port"):
            listen(WebConfig(gateway="g", port=port))


def test_an_address_that_is_not_there_yet_is_told() -> None:
    config = WebConfig(gateway="g", host="192.0.2.1", names=["gw"], allow_plaintext=True)
    with pytest.raises(ServerError, match="no such address, or not yet"):
        listen(config)


def test_as_a_service_it_tells_when_it_is_ready_feeds_the_watchdog_and_ends_well(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "web.yaml").write_text(f"gateway: gw-hall3\nport: {port}\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path), "NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [sys.executable, "-m", "echo_edge.web", "run", str(tmp_path / "web.yaml")]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as service:
            told = [manager.recv(4096).decode() for _ in range(2)]
            assert any(text.startswith("READY=1") and f"http://127.0.0.1:{port}/" in text for text in told)
            assert "WATCHDOG=1" in told
            assert Client(port).get("/login").status == 200
            service.send_signal(signal.SIGTERM)
            log = service.communicate(timeout=PATIENCE_S)[1]
    assert service.returncode == 0
    assert "Traceback" not in log
    assert len(log.splitlines()) == 1, log


def test_what_shows_pages_loads_nothing_of_what_hears_machines() -> None:
    script = "import echo_edge.web.service, echo_edge.web.server, echo_edge.web.cli, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"numpy", "scipy", "faiss", "onnxruntime", "sounddevice", "paho", "echo_edge.config", "sensors"}
    assert heavy & set(done.stdout.split()) == set()
