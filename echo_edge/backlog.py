"""What the broker has not confirmed yet: the newest state of every topic, and every event.

No network, no clock of its own: the publisher asks for the next message, sends it and reports the broker's answer.
The durable outbox will take the place of the event queue here; states stay in memory, where the newest is enough.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Literal

log = logging.getLogger(__name__)

Verdict = Literal["accepted", "no_subscriber", "denied", "busy", "unfit"]

BUSY_CAP_S = 300.0
UNFIT_TRIES = 3
_UNFIT = (0x83, 0x90, 0x95, 0x99)  # refused by this broker, topic name, packet size, payload format


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
    kind: str
    """``state``, or an event's type: ``open``, ``update``, ``clear``."""

    tries: int = 0
    in_flight: bool = False

    @property
    def retain(self) -> bool:
        return self.kind == "state"


@dataclass(frozen=True, slots=True)
class Counters:
    """Counts since the process started; what waits, is denied or unheard is about now."""

    events_waiting: int
    topics_denied: tuple[str, ...]
    events_accepted: int
    events_without_subscriber: int
    events_lost: int
    """Dropped because the queue was full, or given up after the broker called them unfit ``UNFIT_TRIES`` times."""

    no_subscriber: bool
    """The broker took the newest event and had nobody to give it to."""


class Backlog:
    """States (one per topic, at most one in flight each) and events (in order), behind one short lock.

    Any thread adds; one thread takes, sends and settles. The lock is held for memory work only, never over the network.
    """

    def __init__(
        self, *, max_events: int = 10_000, window: int = 20, retry_s: float = 60.0, busy_s: float = 5.0
    ) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, Message] = {}  # in the order to publish them in
        self._unsent: dict[str, None] = {}  # topics whose newest state still has to go, in order
        self._events: deque[Message] = deque()
        self._in_flight: dict[int, tuple[Message, float]] = {}
        self._held: dict[str, float] = {}  # topic -> not before
        self._all_held_until_s = 0.0
        self._denied: dict[str, None] = {}
        self._max_events, self._retry_s = max_events, retry_s
        self._window = self._open_window = window
        self._first_busy_s = self._busy_s = busy_s
        self._accepted = self._unheard = self._lost = 0
        self._overflowing = False
        self._alone = False

    def set_state(self, topic: str, payload: bytes, *, first: bool = False) -> None:
        """Make ``payload`` the newest of a retained topic; an empty one removes the topic from the broker.

        The ``first`` topic is published before all others, now and after every reconnect.
        """
        message = Message(topic, payload, "state")
        with self._lock:
            if first:
                self._states = {topic: message} | {t: m for t, m in self._states.items() if t != topic}
                self._unsent = {topic: None} | self._unsent
            else:
                self._states[topic] = message
                self._unsent[topic] = None

    def add_event(self, topic: str, payload: bytes, kind: str) -> None:
        """Queue an event; when full the oldest ``update`` gives way, and without one the oldest event."""
        with self._lock:
            self._events.append(Message(topic, payload, kind))
            if len(self._events) <= self._max_events:
                return
            updates = (event for event in self._events if event.kind == "update" and not event.in_flight)
            victim = next(updates, None) or next(event for event in self._events if not event.in_flight)
            self._events.remove(victim)
            self._lost += 1
            first, self._overflowing = not self._overflowing, True
        if first:
            log.warning("event queue full (%d): the oldest are dropped from now on, updates first", self._max_events)

    def reconnected(self, receive_maximum: int) -> None:
        """Forget what was in flight on the old connection: every state and every event is owed again."""
        with self._lock:
            for message, _ in self._in_flight.values():
                message.in_flight = False
            self._in_flight.clear()
            self._held.clear()
            self._all_held_until_s = 0.0
            self._unsent = dict.fromkeys(self._states)
            self._open_window = min(self._window, receive_maximum)

    def take(self, now_s: float) -> Message | None:
        """Return what to send next, states before events, or None: nothing due, or the window is full."""
        with self._lock:
            if len(self._in_flight) >= self._open_window or now_s < self._all_held_until_s:
                return None
            flying = {message.topic for message, _ in self._in_flight.values() if message.kind == "state"}
            for topic in self._unsent:
                if topic not in flying and self._held.get(topic, 0.0) <= now_s:
                    return self._states[topic]
            for event in self._events:
                if not event.in_flight and self._held.get(event.topic, 0.0) <= now_s:
                    return event
            return None

    def sent(self, mid: int, message: Message, now_s: float) -> None:
        """Note that ``message`` is with the broker under ``mid``."""
        with self._lock:
            message.in_flight = True
            self._in_flight[mid] = (message, now_s)
            if message.kind == "state" and self._states.get(message.topic) is message:
                self._unsent.pop(message.topic, None)

    def settle(self, mid: int, reason: int, now_s: float) -> None:
        """Act on the broker's answer: forget what it accepted, keep the rest for later."""
        notes: list[tuple[int, str]] = []
        with self._lock:
            message, _ = self._in_flight.pop(mid, (None, 0.0))
            if message is None:
                return
            message.in_flight = False
            outcome = verdict(reason)
            if outcome in ("accepted", "no_subscriber"):
                self._done(message, outcome, notes)
            elif outcome == "denied":
                self._held[message.topic] = now_s + self._retry_s
                if message.topic not in self._denied:
                    self._denied[message.topic] = None
                    notes.append(
                        (logging.ERROR, f"mqtt_denied: the broker's access list refuses {message.topic}; kept")
                    )
                self._owe(message)
            elif outcome == "busy":
                if self._busy_s == self._first_busy_s:
                    notes.append((logging.WARNING, f"the broker is busy (0x{reason:02x}): sending pauses"))
                if now_s >= self._all_held_until_s:  # the rest of the window was sent before we knew
                    self._all_held_until_s = now_s + self._busy_s
                    self._busy_s = min(self._busy_s * 2, BUSY_CAP_S)
                self._owe(message)
            else:
                self._unfit(message, reason, notes)
        for level, text in notes:
            log.log(level, "%s", text)

    def oldest_in_flight_s(self, now_s: float) -> float:
        """Return the age of the message that has waited longest for its answer; 0 without one."""
        with self._lock:
            return max((now_s - since_s for _, since_s in self._in_flight.values()), default=0.0)

    @property
    def idle(self) -> bool:
        """Nothing is owed: all that was given has been answered well."""
        with self._lock:
            return not (self._events or self._unsent or self._in_flight)

    def state_settled(self, topic: str) -> bool:
        """The newest state of ``topic`` has been answered."""
        with self._lock:
            flying = any(message.topic == topic for message, _ in self._in_flight.values())
            return topic not in self._unsent and not flying

    @property
    def counters(self) -> Counters:
        with self._lock:
            return Counters(
                len(self._events), tuple(self._denied), self._accepted, self._unheard, self._lost, self._alone
            )

    def _done(self, message: Message, outcome: Verdict, notes: list[tuple[int, str]]) -> None:
        self._busy_s = self._first_busy_s
        if message.topic in self._denied:
            del self._denied[message.topic]
            self._held.pop(message.topic, None)
            notes.append((logging.INFO, f"the broker accepts {message.topic} again"))
        if message.kind == "state":
            if not message.payload and self._states.get(message.topic) is message:
                del self._states[message.topic]
            return
        self._remove(message)
        self._accepted += 1
        alone = outcome == "no_subscriber"
        self._unheard += alone
        if alone != self._alone:
            self._alone = alone
            text = (
                "no_subscriber: the broker has nobody to give events to" if alone else "events have a subscriber again"
            )
            notes.append((logging.WARNING if alone else logging.INFO, text))

    def _owe(self, message: Message) -> None:
        if message.kind == "state" and self._states.get(message.topic) is message:
            self._unsent[message.topic] = None

    def _unfit(self, message: Message, reason: int, notes: list[tuple[int, str]]) -> None:
        message.tries += 1
        if message.tries < UNFIT_TRIES:
            self._owe(message)
            return
        notes.append((logging.ERROR, f"the broker refuses a message on {message.topic} (0x{reason:02x}): given up"))
        if message.kind != "state":
            self._remove(message)
            self._lost += 1

    def _remove(self, event: Message) -> None:
        try:
            self._events.remove(event)
        except ValueError:
            return  # gave way to a newer one while it was in flight
        self._overflowing = self._overflowing and len(self._events) >= self._max_events
