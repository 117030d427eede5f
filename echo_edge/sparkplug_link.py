"""Sparkplug B on the wire: one thread with a connection of its own, beside the publisher's.

A connection has one will. Ours is the node's death certificate here and the gateway's ``status`` there.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from echo_edge.envelope import Payload
from echo_edge.errors import ConfigError
from echo_edge.mqtt import Ack, Connected, Connection, Incoming, Lost, MqttSettings, Refused, Wake, Will
from echo_edge.publisher import STOPPING_TURN_S, TURN_S, Timing
from echo_edge.sparkplug import COUNT_TO, EdgeNode, PrimaryHost, SparkplugTopics, Telegram, asks_for_rebirth
from echo_edge.sparkplug_metrics import Feed
from echo_edge.store import write_durably

log = logging.getLogger(__name__)

HOST_LEFT = Lost("the primary host has left")


class SparkplugLink:
    """Keeps Sparkplug hosts informed. ``hear`` may be called from any thread; it neither waits nor fails.

    Args:
        read_settings: which broker, made anew for every connection; ConfigError or OSError: the last ones go on.
        points: of all machines.
        count_file: keeps ``bdSeq`` over restarts.
        primary_host: absent, births are sent as soon as there is a connection.
        jitter: turns the ceiling of a back-off into the delay, in seconds; absent, evenly from 0 up to it.
    """

    def __init__(
        self,
        read_settings: Callable[[], MqttSettings],
        topics: SparkplugTopics,
        points: Collection[str],
        count_file: Path,
        *,
        primary_host: str | None = None,
        timing: Timing | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        jitter: Callable[[float], float] | None = None,
    ) -> None:
        self._read_settings, self._settings = read_settings, read_settings()
        self._topics, self._primary_host = topics, primary_host
        self._node = EdgeNode(topics, {point.partition("/")[0] for point in points})
        self._feed = Feed(self._node, points)
        self._lock = threading.Lock()  # of the node and its feed
        self._count = BirthCount(count_file)
        self._timing = timing or Timing()
        self._now_ns = now_ns
        self._jitter = jitter or (lambda ceiling_s: random.uniform(0, ceiling_s))
        self._client_id = f"echo-edge-{topics.gateway}-sparkplug"
        self._failures = 0
        self._failed: set[str] = set()  # defects and nonsense that were logged
        self._problem: str | None = None
        self._refused: str | None = None
        self._wake = Wake()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sparkplug", daemon=True)

    def start(self) -> None:
        """Begin to connect; the broker may be away."""
        self._thread.start()

    def stop(self) -> None:
        """Say what is due and the node's death, disconnect, end the thread."""
        self._stopping.set()
        self._wake.ring()
        if self._thread.ident is not None:
            self._thread.join(self._timing.farewell_s + 15.0)
        if self._thread.is_alive():
            log.error("the Sparkplug link is stuck in the operating system and is left behind")
            return
        self._wake.close()

    def hear(self, schema: str, about: str, payload: Payload) -> None:
        """Take in one of our messages, as a ``Reporter``'s listener."""
        try:
            with self._lock:
                self._feed.tell(schema, about, payload)
        except Exception as error:  # the JSON topics must go on
            if self._is_new(f"{schema}: {type(error).__name__}: {error}"):
                log.exception("a message (%s) about %s did not get into Sparkplug", schema, about or "the gateway")
        self._wake.ring()

    @property
    def alive(self) -> bool:
        """The thread runs; False after ``start`` and before ``stop`` is a defect."""
        return self._thread.is_alive()

    @property
    def dropped(self) -> int:
        """Changes that were lost because too many waited."""
        return self._node.dropped

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps hosts from hearing us, in words; a primary host that is away is none."""
        return tuple(f"sparkplug: {problem}" for problem in (self._problem, self._refused) if problem is not None)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                lost, lasted_s = self._serve()
                if lost is not None and not self._stopping.is_set():
                    self._stopping.wait(self._delay_s(lost, lasted_s))
        except Exception:
            log.critical("the Sparkplug link has ended by a defect of its own", exc_info=True)

    def _serve(self) -> tuple[Lost | None, float]:
        """Live through one connection; return why it ended (None: we left) and how many seconds it was up."""
        count = self._count.next()
        death = self._node.death(count, self._now_ms())
        connection = Connection(self._fresh_settings(), self._client_id, Will(death.topic, death.payload, retain=False))
        host = None if self._primary_host is None else PrimaryHost(self._primary_host)
        link = _Link(connection, host, count, time.monotonic())
        connection.open()
        while (lost := self._listen(link) or self._overdue(link)) is None:
            if (link.leaving or self._stopping.is_set()) and self._farewell_is_over(link):
                break
            if link.up_s is not None and link.death_mid is None:
                self._tell(link)
        with self._lock:
            self._node.away()
        # Unless our death has arrived, the will must speak for us: no DISCONNECT then.
        connection.close(announced=lost is None and (link.death_arrived or not link.birth_said))
        lasted_s = 0.0 if link.up_s is None else time.monotonic() - link.up_s
        if lost is None and link.leaving:
            log.info("the primary host %s has left: changes are kept until it is back", self._primary_host)
            return HOST_LEFT, lasted_s
        if lost is not None:
            self._note(lost)
        return lost, lasted_s

    def _listen(self, link: _Link) -> Lost | None:
        lost: Lost | None = None
        turn_s = STOPPING_TURN_S if self._stopping.is_set() or link.leaving else TURN_S
        for notice in link.connection.poll(turn_s, self._wake):
            if isinstance(notice, Connected):
                link.up_s, self._problem, self._refused = time.monotonic(), None, None
                # before the birth: a host may ask for another one at once
                link.connection.subscribe([self._topics.commands, *([] if link.host is None else [link.host.topic])])
                log.info("connected as %s", self._client_id)
            elif isinstance(notice, Ack):
                link.death_arrived = link.death_arrived or notice.mid == link.death_mid
            elif isinstance(notice, Incoming):
                self._take(notice, link)
            elif isinstance(notice, Refused):
                self._refused = f"the broker does not let us listen to {notice.topic}: {notice.problem}"
                log.error("%s", self._refused)
            else:
                lost = lost or notice
        return lost

    def _take(self, notice: Incoming, link: _Link) -> None:
        try:
            if link.host is not None and notice.topic == link.host.topic:
                link.host.hear(notice.payload)
                link.leaving = link.leaving or (link.birth_said and not link.host.online)
            elif asks_for_rebirth(notice.payload):
                link.rebirth = True
        except ValueError as error:
            self._log_once(f"on {notice.topic}: {error}")

    def _tell(self, link: _Link) -> None:
        if link.host is not None and not link.host.online:
            return
        with self._lock:
            born = self._node.born and not link.rebirth
            now_ms = self._now_ms()
            news = self._node.due(now_ms) if born else self._node.birth(link.count, now_ms)
        link.rebirth, link.birth_said = False, True
        for telegram in news:
            _publish(link, telegram)

    def _overdue(self, link: _Link) -> Lost | None:
        late = link.up_s is None and time.monotonic() - link.opened_s > self._timing.answer_s
        return Lost("no answer to CONNECT") if late else None

    def _farewell_is_over(self, link: _Link) -> bool:
        """Say what is due, then our death; True when the broker has it, when there is nothing to say, or time is up."""
        if link.up_s is None or not link.birth_said or link.death_arrived:
            return True
        if link.death_mid is None:
            if not link.leaving:  # else nobody is there to hear: it is history then
                self._tell(link)
            link.death_mid = _publish(link, self._node.death(link.count, self._now_ms()), qos=1)
            link.death_said_s = time.monotonic()
        return time.monotonic() - link.death_said_s > self._timing.farewell_s

    def _fresh_settings(self) -> MqttSettings:
        try:
            settings = self._read_settings()
            settings.check_files()
            self._settings = settings
        except (ConfigError, OSError) as error:
            self._log_once(f"settings of the connection are no good at the moment: {error}")
        return self._settings

    def _delay_s(self, lost: Lost, lasted_s: float) -> float:
        if lost.hopeless:
            return self._timing.backoff_cap_s
        stable = lost is HOST_LEFT or lasted_s >= self._timing.stable_s
        self._failures = 0 if stable else self._failures + 1
        return self._jitter(self._timing.ceiling_s(self._failures))

    def _note(self, lost: Lost) -> None:
        if lost.problem != self._problem:  # one line per change
            self._problem = lost.problem
            log.warning("%s:%d: %s; trying again", self._settings.host, self._settings.port, lost.problem)

    def _log_once(self, text: str) -> None:
        if self._is_new(text):
            log.error("%s", text)

    def _is_new(self, trouble: str) -> bool:
        """True the first time, for a thousand kinds of trouble: anybody may send nonsense."""
        if trouble[:200] in self._failed or len(self._failed) >= 1000:
            return False
        self._failed.add(trouble[:200])
        return True

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000


class BirthCount:
    """``bdSeq``, which tells a birth and its death from those of another connection: one up for every attempt."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._next = 0
        try:
            self._next = (int(file.read_text("ascii")) + 1) % COUNT_TO
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("%s: cannot be read, bdSeq starts at 0: %s", file, error)

    def next(self) -> int:
        """Return the number for the next connection, 0 to 255, and note it where a restart finds it."""
        count, self._next = self._next, (self._next + 1) % COUNT_TO
        try:
            write_durably(self._file, b"%d\n" % count)
        except OSError as error:
            log.warning("%s: bdSeq %d is not kept for a restart: %s", self._file, count, error)
        return count


@dataclass(slots=True)
class _Link:
    """One connection and how far it has come; times are monotonic."""

    connection: Connection
    host: PrimaryHost | None
    count: int
    opened_s: float
    up_s: float | None = None
    birth_said: bool = False
    rebirth: bool = False
    leaving: bool = False
    """The primary host went away."""

    death_mid: int | None = None
    death_said_s: float = 0.0
    death_arrived: bool = False


def _publish(link: _Link, telegram: Telegram, qos: int = 0) -> int:
    return link.connection.publish(telegram.topic, telegram.payload, retain=False, qos=qos)
