"""One connection to a broker, from CONNECT to its loss; the only file that knows the client library.

There is no thread and no lock here: whoever owns the connection calls ``poll`` and reads what happened as notices. The
library's callbacks run inside ``poll`` and only append, so none of them can deadlock with a publish or kill a thread.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import SecretStr

from echo_edge.errors import ConfigError
from echo_edge.loopback import is_loopback

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0  # for TCP and again for the TLS handshake
BAD_CREDENTIALS = (0x86, 0x87)
KEPT_BYTES = 9 * 1024  # of a payload that comes in, more than any order has: nobody may fill our memory
MAX_PACKET_BYTES = 128 * 1024  # a longest topic and more; the broker withholds what is larger
NOT_YET_VALID, EXPIRED = 9, 10  # x509_vfy.h
UNTOLD = (0x00, 0x80)  # success and unspecified error explain nothing


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Which broker, and how to reach it.

    Raises:
        ConfigError: plaintext to another host without ``allow_plaintext``.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password: SecretStr | None = None
    password_source: str = "the configuration"
    """Where the password came from, for the log; never the password."""

    ca_file: Path | None = None
    """Authority that signed the broker's certificate; any of the three files means TLS."""

    client_cert: Path | None = None
    client_key: Path | None = None
    password_file: Path | None = None
    """Where the password was read, to notice when it changes."""

    allow_plaintext: bool = False
    keepalive_s: int = 15
    client_id: str | None = None
    """Absent: ``echo-edge-`` and the gateway's id."""

    def __post_init__(self) -> None:
        if not self.secure and not self.allow_plaintext and not is_loopback(self.host):
            raise ConfigError(
                [f"mqtt: {self.host} is another host: set up tls, or allow_plaintext if you trust the network"]
            )

    @property
    def secure(self) -> bool:
        return any((self.ca_file, self.client_cert, self.client_key))

    def check_files(self) -> None:
        """Load certificates and key.

        Raises:
            OSError: one is missing or damaged, or the key belongs to another certificate.
        """
        if self.secure:
            _tls_context(self)

    def print_of_files(self) -> tuple[object, ...]:
        """Differs from an earlier one when a certificate, a key or the password was exchanged."""
        paths = (self.ca_file, self.client_cert, self.client_key, self.password_file)
        return tuple(_print_of(path) for path in paths if path is not None)


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us when we vanish."""

    topic: str
    payload: bytes
    retain: bool = True


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker let us in; it takes at most ``receive_maximum`` unacknowledged messages."""

    receive_maximum: int
    max_packet_bytes: int | None = None
    """None: it set no limit."""


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no connection, or there is one no longer."""

    problem: str
    hopeless: bool = False
    """Broker and we do not accept who the other is: trying again soon is useless."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The broker's answer to one message; ``reason`` is always 0 with MQTT 3.1.1."""

    mid: int
    reason: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker does not let us listen to a topic."""

    topic: str
    problem: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message on a topic that we listen to; of a long payload only the first ``KEPT_BYTES`` bytes."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None
    correlation: bytes | None


Notice = Connected | Lost | Ack | Refused | Incoming


class Wake:
    """Ends the wait of whoever polls; any thread may ring."""

    def __init__(self) -> None:
        self.heard, self._rung = socket.socketpair()
        self.heard.setblocking(False)
        self._rung.setblocking(False)

    def ring(self) -> None:
        with suppress(OSError):  # rung already, or closed
            self._rung.send(b"\0")

    def drain(self) -> None:
        with suppress(BlockingIOError):
            while self.heard.recv(4096):
                pass

    def close(self) -> None:
        self.heard.close()
        self._rung.close()


class Connection:
    """A client of its own per connection, so that the library never re-sends what the owner re-sends."""

    def __init__(self, settings: MqttSettings, client_id: str, will: Will | None = None) -> None:
        self._settings = settings
        self._notices: deque[Notice] = deque()
        self._five = settings.protocol == "5"
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self._five else True,
            protocol=MQTTv5 if self._five else MQTTv311,
            reconnect_on_failure=False,
        )
        self._client.suppress_exceptions = True
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        self._client.max_inflight_messages_set(0)  # the owner keeps the window
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        if settings.username is not None:
            password = settings.password.get_secret_value() if settings.password else None
            self._client.username_pw_set(settings.username, password)
        # Not by the library's own log: it would word every packet for it.
        self._client.on_connect = _told(self._on_connect)
        self._client.on_disconnect = _told(self._on_disconnect)
        self._client.on_publish = _told(self._on_publish)
        self._client.on_subscribe = _told(self._on_subscribe)
        self._client.on_message = _told(self._on_message)
        self._asked: dict[int | None, Sequence[str]] = {}  # subscriptions without an answer

    def open(self) -> None:
        """Reach the broker and ask to be let in; the answer, or the failure, comes from ``poll``."""
        try:
            if self._settings.secure:
                self._client.tls_set_context(_tls_context(self._settings))
            properties = None
            if self._five:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                properties.MaximumPacketSize = MAX_PACKET_BYTES
            settings = self._settings
            self._client.connect(settings.host, settings.port, settings.keepalive_s, properties=properties)
        except (OSError, UnicodeError) as error:  # also TLS, certificates and name look-up
            self._notices.append(Lost(_reason(error), isinstance(error, ssl.SSLCertVerificationError)))

    def poll(self, timeout_s: float, wake: Wake) -> list[Notice]:
        """Wait for the network, ``wake`` or the time-out; return what happened, oldest first."""
        if not self._notices and (link := self._client.socket()) is not None:
            with selectors.PollSelector() as selector:  # one system call; an epoll costs five, at every turn
                writing = selectors.EVENT_WRITE if self._client.want_write() else 0
                selector.register(link, selectors.EVENT_READ | writing)
                selector.register(wake.heard, selectors.EVENT_READ)
                selector.select(0 if _buffered(link) else timeout_s)
        wake.drain()
        self._client.loop_read()
        while (link := self._client.socket()) is not None and _buffered(link):
            self._client.loop_read()
        self._client.loop_write()
        self._client.loop_misc()
        notices = list(self._notices)
        self._notices.clear()
        return notices

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, qos: int = 1, correlation: bytes | None = None
    ) -> int:
        """Hand one message to the socket and return the id that its ``Ack`` will carry; QoS 0: once it is written.

        Args:
            correlation: of the request that this answers, where the protocol can say so.
        """
        properties = None
        if correlation is not None and self._five:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        return self._client.publish(topic, payload, qos=qos, retain=retain, properties=properties).mid

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for what is and will be published on these topics; it comes as ``Incoming``, a refusal as ``Refused``.

        With MQTT 5 what we publish there ourselves does not come back, and ``retained`` is told of new messages, too.
        """
        if not topics:
            return
        if self._five:
            options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True)
            _, mid = self._client.subscribe([(topic, options) for topic in topics])
        else:
            _, mid = self._client.subscribe([(topic, 1) for topic in topics])
        self._asked[mid] = topics

    @property
    def broker_certificate_ends_s(self) -> float | None:
        """When the broker's certificate runs out, in seconds since 1970; None without TLS or a connection."""
        link = self._client.socket()
        certificate = link.getpeercert() if isinstance(link, ssl.SSLSocket) else None
        ends = (certificate or {}).get("notAfter")
        return ssl.cert_time_to_seconds(ends) if isinstance(ends, str) else None

    def close(self, *, announced: bool) -> None:
        """Leave. Unless ``announced``, without a DISCONNECT, so that the broker publishes the will."""
        if announced:
            self._client.disconnect()
        if (link := self._client.socket()) is not None:
            link.close()

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._notices.append(Lost(f"refused: {_words(reason)}", reason.value in BAD_CREDENTIALS))
        else:
            limits = (getattr(properties, "ReceiveMaximum", 65535), getattr(properties, "MaximumPacketSize", None))
            self._notices.append(Connected(*limits))

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        who = "closed by the broker" if flags.is_disconnect_packet_from_server else "connection lost"
        self._notices.append(Lost(who if reason.value in UNTOLD else f"{who}: {_words(reason)}"))

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._notices.append(Ack(mid, reason.value))

    def _on_subscribe(
        self, _client: Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._asked.pop(mid, ()), reasons, strict=False):
            if reason.is_failure:
                self._notices.append(Refused(topic, _words(reason)))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        properties = message.properties
        self._notices.append(
            Incoming(
                message.topic,
                bytes(message.payload[:KEPT_BYTES]),
                message.retain,
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
            )
        )


def _told(callback: Callable[..., None]) -> Callable[..., None]:
    """The library suppresses what a callback raises; a defect must at least be in the log."""

    def called(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:
            log.exception("a callback of the MQTT library failed")
            raise

    return called


def _buffered(link: Any) -> bool:
    """TLS may hold decrypted bytes that ``select`` cannot see."""
    return isinstance(link, ssl.SSLSocket) and link.pending() > 0


def _tls_context(settings: MqttSettings) -> ssl.SSLContext:
    for path in (settings.ca_file, settings.client_cert, settings.client_key):
        if path is not None:
            path.read_bytes()  # the error of the ssl module does not say which file
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.client_cert is not None:
        context.load_cert_chain(settings.client_cert, settings.client_key)
    return context


def _print_of(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


def _words(reason: ReasonCode) -> str:
    return str(reason).lower().replace("authorized", "authorised")


def _reason(error: OSError | UnicodeError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        clock = (
            f"; this machine's clock says {datetime.now(timezone.utc):%Y-%m-%d}"
            if error.verify_code in (NOT_YET_VALID, EXPIRED)
            else ""
        )
        return f"TLS: {error.verify_message}{clock}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror.lower()
    return str(error)
