"""The files in deploy/mosquitto, as they are, on a real Mosquitto: who is let in, and what each may write and read."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from echo_edge.demo_broker import HOST, find_mosquitto, free_port, running
from echo_edge.order_types import ROLES
from echo_edge.order_verbs import VERBS
from tests.broker import make_certificates, needs_mosquitto, wait_for

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto"
ACL = (DEPLOY / "acl").read_text("utf-8")
USERS = ("gw-hall3", "gw-hall4", "console", "operator", "engineer", "admin")
OTHERS = ("homeassistant", "scada")  # their lines are commented out
LOOKING = {"console", "operator", "engineer", "admin"}
ORDERING = LOOKING - {"console"}
TREE = "echo-edge/v1/gw-hall3"
DENIED = 0x87

# who writes, where, and who then reads it; None: it is denied
CASES: list[tuple[str, str, set[str] | None]] = [
    ("gw-hall3", "status", LOOKING),
    ("gw-hall3", "health", LOOKING),
    ("gw-hall3", "m/pump-12/state", LOOKING),
    ("gw-hall3", "m/pump-12/p/de/alert", LOOKING),
    ("gw-hall3", "m/pump-12/p/de/alert/active", LOOKING),
    ("gw-hall3", "alerts", LOOKING),
    ("gw-hall3", "alerts/active", LOOKING),
    ("gw-hall3", "audit", LOOKING),
    ("gw-hall3", "cmd/nonce", ORDERING | {"gw-hall3"}),
    ("gw-hall3", "rsp/ping", ORDERING),
    ("gw-hall4", "status", None),
    ("gw-hall4", "m/pump-12/p/de/alert", None),
    ("gw-hall4", "cmd/alert.ack", None),
    ("console", "status", None),
    ("console", "cmd/ping", None),
    ("operator", "cmd/ping", {"gw-hall3"}),
    ("operator", "cmd/enroll.start", {"gw-hall3"}),
    ("operator", "cmd/alert.ack", {"gw-hall3"}),
    ("operator", "cmd/baseline.activate", None),
    ("operator", "cmd/config.apply", None),
    ("operator", "cmd/nonce", None),
    ("operator", "m/pump-12/p/de/alert", None),
    ("engineer", "cmd/alert.ack", {"gw-hall3"}),
    ("engineer", "cmd/baseline.activate", {"gw-hall3"}),
    ("engineer", "cmd/config.validate", {"gw-hall3"}),
    ("engineer", "cmd/config.apply", None),
    ("admin", "cmd/config.apply", {"gw-hall3"}),
    ("admin", "cmd/nonce", None),
]


class Person:
    """A client of one user, over TLS, that subscribed to everything."""

    def __init__(self, user: str, password: str | None, port: int, authority: Path) -> None:
        self.user = user
        self.heard: list[str] = []
        self.refusal: ReasonCode | None = None
        self._reasons: dict[int, int] = {}
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5, reconnect_on_failure=False)
        self._client.tls_set(str(authority))
        if password is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._hear
        self._client.on_publish = lambda _client, _data, mid, reason, _: self._reasons.update({mid: reason.value})
        self._client.connect("localhost", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def publish(self, topic: str) -> int:
        """Return the broker's reason code."""
        mid = self._client.publish(topic, b"{}", qos=1).mid
        wait_for(lambda: mid in self._reasons, f"an answer to {topic}")
        return self._reasons[mid]

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Client, _data: object, _flags: object, reason: ReasonCode, _: object) -> None:
        if reason.is_failure:
            self.refusal = reason
            self._ready.set()
        else:
            client.subscribe("#", qos=1)

    def _hear(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.heard.append(message.topic)


@contextmanager
def deployed(folder: Path, acl: str = ACL) -> Iterator[int]:
    """A broker by ``echo-edge.conf``, with only its paths and its port exchanged; yields the port."""
    make_certificates(folder)
    (folder / "certs").mkdir()
    for name in ("server.crt", "server.key"):
        shutil.copy(folder / name, folder / "certs" / name)
    for name, text in (
        ("echo-edge.passwords", "".join(f"{user}:{user}!\n" for user in (*USERS, *OTHERS))),
        ("echo-edge.acl", acl),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    tool, program = shutil.which("mosquitto_passwd"), find_mosquitto()
    assert tool is not None
    assert program is not None
    subprocess.run([tool, "-U", str(folder / "echo-edge.passwords")], check=True, capture_output=True)
    port = free_port()
    text = (DEPLOY / "echo-edge.conf").read_text("utf-8").replace("/etc/mosquitto/", f"{folder}/")
    text = text.replace("listener 8883", f"listener {port} {HOST}")
    base = f"user root\nlog_dest file {folder}/log\npersistence_location {folder}/\n"  # as Debian's own file has them
    (folder / "conf").write_text(base + text)
    with running([program, "-c", str(folder / "conf")], port):
        yield port


@contextmanager
def persons(port: int, folder: Path, *users: str) -> Iterator[dict[str, Person]]:
    with ExitStack() as stack:
        there = {}
        for user in users:
            there[user] = Person(user, f"{user}!", port, folder / "ca.crt")
            stack.callback(there[user].stop)
        yield there


@needs_mosquitto
def test_each_writes_and_reads_what_the_list_says_and_nothing_else(tmp_path: Path) -> None:
    with deployed(tmp_path) as port, persons(port, tmp_path, *USERS) as there:
        expected: dict[str, list[str]] = {user: [] for user in USERS}
        for user, below, readers in CASES:
            reason = there[user].publish(f"{TREE}/{below}")
            assert (reason == DENIED) is (readers is None), (user, below, reason)
            for reader in readers or ():
                expected[reader].append(f"{TREE}/{below}")
        assert there["gw-hall4"].publish("echo-edge/v1/gw-hall4/status") != DENIED  # the last of all
        for user in LOOKING:
            expected[user].append("echo-edge/v1/gw-hall4/status")
            wait_for(lambda u=user: there[u].heard[-1:] == expected[u][-1:], user)  # type: ignore[misc]
        wait_for(lambda: len(there["gw-hall3"].heard) == len(expected["gw-hall3"]), "the gateway's orders")
        assert {user: person.heard for user, person in there.items()} == expected
        for other in ("homeassistant/device/gw-hall3_pump-12/config", "spBv1.0/hall3/NBIRTH/gw-hall3", "plant/x"):
            assert there["gw-hall3"].publish(other) == DENIED, "commented out"


@needs_mosquitto
def test_nobody_is_let_in_without_a_password_or_without_encryption(tmp_path: Path) -> None:
    with deployed(tmp_path) as port:
        for password in (None, "wrong"):
            person = Person("gw-hall3", password, port, tmp_path / "ca.crt")
            person.stop()
            assert person.refusal is not None
        with socket.create_connection((HOST, port), 5) as plain:
            plain.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")  # a CONNECT without TLS
            plain.settimeout(5)
            answer = b""
            with suppress(ConnectionResetError):
                answer = plain.recv(16)
            assert not answer.startswith(b"\x20"), "a CONNACK"


@needs_mosquitto
def test_with_their_lines_in_place_home_assistant_and_sparkplug_work_and_a_gateway_is_born_only_as_itself(
    tmp_path: Path,
) -> None:
    acl = re.sub(r"^#(pattern|user|topic) ", r"\1 ", ACL, flags=re.MULTILINE)
    assert acl != ACL
    with deployed(tmp_path, acl) as port, persons(port, tmp_path, "gw-hall3", *OTHERS) as there:
        gateway, home, scada = there["gw-hall3"], there["homeassistant"], there["scada"]
        for topic in (
            "homeassistant/device/gw-hall3_pump-12/config",
            "spBv1.0/hall3/NBIRTH/gw-hall3",
            "spBv1.0/hall3/DDATA/gw-hall3/pump-12",
        ):
            assert gateway.publish(topic) != DENIED, topic
        for topic in (
            "homeassistant/status",
            "spBv1.0/hall3/NBIRTH/gw-hall4",
            "spBv1.0/hall3/NCMD/gw-hall3",
            "spBv1.0/STATE/ignition",
        ):
            assert gateway.publish(topic) == DENIED, topic
        for verb in VERBS:
            allowed = verb in ("enroll.start", "threshold.set", "alert.ack")
            assert (home.publish(f"{TREE}/cmd/{verb}") != DENIED) is allowed, verb
        assert home.publish("homeassistant/status") != DENIED
        assert home.publish(f"{TREE}/status") == DENIED
        assert scada.publish(f"{TREE}/cmd/ping") == DENIED
        for topic in ("spBv1.0/STATE/ignition", "spBv1.0/hall3/NCMD/gw-hall3"):
            assert scada.publish(topic) != DENIED, topic


def test_the_list_has_every_verb_for_every_role_that_may_order_it() -> None:
    written: dict[str, set[str]] = {}
    user = ""
    for line in ACL.splitlines():
        if line.startswith("user "):
            user = line.split()[1]
        elif match := re.fullmatch(r"topic write echo-edge/v1/\+/cmd/(\S+)", line):
            written.setdefault(user, set()).add(match[1])
    assert written == {
        user: {name for name, verb in VERBS.items() if ROLES.index(verb.role) <= ROLES.index(role)}
        for user, role in (("operator", "technician"), ("engineer", "engineer"), ("admin", "admin"))
    }
