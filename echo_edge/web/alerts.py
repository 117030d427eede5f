"""Alerts: those that are open, live and the worst first, then those of the past."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.web import saying
from echo_edge.web.live import live
from echo_edge.web.mirror import Mirror
from echo_edge.web.pages import link_of, mirror_of, need, page

MOST = 200  # past ones on the page; the daemon keeps the whole messages of as many


async def _alerts(request: Request) -> Response:
    person, mirror = need(request, "viewer"), mirror_of(request)
    point = request.query_params.get("point", "")
    if point and point not in mirror.points:
        raise HTTPException(404)
    told = await link_of(request).read("alerts", {"point": point or None, "limit": MOST}, person)
    standing = {alert["alert_id"] for alert in open_alerts(mirror)}
    past = [alert for alert in told["alerts"] if alert["alert_id"] not in standing]
    return page(
        request,
        "alerts.html",
        point=point,
        choices=[
            (name, f"{mirror.title(name.partition('/')[0])} / {name.partition('/')[2]}") for name in mirror.points
        ],
        past=past,
        left_out=len(told["alerts"]) == MOST,
        problems=told.get("problems", []),
        **_open(mirror, point),
    )


def open_alerts(mirror: Mirror) -> list[dict[str, Any]]:
    """A few words of each alert that is active or waits for a person, the worst first."""
    told: list[dict[str, Any]] = mirror.get("alerts/active").get("alerts", [])
    return told


def point_of(alert: dict[str, Any]) -> str:
    """``machine/point`` of a message about an alert; empty for the gateway's own."""
    return f"{alert['machine']}/{alert['point']}" if "machine" in alert else ""


@live("alerts_open")
def _open(mirror: Mirror, point: str) -> dict[str, Any]:
    if point and point not in mirror.points:
        raise KeyError(point)
    told = mirror.get("alerts/active")
    shown = [
        (point_of(alert), alert, _whole(mirror, alert))
        for alert in open_alerts(mirror)
        if point in {"", point_of(alert)}
    ]
    return {"known": bool(told), "open": shown, "more": told.get("more", 0), "say": saying.alert}


def _whole(mirror: Mirror, alert: dict[str, Any]) -> dict[str, Any]:
    """Its newest message, of which the few words are a part; the few words where that is not known."""
    known = mirror.point(point_of(alert))
    same = (one for one in (known["alert"], known["sensor_alert"]) if one and one["alert_id"] == alert["alert_id"])
    return next(same, alert)


routes = [Route("/alerts", _alerts)]
