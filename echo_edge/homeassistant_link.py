"""Keep Home Assistant informed of what there is, and take back what there is no more."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from echo_edge import __version__
from echo_edge.config import Config
from echo_edge.config_mqtt import MqttConfig
from echo_edge.envelope import Payload, Topics
from echo_edge.homeassistant import discovery, discovery_topic, interesting, platforms, without_gone
from echo_edge.payload import encode
from echo_edge.publisher import Publisher
from echo_edge.records import TopicMessage
from echo_edge.store import write_durably

log = logging.getLogger(__name__)

SETTLED_S = 30.0  # connected for so long: the broker has what we published
JITTER_S = (1.0, 5.0)  # a hall of gateways must not answer a Home Assistant that starts all at once


def status_topics(mqtt: MqttConfig) -> list[str]:
    """Where Home Assistant says that it has started; ``Discovery.hear`` takes it."""
    prefix = _prefix(mqtt)
    return [] if prefix is None else [f"{prefix}/status"]


class Told(BaseModel):
    """What was published, and what it was made of; kept over restarts."""

    topics: dict[str, dict[str, str]] = {}
    """Discovery topic -> component -> platform."""

    measured: dict[str, list[str]] = {}
    """Point -> names of its features that are entities; known again before the first measurement after a restart."""


class Discovery:
    """Publishes discovery messages; created also where Home Assistant is off, to take back what was published.

    Args:
        file: where ``Told`` is kept.
        jitter: chooses a delay between two bounds, in seconds.
    """

    def __init__(
        self,
        config: Config,
        topics: Topics,
        publisher: Publisher,
        file: Path,
        *,
        jitter: Callable[[float, float], float] = random.uniform,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefix = _prefix(config.mqtt)
        self._status_topics = status_topics(config.mqtt)
        self._config, self._topics, self._publisher, self._file = config, topics, publisher, file
        self._jitter, self._clock_s = jitter, clock_s
        self._told = _read(file)
        self._told.measured = {p: names for p, names in self._told.measured.items() if p in config.points()}
        self._lock = threading.Lock()  # features come from the pipeline's thread, ticks from the main one
        self._again_s: float | None = None
        self._connected_s: float | None = None
        self._gone: set[str] = set()
        self._messages()  # two entities with one id are to be found before anything starts

    @property
    def due(self) -> bool:
        """Home Assistant started, and will be told again."""
        return self._again_s is not None

    def begin(self) -> None:
        """Publish what there is, and take back what was published and is no more."""
        with self._lock:
            self._publish()

    def hear(self, message: TopicMessage) -> None:
        """Home Assistant started: tell it again, a little later."""
        if message.topic in self._status_topics and message.payload == b"online":
            self._again_s = self._clock_s() + self._jitter(*JITTER_S)

    def listen(self, schema: str, about: str, payload: Payload) -> None:
        """A message of ours; what a point measures is known by its first features."""
        if self._prefix is None or schema != "features":
            return
        with self._lock:
            known = self._told.measured.get(about, [])
            names = sorted({*known, *interesting(payload["features"])})
            if names != known:
                self._told.measured[about] = names
                self._publish()

    def tick(self) -> None:
        """Do what is due; every second or so."""
        now_s = self._clock_s()
        with self._lock:
            if self._again_s is not None and now_s >= self._again_s:
                self._again_s = None
                self._publish()
            if not self._publisher.connected:
                self._connected_s = None
            elif self._connected_s is None:
                self._connected_s = now_s
            elif self._gone and now_s - self._connected_s >= SETTLED_S:
                self._forget()

    def _messages(self) -> dict[str, Payload]:
        """Topic -> message."""
        if self._prefix is None:
            return {}
        messages = discovery(self._config, self._topics, self._told.measured, __version__)
        gateway = self._topics.gateway
        return {discovery_topic(self._prefix, gateway, machine): message for machine, message in messages.items()}

    def _publish(self) -> None:
        messages, told = self._messages(), self._told.topics
        self._gone = told.keys() - messages.keys()
        for topic, message in messages.items():
            # remembered before it is published: what might be out must be taken back one day
            told[topic] = told.get(topic, {}) | platforms(message)
        self._keep()
        for topic in self._gone:
            self._publisher.set_state(topic, b"")
        for topic, message in messages.items():
            self._publisher.set_state(topic, encode(without_gone(message, told[topic])))

    def _forget(self) -> None:
        for topic in self._gone:
            del self._told.topics[topic]
        self._gone = set()
        self._keep()

    def _keep(self) -> None:
        try:
            if self._told.topics:
                write_durably(self._file, self._told.model_dump_json(indent=1).encode())
            else:
                self._file.unlink(missing_ok=True)
        except OSError as error:
            log.error("%s: what Home Assistant was told cannot be kept: %s", self._file, error.strerror)


def _prefix(mqtt: MqttConfig) -> str | None:
    settings = mqtt.homeassistant
    return settings.discovery_prefix if settings is not None and settings.enabled else None


def _read(file: Path) -> Told:
    try:
        return Told.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Told()
    except (OSError, ValidationError) as error:
        log.warning("%s: cannot be read; entities that are gone may stay in Home Assistant: %s", file, _first(error))
        return Told()


def _first(error: Exception) -> Any:
    return str(error).splitlines()[0]
