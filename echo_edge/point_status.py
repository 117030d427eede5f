"""How a point is, for the answer to ``status``: as it was last told, whether that was published or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from echo_edge.envelope import timestamp
from echo_edge.pipeline import Point

if TYPE_CHECKING:
    from echo_edge.order_bench import Bench


def point_status(bench: Bench, point: Point) -> dict[str, Any]:
    """Level and since when, operating state, score against threshold, sensor, baseline, target, open alert."""
    state, since_ns, quality = bench.reporter.told(point.name)
    told: dict[str, Any] = {
        "point": point.name,
        "level": state.level,
        "since": timestamp(since_ns),
        "reason": state.reason,
        "quality": quality.state,
        "sensor": list(quality.reasons),
        "baseline": None if point.baseline is None else point.baseline.id,
        "target_false_alarms_per_month": round(point.target_per_month, 3),
    }
    if state.operating_state is not None:
        told["operating_state"] = state.operating_state.name
    if state.score is not None:
        told["score"] = {"raw": round(state.score.value, 4), "threshold": round(state.score.threshold, 4)}
    if (target := bench.monitor.standing.targets.get(point.name)) is not None:
        until = None if target.until_ns is None else timestamp(target.until_ns)
        told["target_ordered"] = {"by": target.by, "until": until, "configured": round(point.configured_target, 3)}
    if point.muted_until_ns is not None:
        told["muted_until"] = timestamp(point.muted_until_ns)
    if (alert := point.open_alert) is not None:
        told["alert"] = {
            "alert_id": alert.alert_id,
            "rev": alert.rev,
            "severity": alert.severity,
            "opened": timestamp(alert.opened_ns),
        }
    return told
