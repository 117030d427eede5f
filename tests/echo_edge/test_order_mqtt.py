"""Orders over MQTT: what a known operator signed is done once and answered; everything else is not done at all."""

from __future__ import annotations

import json
import logging
import os
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from echo_edge.errors import EngineError
from echo_edge.operator_keys import SharedKey
from echo_edge.order_envelope import sign
from echo_edge.order_limits import IN_ALL, PER_OPERATOR
from echo_edge.order_mqtt import CLEARED, POSTED
from echo_edge.order_types import Call, Verb
from echo_edge.payload import load_schema
from echo_edge.verbs import Args
from tests.order_desk import KEYS, TOPICS, VERBS, Bench, Gateway, PointArgs, code

HOSTILE = 10_000 if os.environ.get("ECHO_EDGE_TORTURE") else 400
POINT = {"point": "pump/de"}


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def told(answer: dict[str, Any]) -> dict[str, Any]:
    jsonschema.validate(answer, load_schema("order-answer"), format_checker=jsonschema.FormatChecker())
    return answer


# what is done


@pytest.mark.parametrize(("by", "verb", "args"), [("m-lang", "state.set", POINT), ("e-eng", "threshold.set", {})])
def test_what_an_operator_signs_is_done_and_answered(
    gateway: Gateway, by: str, verb: str, args: dict[str, Any]
) -> None:
    answer = told(gateway.order(verb, args, by))
    assert answer["ok"]
    assert (answer["verb"], answer["id"], answer["result"]) == (verb, "order-1", {"count": 1})
    ((_, _, call),) = gateway.bench.done
    assert (call.actor, call.channel, call.anonymous) == (by, "mqtt", False)
    assert gateway.audited == [(by, "order", verb)]


def test_the_name_that_a_sender_gives_stands_beside_the_owner_of_the_key(gateway: Gateway) -> None:
    gateway.order("state.set", POINT, actor="hmi-2")
    (entry,) = gateway.store.audit()
    assert (entry.who, entry.point) == ("m-lang", "pump/de")
    assert entry.why == "technician by mqtt, says 'hmi-2'"


def test_a_dry_run_reaches_the_verb_and_leaves_no_trace(gateway: Gateway) -> None:
    assert gateway.order("state.set", POINT, dry_run=True)["ok"]
    assert gateway.done == []
    assert gateway.audited == []


def test_reading_is_not_audited(gateway: Gateway) -> None:
    assert gateway.order("ping", by="v-view")["ok"]
    assert gateway.audited == []


def test_conditions_reach_the_verb_and_a_broken_one_is_a_conflict(gateway: Gateway) -> None:
    condition: dict[str, Any] = {"if": {"baseline": "bl_0007"}}
    gateway.order("state.set", POINT, **condition)
    assert gateway.bench.done[0][2].expect == {"baseline": "bl_0007"}
    assert code(told(gateway.order("conflict"))) == "conflict"


@pytest.mark.parametrize(
    ("args", "where"),
    [
        ({}, "args.point"),
        ({"point": 7}, "args.point"),
        ({"point": "pump/de", "minutes": "5"}, "args.minutes"),
        ({"point": "pump/de", "minutes": 61}, "args.minutes"),
        ({"point": "pump/de", "minutes": True}, "args.minutes"),
        ({"point": "pump/de", "until": "tomorrow"}, "args.until"),
        ({"point": "pump/de", "path": "/etc/passwd"}, "args.path"),
    ],
)
def test_arguments_that_do_not_fit_are_named(gateway: Gateway, args: dict[str, Any], where: str) -> None:
    answer = told(gateway.order("state.set", args))
    assert (code(answer), answer["error"]["where"]) == ("bad_args", where)
    assert gateway.done == []
    assert gateway.audited == [("m-lang", "order_refused", "state.set")]


def test_times_and_pairs_have_a_form_in_json(gateway: Gateway) -> None:
    args = {**POINT, "until": "2026-05-04T18:00:00Z", "pair": [1, 2]}
    assert gateway.order("state.set", args)["ok"]
    assert gateway.bench.done[0][1]["pair"] == (1, 2)


def test_a_role_may_what_lower_ones_may_and_no_more(gateway: Gateway) -> None:
    answer = told(gateway.order("threshold.set", by="m-lang"))
    assert (code(answer), gateway.done) == ("forbidden", [])
    assert gateway.order("state.set", POINT, by="e-eng")["ok"]
    assert code(gateway.order("state.set", POINT, by="v-view")) == "forbidden"
    refused = ("m-lang", "order_refused", "threshold.set")
    assert gateway.audited == [refused, ("e-eng", "order", "state.set"), ("v-view", "order_refused", "state.set")]


def test_a_defect_of_a_verb_ends_neither_the_daemon_nor_the_truth(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    answer = told(gateway.order("broken"))
    assert code(answer) == "failed"
    assert "ZeroDivisionError" in caplog.text
    assert told(gateway.order("nan"))["result"]["note"].startswith("done")
    assert "too long" in told(gateway.order("long"))["result"]["note"]


def raises(error: BaseException) -> dict[str, Verb[Bench, Any]]:
    """Verbs of which one ends so."""

    def work(_: Bench, __: Args, ___: Call) -> dict[str, Any]:
        raise error

    return {**VERBS, "state.set": Verb("technician", PointArgs, work, "Ends badly.")}


def test_an_engine_that_failed_still_ends_the_process(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, verbs=raises(EngineError("the engine returned nothing")))
    gateway.takes = "later"
    gateway.hear("state.set", gateway.wire("state.set", POINT))
    with pytest.raises(EngineError):
        gateway.waiting[0]()


# what is not done


def forged(gateway: Gateway) -> dict[str, bytes]:
    topic = f"{TOPICS.orders}state.set"
    good = gateway.body("state.set", POINT)
    plain = json.dumps({k: v for k, v in good.items() if k not in {"nonce", "ctr"}}).encode()
    wire = sign(topic, good, "m-lang", KEYS["m-lang"])
    head, _, value = wire.split(b".")
    return {
        "unsigned": plain,
        "another's key": sign(topic, good, "m-lang", KEYS["v-view"]),
        "a made-up key": sign(topic, good, "m-lang", SharedKey(bytes(32))),
        "an unknown operator": sign(topic, good, "nobody", KEYS["m-lang"]),
        "another's name": b".".join([head, b"e-eng", value]),
        "another topic": sign(f"{TOPICS.orders}threshold.set", good, "m-lang", KEYS["m-lang"]),
        "another gateway's topic": sign("echo-edge/v1/gw-hall4/cmd/state.set", good, "m-lang", KEYS["m-lang"]),
        "another gateway": sign(topic, good | {"gw": "gw-hall4"}, "m-lang", KEYS["m-lang"]),
        "another verb": sign(topic, good | {"verb": "ping"}, "m-lang", KEYS["m-lang"]),
        "a nonce of nobody": sign(topic, good | {"nonce": "A" * 22}, "m-lang", KEYS["m-lang"]),
        "no nonce": sign(topic, {k: v for k, v in good.items() if k != "nonce"}, "m-lang", KEYS["m-lang"]),
        "too long": sign(topic, good | {"args": {"point": "x" * 8000}}, "m-lang", KEYS["m-lang"]),
        "cut": wire[:-1],
        "nested": sign(topic, b'{"a":' * 900 + b"1" + b"}" * 900, "m-lang", KEYS["m-lang"]),
        "twice a key": sign(topic, json.dumps(good).encode()[:-1] + b',"ctr":99}', "m-lang", KEYS["m-lang"]),
        "not a number": sign(topic, json.dumps(good | {"x": float("nan")}).encode(), "m-lang", KEYS["m-lang"]),
        "no text": sign(topic, b"\xff\xfe", "m-lang", KEYS["m-lang"]),
        "a late one": sign(topic, good | {"ts": "2020-01-01T00:00:00Z"}, "m-lang", KEYS["m-lang"]),
    }


EXPECTED = {
    "unsigned": "bad_signature",
    "another's key": "bad_signature",
    "a made-up key": "bad_signature",
    "an unknown operator": "bad_signature",
    "another's name": "bad_signature",
    "another topic": "bad_signature",
    "another gateway's topic": "bad_signature",
    "another gateway": "bad_args",
    "another verb": "bad_args",
    "a nonce of nobody": "replayed",
    "no nonce": "bad_args",
    "too long": "bad_json",
    "cut": "bad_json",
    "nested": "bad_json",
    "twice a key": "bad_json",
    "not a number": "bad_json",
    "no text": "bad_json",
    "a late one": "expired",
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_what_is_forged_or_broken_is_refused_with_its_code(gateway: Gateway, kind: str) -> None:
    ((_, answer, _),) = gateway.hear("state.set", forged(gateway)[kind])
    assert code(told(answer)) == EXPECTED[kind]
    assert gateway.done == []
    assert gateway.audited == []


def test_of_any_number_of_hostile_messages_none_is_done_and_few_leave_a_trace(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(7)
    seen = [gateway.wire("state.set", POINT)]
    gateway.hear("state.set", seen[0])
    assert gateway.done == ["state.set"]
    answered = len(gateway.mouth.sent)
    samples = [*forged(gateway).values(), *seen]
    verbs = ["state.set", "nonce", "no.such", "", "a/b", "../x", "st\u00e4te", "A" * 300, "ping", "state.set\n"]
    topics = ["x", "echo-edge/v1/gw-hall3/m/pump/p/de/state", "a/+/b", "#", "$SYS/x", "x" * 300, None]
    for _ in range(HOSTILE):
        payload = bytearray(chance.choice(samples))
        for _ in range(chance.randrange(3)):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        gateway.hear(
            chance.choice(verbs),
            bytes(payload),
            retained=chance.random() < 0.3,
            response_topic=chance.choice(topics),
            correlation=chance.choice([None, b"c", b"c" * 60_000]),
        )
    assert gateway.done == ["state.set"]
    assert gateway.audited == [("m-lang", "order", "state.set")]
    assert len(gateway.mouth.sent) - answered <= 2 * IN_ALL + len(KEYS)
    assert len(caplog.records) < 40
    assert "defects" not in gateway.bridge.counts
    for topic, answer, correlation in gateway.mouth.sent:
        assert topic.startswith(f"{TOPICS.root}/rsp/")
        assert len(correlation or b"") <= 256
        told(answer)


# once


def test_an_order_that_was_overheard_is_not_done_again(gateway: Gateway) -> None:
    wire = gateway.wire("state.set", POINT, id="once")
    gateway.hear("state.set", wire, response_topic="clients/hmi-2", correlation=b"1")
    ((topic, answer, correlation),) = gateway.hear("state.set", wire, response_topic="clients/thief", correlation=b"2")
    assert (topic, correlation) == ("clients/hmi-2", b"2"), "the answer goes to whom it went before"
    assert told(answer)["repeated"]
    assert gateway.done == ["state.set"]
    gateway.clock.turn(3601)
    ((_, answer, _),) = gateway.hear("state.set", wire)
    assert code(answer) == "replayed"
    assert gateway.done == ["state.set"]


def test_the_same_order_signed_anew_is_answered_as_before(gateway: Gateway) -> None:
    first = gateway.order("state.set", POINT, id="once")
    again = gateway.order("state.set", POINT, id="once")
    assert again["result"] == first["result"]
    assert again["repeated"]
    assert gateway.done == ["state.set"]
    assert code(gateway.order("state.set", {"point": "pump/nde"}, id="once")) == "conflict"
    assert gateway.order("state.set", POINT, by="e-eng", id="once")["result"] == {"count": 2}, "another's own id"


def test_an_id_is_remembered_over_a_restart_and_forgotten_after_an_hour(gateway: Gateway) -> None:
    gateway.order("state.set", POINT, id="once")
    gateway.restart()
    gateway.clock.turn(3500)
    gateway.bridge.tick()
    assert gateway.order("state.set", POINT, id="once")["repeated"]
    gateway.clock.turn(200)
    gateway.bridge.tick()
    assert "repeated" not in gateway.order("state.set", POINT, id="once")
    assert gateway.done == ["state.set"] * 2


class PowerCut(BaseException):
    """In the middle of an order."""


def test_what_a_crash_cut_short_is_not_done_again_unasked(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, verbs=raises(PowerCut()))
    with pytest.raises(PowerCut):
        gateway.hear("state.set", gateway.wire("state.set", POINT, id="once"))
    gateway.verbs = VERBS
    gateway.restart()
    answer = gateway.order("state.set", POINT, id="once")
    assert code(answer) == "failed"
    assert "look before" in answer["error"]["message"]
    assert gateway.done == []


def test_a_counter_never_falls_not_even_over_a_restart(gateway: Gateway) -> None:
    assert gateway.order("state.set", POINT, ctr=1000)["ok"]
    for ctr in (1000, 999, 1):
        answer = gateway.order("state.set", POINT, ctr=ctr)
        assert (code(answer), answer["error"]["where"]) == ("replayed", "ctr")
    gateway.restart()
    assert code(gateway.order("state.set", POINT, ctr=1000)) == "replayed"
    assert gateway.order("state.set", POINT, ctr=1001)["ok"]
    assert gateway.order("state.set", POINT, by="e-eng", ctr=5)["ok"], "each key counts for itself"


def test_a_nonce_is_good_once_for_each_operator_and_for_two_minutes(gateway: Gateway) -> None:
    nonce = gateway.nonce
    assert gateway.order("state.set", POINT, nonce=nonce)["ok"]
    assert gateway.nonce != nonce, "a new one lies there at once"
    assert code(gateway.order("state.set", POINT, nonce=nonce)) == "replayed"
    gateway.clock.turn(59)
    gateway.bridge.tick()
    assert gateway.order("state.set", POINT, by="e-eng", nonce=nonce)["ok"], "whoever read it before may use it yet"
    gateway.clock.turn(62)
    assert code(gateway.order("ping", by="v-view", nonce=nonce)) == "replayed"


def test_a_nonce_is_renewed_every_minute(gateway: Gateway) -> None:
    nonces = [gateway.nonce]
    for _ in range(4):
        gateway.clock.turn(30)
        gateway.bridge.tick()
        nonces.append(gateway.nonce)
    assert nonces[0] == nonces[1] != nonces[2] == nonces[3] != nonces[4]
    payload = json.loads(gateway.mouth.states[TOPICS.nonce])
    jsonschema.validate(payload, load_schema("order-nonce"))
    gateway.bridge.stop()
    assert gateway.mouth.states[TOPICS.nonce] == b""


def test_a_nonce_of_somebody_else_is_put_right(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    ours = gateway.mouth.states[TOPICS.nonce]
    for _ in range(50):
        gateway.mouth.states[TOPICS.nonce] = b"theirs"
        assert gateway.hear("nonce", b"theirs", retained=True) == []
        gateway.clock.turn(1)
    assert gateway.mouth.set[TOPICS.nonce] <= 12, "nobody can make us publish at their rate"
    gateway.clock.turn(5)
    gateway.hear("nonce", b"theirs")
    assert gateway.mouth.states[TOPICS.nonce] == ours
    gateway.hear("nonce", ours)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


def test_an_order_is_written_down_before_it_is_carried_out(gateway: Gateway) -> None:
    (gateway.folder / "state.db").rename(gateway.folder / "away.db")
    (gateway.folder / "state.db").mkdir()
    answer = gateway.order("state.set", POINT, id="once")
    assert code(answer) == "failed"
    assert gateway.done == []
    (gateway.folder / "state.db").rmdir()
    (gateway.folder / "away.db").rename(gateway.folder / "state.db")
    assert gateway.order("state.set", POINT, id="once")["ok"], "it may come again"


# in time, and not too many


def test_an_order_that_waited_too_long_is_not_carried_out(gateway: Gateway) -> None:
    gateway.takes = "later"
    assert gateway.hear("state.set", gateway.wire("state.set", POINT, deadline_s=10)) == []
    gateway.clock.turn(11)
    gateway.waiting[0]()
    assert code(gateway.mouth.sent[-1][1]) == "expired"
    assert gateway.done == []


def test_a_gateway_whose_clock_lies_in_the_past_takes_orders_all_the_same(gateway: Gateway) -> None:
    assert gateway.order("state.set", POINT, ts="2038-01-01T00:00:00Z")["ok"]


def test_too_many_orders_are_told_once_and_then_dropped(gateway: Gateway) -> None:
    for _ in range(PER_OPERATOR):
        assert gateway.order("ping")["ok"]
    assert code(gateway.order("ping")) == "busy"
    for _ in range(50):
        gateway.clock.turn(1)
        assert gateway.hear("ping", gateway.wire("ping")) == []
    assert len(gateway.done) == PER_OPERATOR
    assert gateway.bridge.counts["busy"] == 51
    assert gateway.order("ping", by="e-eng")["ok"], "others go on"
    gateway.clock.turn(61)
    gateway.bridge.tick()
    assert gateway.order("ping")["ok"]


def test_all_together_have_a_limit_of_their_own(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, unsigned_role="viewer")
    for by in KEYS:
        for _ in range(PER_OPERATOR):
            gateway.order("ping", by=by)
    ((_, answer, _),) = gateway.hear("ping", b"{}")
    assert code(answer) == "busy"
    assert len(gateway.done) == IN_ALL == PER_OPERATOR * len(KEYS)


def test_orders_over_mqtt_leave_room_in_the_mailbox_for_the_local_socket(gateway: Gateway) -> None:
    gateway.takes = "later"
    for _ in range(POSTED):
        assert gateway.hear("ping", gateway.wire("ping")) == []
    assert code(gateway.order("ping", id="later")) == "busy"
    for work in gateway.waiting:
        work()
    gateway.clock.turn(61)
    gateway.bridge.tick()
    gateway.takes = "nothing"
    assert code(gateway.order("ping", id="later")) == "busy"
    gateway.takes = "at once"
    assert gateway.order("ping", id="later")["ok"], "what was not taken in may come again"
    assert len(gateway.done) == POSTED + 1


# answers


def test_an_answer_goes_where_it_is_wanted(gateway: Gateway) -> None:
    for topic in ("clients/hmi-2", f"{TOPICS.root}/rsp/hmi-2/7"):
        ((where, answer, correlation),) = gateway.hear(
            "ping", gateway.wire("ping"), response_topic=topic, correlation=b"7"
        )
        assert (where, answer["ok"], correlation) == (topic, True, b"7")


@pytest.mark.parametrize(
    "topic",
    [
        *("", "a/+", "#", "$SYS/broker", "x" * 201, "a\u0000b", "echo-edge/v1", "echo-edge/v1/gw-hall3/status"),
        *("echo-edge/v1/gw-hall3/cmd/ping", "echo-edge/v1/gw-hall3/rsp", "echo-edge/v1/gw-hall4/cmd/ping"),
    ],
)
def test_nobody_leads_an_answer_where_it_would_do_harm(gateway: Gateway, topic: str) -> None:
    ((where, answer, _),) = gateway.hear("state.set", gateway.wire("state.set", POINT), response_topic=topic)
    assert where == TOPICS.answer("state.set")
    assert (code(told(answer)), answer["error"]["where"]) == ("bad_args", "response_topic")
    assert gateway.done == []


def test_whom_we_do_not_know_is_answered_below_our_own_topics_only(gateway: Gateway) -> None:
    ((where, _, _),) = gateway.hear("ping", b"{}", response_topic="homeassistant/device/x/config")
    assert where == TOPICS.answer("ping")
    ((where, _, _),) = gateway.hear("ping", b"{}", response_topic=f"{TOPICS.root}/rsp/me")
    assert where == f"{TOPICS.root}/rsp/me"
    assert gateway.hear("st\u00e4te", b"{}") == []


# retained


def test_a_retained_order_is_refused_answered_and_removed(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    wire = gateway.wire("state.set", POINT)
    ((_, answer, _),) = gateway.hear("state.set", wire, retained=True)
    assert code(told(answer)) == "retained"
    assert gateway.mouth.states[f"{TOPICS.orders}state.set"] == b""
    assert "retained" in caplog.text
    assert gateway.done == []
    assert gateway.hear("state.set", b"", retained=True) == [], "removed, by us or by others"


def test_retained_orders_on_ever_new_topics_fill_no_memory(gateway: Gateway) -> None:
    for number in range(CLEARED + 200):
        gateway.hear(f"v{number}", b"{}", retained=True)
    gateway.hear("ping", b"{}", retained=True)
    assert len(gateway.mouth.states) == 1 + CLEARED + 1
    assert gateway.mouth.states[f"{TOPICS.orders}ping"] == b""


# without a signature


def test_without_a_signature_only_what_is_allowed_to_all_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Gateway(tmp_path, unsigned_role="technician")
    assert "whoever the broker lets publish" in caplog.text
    ((_, answer, _),) = gateway.hear("state.set", json.dumps({"args": POINT}).encode())
    assert told(answer)["ok"]
    assert "id" not in answer
    ((_, answer, _),) = gateway.hear("threshold.set", b"{}")
    assert code(answer) == "forbidden"
    assert gateway.audited == [("unsigned", "order", "state.set")], "refused ones of anybody fill no disk"
    assert gateway.bench.done[0][2].anonymous


def test_an_unsigned_order_with_an_id_is_done_once_and_one_with_a_time_has_a_deadline(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, unsigned_role="technician")
    order = json.dumps({"id": "press-1", "args": POINT}).encode()
    for _ in range(3):
        gateway.hear("state.set", order)
    assert gateway.done == ["state.set"]
    ((_, answer, _),) = gateway.hear("state.set", json.dumps({"ts": "2020-01-01T00:00:00Z", "args": POINT}).encode())
    assert code(answer) == "expired"
