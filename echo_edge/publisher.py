"""Keep the broker informed: one thread that connects, sends what is owed, and starts again when the connection is lost.

Any thread may call ``set_state`` and ``send_once``; they neither wait nor fail, whatever the broker does. Events come
from the outbox. What comes on the topics it listens to is handed on at once.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from echo_edge.backlog import Backlog, Counters
from echo_edge.envelope import Envelope, Topics
from echo_edge.errors import ConfigError
from echo_edge.mqtt import Ack, Connected, Connection, Incoming, Lost, MqttSettings, Refused, Wake, Will
from echo_edge.outbox import Outbox
from echo_edge.payload import encode, status_payload, will_payload
from echo_edge.records import TopicMessage

log = logging.getLogger(__name__)

TURN_S = 0.5  # longest sleep of the loop: held messages and keepalive are looked at this often
STOPPING_TURN_S = 0.05
FILES_EVERY_S = 5.0  # certificates and passwords are looked at this often
SHORT_LIVED, CONFLICT_S = 3, 600.0  # so many short connections in a row are told for so long
FILES_CHANGED = Lost("certificates or password changed")
UNSAFE_3_1_1 = "MQTT 3.1.1: a message that the broker's access list refuses is acknowledged as if it had been delivered"


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the publisher is."""

    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0
    stable_s: float = 30.0
    """A connection that lasted this long starts the back-off afresh; else two clients with one id would race."""

    answer_s: float = 20.0
    """No answer to a CONNECT, or to any of the messages on their way, for this long: the connection counts as lost."""

    farewell_s: float = 2.0

    def ceiling_s(self, failures: int) -> float:
        """The longest pause after so many failures in a row; it doubles with each."""
        return min(self.backoff_base_s * 2.0 ** min(max(failures - 1, 0), 16), self.backoff_cap_s)


class Publisher:
    """The gateway's one connection to its broker.

    States are retained, only the newest of a topic is kept, and all of them are published again on every connect, the
    gateway's status first. Events stay in the outbox, in order, until the broker acknowledges them; a broker that was
    lost between taking and acknowledging gets them twice.
    """

    def __init__(
        self,
        settings: MqttSettings,
        topics: Topics,
        envelope: Envelope,
        outbox: Outbox,
        *,
        timing: Timing | None = None,
        backlog: Backlog | None = None,
        reread: Callable[[], MqttSettings] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        jitter: Callable[[float], float] | None = None,
        listen_to: Sequence[str] = (),
        hear: Callable[[TopicMessage], None] = lambda _: None,
        show: Callable[[str, bytes], None] = lambda *_: None,
    ) -> None:
        """Nothing is sent before ``start``.

        Args:
            outbox: where events come from.
            backlog: over the same outbox; absent, with usual patience.
            reread: makes the settings anew when one of their files changed; raises ConfigError when it is no good.
            jitter: turns the ceiling of a back-off into the delay, in seconds; absent, evenly from 0 up to it.
            listen_to: topics to subscribe to after every connect.
            hear: takes each message on them, in our thread: it must not wait.
            show: takes the topic and payload of each state, too, whether or not there is a connection.
        """
        self._show = show
        self._listen_to, self._hear = listen_to, hear
        self._hear_failed: set[str] = set()
        self.outbox = outbox
        """Where events come from."""

        self._refused: tuple[str, ...] = ()
        self._settings, self._topics, self._envelope = settings, topics, envelope
        self._timing = timing or Timing()
        self._reread = reread or (lambda: settings)
        self._files = settings.print_of_files()
        self._files_seen_s = 0.0
        self._backlog = backlog or Backlog(outbox)
        self._now_ns = now_ns
        # Full jitter: a hall of gateways must not come back to a restarted broker in step.
        self._jitter = jitter or (lambda ceiling_s: random.uniform(0, ceiling_s))
        self._client_id = settings.client_id or f"echo-edge-{topics.gateway}"
        self._status: tuple[str, str | None] = ("online", None)  # any thread writes it, only ours says it
        self._wake = Wake()
        outbox.wake = self._wake.ring
        self._stopping = threading.Event()
        self._connected = False
        self.connects = 0
        """How often the broker let us in."""

        self._problem: str | None = None
        self._short_lived, self._short_lived_s = 0, 0.0  # connections in a row, and when the latest was lost
        self._broker_certificate_ends_s: float | None = None
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to connect; the broker may be away."""
        if self._settings.protocol != "5":
            log.warning("%s; use a broker that speaks MQTT 5", UNSAFE_3_1_1)
        self._thread.start()

    def stop(self) -> None:
        """Say ``stopping`` and ``offline``, send what can be sent within ``farewell_s``, disconnect, end the thread."""
        self._stopping.set()
        self._wake.ring()
        if self._thread.ident is not None:
            # TCP and TLS may each be waiting for their time-out, a name server for longer
            self._thread.join(self._timing.farewell_s + 15.0)
        if self._thread.is_alive():
            log.error("the publisher is stuck in the operating system and is left behind")
            return
        self._wake.close()

    def set_state(self, topic: str, payload: bytes, *, qos: int = 1) -> None:
        """Publish a retained state soon; an empty payload removes the topic from the broker."""
        self._retain(_checked(topic), payload, qos=qos)
        self._wake.ring()

    def send_once(self, topic: str, payload: bytes, *, qos: int = 0, correlation: bytes | None = None) -> None:
        """Publish soon what is of no use later: it is dropped while there is no connection, or when too much waits."""
        if self._connected:
            self._backlog.send_once(_checked(topic), payload, qos=qos, correlation=correlation)
            self._wake.ring()

    def set_status(self, state: str, reason: str | None = None) -> None:
        """Change what ``status`` says while we are connected: ``online``, or ``degraded`` with a reason."""
        if (state, reason) != self._status:
            self._status = (state, reason)
            self._wake.ring()

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def alive(self) -> bool:
        """The thread runs; False after ``start`` and before ``stop`` is a defect."""
        return self._thread.is_alive()

    @property
    def counters(self) -> Counters:
        return self._backlog.counters

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps messages from arriving, in words; empty when all is well."""
        counters = self._backlog.counters
        problems = [] if self._problem is None else [self._problem]
        problems += [f"mqtt_denied: {topic}" for topic in counters.topics_denied]
        problems += [f"mqtt_subscribe_denied: {topic}" for topic in self._refused]
        problems += [f"no_subscriber: nobody listens to {topic}" for topic in counters.topics_unheard]
        if self._short_lived >= SHORT_LIVED and time.monotonic() - self._short_lived_s < CONFLICT_S:
            problems.append(f"client_id_conflict: let in and thrown out again; does another come as {self._client_id}?")
        return tuple(problems)

    @property
    def broker_certificate_ends_s(self) -> float | None:
        """When the certificate of the broker that we are connected to runs out, in seconds since 1970."""
        return self._broker_certificate_ends_s

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                lost, lasted_s = self._serve()
                if lost is not None and lost is not FILES_CHANGED and not self._stopping.is_set():
                    self._stopping.wait(self._delay_s(lost, lasted_s))
        except Exception:
            log.critical("the publisher has ended by a defect of its own", exc_info=True)
        finally:
            self._connected = False

    def _serve(self) -> tuple[Lost | None, float]:
        """Live through one connection; return why it ended (None: we left) and how many seconds it was up."""
        will = Will(self._topics.status, encode(will_payload(self._envelope, self._now_ns())))
        self._read_files()
        link = _Link(Connection(self._settings, self._client_id, will), time.monotonic())
        link.connection.open()
        while (lost := self._listen(link) or self._overdue(link) or self._outdated(link)) is None:
            if self._stopping.is_set() and self._farewell_is_over(link):
                break
            if link.up_s is not None:
                if link.said != self._status:
                    self._say(link)
                self._send(link.connection)
        self._connected, self._broker_certificate_ends_s = False, None
        self._backlog.disconnected()
        # Unless `offline` has arrived, the will must speak for us: no DISCONNECT then.
        announced = lost is None and link.offline_said and self._backlog.state_settled(self._topics.status)
        link.connection.close(announced=announced or lost is FILES_CHANGED)
        if lost is FILES_CHANGED:
            return lost, self._timing.stable_s
        if lost is not None:
            self._note(lost)
        elif link.up_s is not None:
            log.info("left %s; %d events not delivered", self._where(), self.outbox.status.waiting)
        return lost, 0.0 if link.up_s is None else time.monotonic() - link.up_s

    def _listen(self, link: _Link) -> Lost | None:
        lost: Lost | None = None
        turn_s = STOPPING_TURN_S if self._stopping.is_set() else TURN_S
        for notice in link.connection.poll(turn_s, self._wake):
            if isinstance(notice, Ack):
                self._backlog.settle(notice.mid, notice.reason, time.monotonic())
            elif isinstance(notice, Connected):
                link.up_s = time.monotonic()
                self._greet(notice, link)
            elif isinstance(notice, Incoming):
                self._hand_on(notice)
            elif isinstance(notice, Refused):
                self._refused = (*self._refused, notice.topic)
                log.error("%s does not let us listen to %s: %s", self._where(), notice.topic, notice.problem)
            else:
                lost = lost or notice  # a refusal says more than the disconnection that follows it
        return lost

    def _hand_on(self, notice: Incoming) -> None:
        message = TopicMessage(
            notice.topic,
            notice.payload,
            self._now_ns(),
            notice.retained,
            notice.response_topic,
            notice.correlation,
        )
        try:
            self._hear(message)
        except Exception as error:  # whatever somebody sends: alerts must go on
            if (kind := f"{type(error).__name__}: {error}"[:200]) not in self._hear_failed:
                self._hear_failed.add(kind)
                log.exception("a message on %r could not be taken in", notice.topic)

    def _read_files(self) -> bool:
        """Take over what changed in a certificate, a key or the password; True when something did."""
        now_s = time.monotonic()
        if now_s - self._files_seen_s < FILES_EVERY_S:
            return False
        self._files_seen_s = now_s
        if (files := self._settings.print_of_files()) == self._files:
            return False
        try:
            settings = self._reread()
            settings.check_files()
        except (ConfigError, OSError, ValueError) as error:  # half of it exchanged, most likely: looked at again
            log.warning("%s: a file of the connection changed and is no good yet: %s", self._where(), error)
            return False
        self._settings, self._files = settings, files
        log.info("%s: certificates or password changed: connecting anew", self._where())
        return True

    def _outdated(self, link: _Link) -> Lost | None:
        return FILES_CHANGED if link.up_s is not None and self._read_files() else None

    def _overdue(self, link: _Link) -> Lost | None:
        now_s = time.monotonic()
        if link.up_s is None:
            return Lost("no answer to CONNECT") if now_s - link.opened_s > self._timing.answer_s else None
        silent = self._backlog.silent_s(now_s) > self._timing.answer_s
        return Lost("no answer to a message") if silent else None

    def _greet(self, notice: Connected, link: _Link) -> None:
        self._backlog.reconnected(notice.receive_maximum, notice.max_packet_bytes)
        # Subscribers learn that we are back before they see what we have to say.
        self._say(link, first=True)
        self._refused = ()
        link.connection.subscribe(self._listen_to)
        self._connected, self._problem = True, None
        self.connects += 1
        self._broker_certificate_ends_s = link.connection.broker_certificate_ends_s
        log.info("connected to %s as %s", self._where(), self._client_id)

    def _send(self, connection: Connection) -> None:
        now_s = time.monotonic()
        while (message := self._backlog.take(now_s)) is not None:
            mid = connection.publish(
                message.topic,
                message.payload,
                retain=message.retain,
                qos=message.qos,
                correlation=message.correlation,
            )
            self._backlog.sent(mid, message, now_s)

    def _farewell_is_over(self, link: _Link) -> bool:
        """Say ``stopping``, let what is owed go out, say ``offline``; True when both are answered or time is up."""
        now_s, allowed_s = time.monotonic(), self._timing.farewell_s
        if link.up_s is None:
            return True
        if link.stopping_since_s is None:
            link.stopping_since_s = now_s
            self._status = ("stopping", None)
        elif not link.offline_said and (self._backlog.idle or now_s - link.stopping_since_s > allowed_s / 2):
            link.offline_said = True
            self._status = ("offline", None)
        elif link.offline_said and self._backlog.state_settled(self._topics.status):
            return True
        return now_s - link.stopping_since_s > allowed_s

    def _say(self, link: _Link, *, first: bool = False) -> None:
        link.said = state, reason = self._status
        payload = encode(status_payload(self._envelope, state, self._now_ns(), reason))
        self._retain(self._topics.status, payload, first=first)

    def _retain(self, topic: str, payload: bytes, *, qos: int = 1, first: bool = False) -> None:
        self._backlog.set_state(topic, payload, qos=qos, first=first)
        self._show(topic, payload)

    def _note(self, lost: Lost) -> None:
        if lost.problem == self._problem:
            return  # one line per change
        self._problem = lost.problem
        alone = status_payload(self._envelope, "degraded", self._now_ns(), f"{self._where()}: {lost.problem}")
        self._show(self._topics.status, encode(alone))  # the broker says `offline`; who is here knows better
        if lost.hopeless and lost.problem.startswith("refused"):
            settings = self._settings
            log.error(
                "%s %s: user %s, password from %s; trying every %.0f s",
                self._where(),
                lost.problem,
                settings.username or "(none)",
                settings.password_source if settings.password else "nowhere",
                self._timing.backoff_cap_s,
            )
        else:
            log.warning("%s: %s; trying again", self._where(), lost.problem)

    def _delay_s(self, lost: Lost, lasted_s: float) -> float:
        timing = self._timing
        if lost.hopeless:
            return timing.backoff_cap_s
        stable = lasted_s >= timing.stable_s
        self._failures = 0 if stable else self._failures + 1
        if lasted_s > 0:  # brokers say that a client was taken over to none, or only to some
            self._short_lived, self._short_lived_s = 0 if stable else self._short_lived + 1, time.monotonic()
        return self._jitter(timing.ceiling_s(self._failures))

    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"


@dataclass(slots=True)
class _Link:
    """One connection and how far it has come; times are monotonic."""

    connection: Connection
    opened_s: float
    up_s: float | None = None
    said: tuple[str, str | None] | None = None
    """The status that this connection has last been given to publish."""

    stopping_since_s: float | None = None
    offline_said: bool = False


def _checked(topic: str) -> str:
    if not topic or "+" in topic or "#" in topic:
        raise ValueError(f"{topic!r} is not a topic to publish on")
    return topic
