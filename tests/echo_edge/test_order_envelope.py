"""The envelope of an order: what was signed comes out, and whatever else anyone sends is refused with a code."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echo_edge.errors import OrderRefusedError
from echo_edge.operator_keys import PrivateKey, SharedKey, Signer, Verifier, b64u, from_b64u
from echo_edge.order_envelope import MAX_DEPTH, MAX_ORDER_BYTES, Body, SignedBody, read_body, read_json, sign, split
from echo_edge.payload import load_schema

EXAMPLES = 10_000 if os.environ.get("ECHO_EDGE_TORTURE") else 200
GATEWAY, VERB = "gw-hall3", "alert.ack"
TOPIC = f"echo-edge/v1/{GATEWAY}/cmd/{VERB}"
SHARED, PRIVATE = SharedKey(bytes(range(32))), PrivateKey(bytes(range(32)))
KEYS: list[tuple[Signer, Verifier]] = [(SHARED, SHARED), (PRIVATE, PRIVATE.public)]
often = settings(max_examples=EXAMPLES, deadline=None)

each_key = pytest.mark.parametrize(("signer", "verifier"), KEYS, ids=["hmac", "ed25519"])


def body(**changes: Any) -> dict[str, Any]:
    told = {
        "v": 1,
        "gw": GATEWAY,
        "id": "hmi-2-0001",
        "verb": VERB,
        "args": {"id": "01J", "note": "greased"},
        "ts": "2026-05-04T09:12:33.412Z",
        "nonce": "AAECAwQFBgcICQoLDA0ODw",
        "ctr": 7,
    } | changes
    return {name: value for name, value in told.items() if value is not None}


def plain(**changes: Any) -> dict[str, Any]:
    return body(nonce=None, ctr=None, **changes)


def read(told: Any, *, signed: bool = True) -> Body:
    return read_body(json.dumps(told).encode(), GATEWAY, VERB, signed=signed)


def refused(told: bytes | dict[str, Any], *, signed: bool = True) -> tuple[str, str | None]:
    data = told if isinstance(told, bytes) else json.dumps(told).encode()
    with pytest.raises(OrderRefusedError) as caught:
        read_body(data, GATEWAY, VERB, signed=signed)
    assert "\n" not in str(caught.value)
    return caught.value.code, caught.value.where


@each_key
def test_what_was_signed_is_read(signer: Signer, verifier: Verifier) -> None:
    data, signature = split(TOPIC, sign(TOPIC, body(), "m-lang", signer))
    assert signature is not None
    assert signature.kid == "m-lang"
    assert signature.by(verifier)
    order = read_body(data, GATEWAY, VERB, signed=True)
    assert isinstance(order, SignedBody)
    assert (order.id, order.args, order.ctr, order.deadline_s) == ("hmi-2-0001", body()["args"], 7, 60.0)
    assert not order.dry_run


@each_key
def test_a_signature_counts_for_its_topic_body_and_key_alone(signer: Signer, verifier: Verifier) -> None:
    wire = sign(TOPIC, body(), "m-lang", signer)
    head, kid, value = wire.split(b".")
    other_body = b64u(json.dumps(body(args={"id": "02K"})).encode()).encode()
    changed = from_b64u(value.decode())
    flipped = b64u(bytes([changed[0] ^ 1]) + changed[1:]).encode()
    forged = [
        (f"echo-edge/v1/{GATEWAY}/cmd/alert.clear", wire),
        ("echo-edge/v1/gw-hall4/cmd/alert.ack", wire),
        (TOPIC, b".".join([other_body, kid, value])),
        (TOPIC, b".".join([head, kid, flipped])),
        (TOPIC, sign(TOPIC, body(), "m-lang", SharedKey(bytes(32)))),
        (TOPIC, sign(TOPIC, body(), "m-lang", PrivateKey(bytes(32)))),
    ]
    for topic, payload in forged:
        _, signature = split(topic, payload)
        assert signature is not None
        assert not signature.by(verifier)


@given(st.binary(max_size=200) | st.text("abcAZ09-_.{} ", max_size=200).map(str.encode))
@often
def test_anything_on_the_wire_is_taken_apart_or_refused(payload: bytes) -> None:
    try:
        data, signature = split(TOPIC, payload)
    except OrderRefusedError:
        return
    assert (signature is None) == payload.lstrip().startswith(b"{")
    assert not (signature and signature.by(SHARED))
    assert len(data) <= len(payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "v": st.just(1) | JSON,
        "gw": st.just(GATEWAY) | JSON,
        "id": st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True) | JSON,
        "verb": st.just(VERB) | JSON,
        "args": st.dictionaries(st.text(max_size=8), JSON, max_size=3) | JSON,
        "ts": st.datetimes().map(lambda t: f"{t.isoformat()}Z") | JSON,
        "deadline_s": st.floats(0, 400) | JSON,
        "dry_run": st.booleans() | JSON,
        "if": st.dictionaries(st.text(max_size=8), JSON, max_size=3) | JSON,
        "actor": st.text(max_size=10) | JSON,
        "nonce": st.from_regex(r"[A-Za-z0-9_-]{22}", fullmatch=True) | JSON,
        "ctr": st.integers(-2, 2**54) | JSON,
        "else": JSON,
    },
)
SCHEMA = jsonschema.Draft202012Validator(load_schema("order"))


@pytest.mark.timeout(300)  # the long form
@given(st.sampled_from([body(), plain(), {}]), FIELDS, st.booleans())
@often
def test_what_is_accepted_obeys_the_published_schema(base: dict[str, Any], more: dict[str, Any], signed: bool) -> None:
    told = base | more
    try:
        order = read_body(json.dumps(told).encode(), GATEWAY, VERB, signed=signed)
    except OrderRefusedError:
        return
    SCHEMA.validate(told)
    assert ("nonce" in told) == signed
    order.late_s(0)


@given(st.binary(max_size=400) | JSON.map(lambda value: json.dumps(value).encode()))
@often
def test_reading_raises_nothing_but_its_own_error(data: bytes) -> None:
    for signed in (True, False):
        try:
            read_body(data, GATEWAY, VERB, signed=signed)
        except OrderRefusedError as error:
            json.dumps([str(error), error.where]).encode()


@given(st.integers(0, 12))
@often
def test_nesting_ends_at_eight(depth: int) -> None:
    told: Any = 1
    for _ in range(depth):
        told = [told]
    data = json.dumps({"a": told}).encode()
    if depth + 1 <= MAX_DEPTH:
        assert read_json(data) == {"a": told}
    else:
        assert refused(data) == ("bad_json", None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1e19}',
        b'{"a": 9223372036854775808}',
        b'{"a": ' + b"9" * 8000 + b"}",
        b'{"a": ' + b"[" * 8000 + b"}",
        b'{"a": ' * 1300,
        b'{"a": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"a": "\\u0000"}',
        b'{"a": "\x00"}',
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda data: data[:24].decode("latin-1"),
)
def test_doubtful_json_is_refused(data: bytes) -> None:
    assert refused(data) == ("bad_json", None)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"v": 2}, "v"),
        ({"v": True}, "v"),
        ({"v": 1.0}, "v"),
        ({"v": None}, "v"),
        ({"gw": "gw-hall4"}, "gw"),
        ({"verb": "alert.clear"}, "verb"),
        ({"id": ""}, "id"),
        ({"id": "a" * 65}, "id"),
        ({"id": "../../etc/passwd"}, "id"),
        ({"id": "a+b"}, "id"),
        ({"id": "a/#"}, "id"),
        ({"id": "a\n"}, "id"),
        ({"id": "é"}, "id"),
        ({"id": 7}, "id"),
        ({"args": []}, "args"),
        ({"ts": 1777885953}, "ts"),
        ({"ts": "2026-05-04T09:12:33"}, "ts"),
        ({"ts": "2026-13-04T09:12:33Z"}, "ts"),
        ({"ts": "2026-05-04 09:12:33Z"}, "ts"),
        ({"ts": "\uff12026-05-04T09:12:33Z"}, "ts"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"deadline_s": 301}, "deadline_s"),
        ({"deadline_s": "60"}, "deadline_s"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"dry_run": 1}, "dry_run"),
        ({"if": 1}, "if"),
        ({"actor": "two\nlines"}, "actor"),
        ({"actor": "a" * 81}, "actor"),
        ({"nonce": "short"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"ctr": 0}, "ctr"),
        ({"ctr": 2**53}, "ctr"),
        ({"ctr": "7"}, "ctr"),
        ({"ctr": 7.0}, "ctr"),
        ({"path": "/etc/passwd"}, "path"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_a_field_that_does_not_fit_is_named(changes: dict[str, Any], where: str) -> None:
    told = {name: value for name, value in (body() | changes).items() if value is not None}
    assert refused(told) == ("bad_args", where)


def test_an_unsigned_order_may_leave_nearly_all_out_and_has_neither_nonce_nor_counter() -> None:
    assert read({}, signed=False).args == {}
    assert read({"args": {"id": "01J"}}, signed=False).id is None
    assert read(plain(), signed=False).id == "hmi-2-0001"
    assert refused(body(), signed=False) == ("bad_args", "nonce")


def test_the_limit_is_on_what_goes_over_the_wire() -> None:
    longest = b"{" + b" " * (MAX_ORDER_BYTES - 2) + b"}"
    assert split(TOPIC, longest) == (longest, None)
    with pytest.raises(OrderRefusedError, match="at most 8192 bytes"):
        split(TOPIC, longest + b" ")


def test_base64url_has_one_spelling() -> None:
    wire = sign(TOPIC, body(), "m-lang", SHARED).decode()
    head, kid, value = wire.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = value[:-1] + alphabet[alphabet.index(value[-1]) ^ 1]  # two bits of the last letter say nothing
    assert base64.urlsafe_b64decode(twin + "=") == base64.urlsafe_b64decode(value + "=")
    for wrong in (f"{head}.{kid}.{twin}", f"{head}=.{kid}.{value}", f"{head}.{kid}.{value}\n", f"{head}.{kid}"):
        with pytest.raises(OrderRefusedError):
            split(TOPIC, wrong.encode())


def test_the_digest_is_of_what_is_ordered_not_of_when() -> None:
    again = read(body(nonce="Z" * 22, ctr=8, ts="2026-05-04T09:13:00Z", deadline_s=30))
    assert again.digest == read(body()).digest
    for change in ({"args": {}}, {"dry_run": True}, {"if": {"rev": 2}}):
        assert read(body(**change)).digest != read(body()).digest


@pytest.mark.parametrize(
    ("ts", "late_s"),
    [("1970-01-01T00:01:00Z", -70.0), ("1970-01-01T01:00:00.250+01:00", -10.25 - 0.0), ("1969-12-31T23:58:00z", 110.0)],
)
def test_lateness_is_counted_from_the_time_that_the_order_tells(ts: str, late_s: float) -> None:
    assert read(body(ts=ts, deadline_s=10)).late_s(0) == pytest.approx(late_s)


@pytest.mark.parametrize("ts", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_time_at_the_end_of_the_calendar_does_no_harm(ts: str) -> None:
    assert read(body(ts=ts)).late_s(0) is not None
