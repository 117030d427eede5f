"""The way to the broker on its bad days: what is promised of alerts holds, and nothing else notices."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from echo_edge.backlog import Backlog
from echo_edge.demo_broker import HOST
from echo_edge.envelope import Envelope, Topics
from echo_edge.mqtt import MqttSettings
from echo_edge.outbox import Outbox
from echo_edge.outgoing import CRITICAL, REST, WARNING, Outgoing
from echo_edge.publisher import Publisher, Timing
from tests.broker import Mosquitto, Subscriber, needs_mosquitto, wait_for
from tests.proxy import Proxy

pytestmark = needs_mosquitto
TOPICS = Topics("echo-edge/v1", "gw1")
ALERTS = TOPICS.alert("pump-12/de")
HASTY = Timing(backoff_base_s=0.2, backoff_cap_s=1.0, answer_s=1.0)
TEXT = "x" * 1000
LONG = os.environ.get("ECHO_EDGE_TORTURE") == "1"


@contextmanager
def delivery(folder: Path, port: int, max_mb: float = 4) -> Iterator[tuple[Publisher, Outbox]]:
    """The delivering half of the daemon, with its outbox on disk."""
    outbox = Outbox(folder / "outbox.db", "gw1", max_mb=max_mb)
    backlog = Backlog(outbox, retry_s=0.5, busy_s=0.2)
    publisher = Publisher(MqttSettings(port=port), TOPICS, Envelope("gw1"), outbox, timing=HASTY, backlog=backlog)
    outbox.start()
    publisher.start()
    try:
        yield publisher, outbox
    finally:
        publisher.stop()
        outbox.stop()


def put(outbox: Outbox, numbers: range, rank: int = WARNING) -> None:
    for number in numbers:
        outbox.put(Outgoing(ALERTS, rank, {"n": number, "text": TEXT}))


def heard(*readers: Subscriber) -> list[int]:
    """Numbers in the order in which they came for the first time."""
    return list(dict.fromkeys(m.json["n"] for reader in readers for m in reader.on("/alert")))


def test_a_broker_that_lost_its_memory_costs_no_alert_and_is_found_within_a_step_of_the_back_off(
    tmp_path: Path,
) -> None:
    with (
        Mosquitto(tmp_path / "broker", persistent=True) as broker,
        delivery(tmp_path, broker.port) as (publisher, outbox),
    ):
        with Subscriber(broker.port) as before:
            put(outbox, range(50))
            wait_for(lambda: len(heard(before)) == 50, "the first alerts")
        broker.kill()
        put(outbox, range(50, 300))
        (tmp_path / "broker" / "mosquitto.db").unlink(missing_ok=True)
        broker.start()
        started_s = time.monotonic()
        wait_for(lambda: publisher.connected, "a connection")
        assert time.monotonic() - started_s < HASTY.backoff_cap_s + 1
        with Subscriber(broker.port) as after:
            wait_for(lambda: outbox.status.waiting == 0, "everything delivered")
            assert sorted({*heard(before), *heard(after)}) == list(range(300))
            assert heard(after) == sorted(heard(after))


def test_a_connection_that_is_cut_half_open_or_refused_costs_no_alert_and_keeps_their_order(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Subscriber(broker.port) as reader,
        Proxy(broker.port) as proxy,
        delivery(tmp_path, proxy.port) as (publisher, outbox),
    ):
        put(outbox, range(100))
        wait_for(lambda: len(heard(reader)) > 0, "the first alert")
        proxy.cut()
        put(outbox, range(100, 200))
        wait_for(lambda: len(heard(reader)) > 100, "alerts after the cut")
        proxy.half_open()
        put(outbox, range(200, 300))
        wait_for(lambda: not publisher.connected, "the silence to be noticed")
        proxy.half_open(stuck=False)
        wait_for(lambda: len(heard(reader)) > 200, "alerts after the silence")
        proxy.refuse()
        put(outbox, range(300, 400))
        wait_for(lambda: not publisher.connected, "the refusal to be noticed")
        proxy.refuse(refusing=False)
        wait_for(lambda: outbox.status.waiting == 0, "everything delivered")
        assert heard(reader) == list(range(400))


def test_over_a_slow_link_an_alarm_overtakes_and_the_connection_is_not_given_up(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as broker,
        Subscriber(broker.port) as reader,
        Proxy(broker.port) as proxy,
        delivery(tmp_path, proxy.port) as (publisher, outbox),
    ):
        wait_for(lambda: publisher.connected, "a connection")
        proxy.slow(8000)
        put(outbox, range(40))
        wait_for(lambda: len(heard(reader)) > 1, "the first warnings")
        put(outbox, range(100, 101), CRITICAL)
        wait_for(lambda: outbox.status.waiting == 0, "everything delivered", 30)
        wait_for(lambda: len(heard(reader)) == 41, "what the broker took to reach its subscriber, each once")
        numbers = heard(reader)
        assert numbers.index(100) < 30, "it waited for no more than was on its way"
        assert proxy.connections == 1


def test_a_broker_that_is_full_is_left_in_peace_and_loses_nothing(tmp_path: Path) -> None:
    with (
        socket.create_server((HOST, 0)) as server,
        Outlet(server) as broker,
        delivery(tmp_path, server.getsockname()[1]) as (_, outbox),
    ):
        put(outbox, range(3))
        wait_for(lambda: outbox.status.waiting == 0, "everything delivered")
    assert broker.answers[0x97] >= 2
    assert broker.answers[0] == 3


class Outlet:
    """A broker of MQTT 5 that says "quota exceeded" for its first second, then takes everything."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self._full_until_s = time.monotonic() + 1.0
        self.answers = {0: 0, 0x97: 0}
        self._thread = threading.Thread(target=self._serve, name="outlet")

    def __enter__(self) -> Outlet:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(5)

    def _serve(self) -> None:
        client, _ = self._server.accept()
        with client, client.makefile("rb") as stream:
            while head := stream.read(2):
                length, shift = head[1] & 0x7F, 7
                while head[-1] & 0x80:
                    head += stream.read(1)
                    length |= (head[-1] & 0x7F) << shift
                    shift += 7
                body = stream.read(length)
                if head[0] >> 4 == 1:
                    client.sendall(b"\x20\x03\x00\x00\x00")
                elif head[0] >> 4 == 3:
                    self._acknowledge(client, body)
                elif head[0] >> 4 == 14:
                    return

    def _acknowledge(self, client: socket.socket, body: bytes) -> None:
        topic_bytes = int.from_bytes(body[:2], "big")
        is_event = body[2 : 2 + topic_bytes].endswith(b"/alert")
        reason = 0x97 if is_event and time.monotonic() < self._full_until_s else 0
        if is_event:
            self.answers[reason] += 1
        client.sendall(b"\x40\x03" + body[2 + topic_bytes : 4 + topic_bytes] + bytes([reason]))


A_DAY = """
import json, os, sys, time
from pathlib import Path
from echo_edge.outgoing import REST, WARNING, CRITICAL, Outgoing
from tests.system import test_link

def rss_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

folder, port, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with test_link.delivery(folder, port, max_mb=64) as (_, outbox):
    before = rss_mb()
    for number in range(count):
        rank = (CRITICAL, WARNING, REST)[number % 3]
        outbox.put(Outgoing(test_link.ALERTS, rank, {"n": number, "rank": rank, "text": "x" * 300}))
        if number % 500 == 499:  # a day has more time than this
            time.sleep(0.05)
    print("stored", flush=True)
    most = rss_mb()
    while outbox.status.waiting:
        most = max(most, rss_mb())
        time.sleep(0.05)
    print(json.dumps({"grown_mb": round(most - before, 1), "lost": outbox.status.lost}), flush=True)
"""


@pytest.mark.timeout(300 if LONG else 60)
def test_after_a_day_without_a_broker_everything_comes_in_order_and_memory_stays_flat(tmp_path: Path) -> None:
    count = 86_400 if LONG else 4000
    broker = Mosquitto(tmp_path / "broker")
    command = [sys.executable, "-c", A_DAY, str(tmp_path), str(broker.port), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as gateway:
        assert gateway.stdout is not None
        assert gateway.stdout.readline() == "stored\n"
        with broker, Subscriber(broker.port) as reader:
            told = json.loads(gateway.stdout.readline())
            wait_for(lambda: len(reader.messages) >= count, "everything heard", 60)
            events = [(m.json["rank"], m.json["n"]) for m in reader.on("/alert")]
    print(f"{count} events, {told}")
    assert sorted({n for _, n in events}) == list(range(count))
    for rank in (CRITICAL, WARNING, REST):
        numbers = list(dict.fromkeys(n for r, n in events if r == rank))
        assert numbers == sorted(numbers)
    assert told["lost"] == 0
    assert told["grown_mb"] <= 5


def test_an_alarm_too_large_for_the_broker_holds_up_no_other(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker", extra="max_packet_size 3000") as broker,
        Subscriber(broker.port) as reader,
        delivery(tmp_path, broker.port) as (publisher, outbox),
    ):
        outbox.put(Outgoing(ALERTS, CRITICAL, {"n": -1, "text": "x" * 4000}))
        put(outbox, range(5), CRITICAL)
        wait_for(lambda: heard(reader) == list(range(5)), "the others")
        wait_for(lambda: outbox.status.dead == 1, "the large one to be put aside")
        assert publisher.connected
