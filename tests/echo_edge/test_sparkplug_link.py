"""The Sparkplug link against a real broker: births, deaths, a host that comes and goes, outages and kills."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from echo_edge.envelope import Envelope, subject
from echo_edge.mqtt import MqttSettings
from echo_edge.payload import PointState, Quality, point_state_payload, quality_payload
from echo_edge.publisher import Timing
from echo_edge.sparkplug import SparkplugTopics
from echo_edge.sparkplug_b import Kind, Metric, Value, decode, encode
from echo_edge.sparkplug_link import BirthCount, SparkplugLink
from tests.broker import Mosquitto, Subscriber, needs_mosquitto, publish, wait_for
from tests.echo_edge.test_sparkplug import Host

pytestmark = needs_mosquitto
TOPICS = SparkplugTopics("hall3", "gw")
POINTS = ("pump/de", "fan/de")
QUICK = Timing(backoff_base_s=0.05, backoff_cap_s=0.2, stable_s=0.0, farewell_s=20.0)
STATE = "spBv1.0/STATE/ignition"
ENVELOPE = Envelope("gw")


@contextmanager
def linked(port: int, folder: Path, **options: Any) -> Iterator[SparkplugLink]:
    link = SparkplugLink(
        lambda: MqttSettings(port=port), TOPICS, POINTS, folder / "sparkplug-bdseq", timing=QUICK, **options
    )
    link.start()
    try:
        yield link
    finally:
        link.stop()


def sensor(link: SparkplugLink, point: str, state: str = "ok") -> None:
    link.hear(*subject(quality_payload(ENVELOPE, Quality(point, time.time_ns(), state))))


def level(link: SparkplugLink, reason: str, point: str = "pump/de") -> None:
    link.hear(*subject(point_state_payload(ENVELOPE, PointState(point, time.time_ns(), "unknown", reason=reason))))


class Plant(Subscriber):
    """A Sparkplug host that follows every message by the rules."""

    def __init__(self, port: int) -> None:
        super().__init__(port, "spBv1.0/hall3/#")
        self._heard, self._host = 0, Host()

    @property
    def host(self) -> Host:
        """As it is by all that came so far."""
        while self._heard < len(self.messages):
            message = self.messages[self._heard]
            self._heard += 1
            assert not message.retain
            if "/NCMD/" not in message.topic:
                self._host.hear(message.topic, message.payload)
        return self._host

    def knows(self, reason: str, device: str = "pump") -> bool:
        metric = self.host.values.get(device, {}).get("de/reason")
        return metric is not None and metric.value == reason

    @property
    def kinds(self) -> list[str]:
        return [message.topic.split("/")[2] for message in list(self.messages)]

    def birth_counts(self, kind: str) -> list[Value | None]:
        messages = [decode(message.payload) for message in list(self.messages) if f"/{kind}/" in message.topic]
        return [metric.value for content in messages for metric in content.metrics if metric.name == "bdSeq"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def say_state(broker: Mosquitto, online: bool, time_ms: int) -> None:
    publish(broker, STATE, json.dumps({"online": online, "timestamp": time_ms}).encode(), "-r")


def test_births_come_before_changes_and_a_polite_end_is_a_death_of_the_same_number(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with Plant(broker.port) as plant:
        with linked(broker.port, tmp_path) as link:
            sensor(link, "pump/de")
            level(link, "first")
            wait_for(lambda: plant.knows("first"), "the birth of the pump")
            level(link, "second")
            wait_for(lambda: plant.knows("second"), "a change")
            assert plant.host.values.keys() == {"", "pump"}  # the fan has no sensor yet
            sensor(link, "fan/de")
            wait_for(lambda: "fan" in plant.host.values, "the birth of the fan")
            sensor(link, "pump/de", "lost")
            wait_for(lambda: "pump" not in plant.host.values, "the death of the pump")
        wait_for(lambda: plant.host.values == {}, "the death of the node")
        assert plant.birth_counts("NBIRTH")[-1:] == plant.birth_counts("NDEATH") == [0]
        with linked(broker.port, tmp_path):
            wait_for(lambda: plant.host.birth_count == 1, "the next number after a restart")


def test_a_rebirth_that_is_asked_for_starts_the_sequence_anew(broker: Mosquitto, tmp_path: Path) -> None:
    with Plant(broker.port) as plant, linked(broker.port, tmp_path) as link:
        sensor(link, "pump/de")
        level(link, "as before")
        wait_for(lambda: plant.knows("as before"), "the first birth")
        births = plant.host.births
        publish(broker, TOPICS.commands, b"nonsense")
        publish(broker, TOPICS.commands, encode([Metric("Node Control/Rebirth", Kind.BOOLEAN, True, 1)], 1, None))
        wait_for(lambda: plant.host.births == births + 1 and plant.knows("as before"), "another birth")
        assert set(plant.birth_counts("NBIRTH")) == {0}


def test_changes_during_an_outage_of_the_broker_are_history_afterwards(broker: Mosquitto, tmp_path: Path) -> None:
    with linked(broker.port, tmp_path, primary_host="ignition") as link:
        sensor(link, "pump/de")
        level(link, "before")
        with Plant(broker.port) as plant:
            say_state(broker, True, 1)
            wait_for(lambda: plant.knows("before"), "the birth")
            number = plant.host.birth_count
        broker.stop()  # and forgets the host's state: births wait until somebody listens
        wait_for(lambda: link.problems != (), "the loss to be noticed")
        for reason in ("one", "two", "three"):
            level(link, reason)
        broker.start()
        with Plant(broker.port) as plant:
            say_state(broker, True, 2)
            wait_for(lambda: plant.knows("three"), "births with the newest value")
            wait_for(
                lambda: [m.value for m in plant.host.history if m.name == "de/reason"] == ["one", "two"], "history"
            )
            assert plant.host.birth_count != number
            assert link.problems == ()


def test_history_follows_the_births_once_the_primary_host_is_there(broker: Mosquitto, tmp_path: Path) -> None:
    with Plant(broker.port) as plant, linked(broker.port, tmp_path, primary_host="ignition") as link:
        sensor(link, "pump/de")
        level(link, "zero")
        say_state(broker, True, 10)
        wait_for(lambda: plant.knows("zero"), "births for the host")
        say_state(broker, False, 9)  # of the host's earlier life
        level(link, "still here")
        wait_for(lambda: plant.knows("still here"), "a change")
        say_state(broker, False, 11)
        wait_for(lambda: plant.host.values == {}, "our death, as the host has gone")
        for reason in ("one", "two", "three"):
            level(link, reason)
        say_state(broker, True, 12)
        wait_for(lambda: plant.knows("three"), "births for the host that is back")
        wait_for(lambda: [m.value for m in plant.host.history if m.name == "de/reason"] == ["one", "two"], "history")
        assert plant.kinds[-2:] == ["DDATA", "DDATA"]
        deaths = plant.birth_counts("NDEATH")
        assert deaths == [0]
        assert set(plant.birth_counts("NBIRTH")) == {0, plant.host.birth_count}


def live_and_be_killed(port: int, folder: Path) -> None:
    with linked(port, folder) as link:
        sensor(link, "pump/de")
        time.sleep(60)


def test_whoever_is_killed_is_declared_dead_by_the_broker_with_the_number_of_its_birth(
    broker: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "sparkplug-bdseq").write_text("254\n")
    with Plant(broker.port) as plant:
        process = multiprocessing.get_context("spawn").Process(target=live_and_be_killed, args=(broker.port, tmp_path))
        process.start()
        wait_for(lambda: "pump" in plant.host.values, "births")
        process.kill()
        process.join()
        process.close()
        wait_for(lambda: plant.host.values == {}, "the will")
        assert set(plant.birth_counts("NBIRTH")) == set(plant.birth_counts("NDEATH")) == {255}
    assert BirthCount(tmp_path / "sparkplug-bdseq").next() == 0


def test_a_number_that_cannot_be_read_starts_again(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("a\n")
    count = BirthCount(tmp_path / "count")
    assert [count.next(), count.next()] == [0, 1]
    assert BirthCount(tmp_path / "count").next() == 2
