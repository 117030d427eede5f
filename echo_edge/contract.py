"""The contract as a table: every topic with its schema, retain flag and QoS; and the same as an AsyncAPI 3 document."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources

from echo_edge import __version__
from echo_edge.envelope import Payload
from echo_edge.payload import load_schema

POINT = "m/{machine}/p/{point}"
PARAMETERS = {
    "gw": "Id of the gateway.",
    "machine": "Id of the machine.",
    "point": "Id of the measuring point.",
    "verb": "What is ordered.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One kind of topic; ``address`` is what follows ``echo-edge/v1/{gw}/``."""

    address: str
    schema: str
    retained: bool
    qos: int
    when: str
    """When a message is sent."""

    ours: bool = True
    """We send it; False: we receive it."""

    @property
    def name(self) -> str:
        """``point_alert_active`` for ``m/{machine}/p/{point}/alert/active``."""
        short = self.address.replace(POINT, "point").replace("m/{machine}", "machine")
        return re.sub(r"\W+", "_", short).strip("_")

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches the topics of this channel below the gateway's."""
        return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(self.address)))


CHANNELS = (
    Channel("status", "status", True, 1, "connect, a problem comes or goes, stop; also the last will"),
    Channel("info", "info", True, 1, "start"),
    Channel("health", "health", True, 0, "every 30 s"),
    Channel("m/{machine}/state", "machine-state", True, 1, "a change in any of its points or their alerts"),
    Channel(f"{POINT}/state", "point-state", True, 1, "a change, else every `mqtt.state_interval_s` at most"),
    Channel(f"{POINT}/score", "score", False, 0, "each window that was judged, with `mqtt.score_stream`"),
    Channel(f"{POINT}/quality", "quality", True, 1, "the sensor's health or its counts change"),
    Channel(f"{POINT}/features", "features", True, 0, "a new window; every `mqtt.state_interval_s` at most"),
    Channel(f"{POINT}/alert", "alert", False, 1, "each step of an alert"),
    Channel(f"{POINT}/alert/active", "alert-active", True, 1, "after each step, and at start"),
    Channel("alerts", "alert", False, 1, "each step of any alert; of the gateway's own, nowhere else"),
    Channel("alerts/active", "alerts-active", True, 1, "after each step of any alert, and at start"),
    Channel(f"{POINT}/enroll", "enroll", True, 1, "each step of an enrollment; at start"),
    Channel(f"{POINT}/baseline", "baseline", True, 1, "another baseline is in force; every minute; at start"),
    Channel("audit", "audit", False, 1, "each row that the daemon adds to its audit log"),
    Channel("cmd/nonce", "order-nonce", True, 1, "each signed order, else every minute, where orders are taken"),
    Channel("cmd/{verb}", "order", False, 1, "an order, signed (docs/orders.md) or as it is", ours=False),
    Channel("rsp/{verb}", "order-answer", False, 1, "each order that names no response topic"),
)


def channel_of(topic: str) -> Channel | None:
    """The channel of a topic below the gateway's (``m/pump-12/p/de/state``); None when there is none."""
    return next((channel for channel in CHANNELS if channel.pattern.fullmatch(topic)), None)


def asyncapi() -> Payload:
    """The contract as an AsyncAPI 3.0 document; payloads refer to the schema files beside it."""
    messages = {
        schema: {
            "name": schema,
            "title": load_schema(schema)["title"],
            "contentType": "application/json",
            "payload": {"$ref": f"./{schema}.json"},
        }
        for schema in dict.fromkeys(channel.schema for channel in CHANNELS)
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "echo-edge",
            "version": __version__,
            "description": "What a gateway says of its machines over MQTT, and what it may be ordered. "
            "The version of the contract is in the topic; additive changes keep it.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "broker.local:8883",
                "protocol": "secure-mqtt",
                "protocolVersion": "5.0",
                "bindings": {
                    "mqtt": {
                        "lastWill": {"topic": "echo-edge/v1/{gw}/status", "qos": 1, "retain": True},
                        "bindingVersion": "0.2.0",
                    }
                },
            }
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {channel.name: _operation(channel) for channel in CHANNELS},
        "components": {"messages": messages},
    }


def _channel(channel: Channel) -> Payload:
    address = f"echo-edge/v1/{{gw}}/{channel.address}"
    return {
        "address": address,
        "description": f"Sent: {channel.when}." if channel.ours else f"Received: {channel.when}.",
        "parameters": {name: {"description": PARAMETERS[name]} for name in re.findall(r"\{(\w+)\}", address)},
        "messages": {channel.schema: {"$ref": f"#/components/messages/{channel.schema}"}},
    }


def _operation(channel: Channel) -> Payload:
    return {
        "action": "send" if channel.ours else "receive",
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retained, "bindingVersion": "0.2.0"}},
    }


def asyncapi_text() -> str:
    """The document as the package carries it."""
    return resources.files("echo_edge").joinpath("schemas", "asyncapi.json").read_text("utf-8")


def render(document: Payload) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
