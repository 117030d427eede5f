"""The contract: its table, its AsyncAPI document and the command that prints it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from echo_edge.contract import CHANNELS, asyncapi, asyncapi_text, channel_of
from echo_edge.envelope import Topics
from echo_edge.payload import RECEIVED, SCHEMAS, load_schema
from tests.system.daemon import command


def test_every_schema_has_a_topic_and_every_topic_a_schema() -> None:
    assert {channel.schema for channel in CHANNELS if channel.ours} == set(SCHEMAS)
    assert {channel.schema for channel in CHANNELS if not channel.ours} == set(RECEIVED)


def test_a_topic_belongs_to_one_channel() -> None:
    topics = Topics("echo-edge/v1", "gw1")
    for topic, schema in (
        (topics.status, "status"),
        (topics.health, "health"),
        (topics.state("pump-12/de"), "point-state"),
        (topics.alert("pump-12/de"), "alert"),
        (topics.alert_active("pump-12/de"), "alert-active"),
        (topics.nonce, "order-nonce"),
        (f"{topics.orders}alert.ack", "order"),
        (topics.answer("alert.ack"), "order-answer"),
    ):
        channel = channel_of(topic.removeprefix(f"{topics.root}/"))
        assert channel is not None
        assert channel.schema == schema
    assert channel_of("m/pump-12/p/de/alert/active/more") is None
    names = [channel.name for channel in CHANNELS]
    assert len(set(names)) == len(names)


def test_the_document_refers_only_to_what_is_there(tmp_path: Path) -> None:
    document = asyncapi()
    assert document == json.loads(asyncapi_text())
    assert command("schema", "--to", tmp_path).returncode == 0
    for channel in document["channels"].values():
        assert set(re.findall(r"\{(\w+)\}", channel["address"])) == set(channel["parameters"])
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        if reference.startswith("./"):
            assert (tmp_path / reference).is_file(), reference
        else:
            place = document
            for step in reference.removeprefix("#/").split("/"):
                place = place[step]


@pytest.mark.parametrize("name", ["alert", "asyncapi"])
def test_the_command_prints_what_the_package_holds(name: str) -> None:
    printed = json.loads(command("schema", name).stdout)
    assert printed == (asyncapi() if name == "asyncapi" else load_schema(name))


def test_an_unknown_schema_is_refused_with_those_there_are() -> None:
    done = command("schema", "alarm")
    assert done.returncode == 2
    assert "alert-active" in done.stderr
