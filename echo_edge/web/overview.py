"""Overview: every machine and point with its level, why, and since when; open alerts first. Read from two metres."""

from __future__ import annotations

from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.web import bands, saying
from echo_edge.web.link import RefusedError
from echo_edge.web.live import live
from echo_edge.web.mirror import Mirror
from echo_edge.web.pages import link_of, mirror_of, need, page

LEVELS = ("alarm", "warning", "not_monitored", "unknown", "normal")
JUDGED = ("normal", "warning", "alarm")
LOOKS = {"sensor": "not_monitored", "monitor": "warning"}  # red is for machines alone


async def overview(request: Request) -> Response:
    """The page ``/``."""
    await know_since(request)
    return page(request, "overview.html", **parts(mirror_of(request), ""))


async def know_since(request: Request) -> None:
    """Ask since when each level is what it is, where nobody saw it change since the daemon answers."""
    mirror = mirror_of(request)
    if any(point not in mirror.since for point in mirror.points if mirror.point(point)["state"]):
        await ask_status(request)


async def ask_status(request: Request) -> dict[str, dict[str, Any]]:
    """What the daemon says of each point beside what it publishes; nothing where it refuses."""
    mirror = mirror_of(request)
    try:
        told = await link_of(request).order("status", {}, need(request, "viewer"))
    except RefusedError:
        return {}
    for one in told["points"]:
        if one.get("since") and mirror.point(one["point"])["state"].get("level") == one["level"]:
            mirror.since.setdefault(one["point"], one["since"])
    return {one["point"]: one for one in told["points"]}


@live("overview")
def parts(mirror: Mirror, _: str) -> dict[str, Any]:
    """What ``live/overview.html`` shows."""
    machines = [
        {**machine, "tiles": [tile(mirror, f"{machine['id']}/{name}") for name in machine["points"]]}
        for machine in mirror.machines
    ]
    counts = Counter(tile["level"] for machine in machines for tile in machine["tiles"])
    return {
        "machines": machines,
        "counts": [(level, counts[level]) for level in LEVELS if counts[level] or level == "normal"],
        "alerts": [_alert(mirror, short) for short in mirror.get("alerts/active").get("alerts", [])],
        "more": mirror.get("alerts/active").get("more", 0),
        "saying": saying,
        "ratio_bar": bands.ratio_bar,
    }


def tile(mirror: Mirror, point: str) -> dict[str, Any]:
    """One point in short; ``score`` is there only where the point is judged now."""
    known = mirror.point(point)
    state, enroll = known["state"], known["enroll"]
    level = state.get("level", "not_monitored")
    return {
        "point": point,
        "name": point.partition("/")[2],
        "level": level,
        "state": state or {"reason": "no verdict yet"},
        "since": mirror.since.get(point),
        "quality": known["quality"],
        "score": _score(known) if level in JUDGED else None,
        "provisional": state.get("provisional", False) and level in JUDGED,
        "enroll": enroll if enroll.get("session") else None,
        "to_teach": (level == "unknown" or not known["baseline"].get("baseline")) and not enroll.get("session"),
    }


def _score(known: dict[str, Any]) -> dict[str, Any] | None:
    """The newest: a state is told when its level changes, else every so many seconds; a score with each window."""
    state, window = known["state"], known["score"]
    told: dict[str, Any] | None = state.get("score")
    if told is None or window.get("ts", "") <= state["ts"]:
        return told
    return {**told, "raw": window["raw"], "threshold": window["threshold"]}


def _alert(mirror: Mirror, short: dict[str, Any]) -> dict[str, Any]:
    """An open alert with the whole of its newest message where the mirror has it, and what people call its machine."""
    machine, point = short.get("machine"), short.get("point")
    whole: dict[str, Any] = {}
    if machine and point:
        known = mirror.point(f"{machine}/{point}")
        active = (known["alert"] or {}, known["sensor_alert"] or {})
        whole = next((one for one in active if one.get("alert_id") == short["alert_id"]), {})
    look = "info" if short["state"] == "cleared" else LOOKS.get(short["kind"], short["severity"])
    return {**short, "whole": whole or short, "title": mirror.title(machine) if machine else "", "look": look}


routes = [Route("/", overview)]
