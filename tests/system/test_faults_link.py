"""The connection at its usual patience: who refuses, hears nobody, falls silent or sends rubbish is told in time."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from echo_edge.demo_broker import HOST
from echo_edge.envelope import Envelope, Topics
from echo_edge.mqtt import MqttSettings
from echo_edge.outbox import Outbox
from echo_edge.outgoing import CRITICAL, Outgoing
from echo_edge.publisher import Publisher
from echo_edge.records import TopicMessage
from tests.broker import Mosquitto, Subscriber, needs_mosquitto, wait_for

pytestmark = needs_mosquitto
LONG = os.environ.get("ECHO_EDGE_TORTURE") == "1"
TOPICS = Topics("echo-edge/v1", "gw1")
ALERTS = TOPICS.alert("pump-12/de")
TOLD_S = 5.0
HOSTILE = 100_000 if LONG else 2000
KEEPALIVE_S = 15 if LONG else 1  # 15 s is what is configured


@contextmanager
def usual(folder: Path, port: int, **settings: int) -> Iterator[tuple[Publisher, Outbox]]:
    """The delivering half of the daemon as it is configured when nobody says otherwise."""
    outbox = Outbox(folder / "outbox.db", "gw1", max_mb=4)
    publisher = Publisher(MqttSettings(port=port, **settings), TOPICS, Envelope("gw1"), outbox)  # type: ignore[arg-type]
    outbox.start()
    publisher.start()
    try:
        wait_for(lambda: publisher.connected, "a connection")
        yield publisher, outbox
    finally:
        publisher.stop()
        outbox.stop()


def alarm(outbox: Outbox, number: int) -> None:
    outbox.put(Outgoing(ALERTS, CRITICAL, {"n": number}))


@pytest.mark.parametrize(
    ("acl", "problem"),
    [
        (f"topic read #\ntopic readwrite {TOPICS.status}\n", f"mqtt_denied: {ALERTS}"),
        ("topic readwrite #\n", f"no_subscriber: nobody listens to {ALERTS}"),
    ],
    ids=["denied", "unheard"],
)
def test_an_alarm_that_is_refused_or_that_nobody_hears_is_kept_and_told_within_five_seconds(
    tmp_path: Path, acl: str, problem: str
) -> None:
    with (
        Mosquitto(tmp_path / "broker", acl=acl) as broker,
        Subscriber(broker.port, TOPICS.status),  # somebody listens, but not to alerts
        usual(tmp_path, broker.port) as (publisher, outbox),
    ):
        begun_s = time.monotonic()
        for number in range(20):
            alarm(outbox, number)
        wait_for(lambda: publisher.problems == (problem,), problem)
        told_s = time.monotonic() - begun_s
        wait_for(lambda: outbox.status.waiting == 20, "all of them on disk")
        time.sleep(0.3)  # whatever the broker answers meanwhile
        assert (outbox.status.waiting, outbox.status.lost, outbox.status.dead) == (20, 0, 0)
        assert publisher.counters.events_accepted == 0
    print(f"{problem.partition(':')[0]}: told after {told_s:.2f} s")
    assert told_s < TOLD_S


@pytest.mark.parametrize("speaking", [True, False] if LONG else [True])
@pytest.mark.timeout(120)
def test_a_broker_that_hangs_is_noticed_within_twice_the_keepalive(tmp_path: Path, *, speaking: bool) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Subscriber(broker.port) as reader,
        usual(tmp_path, broker.port, keepalive_s=KEEPALIVE_S) as (publisher, outbox),
    ):
        begun_s = time.monotonic()
        broker.freeze()
        if speaking:
            alarm(outbox, 1)
        wait_for(lambda: bool(publisher.problems), "the silence to be noticed", 2 * KEEPALIVE_S + 10)
        noticed_s = time.monotonic() - begun_s
        broker.thaw()
        if not speaking:
            alarm(outbox, 1)
        reader.wait("/alert", 1, 30)
    print(f"keepalive {KEEPALIVE_S} s, {'speaking' if speaking else 'idle'}: noticed after {noticed_s:.1f} s")
    assert noticed_s < 2 * KEEPALIVE_S + 1  # a turn of the loop, and a busy machine


def hostile(chance: random.Random) -> bytes:
    """Rubbish, or what looks nearly right."""
    kinds = (
        lambda: chance.randbytes(chance.randrange(200)),
        lambda: b"[" * chance.randrange(9000),
        lambda: b'{"state": ' + chance.randbytes(8).hex().encode() + b"}",
        lambda: b'{"state": NaN, "state": 1e999}',
        lambda: b"\xff" * chance.randrange(20_000),
    )
    return chance.choice(kinds)()


@pytest.mark.timeout(600 if LONG else 60)
def test_hostile_messages_and_what_they_break_neither_end_nor_delay_what_is_delivered(tmp_path: Path) -> None:
    chance, heard = random.Random(3), 0

    def hear(message: TopicMessage) -> None:
        nonlocal heard
        heard += 1
        raise RuntimeError(f"cannot read {len(message.payload) % 3}")  # the worst that a reader can do

    outbox = Outbox(tmp_path / "outbox.db", "gw1", max_mb=4)
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Subscriber(broker.port, f"{TOPICS.root}/m/#") as reader,
    ):
        publisher = Publisher(
            MqttSettings(port=broker.port), TOPICS, Envelope("gw1"), outbox, listen_to=["told/#"], hear=hear
        )
        sender = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        outbox.start()
        publisher.start()
        try:
            wait_for(lambda: publisher.connected, "a connection")
            sender.connect(HOST, broker.port)
            sender.loop_start()
            late_s = []
            for part in range(20):
                for _ in range(HOSTILE // 20):
                    sent = sender.publish(f"told/{chance.randrange(9)}", hostile(chance), qos=1)
                begun_s = time.monotonic()
                alarm(outbox, part)
                reader.wait("/alert", part + 1, 30)
                late_s.append(time.monotonic() - begun_s)
                sent.wait_for_publish(60)
            wait_for(lambda: heard == HOSTILE, f"all of them heard, not {heard}", 60)
            assert publisher.alive
            assert publisher.problems == ()
        finally:
            sender.disconnect()
            sender.loop_stop()
            publisher.stop()
            outbox.stop()
    assert [m.json["n"] for m in reader.on("/alert")] == list(range(20))
    print(f"{HOSTILE} hostile messages; an alarm among them took at most {max(late_s):.2f} s")
