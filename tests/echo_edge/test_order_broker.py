"""Orders by way of a real broker: answers with MQTT 5 and 3.1.1, the documented client, hostile clients."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from echo_edge.config_orders import Operator, OrdersConfig
from echo_edge.demo_broker import HOST
from echo_edge.envelope import Envelope, timestamp
from echo_edge.mqtt import MqttSettings
from echo_edge.operator_keys import PrivateKey, SharedKey, write_key
from echo_edge.order_desk import Desk
from echo_edge.order_envelope import sign
from echo_edge.order_ledger import Ledger
from echo_edge.order_mqtt import OrderBridge
from echo_edge.order_types import Role, Verb
from echo_edge.publisher import Publisher
from echo_edge.records import TopicMessage
from tests.broker import Mosquitto, Subscriber, needs_mosquitto, publish, wait_for
from tests.order_desk import TOPICS, Bench, PointArgs
from tests.outboxes import memory_outbox

pytestmark = needs_mosquitto
DOCS = Path(__file__).resolve().parents[2] / "docs"
KEY = SharedKey(bytes(range(32)))
VERBS: dict[str, Verb[Bench, Any]] = {
    "state.set": Verb("technician", PointArgs, lambda bench, args, call: bench.do("state.set", args, call), "Tells."),
}


class Live:
    """A gateway that takes orders, with the real publisher."""

    def __init__(self, folder: Path, port: int, unsigned_role: Role | None = None, protocol: Any = "5") -> None:
        self.bench = Bench()
        self.audited: list[tuple[str, ...]] = []
        self.heard: list[TopicMessage] = []
        desk = Desk(self.bench, VERBS, lambda *row: self.audited.append(row))
        self._stack = ExitStack()
        outbox = self._stack.enter_context(memory_outbox())
        self.publisher = Publisher(
            MqttSettings(port=port, protocol=protocol),
            TOPICS,
            Envelope("gw-hall3"),
            outbox,
            listen_to=[f"{TOPICS.orders}+"],
            hear=self._hear,
        )
        self.bridge = OrderBridge(
            OrdersConfig(unsigned_role=unsigned_role),
            {"m-lang": Operator("m-lang", "m-lang", "technician", KEY)},
            desk,
            lambda work: work() is None,  # type: ignore[func-returns-value]
            self.publisher,
            TOPICS,
            Envelope("gw-hall3"),
            Ledger(folder / "state.db"),
        )

    def _hear(self, message: TopicMessage) -> None:
        self.heard.append(message)
        self.bridge.hear(message)

    def __enter__(self) -> Live:
        self.bridge.tick()
        self.publisher.start()
        wait_for(lambda: self.publisher.connected, "a connection")
        return self

    def __exit__(self, *_: object) -> None:
        self.bridge.stop()
        self.publisher.stop()
        self._stack.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


def signed(nonce: str, number: int, **changes: Any) -> bytes:
    body = {
        "v": 1,
        "gw": "gw-hall3",
        "id": f"order-{number}",
        "verb": "state.set",
        "args": {"point": "pump/de"},
        "ts": timestamp(time.time_ns()),
        "nonce": nonce,
        "ctr": number,
    }
    return sign(f"{TOPICS.orders}state.set", body | changes, "m-lang", KEY)


@contextmanager
def requester(port: int) -> Iterator[tuple[Client, list[MQTTMessage]]]:
    """An MQTT 5 client with a response topic of its own."""
    heard: list[MQTTMessage] = []
    ready = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda *_: client.subscribe("clients/hmi-2", qos=1)  # type: ignore[assignment]
    client.on_message = lambda _, __, message: heard.append(message)
    client.connect(HOST, port)
    client.loop_start()
    assert ready.wait(10)
    try:
        yield client, heard
    finally:
        client.disconnect()
        client.loop_stop()


def test_a_request_is_answered_to_its_response_topic_with_its_correlation_data(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with Live(tmp_path, broker.port) as gateway, Subscriber(broker.port, f"{TOPICS.root}/#") as all_of_it:
        nonce = all_of_it.wait("/cmd/nonce")[-1].json["nonce"]
        with requester(broker.port) as (client, heard):
            wanted = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            wanted.ResponseTopic, wanted.CorrelationData = "clients/hmi-2", b"\x00\xff7"
            client.publish(f"{TOPICS.orders}state.set", signed(nonce, 1), qos=1, properties=wanted)
            wait_for(lambda: bool(heard), "an answer")
        told = json.loads(heard[0].payload)
        assert told["ok"]
        assert heard[0].properties.CorrelationData == b"\x00\xff7"  # type: ignore[union-attr]
        assert all_of_it.on("/rsp/state.set") == []
        assert len(gateway.bench.done) == 1
        assert [row[:2] for row in gateway.audited] == [("m-lang", "order")]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_clients_without_response_topics_read_rsp(broker: Mosquitto, tmp_path: Path, protocol: str) -> None:
    with (
        Live(tmp_path, broker.port, protocol=protocol) as gateway,
        Subscriber(broker.port, f"{TOPICS.root}/#") as all_of_it,
    ):
        nonce = all_of_it.wait("/cmd/nonce")[-1].json["nonce"]
        publish(broker, f"{TOPICS.orders}state.set", signed(nonce, 1), "-V", "311")
        (answer,) = all_of_it.wait("/rsp/state.set")
        assert (answer.json["id"], answer.json["ok"], answer.retain) == ("order-1", True, False)
        publish(broker, f"{TOPICS.orders}state.set", signed(nonce, 2), "-V", "311")
        assert all_of_it.wait("/rsp/state.set", 2)[1].json["error"]["code"] == "replayed"
        assert len(gateway.bench.done) == 1


def test_a_retained_order_leaves_the_broker_and_the_nonce_leaves_with_the_gateway(
    broker: Mosquitto, tmp_path: Path
) -> None:
    order = b'{"args": {"point": "pump/de"}}'
    publish(broker, f"{TOPICS.orders}state.set", order, "-r")  # it waits for the gateway
    with Live(tmp_path, broker.port, "technician") as gateway:
        with Subscriber(broker.port, f"{TOPICS.root}/rsp/#") as answers:
            publish(broker, f"{TOPICS.orders}state.set", order, "-r")  # and another while it is there
            wait_for(lambda: gateway.bridge.counts.get("retained", 0) == 2, "both refused")
            assert answers.wait("/rsp/state.set")[-1].json["error"]["code"] == "retained"
        with Subscriber(broker.port, f"{TOPICS.orders}#") as left:
            wait_for(lambda: [m.topic for m in left.messages] == [TOPICS.nonce], "only the nonce is left")
        assert gateway.bench.done == []
    with Subscriber(broker.port, f"{TOPICS.orders}#") as left:
        publish(broker, f"{TOPICS.orders}last", b"x")
        left.wait("last")
        assert [m.topic for m in left.messages] == [f"{TOPICS.orders}last"]


def test_the_example_of_the_documentation_gives_an_order(broker: Mosquitto, tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", (DOCS / "orders.md").read_text("utf-8"), re.DOTALL)
    write_key(tmp_path / "m-lang.key", KEY)
    for old, new in (
        ('"broker.local", 1883', f'"{HOST}", {broker.port}'),
        ('Path("m-lang.key")', f'Path("{tmp_path}/m-lang.key")'),
        ('"alert.ack", {"alert_id": "a1-1", "note": "greased"}', '"state.set", {"point": "pump/de"}'),
    ):
        assert old in text
        text = text.replace(old, new)
    with Live(tmp_path, broker.port) as gateway:
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=20, check=False)
        assert done.stdout.strip() == "{'count': 1}", done.stderr
        assert [call.actor for _, _, call in gateway.bench.done] == ["m-lang"]


def test_the_commands_of_the_documentation_reach_a_gateway_that_asks_for_no_signature(
    broker: Mosquitto, tmp_path: Path
) -> None:
    program = shutil.which("mosquitto_rr")
    assert program is not None
    with Live(tmp_path, broker.port, "technician") as gateway:
        address = ["-h", HOST, "-p", str(broker.port), "-q", "1", "-V", "5"]
        topics = ["-t", f"{TOPICS.orders}state.set", "-e", f"{TOPICS.root}/rsp/me"]
        done = subprocess.run(
            [program, *address, *topics, "-m", '{"args": {"point": "pump/de"}}'],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        assert json.loads(done.stdout)["ok"]
        assert [call.actor for _, _, call in gateway.bench.done] == ["unsigned"]


def test_hostile_messages_end_neither_the_link_nor_the_taking_of_orders(broker: Mosquitto, tmp_path: Path) -> None:
    with Live(tmp_path, broker.port) as gateway, Subscriber(broker.port, f"{TOPICS.root}/#") as all_of_it:
        with requester(broker.port) as (client, _):
            for verb in ("state.set", "no.such", "st\u00e4te", "a" * 200, "..", "nonce"):
                for payload in (b"\xff" * 100_000, b"{" * 9000, b"[" * 9000, b"", b"{}", b"a.b.c"):
                    for topic in (None, f"{TOPICS.root}/status", "$SYS/x", "x" * 300):
                        hostile = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
                        hostile.CorrelationData = b"c" * 20_000
                        if topic is not None:
                            hostile.ResponseTopic = topic
                        client.publish(f"{TOPICS.orders}{verb}", payload, qos=0, properties=hostile)
            client.publish(f"{TOPICS.orders}last", b"x", qos=1).wait_for_publish(10)
        wait_for(lambda: any(m.topic.endswith("/cmd/last") for m in gateway.heard), "all of them heard")
        assert gateway.bench.done == []
        assert "defects" not in gateway.bridge.counts
        time.sleep(0.1)
        nonce = all_of_it.wait("/cmd/nonce")[0].json["nonce"]
        publish(broker, f"{TOPICS.orders}state.set", signed(nonce, 1))
        wait_for(lambda: bool(gateway.bench.done), "an honest order")
        assert {m.topic for m in all_of_it.messages if "/cmd/" not in m.topic} <= {
            *(TOPICS.answer(verb) for verb in ("state.set", "no.such", "last")),
            TOPICS.status,
        }


def test_the_test_vectors_of_the_documentation_are_what_this_package_signs() -> None:
    text = (DOCS / "orders.md").read_text("utf-8")
    vectors = text[text.index("## A test vector") : text.index("## Clients that cannot sign")]
    (body,) = re.findall(r"```json\n(.*?)\n```", vectors)
    (topic,) = re.findall(r"`(echo-edge/\S+)`", vectors)
    wires = re.findall(r"```text\n(.*?)\n```", vectors)
    keys = (KEY, PrivateKey(bytes(range(32))))
    assert wires == [sign(topic, body.encode(), "m-lang", key).decode() for key in keys]
    assert KEY.line() in vectors
