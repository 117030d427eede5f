"""Replies to orders that came over MQTT: to whom and how many, and what is counted and logged of refused ones."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from echo_edge.envelope import Envelope, Payload, Topics
from echo_edge.errors import OrderRefusedError
from echo_edge.order_answers import answer_payload, checked_response_topic, encoded, failure, plain_topic
from echo_edge.order_envelope import VERB, Body
from echo_edge.order_limits import IN_ALL, Bucket, Complaints
from echo_edge.order_types import Role
from echo_edge.records import TopicMessage

MAX_CORRELATION_BYTES = 256  # a longer one is not given back


class Mouth(Protocol):
    """The half of the publisher that speaks; any thread may call, nothing waits or fails."""

    def set_state(self, topic: str, payload: bytes, *, qos: int = 1) -> None: ...

    def send_once(self, topic: str, payload: bytes, *, qos: int = 0, correlation: bytes | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Sender:
    """Who gives an order, as far as we can tell."""

    name: str
    role: Role
    key_id: str | None
    """None: nobody signed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One order on its way, as far as it was understood."""

    message: TopicMessage
    verb: str
    reply_to: str | None
    """None: to where all answers of this verb go."""

    id: str | None = None
    sender: Sender | None = None
    body: Body | None = None


class Replies:
    """Answers, counts and complains, within bounds."""

    def __init__(
        self,
        mouth: Mouth,
        topics: Topics,
        envelope: Envelope,
        now_ns: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._mouth, self._topics, self._envelope = mouth, topics, envelope
        self._now_ns, self._monotonic_s = now_ns, monotonic_s
        self._complaints = Complaints()
        self._strangers = Bucket(IN_ALL)  # answers to whom we do not know
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def count(self, what: str) -> int:
        """Add one and return how many there are."""
        with self._lock:
            self._counts[what] += 1
            return self._counts[what]

    def complain(self, cause: str, text: str) -> None:
        """Log it, unless its cause was told within the hour."""
        self._complaints.note(cause, text, self._monotonic_s())

    def tick(self) -> None:
        self._complaints.tick(self._monotonic_s())

    def safe_topic(self, message: TopicMessage) -> str | None:
        """Where an answer may go although we do not know who asked."""
        try:
            return self._response_topic(message, known=False)
        except OrderRefusedError:
            return None

    def asked_topic(self, message: TopicMessage) -> str | None:
        """Where a known sender wants the answer; raises OrderRefusedError when it must not go there."""
        return self._response_topic(message, known=True)

    def answer(self, order: Heard, told: Payload, *, repeated: bool = False) -> None:
        verb = order.verb if VERB.fullmatch(order.verb) else None
        topic = order.reply_to or plain_topic(self._topics, order.verb)
        if topic is None:
            return
        payload = answer_payload(self._envelope, self._now_ns(), verb, order.id, told, repeated=repeated)
        correlation = order.message.correlation
        if correlation is not None and len(correlation) > MAX_CORRELATION_BYTES:
            correlation = None  # whoever may publish must not fill the queue with it
        self._mouth.send_once(topic, encoded(payload).encode(), qos=1, correlation=correlation)

    def answer_some(self, order: Heard, told: Payload) -> None:
        """Answer again what was answered, unless too many ask."""
        if self._strangers.take(self._monotonic_s()):
            self.answer(order, told, repeated=True)

    def refuse(self, order: Heard, error: OrderRefusedError) -> None:
        sender = "somebody unknown" if order.sender is None else order.sender.name
        self.count(error.code)
        cause = f"{error.code} by {sender}"
        self.complain(cause, f"order {order.verb[:48]!r} refused, {cause}: {error}")
        self.answer(order, failure(error))

    def refuse_stranger(self, order: Heard, error: OrderRefusedError) -> None:
        """Refuse what anybody may have sent: few of them are answered."""
        if self._strangers.take(self._monotonic_s()):
            self.refuse(order, error)
        else:
            self.count(error.code)

    def _response_topic(self, message: TopicMessage, *, known: bool) -> str | None:
        if message.response_topic is None:
            return None
        return checked_response_topic(self._topics, message.response_topic, known=known)
