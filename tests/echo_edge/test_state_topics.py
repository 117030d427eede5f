"""What the plant says of a machine's state: which payloads are read, and what the others cost."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_edge.config import Config
from echo_edge.records import PlantState, TopicMessage
from echo_edge.state_topics import LOGGED_VALUES, StateTopics, parse_state
from tests.world import make_config

VALUES = {"1": "run-50hz", "Stop": "idle"}
TOPIC = "plant/pump/state"


def config() -> Config:
    points = {name: {"device": "acc"} for name in ("de", "nde")}
    told = {"topic": TOPIC, "values": VALUES}
    return make_config(machines={"pump": {"operating_state": told, "points": points}, "fan": {"points": points}})


def posted(*messages: TopicMessage) -> list[tuple[str, PlantState]]:
    """What comes out of a daemon's life of messages."""
    out: list[tuple[str, PlantState]] = []
    topics = StateTopics(config(), lambda point, said: out.append((point, said)))
    for one in messages:
        topics.hear(one)
    return out


def message(payload: bytes, topic: str = TOPIC) -> TopicMessage:
    return TopicMessage(topic, payload, 0)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"run-40hz", PlantState("run-40hz", 7)),
        (b" idle\n", PlantState("idle", 7)),
        (b"1", PlantState("run-50hz", 7)),
        (b"Stop", PlantState("idle", 7)),
        (b"", PlantState(None, 7)),
        (b'{"name": 1}', PlantState("run-50hz", 7)),
        (b'{"name": "idle", "until": null, "more": [1]}', PlantState("idle", 7)),
        (b'{"name": "idle", "until": "1970-01-01T01:00:01.5+01:00"}', PlantState("idle", 7, 1_500_000_000)),
        (b'{"name": "idle", "until": "1970-01-01T00:00:01Z"}', PlantState("idle", 7, 1_000_000_000)),
    ],
)
def test_a_name_or_json_tells_a_state(payload: bytes, said: PlantState) -> None:
    assert parse_state(payload, VALUES, 7) == said


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
        parse_state(payload, VALUES, 7)


@given(st.binary(max_size=300))
def test_no_payload_breaks_the_reader(payload: bytes) -> None:
    assert all(said.name is None or said.name for _, said in posted(message(payload)))


def test_a_message_tells_of_all_points_of_its_machine_and_of_no_other() -> None:
    told = posted(message(b"idle"), message(b"idle", "plant/else"))
    assert told == [("pump/de", PlantState("idle", 0)), ("pump/nde", PlantState("idle", 0))]


def test_nonsense_is_logged_once_per_value_and_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert posted(*map(message, (b"BAD", b"BAD", b"WORSE"))) == []
        assert len(caplog.records) == 2
        assert "plant/pump/state: ignored, the state stays as it was: 'BAD' is no" in caplog.text
        caplog.clear()
        assert posted(*(message(b"BAD %d" % i) for i in range(1000))) == []
    assert len(caplog.records) == LOGGED_VALUES + 1
