"""Discovery as Home Assistant reads it: keys, required fields, templates on real messages, ids, and removal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from echo_edge.config import Config
from echo_edge.envelope import Envelope, Topics
from echo_edge.errors import ConfigError
from echo_edge.homeassistant import ENROLL, TARGET, discovery, platforms, without_gone
from echo_edge.homeassistant_link import SETTLED_S, Discovery
from echo_edge.mqtt import MqttSettings
from echo_edge.order_verbs import VERBS
from echo_edge.publisher import Publisher
from echo_edge.records import TopicMessage
from tests.broker import Message, Mosquitto, Subscriber, needs_mosquitto, publish, wait_for
from tests.outboxes import memory_outbox
from tests.world import POINT, make_config

TOPICS = Topics("echo-edge/v1", "gw")
DISCOVERY = "homeassistant/device/gw_pump/config"
EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "mqtt.md"
FULL_NAMES = {  # as Home Assistant 2024.11 and 2026.11 expand them
    "avty": "availability",
    "avty_mode": "availability_mode",
    "cmd_t": "command_topic",
    "cmd_tpl": "command_template",
    "cmps": "components",
    "dev": "device",
    "dev_cla": "device_class",
    "ent_cat": "entity_category",
    "evt_typ": "event_types",
    "json_attr_t": "json_attributes_topic",
    "json_attr_tpl": "json_attributes_template",
    "o": "origin",
    "ops": "options",
    "p": "platform",
    "pl_prs": "payload_press",
    "stat_cla": "state_class",
    "stat_t": "state_topic",
    "sug_dsp_prc": "suggested_display_precision",
    "t": "topic",
    "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
}
DEVICE_NAMES = {"ids": "identifiers", "mf": "manufacturer", "sw": "sw_version"}
COMMON = {
    "platform",
    "name",
    "unique_id",
    "qos",
    "availability",
    "availability_mode",
    "device_class",
    "entity_category",
    "json_attributes_topic",
    "json_attributes_template",
    "value_template",
}
PLATFORMS = {  # platform -> what it must have, what it may have beside the common options
    "sensor": ({"state_topic"}, {"options", "state_class", "unit_of_measurement", "suggested_display_precision"}),
    "binary_sensor": ({"state_topic"}, set()),
    "event": ({"state_topic", "event_types"}, set()),
    "button": ({"command_topic"}, {"payload_press"}),
    "number": ({"command_topic"}, {"command_template", "state_topic", "min", "max", "step", "mode"}),
}


def expanded(config: Any, names: dict[str, str]) -> Any:
    return {names.get(key, key): value for key, value in config.items()}


def as_read(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The components of a discovery message with full names and what they inherit; fails where one is not allowed."""
    root = expanded(json.loads(json.dumps(message)), FULL_NAMES)
    assert root.keys() == {"device", "origin", "components", "availability", "availability_mode"}
    device, origin = expanded(root["device"], DEVICE_NAMES), expanded(root["origin"], DEVICE_NAMES)
    assert device.keys() <= {"identifiers", "name", "manufacturer", "sw_version"}
    assert device["identifiers"]
    assert origin.keys() == {"name", "sw_version"}
    components = {}
    for name, component in root["components"].items():
        full = expanded(component, FULL_NAMES)
        if full.keys() > {"platform"}:
            required, allowed = PLATFORMS[full["platform"]]
            assert required | {"unique_id"} <= full.keys() <= COMMON | required | allowed, name
            full = {"availability": root["availability"], "availability_mode": root["availability_mode"]} | full
            full["availability"] = [expanded(one, FULL_NAMES) for one in full["availability"]]
            assert all(one.keys() == {"topic", "value_template"} for one in full["availability"])
        components[name] = full
    return components


def plant(**sections: Any) -> Config:
    return make_config(**({"mqtt": {"homeassistant": {}}} | sections))


def components(config: Config, *features: str) -> dict[str, dict[str, Any]]:
    return as_read(discovery(config, TOPICS, {POINT: features}, "1.0")["pump"])


def filled(template: str, **known: Any) -> str:
    """As Home Assistant does, whose templates are jinja2's in a sandbox, and give a text here."""
    sandbox = pytest.importorskip("jinja2.sandbox")
    return str(sandbox.ImmutableSandboxedEnvironment().from_string(template).render(**known))


def rendered(template: str, payload: Any) -> str:
    return filled(template, value_json=payload)


def examples(schema: str) -> list[dict[str, Any]]:
    """The real messages of the documentation."""
    blocks = re.findall(r"^```json\n(.*?)^```$", EXAMPLES.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    found = [message for message in map(json.loads, blocks) if message["schema"] == f"echo-edge/{schema}/1"]
    assert found
    return found


def test_a_point_has_its_entities_and_each_reads_a_topic_of_that_point_alone():
    found = components(plant(), "velocity_rms_x_mm_s", "velocity_rms_z_mm_s", "crest_x")
    assert {name: component["platform"] for name, component in found.items()} == {
        "de_condition": "sensor",
        "de_problem": "binary_sensor",
        "de_score": "sensor",
        "de_operating_state": "sensor",
        "de_alert": "event",
        "de_quality": "binary_sensor",
        "de_velocity_rms_x_mm_s": "sensor",
        "de_velocity_rms_z_mm_s": "sensor",
    }
    assert {component["unique_id"] for component in found.values()} == {f"gw_pump_{name}" for name in found}
    assert all(component["state_topic"].startswith(f"{TOPICS.root}/m/pump/p/de/") for component in found.values())
    velocity = found["de_velocity_rms_x_mm_s"]
    assert (velocity["name"], velocity["device_class"], velocity["unit_of_measurement"]) == (
        "de vibration velocity x",
        "speed",
        "mm/s",
    )


def test_a_sound_level_is_an_entity_and_a_level_without_calibration_is_none():
    found = components(plant(), "sound_level_db", "level_dbfs")
    assert found["de_sound_level_db"]["device_class"] == "sound_pressure"
    assert "de_level_dbfs" not in found


def test_a_title_changes_the_names_and_no_id():
    def ids(config: Config) -> tuple[Any, ...]:
        message = discovery(config, TOPICS, {}, "1.0")["pump"]
        return message["dev"]["ids"], [component["uniq_id"] for component in message["cmps"].values()]

    machines = {"pump": {"title": "Feed pump 12", "points": {"de": {"device": "acc"}}}}
    titled = plant(machines=machines)
    assert ids(titled) == ids(plant())
    assert discovery(titled, TOPICS, {}, "1.0")["pump"]["dev"]["name"] == "Feed pump 12"


def test_two_entities_with_one_id_are_refused():
    point = {"device": "acc"}
    config = plant(machines={"a": {"points": {"b_c": point}}, "a_b": {"points": {"c": point}}})
    with pytest.raises(ConfigError, match="machines a and a_b would both have the entity 'gw_a_b_c_condition'"):
        discovery(config, TOPICS, {}, "1.0")


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ({}, set()),
        ({"mqtt": True, "unsigned_role": "viewer"}, set()),
        ({"mqtt": False, "unsigned_role": "admin"}, set()),
        ({"mqtt": True, "unsigned_role": "technician"}, {"de_enroll"}),
        ({"mqtt": True, "unsigned_role": "engineer"}, {"de_enroll", "de_target"}),
    ],
)
def test_orders_are_offered_only_to_whom_an_order_without_a_signature_is_allowed(
    orders: dict[str, Any], expected: set[str]
):
    found = components(plant(orders=orders))
    assert {name for name, one in found.items() if one["platform"] in ("button", "number")} == expected


def test_what_a_button_and_a_number_order_is_what_the_verbs_take():
    found = components(plant(orders={"mqtt": True, "unsigned_role": "engineer"}))
    pressed = json.loads(found["de_enroll"]["payload_press"])
    chosen = json.loads(filled(found["de_target"]["command_template"], value=2.5))
    assert chosen["args"]["target_false_alarms_per_month"] == 2.5
    for (verb, role), order, name in ((ENROLL, pressed, "de_enroll"), (TARGET, chosen, "de_target")):
        assert found[name]["command_topic"] == f"{TOPICS.root}/cmd/{verb}"
        assert VERBS[verb].role == role
        VERBS[verb].args.model_validate(order["args"], strict=True)


def test_templates_tell_what_the_messages_say_and_nothing_that_they_do_not():
    found = components(plant(), "velocity_rms_mm_s")

    def value(entity: str, message: dict[str, Any]) -> str:
        return rendered(found[f"de_{entity}"]["value_template"], message)

    for state in examples("point-state"):
        judged = "score" in state
        assert value("condition", state) == state["level"]
        assert value("condition", state) in found["de_condition"]["options"]
        assert value("problem", state) == ("ON" if state["level"] in ("warning", "alarm") else "None")
        assert value("score", state) == (str(state["score"]["calibrated"]) if judged else "None")
        assert value("operating_state", state) == state.get("operating_state", {}).get("name", "None")
        attributes = json.loads(rendered(found["de_condition"]["json_attributes_template"], state))
        assert attributes == {"reason": state.get("reason")}
    assert value("problem", {"level": "normal"}) == "OFF"
    for alert in examples("alert"):
        event = json.loads(value("alert", alert))
        assert event["event_type"] == alert["type"]
        assert event["event_type"] in found["de_alert"]["event_types"]
        assert event["text"] == alert["text"]
    for quality in examples("quality"):
        assert value("quality", quality) == ("OFF" if quality["state"] == "ok" else "ON")
    assert value("velocity_rms_mm_s", {"features": {"velocity_rms_mm_s": 1.5}}) == "1.5"
    assert value("velocity_rms_mm_s", {"features": {}}) == "None"


@pytest.mark.parametrize(
    ("status", "quality", "available"),
    [
        ("online", "ok", True),
        ("degraded", "degraded", True),
        ("stopping", "ok", False),
        ("offline", "ok", False),
        ("online", "lost", False),
    ],
)
def test_a_value_is_available_while_the_gateway_is_there_and_its_sensor_too(status: str, quality: str, available: bool):
    condition, sensor = (components(plant())[f"de_{entity}"] for entity in ("condition", "quality"))
    said = {TOPICS.status: {"state": status}, TOPICS.quality(POINT): {"state": quality}}

    def is_available(entity: dict[str, Any]) -> bool:
        assert entity["availability_mode"] == "all"
        return all(rendered(a["value_template"], said[a["topic"]]) == "online" for a in entity["availability"])

    assert is_available(condition) is available
    assert is_available(sensor) is (status in ("online", "degraded"))  # a lost sensor must be seen


def test_a_component_that_is_gone_is_named_by_its_platform_alone():
    message = discovery(plant(), TOPICS, {}, "1.0")["pump"]
    told = without_gone(message, platforms(message) | {"nde_condition": "sensor"})
    assert told["cmps"]["nde_condition"] == {"p": "sensor"}
    assert as_read(told).keys() == {*message["cmps"], "nde_condition"}


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def living(config: Config, port: int, folder: Path, clock: Clock) -> Iterator[Discovery]:
    """A gateway's connection and its discovery."""

    def hear(message: TopicMessage) -> None:
        link.hear(message)

    with memory_outbox() as outbox:
        publisher = Publisher(
            MqttSettings(port=port),
            TOPICS,
            Envelope("gw"),
            outbox,
            listen_to=["homeassistant/status"],
            hear=hear,
        )
        link = Discovery(
            config, TOPICS, publisher, folder / "homeassistant.json", jitter=lambda low, _: low, clock_s=clock
        )
        link.begin()
        publisher.start()
        try:
            wait_for(lambda: publisher.connected, "the connection")
            link.tick()
            yield link
        finally:
            publisher.stop()


def configs(subscriber: Subscriber) -> list[Message]:
    return subscriber.on(DISCOVERY)


@needs_mosquitto
def test_it_is_retained_told_again_to_one_that_starts_and_taken_back_when_switched_off(tmp_path: Path):
    clock = Clock()
    with Mosquitto(tmp_path / "broker") as broker:
        with Subscriber(broker.port) as listening, living(plant(), broker.port, tmp_path, clock) as link:
            first = listening.wait(DISCOVERY)[-1]
            assert "de_condition" in as_read(first.json)
            features = {"features": {"velocity_rms_mm_s": 1.0, "crest": 3.0}}
            link.listen("features", POINT, features)
            assert "de_velocity_rms_mm_s" in as_read(listening.wait(DISCOVERY, 2)[-1].json)
            link.listen("features", POINT, features)  # no news

            publish(broker, "homeassistant/status", b"online")
            wait_for(lambda: bool(link.due), "Home Assistant to be heard")
            link.tick()
            assert len(configs(listening)) == 2, "it waits a little"
            clock.now_s += 2
            link.tick()
            listening.wait(DISCOVERY, 3)
        with Subscriber(broker.port) as late:
            assert "de_velocity_rms_mm_s" in as_read(late.wait(DISCOVERY)[-1].json), (
                "retained, and nothing is forgotten"
            )
        off = plant(mqtt={"homeassistant": {"enabled": False}})
        with Subscriber(broker.port) as listening, living(off, broker.port, tmp_path, clock) as link:
            wait_for(lambda: any(not m.payload for m in configs(listening)), "the message to be emptied")
            assert (tmp_path / "homeassistant.json").exists(), "kept until the broker has it for sure"
            clock.now_s += SETTLED_S
            link.tick()
            assert not (tmp_path / "homeassistant.json").exists()
        with Subscriber(broker.port) as late:
            late.wait("/status")
            assert configs(late) == []


@needs_mosquitto
def test_after_a_restart_it_knows_what_was_measured_and_takes_back_a_machine_that_is_gone(tmp_path: Path):
    both = {"pump": {"points": {"de": {"device": "acc"}}}, "fan": {"points": {"de": {"device": "acc"}}}}
    clock = Clock()
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as listening:
        with living(plant(machines=both), broker.port, tmp_path, clock) as link:
            link.listen("features", POINT, {"features": {"velocity_rms_mm_s": 1.0}})
            listening.wait("/gw_fan/config")
        with living(plant(), broker.port, tmp_path, clock):
            wait_for(lambda: listening.on("/gw_fan/config")[-1].payload == b"", "the fan to be removed")
            wait_for(lambda: "de_velocity_rms_mm_s" in as_read(configs(listening)[-1].json), "the pump's velocity")


def test_a_damaged_memory_is_told_and_is_no_reason_to_stay_down(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "homeassistant.json").write_text("{")
    states: dict[str, bytes] = {}

    class Broker:
        connected = False

        def set_state(self, topic: str, payload: bytes) -> None:
            states[topic] = payload

    Discovery(plant(), TOPICS, Broker(), tmp_path / "homeassistant.json").begin()  # type: ignore[arg-type]
    assert list(states) == [DISCOVERY]
    assert "cannot be read" in caplog.text
