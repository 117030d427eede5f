"""Enrollment as a person sees it: where it is, what is to be said of it, and what can be done now. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LISTENING = ("sensor_check", "machine_check", "collecting")
STEPS = {"sensor_check": 1, "machine_check": 2, "collecting": 3, "testing": 4, "deciding": 5} | {
    "accepted": 7,
    "proposed": 7,
}
"""Phase -> the step that runs; 7: all are done. Without a step: nothing was begun, or it came to nothing."""

CHANGED = ("halves", "step", "two_states")  # checks that tell of a machine that changed while it was learned
PAUSES = {"opening": "the sensor is being opened", "lost": "its sensor ", "late": "no whole window comes"}
"""Why it pauses -> how the daemon's sentence begins."""

WORST_FIRST = ("bad", "warning", "ok")


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a point's enrollment is."""

    told: Mapping[str, Any]
    """The daemon's message; of a session that is over, what it says of its end."""

    phase: str
    """The daemon's; ``none`` before the first."""

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Stand:
        """Of a message ``enroll``, or of the progress that an order answers."""
        told = message if message.get("session") else message.get("last") or {}
        return cls(told, str(told.get("phase", "none")))

    @property
    def session(self) -> str:
        return str(self.told.get("session", ""))

    @property
    def key(self) -> str:
        """Differs when other buttons are right."""
        return f"{self.session}:{self.phase}"

    @property
    def runs(self) -> bool:
        return self.phase in LISTENING or self.phase in {"testing", "deciding"}

    @property
    def step(self) -> int:
        return STEPS.get(self.phase, 0)

    @property
    def actions(self) -> tuple[str, ...]:
        """The forms that are right now."""
        if not self.runs:
            return ("start",)
        if self.phase != "deciding":
            return ("stop",)
        return ("accept", "extend", "stop") if self.told.get("how") == "live" else ("accept", "stop")

    @property
    def pause(self) -> str:
        """Why it pauses, as a key of the texts; empty while it does not."""
        reason = self.told.get("paused")
        if not reason:
            return ""
        return next((kind for kind, begin in PAUSES.items() if str(reason).startswith(begin)), "other")

    @property
    def excluded(self) -> list[tuple[str, int]]:
        """Reasons to leave windows out and how many, the most frequent first."""
        found: dict[str, int] = self.told.get("excluded", {})
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))

    @property
    def checks(self) -> list[dict[str, str]]:
        return worst_first(self.told.get("checks", []))

    @property
    def changed(self) -> bool:
        """The machine changed while it was learned: it may have two ways to run."""
        return any(c["check"] in CHANGED and c["severity"] != "ok" for c in self.told.get("checks", []))


def worst_first(checks: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The checks, those first that a person must read."""
    return sorted(checks, key=lambda check: WORST_FIRST.index(check["severity"]))


def spectrum_bars(spectrum: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A coarse spectrum as bars of a drawing that is 100 wide and 40 high; empty where there is none.

    Args:
        spectrum: bands as ``{"hz": [low, high], "db": level}``; levels are for comparing the bands.
    """
    if not spectrum:
        return {}
    levels_db = [float(band["db"]) for band in spectrum]
    low_db, high_db = min(levels_db) - 6.0, max(levels_db)
    top_hz = float(spectrum[-1]["hz"][1])
    bars = []
    for band, level_db in zip(spectrum, levels_db, strict=True):
        (low_hz, high_hz), height = band["hz"], 40 * (level_db - low_db) / (high_db - low_db)
        left, width = 100 * low_hz / top_hz, 100 * (high_hz - low_hz) / top_hz
        told = {"x": left + 0.2, "y": 40 - height, "width": max(width - 0.4, 0.1), "height": height}
        bars.append({name: round(value, 2) for name, value in told.items()} | {"hz": band["hz"], "db": level_db})
    return {"bars": bars, "top_hz": top_hz}
