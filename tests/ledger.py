"""Stands in for publisher and outbox: everything that was said, held against the contract; and what is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import jsonschema

from echo_edge.capture import SensorStatus
from echo_edge.config import Config
from echo_edge.contract import channel_of
from echo_edge.envelope import Envelope, Listener, Payload, Topics
from echo_edge.outgoing import Outgoing
from echo_edge.payload import Info, encode, load_schema
from echo_edge.report import Reporter
from sensors import SourceInfo

TOPICS = Topics("echo-edge/v1", "gw")


class Ledger:
    """A broker that takes everything at once, and a disk that survives whoever writes to it."""

    def __init__(self) -> None:
        self.events: list[Payload] = []
        self.topics: list[str] = []
        """Of the events."""

        self.copies: list[Payload] = []
        """What was sent once, to every topic."""

        self.states: dict[str, Payload | None] = {}
        """Retained topic -> its message; None: it was emptied."""

        self.lives: dict[str, Payload] = {}
        self.ranks: list[int] = []
        self._seq = 0

    def put(self, item: Outgoing) -> None:
        self._seq += 1
        whole = _read(item.topic, encode(item.payload | {"seq": self._seq, "id": f"gw:c0ffee:{self._seq}"}))
        assert len(encode(whole)) < 8000
        self.events.append(whole)
        self.topics.append(item.topic)
        self.ranks.append(item.rank)
        assert item.life is not None
        key, life = item.life
        self.lives.pop(key, None)
        if life is not None:
            self.lives[key] = json.loads(json.dumps(life, allow_nan=False))
        item.then(whole)

    def set_state(self, topic: str, payload: bytes, *, qos: int = 1) -> None:  # noqa: ARG002  as a publisher has it
        self.states[topic] = _read(topic, payload) if payload else None

    def send_once(self, topic: str, payload: bytes, *, qos: int = 0) -> None:  # noqa: ARG002  as a publisher has it
        self.copies.append(_read(topic, payload))

    def steps(self, kind: str = "machine") -> list[str]:
        """Types of the events of a kind."""
        return [event["type"] for event in self.events if event["kind"] == kind]

    def state(self, topic: str) -> Payload:
        found = self.states[topic]
        assert found is not None
        return found

    def listed(self) -> list[Payload]:
        """What is open on the whole gateway, or waits for a person."""
        return list(self.state(TOPICS.alerts_active)["alerts"])


def _read(topic: str, payload: bytes) -> Payload:
    message: Payload = json.loads(payload)
    channel = channel_of(topic.removeprefix(f"{TOPICS.root}/"))
    assert channel is not None
    jsonschema.Draft202012Validator(load_schema(channel.schema)).validate(message)
    return message


def make_reporter(
    config: Config, ledger: Ledger, boot: str = "b007b007", listeners: Sequence[Listener] = ()
) -> Reporter:
    info = Info("0", "fake", None, "fake", "5", tuple(config.points()), {})
    envelope = Envelope("gw", boot)
    return Reporter(config, ledger, ledger, TOPICS, envelope, info, listeners=listeners)  # type: ignore[arg-type]


def sensor(state: str = "ok", reason: str | None = None, settings: Mapping[str, str] | None = None) -> SensorStatus:
    """How the device of the small world is."""
    info = SourceInfo(16000, 1, "g", "simulator:1") if state == "ok" else None
    return SensorStatus("acc", state, reason, info, settings=dict(settings or {}))
