"""What docs/subscribers.md and deploy/node-red tell others to do works: topics, paths, commands, a flow's code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from paho.mqtt.client import topic_matches_sub

from echo_edge.config import Config
from echo_edge.contract import CHANNELS
from echo_edge.envelope import Topics
from echo_edge.order_envelope import read_body
from echo_edge.order_verbs import VERBS
from tests.broker import HOST, Mosquitto, needs_mosquitto, publish
from tests.echo_edge.test_homeassistant import filled

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "subscribers.md").read_text("utf-8")
FLOW: list[dict[str, Any]] = json.loads((ROOT / "deploy/node-red/echo-edge-flow.json").read_text("utf-8"))
NODES = {node["id"]: node for node in FLOW}
TOPICS = Topics("echo-edge/v1", "gw-hall3")
POINT = "pump-12/de"
OURS = [f"{TOPICS.root}/{channel.address.format(machine='pump-12', point='de', verb='ping')}" for channel in CHANNELS]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def examples(schema: str) -> list[dict[str, Any]]:
    text = (ROOT / "docs" / "mqtt.md").read_text("utf-8")
    found = map(json.loads, re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    return [message for message in found if message["schema"] == f"echo-edge/{schema}/1"]


def test_every_topic_that_the_page_subscribes_to_is_one_of_ours():
    filters = set(re.findall(r"echo-edge/v1/\+[\w/+#]*", PAGE))
    assert len(filters) > 5
    assert [wanted for wanted in filters if not any(topic_matches_sub(wanted, topic) for topic in OURS)] == []


def test_the_configuration_sections_of_the_page_are_valid():
    world = {
        "gateway": {"id": "gw-hall3"},
        "devices": {"acc": {"kind": "simulator"}},
        "machines": {"pump-12": {"points": {"de": {"device": "acc"}}}},
    }
    sections = [section for section in map(yaml.safe_load, blocks("yaml")) if "mqtt" in section]
    assert len(sections) == 2
    for section in sections:
        Config.model_validate(world | section, context={"folder": Path()})


def section_with(key: str) -> dict[str, Any]:
    (section,) = (section for section in map(yaml.safe_load, blocks("yaml")) if key in section)
    return dict(section)


def event(step: str, rev: int, alert_id: str = "a") -> SimpleNamespace:
    """A state of Home Assistant's alert entity after an event."""
    return SimpleNamespace(attributes={"event_type": step, "alert_id": alert_id, "rev": rev, "text": "loud"})


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (SimpleNamespace(attributes={}), event("open", 1), True),
        (event("open", 1), event("escalate", 2), True),
        (event("open", 1, "before"), event("open", 1), True),
        (event("open", 1), event("open", 1), False),  # the same once more
        (event("open", 1), event("ack", 2), False),
    ],
)
def test_the_automation_tells_a_phone_of_each_alert_that_opens_or_escalates_once(
    before: SimpleNamespace, now: SimpleNamespace, told: bool
):
    automation = section_with("triggers")
    (trigger,) = automation["triggers"]
    assert trigger["not_from"] == "unavailable", "a gateway that comes back is no alert"
    change = SimpleNamespace(from_state=before, to_state=now)
    assert all(filled(text, trigger=change) == "True" for text in automation["conditions"]) is told
    assert filled(automation["actions"][0]["data"]["message"], trigger=change) == "loud"


def test_the_script_acknowledges_the_alert_of_the_latest_event():
    (step,) = section_with("sequence")["sequence"]
    payload = filled(step["data"]["payload"], state_attr=lambda _, name: event("open", 1).attributes[name])
    verb = step["data"]["topic"].removeprefix(TOPICS.orders)
    order = read_body(payload.encode(), "gw-hall3", verb, signed=False)
    assert (verb, VERBS[verb].role, order.args) == ("alert.ack", "technician", {"alert_id": "a"})
    VERBS[verb].args.model_validate(order.args, strict=True)


def found(path: str, message: dict[str, Any]) -> Any:
    """What a path with dots leads to; None: nothing."""
    value: Any = message
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


@pytest.mark.parametrize(
    ("measurement", "schema"), [("echo_edge_state", "point-state"), ("echo_edge_features", "features")]
)
def test_telegraf_finds_what_it_looks_for_in_real_messages(measurement: str, schema: str):
    (text,) = blocks("toml")
    (plugin,) = [part for part in text.split("[[inputs.mqtt_consumer]]") if f'"{measurement}"' in part]
    (topic,) = re.findall(r'topics = \["(.*)"\]', plugin)
    assert topic_matches_sub(topic, TOPICS.state(POINT) if schema == "point-state" else TOPICS.features(POINT))
    messages = examples(schema)
    tables = re.findall(r'path = "([\w.]+)"((?:\n +(?:rename|type|optional|disable).*)*)', plugin)
    assert {path for path, _ in tables} >= {"gw", "machine", "point"}
    for path, options in [*tables, ("ts", "")]:
        there = [found(path, message) is not None for message in messages]
        assert any(there), path
        assert all(there) or "optional = true" in options, f"{path} is not in every message"
        if 'type = "float"' in options:
            assert all(isinstance(found(path, m), int | float) for m in messages if found(path, m) is not None)


@needs_mosquitto
def test_mosquitto_sub_by_the_page_gets_what_came_while_it_was_not_there(tmp_path: Path):
    with Mosquitto(tmp_path) as broker:
        words = blocks("sh")[0].replace("\\\n", " ").split()
        words = [word.strip("'") for word in words]
        assert words[0] == "mosquitto_sub"
        for option in ("--cafile", "-u", "-P"):  # a broker without TLS and passwords here
            del words[words.index(option) : words.index(option) + 2]
        words[words.index("-h") + 1], words[words.index("-p") + 1] = HOST, str(broker.port)
        subprocess.run([*words, "-E"], check=True, timeout=10)  # subscribes and leaves: the session is made
        publish(broker, TOPICS.alert(POINT), b"while it was away")
        done = subprocess.run([*words, "-C", "1", "-W", "5"], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout == "while it was away\n"


def test_the_flow_is_whole_its_wires_end_at_nodes_and_its_topics_are_ours():
    assert len(NODES) == len(FLOW)
    (tab,) = (node["id"] for node in FLOW if node["type"] == "tab")
    for node in FLOW:
        for out in node.get("wires", []):
            assert all(NODES[target]["z"] == tab for target in out), node["name"]
        if node["type"] == "mqtt in":
            assert NODES[node["broker"]]["type"] == "mqtt-broker"
            assert (node["qos"], node["datatype"]) == ("1", "json")
            assert any(topic_matches_sub(node["topic"], topic) for topic in OURS), node["topic"]
        if node["type"] == "switch":
            assert len(node["rules"]) == len(node["wires"]) == node["outputs"]
    reached = {target for node in FLOW for out in node.get("wires", []) for target in out}
    begins = {node["id"] for node in FLOW if node["type"] in ("mqtt in", "inject")}
    assert {node["id"] for node in FLOW if "z" in node} == reached | begins
    (broker,) = (node for node in FLOW if node["type"] == "mqtt-broker")
    assert broker["cleansession"] is False
    assert broker["clientid"]
    assert int(broker["sessionExpiry"]) > 0


def test_the_switches_know_every_kind_of_alert_and_every_severity_of_a_machines():
    values = {n["name"]: {rule["v"] for rule in n["rules"]} for n in FLOW if n["type"] == "switch"}
    alert = json.loads((ROOT / "echo_edge/schemas/alert.json").read_text("utf-8"))["properties"]
    assert values["kind"] == set(alert["kind"]["enum"])
    assert values["severity"] == set(alert["severity"]["enum"])


def run(name: str, payloads: list[Any], at_ms: list[int] | None = None) -> list[Any]:
    """Feed a function node of the flow, as Node-RED would; return what came out of it each time."""
    (node,) = (node for node in FLOW if node["type"] == "function" and node["name"] == name)
    at_ms = at_ms or [int(time.time() * 1000)] * len(payloads)
    script = f"""
const kept = {{}};
const context = {{ get: (key) => kept[key], set: (key, value) => {{ kept[key] = value; }} }};
const step = new Function('msg', 'context', {json.dumps(node["func"])});
const at = {json.dumps(at_ms)};
const out = {json.dumps(payloads)}.map((payload, i) => {{
    Date.now = () => at[i];
    return step({{ payload }}, context);
}});
console.log(JSON.stringify(out));
"""
    done = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, check=True, timeout=20)
    came: list[Any] = json.loads(done.stdout)
    return came


@needs_node
def test_the_flow_drops_repeats_and_what_is_late_and_lets_the_rest_pass():
    def alert(number: int, rev: int, alert_id: str = "a") -> dict[str, Any]:
        return {"id": f"gw:e:{number}", "alert_id": alert_id, "rev": rev}

    sent = [
        alert(1, 1),
        alert(1, 1),
        alert(3, 3),
        alert(2, 2),
        alert(4, 1, "b"),
        *(alert(n, n) for n in range(5, 1500)),
    ]
    came = run("drop repeats", [*sent, alert(1499, 1499)])
    assert [None if m is None else m["payload"]["id"] for m in came[:5]] == ["gw:e:1", None, "gw:e:3", None, "gw:e:4"]
    assert None not in came[5:-1]
    assert came[-1] is None


@needs_node
def test_the_flow_has_a_line_for_every_alert_and_tells_losses():
    for name in (node["name"] for node in FLOW if node.get("func", "").startswith("// One line")):
        assert [m["payload"] for m in run(name, examples("alert"))] == [a["text"] for a in examples("alert")]
    lost = {"gw": "gw", "outbox_lost": {"events": 3, "first_seq": 1, "last_seq": 3}}
    assert run("events lost", [{"gw": "gw"}, lost]) == [None, {"topic": "gw", "payload": "3 events were lost at gw"}]


@needs_node
def test_the_flow_tells_each_change_of_a_gateway_once():
    online, gone = {"gw": "gw", "state": "online"}, {"gw": "gw", "state": "offline", "reason": "connection_lost"}
    came = run("gateway came or went", [online, online, gone, gone, online])
    assert [m and m["payload"] for m in came] == [
        "gw is online",
        None,
        "gw is offline: connection_lost",
        None,
        "gw is online",
    ]


@needs_node
def test_the_flow_tells_a_point_that_is_not_monitored_after_ten_minutes_and_when_it_is_again():
    def state(level: str) -> dict[str, str]:
        return {"gw": "gw", "machine": "pump", "point": "de", "level": level, "reason": "sensor lost"}

    blind, minute = state("not_monitored"), 60_000
    steps: list[tuple[int, Any]] = [(0, blind), (9, None), (10, blind), (11, None), (12, state("normal"))]
    steps += [(13, blind), (14, state("normal")), (30, None)]
    came = run("not monitored for long", [payload for _, payload in steps], [at * minute + 1 for at, _ in steps])
    assert [[m["payload"] for m in out[0]] for out in came] == [
        [],
        [],
        ["gw/pump/de is not monitored: sensor lost"],
        [],
        ["gw/pump/de is monitored again"],
        [],
        [],
        [],
    ]
