"""Answers to orders: where they go, and what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from echo_edge.envelope import Envelope, Payload, Topics
from echo_edge.errors import EchoEdgeError, OrderError, OrderRefusedError
from echo_edge.order_envelope import VERB

MAX_TOPIC = 200  # characters of a response topic
MAX_MESSAGE = 500  # characters of an error
_BY_EXIT_CODE = {2: "bad_args", 6: "conflict"}


def success(result: Mapping[str, Any]) -> Payload:
    """What an answer says of an order that was carried out."""
    return {"ok": True, "result": dict(result)}


def failure(error: EchoEdgeError) -> Payload:
    """What an answer says of one that was not."""
    code, where, message = "refused", None, str(error)
    if isinstance(error, OrderRefusedError):
        code, where, message = error.code, error.where, error.message
    elif isinstance(error, OrderError):
        code = _BY_EXIT_CODE.get(error.exit_code, "refused")
    told = {"code": code, "message": one_line(message)}
    return {"ok": False, "error": told if where is None else told | {"where": where}}


def answer_payload(
    envelope: Envelope, time_ns: int, verb: str | None, id_: str | None, told: Payload, *, repeated: bool = False
) -> Payload:
    """Return the answer to an order.

    Args:
        verb: absent where the topic named none.
        id_: the order's; absent where it had none, or could not be read.
        told: of ``success`` or ``failure``.
        repeated: it was answered so before, and nothing was done this time.
    """
    known = {"verb": verb, "id": id_, "repeated": repeated or None}
    return envelope.stamp("order-answer", time_ns) | {k: v for k, v in known.items() if v is not None} | told


def nonce_payload(envelope: Envelope, time_ns: int, nonce: str, valid_s: float) -> Payload:
    """Return what signed orders must name from now on."""
    return envelope.stamp("order-nonce", time_ns) | {"nonce": nonce, "valid_s": valid_s}


def checked_response_topic(topics: Topics, asked: str, *, known: bool) -> str:
    """The response topic of an order, when an answer there does no harm.

    What we publish carries our rights at the broker: nobody may lead it into a tree of ours or of another gateway, and
    whom we do not know gets no answer but below our ``rsp/``.

    Args:
        known: the order is fresh, and signed by an operator.

    Raises:
        OrderRefusedError: ``bad_args``.
    """
    problem = None
    if not asked or len(asked) > MAX_TOPIC:
        problem = f"has 1 to {MAX_TOPIC} characters"
    elif asked.startswith("$") or any(c in "+#" or not c.isprintable() for c in asked):
        problem = "has no wildcards or control characters, and does not begin with $"
    elif asked.startswith(f"{topics.root}/rsp/"):
        problem = None
    elif f"{asked}/".startswith(f"{topics.base}/"):
        problem = f"is outside {topics.base}/, or below {topics.root}/rsp/"
    elif not known:
        problem = f"is below {topics.root}/rsp/, unless the order is signed by an operator"
    if problem is not None:
        raise OrderRefusedError("bad_args", f"a response topic {problem}", "response_topic")
    return asked


def plain_topic(topics: Topics, verb: str) -> str | None:
    """Where an answer goes without a response topic; None when the verb cannot be part of a topic of ours."""
    return topics.answer(verb) if VERB.fullmatch(verb) else None


def encoded(told: Payload) -> str:
    """Return it as JSON.

    Raises:
        ValueError, TypeError: a number is not finite, or something is no JSON.
    """
    return json.dumps(told, allow_nan=False)


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text without what is not printable, and not too long."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= limit else f"{line[: limit - 1]}\u2026"
