"""Configuration of operating states: how the plant tells which one is in force."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from echo_edge.config_model import Id, Model

MAX_TOPIC_BYTES = 65535
MEANT = {True: "on, yes or true", False: "off, no or false"}


class OperatingStateConfig(Model):
    """Which way of running is in force, where something in the plant tells it."""

    topic: str | None = None
    """MQTT topic, at the broker of the section ``mqtt``, whose payload names the state in force. Absent: nobody tells;
    each window is compared with every state. What a payload may be: docs/operating-states.md."""

    settle_s: float = Field(default=10.0, ge=0, le=3600)
    """After a change of the state in force no window that began within so long is judged: speed and load are still on
    their way."""

    values: dict[str, Id] = Field(default={})
    """What stands for a state in a payload -> the state's name, where the plant does not use ours: ``{"1": run-50hz,
    "0": "off"}``, both sides in quotes where YAML would take them for numbers or for yes and no."""

    @field_validator("topic")
    @classmethod
    def _one_topic_of_the_plant(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "+" in value or "#" in value:
            raise ValueError(f"'{value}' has a wildcard; name the one topic that tells this machine's state")
        if value.startswith("$"):
            raise ValueError(f"'{value}' begins with '$', which brokers keep for themselves; name a topic of the plant")
        if not value or "\0" in value or len(value.encode()) > MAX_TOPIC_BYTES:
            raise ValueError("a topic is 1 to 65,535 bytes long and holds no NUL")
        return value

    @field_validator("values", mode="before")
    @classmethod
    def _quoted(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for said, name in value.items():
            for one in (said, name):
                if isinstance(one, bool):
                    raise ValueError(f"YAML reads {MEANT[one]} as {str(one).lower()}; write the word in quotes")
            if not isinstance(said, str):
                raise ValueError(f"the payload {said} stands without quotes; write '{said}', as it is sent")
        return value
