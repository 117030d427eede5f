"""Doctor's look at the broker: the way there, TLS, the login, and what its access list really lets us do.

Nothing that is published here has a payload or is kept: the daemon and other readers take no notice of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from echo_edge.backlog import verdict
from echo_edge.broker_settings import broker_settings
from echo_edge.doctor_found import Found, Patient, bad
from echo_edge.envelope import Topics
from echo_edge.errors import ConfigError
from echo_edge.loopback import is_loopback
from echo_edge.mqtt import Ack, Connected, Connection, Incoming, Lost, MqttSettings, Notice, Refused, Wake

ANSWER_S = 10.0
LOOP_S = 2.0  # a message comes back within, or the broker keeps it to itself
DAY_S, LEAST_DAYS = 86400.0, 30.0

MENDS = {
    "certificate has expired": "renew the broker's certificate; if it is good, this machine's clock is wrong",
    "not yet valid": "set this machine's clock: the certificate begins to be good later than now",
    "mismatch": "`mqtt.host` must be a name that stands in the broker's certificate",
    "unable to get": "`mqtt.tls.ca_file` must hold the authority that signed the broker's certificate",
    "self-signed": "`mqtt.tls.ca_file` must hold the authority that signed the broker's certificate",
    "WRONG_VERSION_NUMBER": "no TLS is spoken at this port; 8883 is usual",
    "TLS": "compare `mqtt.tls` with what the broker asks for",
    "protocol version": 'use a broker with MQTT 5; `mqtt.protocol: "3.1.1"` is for brokers without',
    "user name": "compare `mqtt.username` and its password with the broker's",
    "authorised": "compare `mqtt.username` and its password with the broker's, and let that user connect",
    "connection refused": "start the broker, or correct `mqtt.host` and `mqtt.port`",
    "no answer": "look at the network and at firewalls in between",
    "unreachable": "look at this machine's network",
    "No route": "look at this machine's network",
    "not known": "correct `mqtt.host`, or let this machine ask a name server",
    "resolution": "correct `mqtt.host`, or let this machine ask a name server",
    "closed by the broker": "see the broker's log: it let us in and threw us out",
    "connection lost": "see the broker's log; a broker that wants TLS hangs up like this, too",
}
"""What mends a connection, by a word of the problem; the first that is found."""

UNSEEN = {"client_id_conflict", "no_subscriber"}
"""Faults of the daemon's link that a connection of ours does not meet."""

ROOT = "root, who sees systemd's credentials"
N = TypeVar("N", bound=Notice)


@dataclass
class _Probe:
    """A connection of our own beside the daemon's, without a last will."""

    connection: Connection
    wake: Wake = field(default_factory=Wake)
    notices: list[Notice] = field(default_factory=list)

    def wait(self, kind: type[N], timeout_s: float, is_it: Callable[[N], bool] = lambda _: True) -> N | Lost | None:
        """The first notice of this kind, or of a loss; None: neither came."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            for notice in self.notices:
                if isinstance(notice, Lost) or (isinstance(notice, kind) and is_it(notice)):
                    return notice
            if (left_s := deadline_s - time.monotonic()) <= 0:
                return None
            self.notices += self.connection.poll(left_s, self.wake)

    def close(self) -> None:
        self.connection.close(announced=True)
        self.wake.close()


def broker(patient: Patient) -> Iterator[Found]:
    """What is wrong with the link: as we find it ourselves, and only what else the daemon says of it."""
    ours = list(_tried(patient))
    yield from ours
    failed = any(one.how == "broken" for one in ours)
    for told in patient.daemon["findings"] if patient.daemon else ():
        seen = failed and told["what"].partition(":")[0] not in UNSEEN
        if told["where"] == "mqtt" and not seen:
            yield bad("daemon", f"mqtt: {told['what']}", told["mend"], broken=True)


def _tried(patient: Patient) -> Iterator[Found]:
    """Connect as the daemon would, and try what it needs."""
    if patient.hidden_credentials:
        yield _as_told(patient)
        return
    try:
        settings = broker_settings(patient.config.mqtt, patient.credentials_folder)
    except ConfigError:
        yield bad("broker", "cannot be tried without its password", "see `secrets` above", broken=False)
        return
    topics = Topics(patient.config.mqtt.base_topic, patient.config.gateway.id)
    with closing(_probe(settings, topics, "hears")) as hears:
        where = f"{settings.host}:{settings.port}"
        answer = hears.wait(Connected, ANSWER_S)
        if not isinstance(answer, Connected):
            problem = "no answer to CONNECT" if answer is None else answer.problem
            yield Found("broker", "broken", f"{where}: {problem}", mend_of(problem))
            return
        user = f" as {settings.username}" if settings.username else ", without a user name"
        yield Found("broker", "ok", f"{where}: lets us in with MQTT {settings.protocol}{user}")
        yield from _encryption(settings, hears.connection)
        yield from _rights(patient, settings, topics, hears)


def _as_told(patient: Patient) -> Found:
    """Without the password there is only the daemon's word."""
    told = patient.status.get("gateway", {})
    if told.get("connected"):
        return Found(
            "broker", "ok", f"the daemon is connected to {told['broker']}; no more can be tried without {ROOT}"
        )
    what = "cannot be tried: the password is a credential that systemd shows to the daemon"
    return bad("broker", what, f"run this as {ROOT}, while the service runs", broken=False)


def mend_of(problem: str) -> str:
    """What mends a connection that failed with these words."""
    found = (mend for word, mend in MENDS.items() if word.lower() in problem.lower())
    return next(found, "see the broker's log")


def _probe(settings: MqttSettings, topics: Topics, what: str) -> _Probe:
    probe = _Probe(Connection(settings, f"echo-edge-{topics.gateway}-doctor-{what}"))
    probe.connection.open()
    return probe


def _encryption(settings: MqttSettings, connection: Connection) -> Iterator[Found]:
    ends_s = connection.broker_certificate_ends_s
    if ends_s is not None:
        days = (ends_s - time.time()) / DAY_S
        told, mend = f"TLS: the broker's certificate is good for {days:.0f} days", "renew it in time"
        yield bad("broker", told, mend, broken=False) if days < LEAST_DAYS else Found("broker", "ok", told)
    elif not settings.secure and not is_loopback(settings.host):
        yield bad("broker", "passwords and alerts travel unencrypted", "set up `mqtt.tls`", broken=False)


def _rights(patient: Patient, settings: MqttSettings, topics: Topics, hears: _Probe) -> Iterator[Found]:
    orders = f"{topics.orders}+"
    states = patient.config.state_topics()
    hears.connection.subscribe([*states, *([orders] if patient.config.orders.mqtt else [])])
    may = _may_publish(hears, topics.answer("doctor"), topics)  # its answer follows those to the subscriptions
    if settings.protocol == "5" or may.how != "ok":
        yield may
    else:
        what = "with MQTT 3.1.1 no broker can say that its access list refuses a message"
        yield bad("broker", what, "use a broker with MQTT 5", broken=False)
    refused = [notice.topic for notice in hears.notices if isinstance(notice, Refused)]
    for topic in refused:
        mend = "let this gateway's user read there in the broker's access list"
        yield Found("broker", "broken", f"does not let us listen to {topic}", mend)
    for topic in states:
        if topic not in refused:
            yield Found("broker", "ok", f"says that we may listen to {topic}; some say so of what they then keep back")
    if patient.config.orders.mqtt and orders not in refused:
        yield from _orders_arrive(settings, topics, hears)


def _orders_arrive(settings: MqttSettings, topics: Topics, hears: _Probe) -> Iterator[Found]:
    """By a second connection: what a client publishes itself does not come back to it."""
    with closing(_probe(settings, topics, "says")) as says:
        answer = says.wait(Connected, ANSWER_S)
        if isinstance(answer, Connected):
            yield _loops_back(says, hears, topics)
        else:
            problem = "no answer to CONNECT" if answer is None else answer.problem
            yield Found("broker", "broken", f"a second connection: {problem}", mend_of(problem))


def _may_publish(says: _Probe, topic: str, topics: Topics) -> Found:
    reason = _published(says, topic)
    if reason is None:
        return Found("broker", "broken", f"does not answer to a message on {topic}", "see the broker's log")
    judged = verdict(reason)
    if judged in {"accepted", "no_subscriber"}:
        return Found("broker", "ok", f"takes what we publish on {topic}")
    if judged == "denied":
        mend = f"let this gateway's user write {topics.root}/# in the broker's access list"
        return Found("broker", "broken", f"its access list refuses what we publish on {topic}", mend)
    return bad("broker", f"refuses a message on {topic}: reason 0x{reason:02x}", "see the broker's log", broken=False)


def _loops_back(says: _Probe, hears: _Probe, topics: Topics) -> Found:
    """Whether orders would arrive: brokers answer ``granted`` to a subscription that their access list denies."""
    topic = f"{topics.orders}doctor-{secrets.token_hex(8)}"
    reason = _published(says, topic)
    if reason is not None and verdict(reason) == "denied":
        mend = f"let this gateway's user write {topics.orders}+: the nonce of orders goes there"
        return Found("broker", "broken", f"its access list refuses what we publish on {topics.orders}+", mend)
    back = hears.wait(Incoming, LOOP_S, lambda notice: notice.topic == topic)
    if isinstance(back, Incoming):
        return Found("broker", "ok", f"orders arrive: what is published on {topics.orders}+ comes to us")
    what = f"no order would arrive: what is published on {topics.orders}+ does not come to us, though it may say so"
    return Found("broker", "broken", what, f"let this gateway's user read {topics.orders}+ in the access list")


def _published(says: _Probe, topic: str) -> int | None:
    """The reason code that the broker answers to an empty message; None without an answer."""
    mid = says.connection.publish(topic, b"", retain=False)
    answer = says.wait(Ack, ANSWER_S, lambda ack: ack.mid == mid)
    return answer.reason if isinstance(answer, Ack) else None
