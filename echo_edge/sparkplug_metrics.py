"""From our messages to Sparkplug metrics: which names a message has values for, and of which kind.

A value that a message does not know is null. All metrics of a message are told each time, so that nothing of an
earlier one stands beside it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from echo_edge.envelope import Payload
from echo_edge.sparkplug import EdgeNode
from echo_edge.sparkplug_b import Kind, Metric, Value


class Feed:
    """Hands an edge node what our messages say, and which machines have a sensor left.

    Args:
        points: of all machines; each counts as lost until its sensor's quality says otherwise.
    """

    def __init__(self, node: EdgeNode, points: Collection[str]) -> None:
        self._node = node
        self._lost = set(points)
        self._machine_of = {point: point.partition("/")[0] for point in points}
        self._measured: dict[str, list[Metric]] = {}  # point -> what its windows showed

    def tell(self, schema: str, about: str, payload: Payload) -> None:
        """Take in one message; see ``envelope.subject`` for the arguments."""
        metrics = metrics_of(schema, payload)
        if not metrics:
            return
        machine = about.partition("/")[0]  # empty for the gateway's own
        if schema == "features":
            self._measured[about] = metrics
        lost = schema == "quality" and payload["state"] == "lost"
        if lost:  # no window replaces what the last one showed
            time_ms = milliseconds(payload["ts"])
            measured = self._measured.pop(about, ())
            metrics += [replace(metric, value=None, time_ms=time_ms) for metric in measured]
        self._node.update(machine, metrics)
        if schema == "quality":
            (self._lost.add if lost else self._lost.discard)(about)
            there = any(m == machine and point not in self._lost for point, m in self._machine_of.items())
            self._node.alive(machine, there)


def metrics_of(schema: str, payload: Payload) -> list[Metric]:
    """Return the metrics of a message; none where the message is not for hosts.

    Those of a point begin with its id: ``de/level``.

    Args:
        schema: its short name, such as ``point-state``.
    """
    make = _OF.get(schema)
    if make is None:
        return []
    time_ms, prefix = milliseconds(payload["ts"]), f"{payload['point']}/" if "point" in payload else ""
    return [Metric(prefix + name, kind, value, time_ms) for name, (kind, value) in make(payload).items()]


def milliseconds(ts: str) -> int:
    """Return milliseconds since 1970 of a time as ``envelope.timestamp`` writes it."""
    return round(datetime.fromisoformat(ts.replace("Z", "+00:00")).timestamp() * 1000)


_Metrics = dict[str, tuple[Kind, Value | None]]


def _point_state(payload: Payload) -> _Metrics:
    score, operating = payload.get("score", {}), payload.get("operating_state", {})
    return {
        "level": (Kind.STRING, payload["level"]),
        "reason": (Kind.STRING, payload.get("reason")),
        "score": (Kind.DOUBLE, _float(score.get("raw"))),
        "threshold": (Kind.DOUBLE, _float(score.get("threshold"))),
        "operating_state": (Kind.STRING, operating.get("name")),
    }


def _quality(payload: Payload) -> _Metrics:
    return {
        "quality": (Kind.STRING, payload["state"]),
        "quality_reasons": (Kind.STRING, ", ".join(payload["reasons"]) or None),
    }


def _features(payload: Payload) -> _Metrics:
    values: _Metrics = {name: (Kind.DOUBLE, _float(value)) for name, value in payload["features"].items()}
    return values | {"zone": (Kind.STRING, payload.get("zone"))}


def _alert_active(payload: Payload) -> _Metrics:
    return _alert("alert", payload["alert"]) | _alert("sensor_alert", payload["sensor"])


def _alert(name: str, alert: Payload | None) -> _Metrics:
    said: dict[str, Any] = alert or {}
    return {
        f"{name}/active": (Kind.BOOLEAN, alert is not None),
        f"{name}/id": (Kind.STRING, said.get("alert_id")),
        f"{name}/severity": (Kind.STRING, said.get("severity")),
        f"{name}/opened": (Kind.DATETIME, milliseconds(said["opened"]) if "opened" in said else None),
        f"{name}/acknowledged": (Kind.BOOLEAN, None if alert is None else "ack" in alert),
        f"{name}/text": (Kind.STRING, said.get("text")),
    }


def _alerts_active(payload: Payload) -> _Metrics:
    active = [entry for entry in payload["alerts"] if entry["state"] == "active"]
    return {
        "alerts/active": (Kind.INT64, len(active)),
        "alerts/worst": (Kind.STRING, active[0]["text"] if active else None),
    }


def _machine_state(payload: Payload) -> _Metrics:
    return {
        "level": (Kind.STRING, payload["level"]),
        "operating_state": (Kind.STRING, payload.get("operating_state", {}).get("name")),
        "alerts/active": (Kind.INT64, len(payload["alerts"])),
    }


def _info(payload: Payload) -> _Metrics:
    return {"version": (Kind.STRING, payload["version"]), "model": (Kind.STRING, payload["model"]["name"])}


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


_OF = {
    "point-state": _point_state,
    "quality": _quality,
    "features": _features,
    "alert-active": _alert_active,
    "alerts-active": _alerts_active,
    "machine-state": _machine_state,
    "info": _info,
}
