"""A real Mosquitto on a free loopback port, to be killed, frozen and restarted, and a subscriber that remembers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from echo_edge.demo_broker import HOST, find_mosquitto, free_port, running

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="the mosquitto program is not installed")


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Return as soon as ``condition`` holds; fail the test, saying ``what`` was missing, if it never does."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain: {what}"
        time.sleep(0.01)


def make_certificates(folder: Path, days: int = 2) -> Path:
    """Fill ``folder`` with an authority (``ca.crt``) and a server certificate for localhost; return it."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    lasts = ("-days", str(days))
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # Python 3.13 asks an authority for it
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", *lasts, "-subj", "/CN=authority", *usage)
    openssl("req", *key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    signer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    openssl("x509", "-req", "-in", "server.csr", *signer, "-out", "server.crt", *lasts, "-extfile", "san")
    return folder


class Mosquitto:
    """A broker with its own folder; the port stays the same over restarts.

    Args:
        folder: empty, for this broker alone.
        passwords: user -> password; absent, everybody may connect.
        acl: the text of an access list; absent, everybody may do everything.
        persistent: sessions and retained messages survive ``stop``, though not ``kill``.
        certificates: a folder filled by ``make_certificates``; the broker then speaks TLS only.
        extra: more lines of configuration.
        port: absent, a free one.
    """

    host = HOST

    def __init__(
        self,
        folder: Path,
        *,
        passwords: Mapping[str, str] | None = None,
        acl: str | None = None,
        persistent: bool = False,
        certificates: Path | None = None,
        extra: str = "",
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.folder = folder
        self.log_file = folder / "mosquitto.log"
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mosquitto.conf"
        self._running: ExitStack | None = None
        self._process: subprocess.Popen[bytes] | None = None
        # Mosquitto's own limit of 1000 drops messages for a slow reader, and tells the publisher nothing.
        lines = ["max_queued_messages 100000"]
        lines += [f"listener {self.port} {HOST}", f"log_dest file {self.log_file}", "log_type all", "user root"]
        lines += [f"allow_anonymous {'true' if passwords is None else 'false'}"]
        lines += [f"persistence {'true' if persistent else 'false'}", f"persistence_location {folder}/", extra]
        if passwords is not None:
            tool = shutil.which("mosquitto_passwd")
            assert tool is not None
            file = folder / "passwords"
            file.touch(mode=0o600)
            for user, password in passwords.items():
                subprocess.run([tool, "-b", str(file), user, password], check=True, capture_output=True)
            lines.append(f"password_file {file}")
        if acl is not None:
            self.set_acl(acl)
            lines.append(f"acl_file {folder / 'acl'}")
        if certificates is not None:
            lines += [f"certfile {certificates}/server.crt", f"keyfile {certificates}/server.key"]
        self._config.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        program = find_mosquitto()
        assert program is not None
        assert self._running is None
        self._running = ExitStack()
        self._process = self._running.enter_context(running([program, "-c", str(self._config)], self.port))

    def stop(self) -> None:
        """End it politely; it writes its state if it is persistent."""
        if self._running is not None:
            self.thaw()
            self._running.close()
            self._running = None

    def kill(self) -> None:
        """End it as a power cut would."""
        self._signal(signal.SIGKILL)
        self.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let it hang with all its connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def set_acl(self, acl: str) -> None:
        """Write the access list; a running broker reads it at once."""
        (self.folder / "acl").write_text(acl)
        (self.folder / "acl").chmod(0o600)
        if self._running is not None:
            self._signal(signal.SIGHUP)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)


def publish(broker: Mosquitto, topic: str, payload: bytes, *options: str) -> None:
    """Publish one message with the program ``mosquitto_pub``."""
    program = shutil.which("mosquitto_pub")
    assert program is not None
    command = [program, "-h", HOST, "-p", str(broker.port), "-q", "1", "-t", topic, "-s", *options]
    subprocess.run(command, input=payload, check=True, timeout=10)


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    retain: bool
    """It was already there when we subscribed."""

    @property
    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.payload)
        return decoded


class Subscriber:
    """Remembers every message of ``topics``, over reconnects; ready when the block is entered.

    With a ``session`` name the broker keeps messages (QoS 1) while the subscriber is away.
    """

    def __init__(
        self,
        port: int,
        topics: str = "#",
        *,
        session: str | None = None,
        user: tuple[str, str] | None = None,
        protocol: int = MQTTv5,
    ) -> None:
        self.messages: list[Message] = []
        self._port, self._topics, self._session = port, topics, session
        self._five = protocol == MQTTv5
        self._subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, session or "", protocol=protocol)  # type: ignore[arg-type]
        if user is not None:
            self._client.username_pw_set(*user)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._remember

    def __enter__(self) -> Subscriber:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._subscribed.clear()
        if self._session is None or not self._five:
            self._client.connect(HOST, self._port)
        else:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = 3600
            self._client.connect(HOST, self._port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self._subscribed.wait(10), "the subscriber was not let in"

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def on(self, topic: str) -> list[Message]:
        """Return what came on topics that end in ``topic``, in order."""
        return [message for message in list(self.messages) if message.topic.endswith(topic)]

    def wait(self, topic: str, count: int = 1, timeout_s: float = 10.0) -> list[Message]:
        """Return what came on ``topic`` once there are ``count`` messages or more."""
        wait_for(lambda: len(self.on(topic)) >= count, f"{count} messages on {topic}", timeout_s)
        return self.on(topic)

    def _subscribe(self, *_: object) -> None:
        self._client.subscribe(self._topics, qos=1)

    def _remember(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self.messages.append(Message(message.topic, bytes(message.payload), message.retain))
