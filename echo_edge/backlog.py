"""What the broker has not confirmed yet: the newest state of every topic, answers on their way, and the events.

No network, no clock of its own: the publisher asks for the next message, sends it and reports the broker's answer.
Events stay in the outbox until then; states stay in memory, where the newest is enough.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from echo_edge.outgoing import CRITICAL, Row

log = logging.getLogger(__name__)

Verdict = Literal["accepted", "no_subscriber", "denied", "busy", "unfit"]
NoSubscriber = Literal["hold", "accept"]

WINDOW = 20
STATES_IN_FLIGHT = 4  # on a slow link an alert must not wait behind many of them
STATE_AFTER_EVENTS = 10  # a long backlog of events must not keep every state from the broker
ONCE = 200
BUSY_CAP_S = 300.0
UNFIT_TRIES = 3
TOO_LARGE = 0x95
HEAD_BYTES = 32  # of a packet, properties included
MAX_PACKET_BYTES = 268_435_455  # of the protocol
_UNFIT = (0x83, 0x90, 0x95, 0x99)  # refused by this broker, topic name, packet size, payload format


class Events(Protocol):
    """The outbox's half that is used here: rows in the order to publish them in, until they are settled."""

    def front(self) -> Sequence[Row]:
        """The best rows of topics that are not held."""
        ...

    def settle(self, row: Row, reason: int) -> None:
        """The broker has it."""

    def dead(self, row: Row, reason: int) -> None:
        """The broker will never take it."""

    def hold(self, topic: str) -> None:
        """Leave this topic's rows out of ``front``."""

    def release(self, topic: str) -> None:
        """Do not leave them out any more."""


def verdict(reason: int) -> Verdict:
    """Say what a PUBACK reason code means for the message.

    ``unfit`` is about the message itself; ``busy`` covers quota and whatever else may pass by itself.
    """
    if reason == 0x10:
        return "no_subscriber"
    if reason < 0x80:
        return "accepted"
    if reason == 0x87:
        return "denied"
    return "unfit" if reason in _UNFIT else "busy"


@dataclass(eq=False, slots=True)
class Message:
    """One message on its way; two with the same words are still two."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    row: Row | None = None
    correlation: bytes | None = None
    tries: int = 0
    number: int = 0
    """The how many-th that was sent."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts since the process started; what is denied or unheard is about now."""

    topics_denied: tuple[str, ...]
    topics_unheard: tuple[str, ...]
    """Nobody subscribes to them: their events wait, or were given up if that is the policy."""

    events_accepted: int
    events_without_subscriber: int
    """Answers of the broker, not events: one that waits is tried again and again."""

    events_given_up: int
    """The broker called them unfit ``UNFIT_TRIES`` times; they lie in the outbox's dead letters."""

    once_dropped: int


class Backlog:
    """States (one per topic, at most one in flight each), messages to send once, and the outbox's events.

    Any thread adds; one thread takes, sends and settles. The lock is held for memory work only, never over the network.
    """

    def __init__(
        self,
        events: Events,
        *,
        window: int = WINDOW,
        retry_s: float = 60.0,
        busy_s: float = 5.0,
        no_subscriber: NoSubscriber = "hold",
    ) -> None:
        self._events = events
        self._no_subscriber = no_subscriber
        self._lock = threading.Lock()
        self._states: dict[str, Message] = {}  # in the order to publish them in
        self._unsent: dict[str, None] = {}  # topics whose newest state still has to go, in order
        self._first: str | None = None
        self._once: deque[Message] = deque()
        self._in_flight: dict[int, Message] = {}
        self._rows_in_flight: set[tuple[str, int]] = set()
        self._topics_in_flight: Counter[str] = Counter()  # of events
        self._states_in_flight: set[str] = set()
        self._progress_s = 0.0  # the last answer, or the first message after all were answered
        self._proven: set[str] = set()  # topics whose events this connection's broker has accepted
        self._held: dict[str, float] = {}  # topic -> not before
        self._all_held_until_s = 0.0
        self._denied: dict[str, None] = {}
        self._unheard: dict[str, None] = {}
        self._tries: Counter[tuple[str, int]] = Counter()  # of events called unfit
        self._events_since_state = self._numbers = 0
        self._passed_over: tuple[Message, float] | None = None  # the oldest without an answer, since when
        self._max_packet_bytes = MAX_PACKET_BYTES
        self._retry_s = retry_s
        self._window = self._open_window = window
        self._first_busy_s = self._busy_s = busy_s
        self._accepted = self._without = self._given_up = self._dropped = 0

    def set_state(self, topic: str, payload: bytes, *, qos: int = 1, first: bool = False) -> None:
        """Make ``payload`` the newest of a retained topic; an empty one removes the topic from the broker.

        The ``first`` topic is published before all others, now and after every reconnect.
        """
        with self._lock:
            self._states[topic] = Message(topic, payload, qos, retain=True)
            self._unsent[topic] = None
            self._first = topic if first else self._first

    def send_once(self, topic: str, payload: bytes, *, qos: int = 0, correlation: bytes | None = None) -> None:
        """Queue what is of no use later; the oldest gives way."""
        with self._lock:
            if len(self._once) == ONCE:
                self._once.popleft()
                self._dropped += 1
            self._once.append(Message(topic, payload, qos, correlation=correlation))

    def disconnected(self) -> None:
        """Forget what was to be sent once."""
        with self._lock:
            self._dropped += len(self._once)
            self._once.clear()

    def reconnected(self, receive_maximum: int, max_packet_bytes: int | None = None) -> None:
        """Forget what was in flight on the old connection: every state and every event is owed again.

        Args:
            receive_maximum: how many messages without an answer the broker takes.
            max_packet_bytes: the largest that it takes; whoever sends a larger one is thrown out.
        """
        with self._lock:
            self._in_flight.clear()
            self._rows_in_flight.clear()
            self._topics_in_flight.clear()
            self._states_in_flight.clear()
            self._proven.clear()
            held = list(self._held)
            self._held.clear()
            self._all_held_until_s = 0.0
            self._passed_over = None
            self._max_packet_bytes = max_packet_bytes or MAX_PACKET_BYTES
            self._unsent = dict.fromkeys(self._states)
            self._open_window = min(self._window, receive_maximum)
        for topic in held:
            self._events.release(topic)

    def take(self, now_s: float) -> Message | None:
        """Return what to send next, or None: nothing is due, or the window is full.

        The status goes first, then critical events, answers, states and all other events; of a long row of events
        every ``STATE_AFTER_EVENTS``-th gives way to a state.
        """
        self._release_due(now_s)
        rows = self._events.front()
        with self._lock:
            if len(self._in_flight) >= self._open_window or now_s < self._all_held_until_s:
                return None
            if self._first in self._unsent and self._first not in self._states_in_flight:
                return self._states[self._first]
            while (row := self._next_row(rows)) is not None and not self._fits(row.topic, row.payload):
                self._put_aside(row)  # the broker would throw us out for it
                rows = [other for other in rows if other is not row]
            state = self._next_state(now_s)
            if row is not None and row.rank == CRITICAL:
                owed = state is not None and self._events_since_state >= STATE_AFTER_EVENTS
                return state if owed else _event(row)
            if self._once:
                return self._once[0]
            if state is not None or row is None:
                return state
            return _event(row)

    def sent(self, mid: int, message: Message, now_s: float) -> None:
        """Note that ``message`` is with the broker under ``mid``."""
        with self._lock:
            if not self._in_flight:
                self._progress_s = now_s
            self._in_flight[mid] = message
            self._numbers += 1
            message.number = self._numbers
            if message.row is not None:
                self._rows_in_flight.add(_key(message.row))
                self._topics_in_flight[message.topic] += 1
                self._events_since_state += 1
            elif message.retain:
                self._states_in_flight.add(message.topic)
                self._events_since_state = 0
                if self._states.get(message.topic) is message:
                    self._unsent.pop(message.topic, None)
            elif self._once and self._once[0] is message:
                self._once.popleft()

    def settle(self, mid: int, reason: int, now_s: float) -> None:
        """Act on the broker's answer: forget what it accepted, keep the rest for later."""
        notes: list[tuple[int, str]] = []
        with self._lock:
            message = self._in_flight.pop(mid, None)
            if message is None:
                return
            self._progress_s = now_s
            if message.qos:
                self._note_who_was_passed_over(message, now_s)
            outcome = verdict(reason)
            if outcome == "busy":
                self._pause(reason, now_s, notes)
            elif outcome != "unfit":
                self._busy_s = self._first_busy_s
            if message.row is None:
                self._settle_state(message, outcome, reason, now_s, notes)
            else:
                self._settle_event(message.row, outcome, reason, now_s, notes)
        for level, text in notes:
            log.log(level, "%s", text)

    def silent_s(self, now_s: float) -> float:
        """For how long the broker has owed us an answer without giving any, or while it answered what was sent later;
        0 when it owes none."""
        with self._lock:
            since_s = self._progress_s if self._passed_over is None else self._passed_over[1]
            return now_s - since_s if self._in_flight else 0.0

    @property
    def idle(self) -> bool:
        """Nothing is owed that could go now: all that was given has been answered."""
        rows = self._events.front()
        with self._lock:
            return not (rows or self._unsent or self._in_flight or self._once)

    def state_settled(self, topic: str) -> bool:
        """The newest state of ``topic`` has been answered."""
        with self._lock:
            return topic not in self._unsent and topic not in self._states_in_flight

    @property
    def counters(self) -> Counters:
        with self._lock:
            return Counters(
                tuple(self._denied),
                tuple(self._unheard),
                self._accepted,
                self._without,
                self._given_up,
                self._dropped,
            )

    def _note_who_was_passed_over(self, answered: Message, now_s: float) -> None:
        """A broker answers in the order in which it was sent to: who was passed over gets no answer any more."""
        oldest = next((message for message in self._in_flight.values() if message.qos), None)
        if oldest is None or oldest.number > answered.number:
            self._passed_over = None
        elif self._passed_over is None or self._passed_over[0] is not oldest:
            self._passed_over = (oldest, now_s)

    def _fits(self, topic: str, payload: bytes) -> bool:
        return len(topic.encode()) + len(payload) + HEAD_BYTES <= self._max_packet_bytes

    def _next_row(self, rows: Sequence[Row]) -> Row | None:
        for row in rows:
            if _key(row) in self._rows_in_flight:
                continue
            # One at a time until the broker took one: when somebody begins to listen while many are on their way, what
            # was sent first would be refused and what was sent last would arrive.
            if row.topic not in self._proven and self._topics_in_flight[row.topic]:
                return None
            return row
        return None

    def _next_state(self, now_s: float) -> Message | None:
        if len(self._states_in_flight) >= STATES_IN_FLIGHT:
            return None
        for topic in list(self._unsent):
            if topic in self._states_in_flight or self._held.get(topic, 0.0) > now_s:
                continue
            if self._fits(topic, self._states[topic].payload):
                return self._states[topic]
            del self._unsent[topic]
            log.error("a state on %s is too large for the broker: not sent", topic)
        return None

    def _put_aside(self, row: Row) -> None:
        log.error("an event of %d bytes on %s is too large for the broker: given up", len(row.payload), row.topic)
        self._given_up += 1
        self._events.dead(row, TOO_LARGE)

    def _release_due(self, now_s: float) -> None:
        with self._lock:
            due = [topic for topic, until_s in self._held.items() if until_s <= now_s]
            for topic in due:
                del self._held[topic]
        for topic in due:
            self._events.release(topic)

    def _hold(self, topic: str, now_s: float) -> None:
        self._held[topic] = now_s + self._retry_s
        self._proven.discard(topic)

    def _pause(self, reason: int, now_s: float, notes: list[tuple[int, str]]) -> None:
        if self._busy_s == self._first_busy_s:
            notes.append((logging.WARNING, f"the broker is busy (0x{reason:02x}): sending pauses"))
        if now_s >= self._all_held_until_s:  # the rest of the window was sent before we knew
            self._all_held_until_s = now_s + self._busy_s
            self._busy_s = min(self._busy_s * 2, BUSY_CAP_S)

    def _settle_state(
        self, message: Message, outcome: Verdict, reason: int, now_s: float, notes: list[tuple[int, str]]
    ) -> None:
        topic = message.topic
        newest = message.retain and self._states.get(topic) is message
        if message.retain:
            self._states_in_flight.discard(topic)
        if outcome in ("accepted", "no_subscriber"):
            self._allowed(topic, notes)
            if newest and not message.payload:
                del self._states[topic]
            return
        if not message.retain:  # sent once: whoever asked for an answer chose where, so it says nothing of us
            notes.append((logging.INFO, f"the broker does not take an answer on {topic!r} (0x{reason:02x})"))
            return
        if outcome == "denied":
            self._refused(topic, now_s, notes)
        if outcome == "unfit":
            message.tries += 1
            if message.tries >= UNFIT_TRIES:
                notes.append((logging.ERROR, f"the broker refuses a message on {topic} (0x{reason:02x}): given up"))
                return
        if newest:
            self._unsent[topic] = None

    def _settle_event(
        self, row: Row, outcome: Verdict, reason: int, now_s: float, notes: list[tuple[int, str]]
    ) -> None:
        topic, key = row.topic, _key(row)
        self._rows_in_flight.discard(key)
        self._topics_in_flight[topic] -= 1
        alone = outcome == "no_subscriber"
        self._without += alone
        if alone and row.waits:
            self._nobody_listens(topic, notes)
            if self._no_subscriber == "hold":
                self._hold(topic, now_s)
                self._events.hold(topic)
                return
        if outcome in ("accepted", "no_subscriber"):
            self._allowed(topic, notes)
            if outcome == "accepted":
                self._proven.add(topic)
                if topic in self._unheard:
                    del self._unheard[topic]
                    notes.append((logging.INFO, f"{topic} has a subscriber again"))
            self._tries.pop(key, None)
            self._accepted += 1
            self._events.settle(row, reason)
        elif outcome == "denied":
            self._refused(topic, now_s, notes)
            self._events.hold(topic)
        elif outcome == "unfit":
            self._tries[key] += 1
            if self._tries[key] >= UNFIT_TRIES:
                del self._tries[key]
                self._given_up += 1
                notes.append((logging.ERROR, f"the broker refuses an event on {topic} (0x{reason:02x}): given up"))
                self._events.dead(row, reason)

    def _nobody_listens(self, topic: str, notes: list[tuple[int, str]]) -> None:
        if topic in self._unheard:
            return
        self._unheard[topic] = None
        kept = "kept" if self._no_subscriber == "hold" else "given up"
        notes.append((logging.WARNING, f"no_subscriber: nobody listens to {topic}; its events are {kept}"))

    def _refused(self, topic: str, now_s: float, notes: list[tuple[int, str]]) -> None:
        self._hold(topic, now_s)
        if topic not in self._denied:
            self._denied[topic] = None
            notes.append((logging.ERROR, f"mqtt_denied: the broker's access list refuses {topic}; kept"))

    def _allowed(self, topic: str, notes: list[tuple[int, str]]) -> None:
        if topic in self._denied:
            del self._denied[topic]
            notes.append((logging.INFO, f"the broker accepts {topic} again"))


def _event(row: Row) -> Message:
    return Message(row.topic, row.payload, row=row)


def _key(row: Row) -> tuple[str, int]:
    return row.epoch, row.seq
