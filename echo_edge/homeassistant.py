"""What Home Assistant is told: one device-based discovery message per machine. Pure.

Every entity reads a topic of its own point, so no template picks one point's messages from a shared topic. Ids are made
of configured ids alone: a title may change.
Source: Home Assistant 2024.11 and newer, ``components/mqtt``: abbreviations, ``DEVICE_DISCOVERY_SCHEMA`` and the
discovery schemas of the platforms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

from echo_edge.alert_life import StepType
from echo_edge.config import Config
from echo_edge.envelope import Payload, Topics
from echo_edge.errors import ConfigError
from echo_edge.order_types import ROLES, Role
from echo_edge.payload import LEVELS

ENROLL: tuple[str, Role] = ("enroll.start", "technician")
TARGET: tuple[str, Role] = ("threshold.set", "engineer")
GATEWAY_IS_THERE = "{{ 'online' if value_json.state in ['online', 'degraded'] else 'offline' }}"
SENSOR_IS_THERE = "{{ 'online' if value_json.state in ['ok', 'degraded'] else 'offline' }}"
TOPIC = "stat_t"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of feature that becomes an entity."""

    begins: str
    ends: str
    words: str
    device_class: str
    unit: str

    def has(self, feature: str) -> bool:
        """``velocity_rms_x_mm_s`` and ``velocity_z_mm_s`` are velocities."""
        return feature.startswith(self.begins) and feature.endswith(self.ends)

    def channel(self, feature: str) -> str:
        """``x``, ``ch0``, or nothing."""
        return feature[len(self.begins) : -len(self.ends)].removeprefix("_rms").strip("_")


QUANTITIES = (
    Quantity("velocity", "_mm_s", "vibration velocity", "speed", "mm/s"),
    Quantity("sound_level", "_db", "sound level", "sound_pressure", "dB"),
)


def discovery(
    config: Config, topics: Topics, measured: Mapping[str, Collection[str]], version: str
) -> dict[str, Payload]:
    """Return the discovery message of every machine.

    Args:
        measured: point -> names of its features, as far as they are known.
        version: of this program.

    Raises:
        ConfigError: two points would have entities with one id.
    """
    messages = {
        machine: {
            "dev": {
                "ids": [device_id(topics.gateway, machine)],
                "name": settings.title or machine,
                "mf": "echo-edge",
                "sw": version,
            },
            "o": {"name": "echo-edge", "sw": version},
            "avty": [_available(topics.status, GATEWAY_IS_THERE)],
            "avty_mode": "all",
            "cmps": {
                f"{name}_{entity}": {**component, "uniq_id": f"{device_id(topics.gateway, machine)}_{name}_{entity}"}
                for name, point in ((name, f"{machine}/{name}") for name in settings.points)
                for entity, component in _entities(config, topics, point, measured.get(point, ())).items()
            },
        }
        for machine, settings in config.machines.items()
    }
    _check_ids(messages)
    return messages


def discovery_topic(prefix: str, gateway: str, machine: str) -> str:
    return f"{prefix}/device/{device_id(gateway, machine)}/config"


def device_id(gateway: str, machine: str) -> str:
    return f"{gateway}_{machine}"


def platforms(message: Payload) -> dict[str, str]:
    """Return what has to be remembered of a message to take its entities back: component -> platform."""
    return {name: component["p"] for name, component in message["cmps"].items()}


def without_gone(message: Payload, before: Mapping[str, str]) -> Payload:
    """Return the message with those components named as gone that an earlier one had: a platform alone removes one.

    Args:
        before: component -> platform.
    """
    gone = {name: {"p": platform} for name, platform in before.items() if name not in message["cmps"]}
    return message | {"cmps": message["cmps"] | gone}


def interesting(features: Iterable[str]) -> list[str]:
    """Return those names of a ``features`` message that become entities."""
    return sorted(name for name in features if any(quantity.has(name) for quantity in QUANTITIES))


def _entities(config: Config, topics: Topics, point: str, features: Iterable[str]) -> dict[str, Payload]:
    """The entities of one point by their names."""
    name = point.partition("/")[2]
    there = {"avty": [_available(topics.status, GATEWAY_IS_THERE), _available(topics.quality(point), SENSOR_IS_THERE)]}
    return {
        **_judged(topics, point, name, there),
        **_sensor(topics, point, name),
        **_measured(topics, point, name, features, there),
        **_orders(topics, point, name, _allowed(config)),
    }


def _judged(topics: Topics, point: str, name: str, there: Payload) -> dict[str, Payload]:
    state = {TOPIC: topics.state(point)} | there
    return {
        "condition": {
            "p": "sensor",
            "name": f"{name} condition",
            "dev_cla": "enum",
            "ops": list(LEVELS),
            "val_tpl": "{{ value_json.level }}",
            "json_attr_t": topics.state(point),
            "json_attr_tpl": "{{ {'reason': value_json.reason | default(none)} | tojson }}",
        }
        | state,
        "problem": {
            "p": "binary_sensor",
            "name": f"{name} problem",
            "dev_cla": "problem",
            # without a verdict it is unknown: neither a problem nor none
            "val_tpl": "{{ {'normal': 'OFF', 'warning': 'ON', 'alarm': 'ON'}.get(value_json.level) }}",
        }
        | state,
        "score": {
            "p": "sensor",
            "name": f"{name} anomaly score",
            "stat_cla": "measurement",
            "sug_dsp_prc": 2,
            "val_tpl": "{{ (value_json.score | default({})).calibrated | default(none) }}",
        }
        | state,
        "operating_state": {
            "p": "sensor",
            "name": f"{name} operating state",
            "dev_cla": "enum",  # without options: states are taught while the daemon runs
            "val_tpl": "{{ (value_json.operating_state | default({})).name | default(none) }}",
        }
        | state,
        "alert": {
            "p": "event",
            "name": f"{name} alert",
            TOPIC: topics.alert(point),
            "qos": 1,
            "evt_typ": list(get_args(StepType)),
            "val_tpl": "{{ {'event_type': value_json.type, 'alert_id': value_json.alert_id, 'rev': value_json.rev, "
            "'severity': value_json.severity, 'kind': value_json.kind, 'text': value_json.text} | tojson }}",
        },
    }


def _sensor(topics: Topics, point: str, name: str) -> dict[str, Payload]:
    """Not ``there`` when the sensor is: that is when it must be seen."""
    return {
        "quality": {
            "p": "binary_sensor",
            "name": f"{name} sensor",
            "dev_cla": "problem",
            "ent_cat": "diagnostic",
            TOPIC: topics.quality(point),
            "val_tpl": "{{ 'OFF' if value_json.state == 'ok' else 'ON' }}",
            "json_attr_t": topics.quality(point),
            "json_attr_tpl": "{{ {'state': value_json.state, 'reasons': value_json.reasons} | tojson }}",
        }
    }


def _measured(topics: Topics, point: str, name: str, features: Iterable[str], there: Payload) -> dict[str, Payload]:
    return {
        feature: {
            "p": "sensor",
            "name": " ".join(filter(None, (name, quantity.words, quantity.channel(feature)))),
            "dev_cla": quantity.device_class,
            "unit_of_meas": quantity.unit,
            "stat_cla": "measurement",
            "sug_dsp_prc": 2,
            TOPIC: topics.features(point),
            "val_tpl": f"{{{{ value_json.features.{feature} | default(none) }}}}",
        }
        | there
        for quantity in QUANTITIES
        for feature in interesting(features)
        if quantity.has(feature)
    }


def _orders(topics: Topics, point: str, name: str, allowed: Callable[[Role], bool]) -> dict[str, Payload]:
    """What can be ordered without a signature: Home Assistant cannot sign."""
    verb, role = ENROLL
    entities: dict[str, Payload] = {}
    if allowed(role):
        entities["enroll"] = {
            "p": "button",
            "name": f"{name} enroll now",
            "ent_cat": "config",
            "cmd_t": topics.orders + verb,
            "qos": 1,
            "pl_prs": _order({"point": point}),
        }
    verb, role = TARGET
    if allowed(role):
        entities["target"] = {
            "p": "number",
            "name": f"{name} target false alarms per month",
            "ent_cat": "config",
            "cmd_t": topics.orders + verb,
            "qos": 1,
            "cmd_tpl": _order({"point": point, "target_false_alarms_per_month": 0}).replace(":0}", ":{{ value }}}"),
            TOPIC: topics.baseline(point),
            "val_tpl": "{{ (value_json.false_alarms_per_month | default({})).target | default(none) }}",
            "min": 0.1,
            "max": 1000,
            "step": 0.1,
            "mode": "box",
        }
    return entities


def _order(args: Payload) -> str:
    return json.dumps({"args": args, "actor": "Home Assistant"}, separators=(",", ":"))


def _allowed(config: Config) -> Callable[[Role], bool]:
    given = config.orders.unsigned_role if config.orders.mqtt else None
    return lambda role: given is not None and ROLES.index(given) >= ROLES.index(role)


def _available(topic: str, template: str) -> Payload:
    return {"t": topic, "val_tpl": template}


def _check_ids(messages: Mapping[str, Payload]) -> None:
    owner: dict[str, str] = {}
    for machine, message in messages.items():
        for component in message["cmps"].values():
            if (other := owner.setdefault(component["uniq_id"], machine)) != machine:
                raise ConfigError(
                    [
                        f"mqtt.homeassistant: machines {other} and {machine} would both have the entity "
                        f"'{component['uniq_id']}'; give one of them, or its points, an id without '_'"
                    ]
                )
