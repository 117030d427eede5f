"""Mirror: what the daemon said last, topic by topic. Empty while it does not run: old numbers are gone then."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime
from typing import Any

Message = dict[str, Any]

WINDOWS, SCORES = 60, 300  # of each point; what the page draws of the last minutes


class Mirror:
    """Filled by ``Link``; read by every page. Belongs to the event loop."""

    def __init__(self) -> None:
        self.running = False
        self.lost_since: datetime | None = None
        """Since when the daemon has not been heard; None where nobody knows, and while it runs."""

        self.changed = asyncio.Event()
        """Set at every change; whoever waits for it clears it."""

        self.since: dict[str, str] = {}
        """Point -> since when its level is what it is, as far as somebody saw it change or asked."""

        self._newest: dict[str, Message] = {}
        self._windows: dict[str, deque[Message]] = {}
        self._scores: dict[str, deque[Message]] = {}

    def begin(self) -> None:
        """The daemon answers."""
        self._forget()
        self.running, self.lost_since = True, None
        self.changed.set()

    def lose(self, since: datetime | None) -> None:
        """The daemon does not answer, as far as is known since then."""
        self._forget()
        self.running, self.lost_since = False, since
        self.changed.set()

    def take(self, topic: str, message: Message) -> None:
        """Note a message; ``topic`` is below the gateway's: ``m/pump-12/p/de/state``. Empty: it holds none any more."""
        before = self._newest.get(topic, message)
        self._newest[topic] = message
        if (
            topic.endswith("/state")
            and "/p/" in topic
            and before.get("level") != message.get("level", before.get("level"))
        ):
            self.since[topic.removeprefix("m/").removesuffix("/state").replace("/p/", "/")] = message["ts"]
        elif topic.endswith("/window"):
            self._windows.setdefault(topic, deque(maxlen=WINDOWS)).append(message)
        elif topic.endswith("/score"):
            self._scores.setdefault(topic, deque(maxlen=SCORES)).append(message)
        self.changed.set()

    def get(self, topic: str) -> Message:
        """The newest message of a topic; empty when there is none."""
        return self._newest.get(topic, {})

    @property
    def machines(self) -> list[Message]:
        """``[{"id", "title", "points": ["de", ...]}]`` as configured."""
        told: list[Message] = self.get("info").get("machines", [])
        return [{"id": m["id"], "title": m.get("title", m["id"]), "points": m["points"]} for m in told]

    @property
    def points(self) -> list[str]:
        """Every point as ``machine/point``."""
        return [f"{machine['id']}/{point}" for machine in self.machines for point in machine["points"]]

    def title(self, machine: str) -> str:
        """What people call a machine; its id where nobody gave it a name."""
        return next((str(m["title"]) for m in self.machines if m["id"] == machine), machine)

    def point(self, point: str) -> dict[str, Any]:
        """All that is known of a point: newest messages by kind, ``windows`` and ``scores`` oldest first.

        ``alert`` and ``sensor_alert`` are open ones, or None.
        """
        machine, _, name = point.partition("/")
        below = f"m/{machine}/p/{name}"
        active = self.get(f"{below}/alert/active")
        kinds = ("state", "quality", "features", "enroll", "baseline", "score")
        return {kind: self.get(f"{below}/{kind}") for kind in kinds} | {
            "alert": active.get("alert"),
            "sensor_alert": active.get("sensor"),
            "windows": list(self._windows.get(f"{below}/window", ())),
            "scores": list(self._scores.get(f"{below}/score", ())),
        }

    def _forget(self) -> None:
        self.since.clear()
        self._newest.clear()
        self._windows.clear()
        self._scores.clear()
