"""Order bridge: orders from the broker, checked, posted to the pipeline's thread, and answered.

``hear`` runs in the publisher's thread. Whoever may publish can send anything at any rate: nothing here waits, raises,
grows without bound, writes to the disk or logs a line for each of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from echo_edge.config_orders import UNSIGNED, Operator, OrdersConfig
from echo_edge.envelope import Envelope, Payload, Topics, timestamp
from echo_edge.errors import EchoEdgeError, EngineError, OrderRefusedError
from echo_edge.order_answers import encoded, failure, success
from echo_edge.order_desk import Desk
from echo_edge.order_envelope import VERB, Body, SignedBody, id_of, read_body, split
from echo_edge.order_ledger import Entry, Ledger
from echo_edge.order_limits import Limits
from echo_edge.order_nonce_topic import NonceTopic
from echo_edge.order_nonces import VALID_S
from echo_edge.order_replies import Heard, Mouth, Replies, Sender
from echo_edge.order_types import Call
from echo_edge.records import TopicMessage

log = logging.getLogger(__name__)

POSTED = 8  # orders that wait for the pipeline's thread: half of its mailbox, the other half is the local socket's
MAX_ANSWER_BYTES = 60_000  # some brokers throw out who sends more than 64 KiB
CLEARED = 64  # topics without a verb of ours that retained orders are removed from
LOST = "it was begun, and the daemon stopped before it was answered; look before you order it under another id"


class OrderBridge:
    """Hears ``cmd/+`` and answers.

    Args:
        operators: whose signatures count, by the ``kid`` that they sign with.
        post: hands work to the pipeline's thread; False when that has too much to do.
        mouth: what publishes.
    """

    def __init__(
        self,
        settings: OrdersConfig,
        operators: Mapping[str, Operator],
        desk: Desk[Any],
        post: Callable[[Callable[[], None]], bool],
        mouth: Mouth,
        topics: Topics,
        envelope: Envelope,
        ledger: Ledger,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._operators, self._unsigned_role = operators, settings.unsigned_role
        self._desk, self._post, self._mouth = desk, post, mouth
        self._topics, self._envelope, self._ledger = topics, envelope, ledger
        self._now_ns, self._monotonic_s = now_ns, monotonic_s
        self._replies = Replies(mouth, topics, envelope, now_ns, monotonic_s)
        self._nonce_topic = NonceTopic(mouth, topics, envelope, now_ns, monotonic_s)
        self._limits = Limits()
        self._lock = threading.Lock()
        self._posted = 0
        self._cleared: set[str] = set()
        if self._unsigned_role is not None:
            log.warning(
                "orders.unsigned_role: whoever the broker lets publish on %s+ may do all that a %s may; nothing but "
                "its access list guards that",
                topics.orders,
                self._unsigned_role,
            )

    @property
    def counts(self) -> dict[str, int]:
        """Orders so far: ``accepted``, and refused ones by the code of their answer."""
        return self._replies.counts

    def tick(self) -> None:
        """Renew what ages; to be called every few seconds, by any thread."""
        self._nonce_topic.tick()
        self._replies.tick()

    def stop(self) -> None:
        """Take the nonce back: nobody takes orders from here on."""
        self._nonce_topic.stop()

    def hear(self, message: TopicMessage) -> None:
        """Take in one message of any topic."""
        if not message.topic.startswith(self._topics.orders):
            return
        try:
            self._hear(message)
        except Exception as error:  # whatever somebody sends: alerts must go on
            if self._replies.count("defects") == 1:
                log.exception("an order could not be taken in: %s", type(error).__name__)

    def _hear(self, message: TopicMessage) -> None:
        verb = message.topic.removeprefix(self._topics.orders)
        if message.topic == self._topics.nonce:
            # the first may lie there since an earlier daemon
            if self._nonce_topic.heard(message.payload) and self._replies.count("foreign_nonces") > 1:
                self._replies.complain("foreign", f"{message.topic}: others publish there; look at the access list")
            return
        if not message.payload:
            return  # a retained message was removed
        order = Heard(message, verb, self._replies.safe_topic(message))
        try:
            if message.retained:
                self._clear(message.topic, verb)
                raise OrderRefusedError("retained", "orders are not retained: it would come again at every connect")
            if VERB.fullmatch(verb) is None:
                raise OrderRefusedError("unknown_verb", "that is no verb's name")
            data, sender = self._identified(message)
            order = replace(order, sender=sender)
            if sender.key_id is None and not self._let_in(order, sender):  # anybody: reading costs more than counting
                return
            try:
                body = read_body(data, self._topics.gateway, verb, signed=sender.key_id is not None)
            except OrderRefusedError:
                order = replace(order, id=id_of(data))
                raise
            order = replace(order, body=body, id=body.id)
        except OrderRefusedError as error:
            self._replies.refuse_stranger(order, error)
            return
        self._take(order, sender, body)

    def _identified(self, message: TopicMessage) -> tuple[bytes, Sender]:
        """The body, not read yet, and who sent it."""
        data, signature = split(message.topic, message.payload)
        if signature is None:
            if self._unsigned_role is None:
                raise OrderRefusedError("bad_signature", "it is not signed")
            return data, Sender(UNSIGNED, self._unsigned_role, None)
        operator = self._operators.get(signature.kid)
        if operator is None or not signature.by(operator.key):
            raise OrderRefusedError("bad_signature", "no operator of this gateway signed it")
        return data, Sender(operator.name, operator.role, operator.key.id)

    def _take(self, order: Heard, sender: Sender, body: Body) -> None:
        """Take a readable order of a known sender in, if it is new and in time."""
        entry = None if order.id is None else self._ledger.find(sender.name, order.id)
        try:
            if sender.key_id is not None:
                self._use_up(sender.key_id, body)
        except OrderRefusedError as error:
            if self._limits.problem(sender.name, self._monotonic_s()) is not None:
                self._replies.count("busy")
            elif entry is not None and entry.digest == body.digest:
                self._repeat_to_first(order, entry)
            else:
                self._replies.refuse_stranger(order, error)
            return
        try:
            if sender.key_id is not None:
                if not self._let_in(order, sender):
                    return
                self._nonce_topic.renew()
                order = replace(order, reply_to=self._replies.asked_topic(order.message))
            if entry is not None:
                self._repeat(order, entry, body)
                return
            self._desk.find(order.verb)
            self._in_time(body)
            self._hand_over(order, sender, body)
        except OrderRefusedError as error:
            self._replies.refuse(order, error)

    def _let_in(self, order: Heard, sender: Sender) -> bool:
        """Count an order; False when it is one too many, of which the first is answered."""
        problem = self._limits.problem(sender.name, self._monotonic_s())
        if problem is None:
            self._limits.take(sender.name, self._monotonic_s())
        elif self._limits.first(sender.name):
            self._replies.refuse(order, OrderRefusedError("busy", problem))
        else:
            self._replies.count("busy")
        return problem is None

    def _use_up(self, key_id: str, body: Body) -> None:
        """Spend what makes a signed order valid once only."""
        assert isinstance(body, SignedBody)
        now_s = self._monotonic_s()
        if not self._nonce_topic.nonces.is_fresh(body.nonce, key_id, now_s):
            raise OrderRefusedError(
                "replayed", f"the nonce was used, or is older than {VALID_S:g} s; read it again from cmd/nonce", "nonce"
            )
        if not self._ledger.count(key_id, body.ctr):
            known = self._ledger.counter(key_id)
            raise OrderRefusedError("replayed", f"must be higher than {known}, which was used", "ctr")
        self._nonce_topic.nonces.use(body.nonce, key_id, now_s)

    def _in_time(self, body: Body) -> None:
        now_ns = self._now_ns()
        late_s = body.late_s(now_ns)
        if late_s is not None and late_s > 0:
            here = timestamp(now_ns)
            raise OrderRefusedError("expired", f"its deadline was {late_s:.1f} s ago; it is {here} here", "ts")

    def _hand_over(self, order: Heard, sender: Sender, body: Body) -> None:
        with self._lock:
            if self._posted >= POSTED:
                raise OrderRefusedError("busy", "other orders are being carried out; try again in a moment")
            self._posted += 1
        if order.id is not None:
            self._ledger.admit(sender.name, order.id, body.digest, order.reply_to)
        if not self._post(lambda: self._carry_out(order, sender, body)):
            if order.id is not None:
                self._ledger.dismiss(sender.name, order.id)
            self._done()
            raise OrderRefusedError("busy", "the daemon is busy with other orders; try again in a minute")
        self._replies.count("accepted")

    # in the pipeline's thread

    def _carry_out(self, order: Heard, sender: Sender, body: Body) -> None:
        try:
            told = self._begun_and_done(order, sender, body)
        finally:
            self._done()
        if not told["ok"]:
            self._replies.count(told["error"]["code"])
        self._replies.answer(order, told)

    def _begun_and_done(self, order: Heard, sender: Sender, body: Body) -> Payload:
        key = (sender.key_id, body.ctr) if sender.key_id is not None and isinstance(body, SignedBody) else None
        try:
            self._in_time(body)  # it may have waited
            self._ledger.begin(sender.name, order.id, key)
        except OrderRefusedError as error:
            if order.id is not None:
                self._ledger.dismiss(sender.name, order.id)
            return failure(error)
        anonymous, alias = sender.key_id is None, body.actor or ""
        operator = self._operators.get(sender.name)
        person = sender.name if operator is None else operator.person
        if person != sender.name:
            alias = f"{alias} with the key {sender.name}".strip()
        call = Call(person, sender.role, "mqtt", body.dry_run, body.expect, anonymous, alias)
        try:
            told = success(self._desk.carry_out(order.verb, body.args, call))
            if (size := len(encoded(told))) > MAX_ANSWER_BYTES:
                told = success({"note": f"done; an answer of {size} bytes is too long for a broker"})
        except EngineError:
            raise
        except EchoEdgeError as error:
            told = failure(error)
        except (TypeError, ValueError, RecursionError) as error:
            log.error("%s: its result is no JSON: %s", order.verb, error)
            told = success({"note": "done; the result cannot be told"})
        if order.id is not None:
            try:
                self._ledger.finish(sender.name, order.id, told)
            except OrderRefusedError as error:
                log.error("an answer is not kept for those who ask again: %s", error)
        return told

    def _done(self) -> None:
        with self._lock:
            self._posted -= 1

    # answers

    def _repeat(self, order: Heard, entry: Entry, body: Body) -> None:
        """The same id again, by its owner."""
        if entry.digest != body.digest:
            raise OrderRefusedError("conflict", "another order had this id within the past hour", "id")
        if entry.answer is None:
            if entry.lost:
                raise OrderRefusedError("failed", LOST)
            raise OrderRefusedError("busy", "it is being carried out; its answer will come")
        self._replies.count("repeated")
        self._replies.answer(order, entry.answer, repeated=True)

    def _repeat_to_first(self, order: Heard, entry: Entry) -> None:
        """The same bytes again, perhaps by somebody who overheard them: the answer goes where the first one went."""
        self._replies.count("repeated")
        if entry.answer is not None:
            self._replies.answer_some(replace(order, reply_to=entry.reply_to), entry.answer)

    def _clear(self, topic: str, verb: str) -> None:
        """Remove a retained order from the broker."""
        if verb not in self._desk.verbs and topic not in self._cleared:
            if len(self._cleared) >= CLEARED:
                return
            self._cleared.add(topic)
        self._mouth.set_state(topic, b"")
