"""The envelope of an order: bytes as they come over MQTT <-> a body that is signed, strict and bounded.

On the wire: ``b64u(body) "." kid "." b64u(signature)``, the signature over ``"ee-cmd-v1" 0 topic 0 body`` (0: a zero
byte); or plain JSON, which nobody signed. What is read here came from anyone who may publish, and raises nothing but
OrderRefusedError.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NoReturn

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from echo_edge.errors import OrderRefusedError
from echo_edge.operator_keys import Signer, Verifier, b64u, from_b64u

MAX_ORDER_BYTES = 8192  # on the wire, signed or not
MAX_DEPTH = 8  # of objects and lists, the body itself included
MAX_NUMBER = 2**63  # a size that everything behind can count in
MAX_CTR = 2**53 - 1  # what JSON's users agree about
SIGNED = b"ee-cmd-v1\0"  # no signature of this purpose can be passed off for another
VERB = re.compile(r"[a-z][a-z0-9_]{0,31}(\.[a-z][a-z0-9_]{0,31})?")
_WIRE = re.compile(rb"([A-Za-z0-9_-]+)\.([a-z0-9][a-z0-9_-]{0,47})\.([A-Za-z0-9_-]{43,86})")
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Signature:
    """Who claims to have signed, and what was signed by whoever did."""

    kid: str
    value: bytes
    signed: bytes

    def by(self, key: Verifier) -> bool:
        """True when this key made it; takes the same time wherever it differs."""
        return key.verify(self.signed, self.value)


def _time(value: object) -> object:
    found = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("is no time as RFC 3339 writes it, such as 2026-05-04T09:12:33Z")
    day, clock, fraction, zone = found.groups()
    zone = "+00:00" if zone in "Zz" else zone
    try:
        return datetime.fromisoformat(f"{day}T{clock}{((fraction or '.') + '000000')[:7]}{zone}")
    except ValueError as error:
        raise ValueError(f"is no time: {error}") from error


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("is one line of printable text")
    return text


Time = Annotated[AwareDatetime, BeforeValidator(_time)]
OrderId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Body(BaseModel):
    """What every order may say; a signed one must say more."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)

    v: int | None = None
    gw: str | None = Field(default=None, max_length=48)
    id: OrderId | None = None
    verb: str | None = Field(default=None, max_length=64)
    args: dict[str, Any] = {}
    ts: Time | None = None
    """When it was given."""

    deadline_s: float = Field(default=60.0, ge=1, le=300)
    """It is not carried out later than so long after ``ts``."""

    dry_run: bool = False
    expect: dict[str, Any] = Field(default={}, alias="if", max_length=8)
    """What must still be so."""

    actor: Annotated[str, Field(max_length=80)] | None = None
    """Who the sender says it is; only shown."""

    @field_validator("v")
    @classmethod
    def _version(cls, value: int | None) -> int | None:
        if value not in {None, 1}:
            raise ValueError("is the version of orders, 1")
        return value

    @field_validator("actor")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        return None if value is None else _one_line(value)

    @property
    def digest(self) -> str:
        """Of what is ordered, whenever it is signed: the same order again has the same."""
        said = [self.gw, self.verb, self.args, self.dry_run, self.expect]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def late_s(self, now_ns: int) -> float | None:
        """How many seconds the deadline is past; negative before, None where the order does not tell its time."""
        return None if self.ts is None else now_ns / 1e9 - self.ts.timestamp() - self.deadline_s


class SignedBody(Body):
    """What a signed order says."""

    v: int
    gw: str = Field(max_length=48)
    id: OrderId
    verb: str = Field(max_length=64)
    ts: Time
    nonce: str = Field(pattern=r"^[A-Za-z0-9_-]{22}$")
    """The gateway's, from ``cmd/nonce``."""

    ctr: int = Field(ge=1, le=MAX_CTR)
    """Greater than that of every earlier order of the same key."""


def split(topic: str, payload: bytes) -> tuple[bytes, Signature | None]:
    """Take an order apart; the body has not been read yet, and the signature not been checked.

    Raises:
        OrderRefusedError: ``bad_json``: neither JSON nor signed, or too long.
    """
    if len(payload) > MAX_ORDER_BYTES:
        raise OrderRefusedError("bad_json", f"an order has at most {MAX_ORDER_BYTES} bytes")
    if payload.lstrip(b" \t\r\n").startswith(b"{"):
        return payload, None
    found = _WIRE.fullmatch(payload)
    if found is None:
        raise OrderRefusedError("bad_json", "neither a JSON object nor BODY.KEY.SIGNATURE in base64url")
    try:
        body, value = from_b64u(found[1].decode()), from_b64u(found[3].decode())
    except ValueError as error:
        raise OrderRefusedError("bad_json", f"a part of BODY.KEY.SIGNATURE {error}") from error
    return body, Signature(found[2].decode(), value, to_be_signed(topic, body))


def to_be_signed(topic: str, body: bytes) -> bytes:
    """The bytes that a signature covers: purpose, topic (gateway and verb) and body."""
    return SIGNED + topic.encode() + b"\0" + body


def read_body(body: bytes, gateway: str, verb: str, *, signed: bool) -> Body:
    """Read and check a body.

    Args:
        gateway, verb: of the topic that it came on; what the body says must be the same.
        signed: ask for all that a signed order has, and return a ``SignedBody``.

    Raises:
        OrderRefusedError: ``bad_json``, or ``bad_args`` with the field.
    """
    told = read_json(body)
    model = SignedBody if signed else Body
    try:
        order = model.model_validate(told)
    except ValidationError as error:
        raise refused_args(error) from error
    for name, is_, should in (("gw", order.gw, gateway), ("verb", order.verb, verb)):
        if is_ not in {None, should}:
            raise OrderRefusedError("bad_args", f"is not '{should}', as the topic says", name)
    return order


def id_of(body: bytes) -> str | None:
    """The id of an order that could not be read otherwise, as far as it has one."""
    try:
        return TypeAdapter(OrderId).validate_python(read_json(body).get("id"), strict=True)
    except (OrderRefusedError, ValidationError):
        return None


def read_json(text: bytes) -> dict[str, Any]:
    """Read an object without doubtful contents: doubled keys, numbers without bounds, deep nesting, broken text.

    Raises:
        OrderRefusedError: ``bad_json``.
    """
    try:
        told = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_no_key_twice,
            parse_constant=_no_number,
            parse_int=_bounded_int,
            parse_float=_bounded_float,
        )
        if not isinstance(told, dict):
            raise ValueError("is not an object")
        _check(told, MAX_DEPTH)
    except UnicodeDecodeError as error:
        raise OrderRefusedError("bad_json", "is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise OrderRefusedError("bad_json", f"is no JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise OrderRefusedError("bad_json", f"is nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:
        raise OrderRefusedError("bad_json", str(error)) from error
    return told


def refused_args(error: ValidationError, below: str = "") -> OrderRefusedError:
    """The first thing that a model found wrong; ``below`` is the place of what it looked at."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join([*([below] if below else []), *(str(part)[:64] for part in first["loc"])])
    return OrderRefusedError("bad_args", first["msg"].removeprefix("Value error, "), where[:200] or None)


def sign(topic: str, body: Mapping[str, Any] | bytes, kid: str, key: Signer) -> bytes:
    """Make what is published: the client's half.

    Args:
        topic: that it will be published on.
        body: as ``SignedBody`` has it, or its bytes.
        kid: the operator's name in the gateway's configuration.
    """
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{b64u(data)}.{kid}.{b64u(key.sign(to_be_signed(topic, data)))}".encode()


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        raise ValueError("has a key twice")
    return told


def _no_number(_name: str) -> NoReturn:
    raise ValueError("has a number that JSON does not know")


def _bounded_int(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) >= MAX_NUMBER:
        raise ValueError("has a number beyond 64 bits")
    return value


def _bounded_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or abs(value) >= MAX_NUMBER:
        raise ValueError("has a number beyond 64 bits")
    return value


def _check(value: Any, depth: int) -> None:
    """Insist on a bounded depth and on text that can be written down again."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("has text with a zero in it")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("has text that is no Unicode") from error
    elif isinstance(value, dict | list):
        if depth == 0:
            raise ValueError(f"is nested deeper than {MAX_DEPTH}")
        for one in value:
            _check(one, depth - 1)
        if isinstance(value, dict):
            for one in value.values():
                _check(one, depth - 1)
