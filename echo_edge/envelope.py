"""Where a message goes and what every message carries: topics, ids, times and the common envelope."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

Payload = dict[str, Any]
Listener = Callable[[str, str, Payload], None]
"""Takes what ``subject`` gives."""

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
_BASE = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


class Topics:
    """Where each message goes; a point is written ``machine/point``."""

    def __init__(self, base: str, gateway: str) -> None:
        if not _BASE.fullmatch(base):
            raise ValueError(f"topic base {base!r}: letters, digits, '_' and '-' between single slashes")
        self.gateway = _checked_id(gateway)
        self.base = base
        self.root = f"{base}/{gateway}"
        self.status = f"{self.root}/status"
        self.info = f"{self.root}/info"
        self.health = f"{self.root}/health"
        self.audit = f"{self.root}/audit"
        self.orders = f"{self.root}/cmd/"
        """What the topic of an order begins with; its verb follows."""

        self.nonce = f"{self.root}/cmd/nonce"

        self.alerts = f"{self.root}/alerts"
        self.alerts_active = f"{self.root}/alerts/active"

    def answer(self, verb: str) -> str:
        return f"{self.root}/rsp/{verb}"

    def machine_state(self, machine: str) -> str:
        return f"{self.root}/m/{_checked_id(machine)}/state"

    def state(self, point: str) -> str:
        return f"{self._point(point)}/state"

    def score(self, point: str) -> str:
        return f"{self._point(point)}/score"

    def window(self, point: str) -> str:
        """Told at the gateway only (``board``)."""
        return f"{self._point(point)}/window"

    def quality(self, point: str) -> str:
        return f"{self._point(point)}/quality"

    def features(self, point: str) -> str:
        return f"{self._point(point)}/features"

    def enroll(self, point: str) -> str:
        return f"{self._point(point)}/enroll"

    def baseline(self, point: str) -> str:
        return f"{self._point(point)}/baseline"

    def alert(self, point: str) -> str:
        return f"{self._point(point)}/alert"

    def alert_active(self, point: str) -> str:
        return f"{self._point(point)}/alert/active"

    def retained(self, point: str) -> tuple[str, ...]:
        """All topics of a point that keep a message."""
        kinds = (self.state, self.quality, self.features, self.alert_active, self.enroll, self.baseline)
        return tuple(topic(point) for topic in kinds)

    def _point(self, point: str) -> str:
        machine, name = split_point(point)
        return f"{self.root}/m/{machine}/p/{name}"


class Envelope:
    """What every message carries: schema, capture time, sequence number, start of the process, and whose it is.

    ``seq`` counts the messages made of one schema since ``boot``; a state that was replaced before it could be sent
    leaves a gap. (``boot``, ``seq``) is the key to drop repeats by. Messages may be stamped from any thread.
    """

    def __init__(self, gateway: str, boot: str | None = None) -> None:
        self.gateway = _checked_id(gateway)
        self.boot = boot or secrets.token_hex(8)
        self._last: dict[str, int] = {}
        self._lock = threading.Lock()

    def stamp(self, schema: str, time_ns: int, point: str | None = None, *, counted: bool = True) -> Payload:
        """Return the common fields; ``counted=False`` leaves ``seq`` out and uses no number up."""
        stamp: Payload = {"schema": f"echo-edge/{schema}/1", "ts": timestamp(time_ns)}
        if counted:
            with self._lock:
                stamp["seq"] = self._last[schema] = self._last.get(schema, 0) + 1
        stamp |= {"boot": self.boot, "gw": self.gateway}
        if point is not None:
            stamp["machine"], stamp["point"] = split_point(point)
        return stamp


def timestamp(time_ns: int) -> str:
    """Return RFC 3339 UTC with milliseconds, rounded down."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"


def subject(payload: Payload) -> tuple[str, str, Payload]:
    """Return a message's schema by its short name, the point or machine that it is about (or ``""``), and itself."""
    machine, point = payload.get("machine", ""), payload.get("point")
    return payload["schema"].split("/")[1], machine if point is None else f"{machine}/{point}", payload


def _checked_id(name: str) -> str:
    if not _ID.fullmatch(name):
        raise ValueError(f"id {name!r}: 1 to 48 of a-z, 0-9, '_' and '-', starting with a letter or digit")
    return name


def split_point(point: str) -> tuple[str, str]:
    """Return the two ids of ``machine/point``; ValueError if either is not an id."""
    machine, _, name = point.partition("/")
    return _checked_id(machine), _checked_id(name)
