"""What the plant says of a machine's state: which payloads are read, and what the others cost."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_edge.config import Config
from echo_edge.records import TopicMessage
from echo_edge.state_topics import LOGGED_VALUES, StateMessage, StateTopics, parse_state
from tests.world import make_config

VALUES = {"1": "run-50hz", "Stop": "idle"}
TOPIC = "plant/pump/state"


def config() -> Config:
    points = {name: {"device": "acc"} for name in ("de", "nde")}
    told = {"topic": TOPIC, "values": VALUES}
    return make_config(machines={"pump": {"operating_state": told, "points": points}, "fan": {"points": points}})


def message(payload: bytes, topic: str = TOPIC) -> TopicMessage:
    return TopicMessage(topic, payload, 0)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"run-40hz", StateMessage("run-40hz")),
        (b" idle\n", StateMessage("idle")),
        (b"1", StateMessage("run-50hz")),
        (b"Stop", StateMessage("idle")),
        (b"", StateMessage(None)),
        (b'{"name": 1}', StateMessage("run-50hz")),
        (b'{"name": "idle", "until": null, "more": [1]}', StateMessage("idle")),
        (b'{"name": "idle", "until": "1970-01-01T01:00:01.5+01:00"}', StateMessage("idle", 1_500_000_000)),
        (b'{"name": "idle", "until": "1970-01-01T00:00:01Z"}', StateMessage("idle", 1_000_000_000)),
    ],
)
def test_a_name_or_json_tells_a_state(payload: bytes, said: StateMessage) -> None:
    assert parse_state(payload, VALUES) == said


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"Run", "'Run' is no state's name .* add it to operating_state.values"),
        (b"2.0", "is no state's name"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 257, "more than 256 bytes"),
        (b'{"name": "idle"', "is no JSON"),
        (b'{"state": "idle"}', "has no 'name'"),
        (b'{"name": true}', "has no 'name'"),
        (b'{"name": "idle", "until": "2026-05-04T18:00:00"}', "with a time zone"),
        (b'{"name": "idle", "until": "tomorrow"}', "with a time zone"),
    ],
)
def test_what_names_no_state_is_refused_with_the_reason(payload: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_state(payload, VALUES)


@given(st.binary(max_size=300))
def test_no_payload_breaks_the_reader(payload: bytes) -> None:
    said = StateTopics(config()).read(message(payload))
    assert all(one.name is None or one.name for _, one in said)


def test_a_message_tells_of_all_points_of_its_machine_and_of_no_other() -> None:
    topics = StateTopics(config())
    assert [point for point, _ in topics.read(message(b"idle"))] == ["pump/de", "pump/nde"]
    assert topics.read(message(b"idle", "plant/else")) == []


def test_nonsense_is_logged_once_per_value_and_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    topics = StateTopics(config())
    with caplog.at_level(logging.WARNING):
        for payload in (b"BAD", b"BAD", b"WORSE"):
            assert topics.read(message(payload)) == []
        assert len(caplog.records) == 2
        assert "plant/pump/state: ignored, the state stays as it was: 'BAD' is no" in caplog.text
        for i in range(1000):
            topics.read(message(b"BAD %d" % i))
    assert len(caplog.records) == LOGGED_VALUES + 1
