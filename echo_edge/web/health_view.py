"""Health as a person reads it: what needs attention, from the messages alone. Pure; what is not known is no fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from echo_edge.web.mirror import Mirror

LEAST_FREE_SHARE, CERTIFICATE_DAYS, HOURS_LEFT, NEAR_LIMIT_RTF = 0.05, 30.0, 24.0, 0.8
WORST_FIRST = ("bad", "warning")

Trouble = tuple[str, str, dict[str, Any]]
"""How bad, the key of the text below ``health.trouble``, and what is filled in."""


def troubles(mirror: Mirror) -> list[Trouble]:
    """What needs attention, the worst first; empty where all that is known is well."""
    health = mirror.get("health")
    found = [
        *_sensors(health.get("sensors", {})),
        *_engine(health.get("engine", {}), health.get("pipeline", {})),
        *_outbox(health.get("outbox", {})),
        *_broker(mirror, health.get("mqtt", {})),
        *_machine(health),
    ]
    return sorted(found, key=lambda one: WORST_FIRST.index(one[0]))


def _sensors(sensors: dict[str, dict[str, Any]]) -> Iterator[Trouble]:
    for device, told in sensors.items():
        if told["state"] in {"lost", "ended"}:
            yield "bad", f"sensor_{told['state']}", {"device": device}
        elif told["state"] != "ok":
            yield "warning", "sensor_other", {"device": device, "state": told["state"]}


def _engine(engine: dict[str, Any], pipeline: dict[str, Any]) -> Iterator[Trouble]:
    if engine.get("problem"):
        yield "warning", "engine", {"serving": engine["serving"], "problem": engine["problem"]}
    elif engine.get("building") is not None:
        yield "warning", "building", {"wanted": engine["wanted"], "done": f"{engine['building']:.0%}"}
    if pipeline.get("windows_dropped"):
        yield "warning", "dropped", {"n": pipeline["windows_dropped"]}
    elif pipeline.get("rtf", 0.0) > NEAR_LIMIT_RTF:
        yield "warning", "busy", {"share": f"{pipeline['rtf']:.0%}"}


def _outbox(outbox: dict[str, Any]) -> Iterator[Trouble]:
    if outbox.get("problem") or outbox.get("durable") is False:
        yield "bad", "outbox", {"problem": outbox.get("problem", "")}
    if outbox.get("lost"):
        yield "bad", "lost", {"n": outbox["lost"]}
    if outbox.get("dead"):
        yield "warning", "dead", {"n": outbox["dead"]}
    if outbox.get("hours_left", HOURS_LEFT) < HOURS_LEFT:
        yield "warning", "full_soon", {"hours": f"{outbox['hours_left']:.0f}"}


def _broker(mirror: Mirror, mqtt: dict[str, Any]) -> Iterator[Trouble]:
    for problem in mqtt.get("problems", []):
        yield "bad", "broker", {"problem": problem}
    reason = mirror.get("status").get("reason")
    if mirror.get("status").get("state") == "degraded" and not mqtt.get("problems") and reason:
        yield "warning", "degraded", {"reason": reason}
    for name in ("broker", "client"):
        days = mqtt.get(f"{name}_cert_days_left")
        if days is not None and days < CERTIFICATE_DAYS:
            yield "bad" if days < 0 else "warning", f"{name}_certificate", {"days": f"{days:.0f}"}


def _machine(health: dict[str, Any]) -> Iterator[Trouble]:
    disk, clock = health.get("disk", {}), health.get("clock", {})
    if disk.get("free_share", 1.0) < LEAST_FREE_SHARE:
        yield "bad", "disk", {"free": f"{disk['free_mb']:.0f}"}
    if clock.get("synced") is False:
        yield "warning", "clock", {}
