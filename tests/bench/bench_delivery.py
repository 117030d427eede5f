"""What an alert costs on its way: to disk, to a subscriber, and 10,000 of them after an outage.

Everything runs against one Mosquitto on loopback, in one run; the disk's own fsync and the client library's own rate
stand beside ours. The payload is an alert of usual size.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.table import Table

from echo_edge.backlog import WINDOW
from echo_edge.demo_broker import DemoBroker, demo_broker
from echo_edge.envelope import Envelope, Topics
from echo_edge.mqtt import MqttSettings
from echo_edge.outbox import Outbox
from echo_edge.outgoing import CRITICAL, Outgoing
from echo_edge.publisher import Publisher, Timing

TOPICS = Topics("echo-edge/v1", "bench")
ALERT = TOPICS.alert("pump-12/de")
BYTES = 2000
STATES_PER_S, STATE_TOPICS = 1000, 96
ON_DISK_MS, AT_SUBSCRIBER_MS, CORE_SHARE, OF_LIBRARY = 10.0, 50.0, 0.10, 0.5


@contextmanager
def delivery(folder: Path, broker: DemoBroker) -> Iterator[tuple[Publisher, Outbox]]:
    outbox = Outbox(folder / "outbox.db", "bench")
    settings = MqttSettings(host=broker.host, port=broker.port)
    publisher = Publisher(settings, TOPICS, Envelope("bench"), outbox, timing=Timing(backoff_base_s=0.01))
    outbox.start()
    try:
        yield publisher, outbox
    finally:
        publisher.stop()
        outbox.stop()


@contextmanager
def subscriber(broker: DemoBroker, arrived: dict[int, float]) -> Iterator[None]:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    ready = threading.Event()
    client.on_connect = lambda *_: client.subscribe("echo-edge/#", qos=1)
    client.on_subscribe = lambda *_: ready.set()

    def note(_client: Client, _data: Any, message: Any) -> None:
        if message.topic.endswith("/alert"):
            arrived.setdefault(json.loads(message.payload)["n"], time.perf_counter())

    client.on_message = note
    client.connect(broker.host, broker.port)
    client.loop_start()
    assert ready.wait(5)
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def fsync_ms(folder: Path, turns: int) -> list[float]:
    """Appending one page and waiting for the disk, as one commit does."""
    took = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(turns):
            file.write(b"x" * 4096)
            file.flush()
            begun_s = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - begun_s) * 1e3)
    return took


def alert(number: int, stored: dict[int, float]) -> Outgoing:
    def then(_: object) -> None:
        stored[number] = time.perf_counter()

    return Outgoing(ALERT, CRITICAL, {"n": number, "text": "x" * BYTES}, then=then)


def latencies_ms(folder: Path, broker: DemoBroker, turns: int) -> tuple[list[float], list[float]]:
    """From ``put`` to the disk, and to a local subscriber; one alert at a time."""
    begun, stored, arrived = {}, dict[int, float](), dict[int, float]()
    with delivery(folder, broker) as (publisher, outbox), subscriber(broker, arrived):
        publisher.start()
        for number in range(turns):
            begun[number] = time.perf_counter()
            outbox.put(alert(number, stored))
            while number not in arrived:
                time.sleep(0.0005)
            time.sleep(0.01)
    first = 20  # the connection and the first probe of the topic
    disk = [(stored[n] - begun[n]) * 1e3 for n in range(first, turns)]
    return disk, [(arrived[n] - begun[n]) * 1e3 for n in range(first, turns)]


def states_core_share(folder: Path, broker: DemoBroker, seconds: float) -> float:
    """Share of one core for so many state updates a second, the making of their JSON not included."""
    payload = b"x" * 800
    with delivery(folder, broker) as (publisher, _):
        publisher.start()
        time.sleep(1)
        begun_s, cpu_s = time.perf_counter(), time.process_time()
        for turn in range(int(seconds * 100)):
            for one in range(STATES_PER_S // 100):
                publisher.set_state(f"{TOPICS.root}/m/m/p/{(turn * 10 + one) % STATE_TOPICS}/state", payload)
            time.sleep(max(0.0, begun_s + (turn + 1) / 100 - time.perf_counter()))
        return (time.process_time() - cpu_s) / (time.perf_counter() - begun_s)


@contextmanager
def reader(broker: DemoBroker) -> Iterator[None]:
    """A subscriber of its own process: its work is not ours."""
    program = shutil.which("mosquitto_sub")
    assert program is not None
    listen = [program, "-h", broker.host, "-p", str(broker.port), "-V", "5", "-q", "1", "-t", "echo-edge/#"]
    with subprocess.Popen(listen, stdout=subprocess.DEVNULL) as process:
        time.sleep(0.5)
        yield
        process.terminate()


def flush_per_s(folder: Path, broker: DemoBroker, count: int) -> float:
    """Stored alerts a second, from the connection to the last acknowledgement."""
    with delivery(folder, broker) as (publisher, outbox), reader(broker):
        for number in range(count):
            outbox.put(alert(number, {}))
        while outbox.status.storing:
            time.sleep(0.05)
        begun_s = time.perf_counter()
        publisher.start()
        while outbox.status.waiting:
            time.sleep(0.01)
        took_s = time.perf_counter() - begun_s
    return count / took_s


def library_per_s(broker: DemoBroker, count: int) -> float:
    """The same messages through the client library's own queue and thread, the same window."""
    with reader(broker):
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.max_inflight_messages_set(WINDOW)
        client.connect(broker.host, broker.port)
        client.loop_start()
        payloads = [json.dumps({"n": number, "text": "x" * BYTES}).encode() for number in range(count)]
        begun_s = time.perf_counter()
        for payload in payloads:
            last = client.publish(ALERT, payload, qos=1)
        last.wait_for_publish(120)
        took_s = time.perf_counter() - begun_s
        client.disconnect()
        client.loop_stop()
    return count / took_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--turns", type=int, default=500, help="alerts one by one")
    parser.add_argument("--count", type=int, default=10_000, help="alerts after an outage")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, demo_broker() as broker:
        folders = [Path(name, part) for part in ("one", "states", "flush")]
        for folder in folders:
            folder.mkdir()
        sync = fsync_ms(folders[0], options.turns)
        disk, there = latencies_ms(folders[0], broker, options.turns)
        share = states_core_share(folders[1], broker, 5.0)
        library = library_per_s(broker, options.count)
        ours = flush_per_s(folders[2], broker, options.count)
    rows = [
        ("fdatasync of one page, p50 / p99", f"{np.median(sync):.2f} / {np.percentile(sync, 99):.2f} ms", "", True),
        row_ms("alert on disk", disk, ON_DISK_MS),
        row_ms("alert at a local subscriber", there, AT_SUBSCRIBER_MS),
        (f"{STATES_PER_S} states/s, share of a core", f"{share:.1%}", f"{CORE_SHARE:.0%}", share <= CORE_SHARE),
        ("client library's own QoS 1 rate", f"{library:.0f}/s", "", True),
        (
            f"{options.count} stored alerts flushed",
            f"{ours:.0f}/s ({ours / library:.2f} of the library's)",
            f"{OF_LIBRARY}",
            ours >= OF_LIBRARY * library,
        ),
    ]
    table = Table("what", "measured", "target", "met", title=f"delivery, {broker.name}, {BYTES} bytes an alert")
    for what, measured, target, met in rows:
        table.add_row(what, measured, target, "yes" if met and target else "" if met else "no")
    Console().print(table)
    return 0


def row_ms(what: str, took: list[float], target_ms: float) -> tuple[str, str, str, bool]:
    p99 = float(np.percentile(took, 99))
    return f"{what}, p50 / p99", f"{np.median(took):.2f} / {p99:.2f} ms", f"p99 {target_ms:.0f} ms", p99 <= target_ms


if __name__ == "__main__":
    raise SystemExit(main())
