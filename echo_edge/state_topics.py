"""State topics: what the plant's own MQTT messages say of a machine's operating state.

A payload is the state's name as text, or JSON ``{"name": ..., "until": RFC 3339}``; an empty one takes back what was
told. Who may publish there is the broker's to decide, so nothing in a payload is trusted. They are read before they are
handed on: nonsense must not take the place of a state that waits.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from echo_edge.config import Config
from echo_edge.config_model import ID_PATTERN
from echo_edge.records import PlantState, TopicMessage

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 256
LOGGED_VALUES = 20  # per topic: a stream of ever new nonsense must not fill the disk

_TIME: TypeAdapter[AwareDatetime] = TypeAdapter(AwareDatetime)


class StateTopics:
    """All topics that tell states; a machine has at most one, and several machines may share one.

    Args:
        config: which machine has which topic.
        post: takes what is told, point by point.
    """

    def __init__(self, config: Config, post: Callable[[str, PlantState], None]) -> None:
        self._post = post
        self._machines = [
            (settings.operating_state, [f"{machine}/{point}" for point in settings.points])
            for machine, settings in config.machines.items()
        ]
        self._complained: dict[str, set[bytes]] = {}

    def hear(self, message: TopicMessage) -> None:
        """Post what a message tells; what cannot be read is logged once per value, and tells nothing."""
        for state, points in self._machines:
            if state.topic != message.topic:
                continue
            try:
                said = parse_state(message.payload, state.values, message.arrived_ns)
            except ValueError as error:
                self._complain(message, error)
                continue
            for point in points:
                self._post(point, said)

    def _complain(self, message: TopicMessage, error: ValueError) -> None:
        logged = self._complained.setdefault(message.topic, set())
        if message.payload in logged or len(logged) > LOGGED_VALUES:
            return
        logged.add(message.payload)
        if len(logged) > LOGGED_VALUES:
            log.warning("%s: more payloads that name no state; they are not logged any more", message.topic)
        else:
            log.warning("%s: ignored, the state stays as it was: %s", message.topic, error)


def parse_state(payload: bytes, values: Mapping[str, str], at_ns: int) -> PlantState:
    """Read a payload.

    Args:
        payload: as it came.
        values: foreign name -> ours.
        at_ns: when it came.

    Raises:
        ValueError: it is too long, no text, no id, or has no time zone.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a payload of more than {MAX_PAYLOAD_BYTES} bytes is no state")
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError("the payload is not UTF-8") from error
    if not text:
        return PlantState(None, at_ns)
    until_ns = None
    if text.startswith("{") and text not in values:
        name, until = _json(text)
        until_ns = None if until is None else time_ns(until)
    else:
        name = text
    name = values.get(name, name)
    if not re.fullmatch(ID_PATTERN, name):
        hint = "; add it to operating_state.values" if values else "; operating_state.values translates foreign names"
        raise ValueError(f"{name!r} is no state's name (lower-case letters, digits, '-' and '_'){hint}")
    return PlantState(name, at_ns, until_ns)


def _json(text: str) -> tuple[str, object]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{text!r} is no JSON: {error.msg}") from error
    name = data.get("name")
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise ValueError(f"{text!r} has no 'name' with text or a whole number")
    return str(name), data.get("until")


def time_ns(text: object) -> int:
    """Nanoseconds since 1970 of a time as RFC 3339 has it.

    Raises:
        ValueError: it is no time, or has no time zone.
    """
    try:
        moment = _TIME.validate_python(text)
    except ValidationError as error:
        raise ValueError(f"{text!r} is no time with a time zone, such as 2026-05-04T18:00:00Z") from error
    return round(moment.timestamp() * 1e3) * 1_000_000
