"""Listening on the plant's topics: over reconnects, in a flood, and when the broker does not let us."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from echo_edge.envelope import Envelope, Topics
from echo_edge.mailbox import ORDERS, Mailbox
from echo_edge.mqtt import KEPT_BYTES, MqttSettings
from echo_edge.publisher import Publisher, Timing
from echo_edge.records import TopicMessage
from echo_edge.state_topics import StateTopics
from tests.broker import HOST, Mosquitto, Subscriber, needs_mosquitto, wait_for
from tests.outboxes import event, memory_outbox
from tests.world import make_config

TOPICS = Topics("echo-edge/v1", "gw1")
QUICK = Timing(backoff_base_s=0.05, backoff_cap_s=0.3, stable_s=0.0)
STATE = "plant/pump/state"
FLOOD = 100_000 if os.environ.get("ECHO_EDGE_TORTURE") == "1" else 10_000


@contextmanager
def listener(port: int, hear: Callable[[TopicMessage], None]) -> Iterator[Publisher]:
    with memory_outbox() as outbox:
        settings = MqttSettings(port=port)
        made = Publisher(settings, TOPICS, Envelope("gw1"), outbox, timing=QUICK, listen_to=[STATE], hear=hear)
        made.start()
        try:
            yield made
        finally:
            made.stop()


@contextmanager
def plant(port: int) -> Iterator[Client]:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.max_inflight_messages_set(0)
    client.max_queued_messages_set(0)
    client.connect(HOST, port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


@needs_mosquitto
def test_a_retained_state_is_heard_after_every_connect_and_a_long_one_is_cut(tmp_path: Path) -> None:
    heard: list[TopicMessage] = []
    with Mosquitto(tmp_path, persistent=True) as broker:
        with plant(broker.port) as client:
            client.publish(STATE, b"run-50hz", qos=1, retain=True).wait_for_publish(5)
        with listener(broker.port, heard.append):
            wait_for(lambda: len(heard) == 1, "the retained state")
            assert abs(heard[0].arrived_ns - time.time_ns()) < 10e9
            broker.restart()
            wait_for(lambda: len(heard) == 2, "it again")
            with plant(broker.port) as client:
                client.publish("plant/fan/state", b"idle", qos=1).wait_for_publish(5)  # nobody asked for it
                client.publish(STATE, b"x" * 100_000, qos=1).wait_for_publish(5)
            wait_for(lambda: len(heard) == 3, "the long one")
    assert [(m.topic, m.payload) for m in heard] == [(STATE, b"run-50hz")] * 2 + [(STATE, b"x" * KEPT_BYTES)]


@needs_mosquitto
def test_a_flood_of_states_leaves_the_newest_and_holds_up_neither_events_nor_orders(tmp_path: Path) -> None:
    mailbox: Mailbox[str] = Mailbox()
    told = {"topic": STATE}
    points = {"de": {"device": "acc"}}
    states = StateTopics(make_config(machines={"pump": {"operating_state": told, "points": points}}), mailbox.state)
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, f"{TOPICS.root}/#") as subscriber,
        plant(broker.port) as client,
        listener(broker.port, states.hear) as made,
    ):
        wait_for(lambda: made.connected, "a connection")
        for i in range(FLOOD):
            last = client.publish(STATE, b"state-%d" % i if i % 2 else b"NONSENSE %d" % i, qos=0)
        made.outbox.put(event(TOPICS.alert("pump/de"), "in the flood"))
        subscriber.wait("/alert", timeout_s=15)
        last.wait_for_publish(20)
        assert all(mailbox.order(lambda: None) for _ in range(ORDERS))
        client.publish(STATE, b"the-last", qos=1).wait_for_publish(5)
        client.publish(STATE, b"MORE NONSENSE", qos=1).wait_for_publish(5)
        names: list[str | None] = []
        deadline_s = time.monotonic() + 15
        while names[-1:] != ["the-last"] and time.monotonic() < deadline_s:
            states_told = mailbox.take(0.5).states
            assert set(states_told) <= {"pump/de"}
            names += [said.name for said in states_told.values()]
        assert names[-1] == "the-last"
        assert made.alive


def test_a_broker_that_does_not_let_us_listen_is_a_problem_that_is_told() -> None:
    with socket.create_server((HOST, 0)) as server:
        threading.Thread(target=_refuse, args=(server,)).start()
        with listener(server.getsockname()[1], lambda _: None) as made:
            wait_for(lambda: bool(made.problems), "the problem")
            assert made.problems == (f"mqtt_subscribe_denied: {STATE}",)


def _refuse(server: socket.socket) -> None:
    """A broker of MQTT 5 that lets everybody in and nobody subscribe."""
    client, _ = server.accept()
    with client, client.makefile("rb") as stream:
        while head := stream.read(2):
            length, shift = head[1] & 0x7F, 7
            while head[-1] & 0x80:
                head += stream.read(1)
                length |= (head[-1] & 0x7F) << shift
                shift += 7
            body = stream.read(length)
            if head[0] == 0x10:
                client.sendall(b"\x20\x03\x00\x00\x00")
            elif head[0] == 0x82:
                client.sendall(b"\x90\x04" + body[:2] + b"\x00\x87")
            elif head[0] == 0xE0:
                return
