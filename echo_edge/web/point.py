"""Point: how one place of a machine sounds now and how it was, what it is judged by, and what can be said about it."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.web import bands, charts, figures, saying, spans, spectrogram
from echo_edge.web.figures import rate
from echo_edge.web.link import RefusedError
from echo_edge.web.live import live
from echo_edge.web.mirror import Mirror
from echo_edge.web.overview import ask_status, tile
from echo_edge.web.pages import link_of, mirror_of, need, page

SPANS = {
    "hour": (timedelta(hours=1), 60),
    "day": (timedelta(days=1), 96),
    "week": (timedelta(days=7), 84),
    "month": (timedelta(days=30), 120),
    "quarter": (timedelta(days=91), 91),
}
"""How far back, in how many buckets."""

SHOWN = 120  # windows of the live chart
FEATURES_OLD_S = 600.0  # an indicator of longer ago is history


async def point_page(request: Request) -> Response:
    """The page of a point; 404 for one that is not configured."""
    return page(request, "point.html", **await context(request))


async def context(request: Request) -> dict[str, Any]:
    """All that ``point.html`` shows."""
    mirror, point = mirror_of(request), asked(request)
    span = request.query_params.get("span", "day")
    span = span if span in SPANS else "day"
    machine, _, name = point.partition("/")
    known = mirror.point(point)
    return {
        **parts(mirror, point),
        "title": mirror.title(machine),
        "machine": machine,
        "name": name,
        "span": span,
        "spans": list(SPANS),
        **await _history(request, point, span),
        "baseline": known["baseline"],
        "told": (await ask_status(request)).get(point, {}),
        "said": request.query_params.get("said", ""),
        "rate": rate,
        **sound(mirror, point),
    }


def asked(request: Request) -> str:
    """The point of the address; raises 404 for one that is not configured."""
    point = f"{request.path_params['machine']}/{request.path_params['point']}"
    if point not in mirror_of(request).points:
        raise HTTPException(404)
    return point


async def _history(request: Request, point: str, span: str) -> dict[str, Any]:
    back, buckets = SPANS[span]
    now = datetime.now(timezone.utc)
    args = {"point": point, "from": stamp(now - back), "to": stamp(now), "buckets": buckets}
    try:
        told = await link_of(request).read("history", args, need(request, "viewer"))
    except RefusedError as error:
        return {"history": None, "history_error": error.text, "moved": []}
    moved = [
        (name, values) for name, values in told.get("indicators", {}).items() if any(v is not None for v in values)
    ]
    return {"history": spans.of_history(told), "history_error": "", "moved": moved}


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@live("point")
def parts(mirror: Mirror, point: str) -> dict[str, Any]:
    """What ``live/point.html`` shows; raises KeyError for a point that is not configured."""
    if point not in mirror.points:
        raise KeyError(point)
    known, shown = mirror.point(point), tile(mirror, point)
    quality, features = known["quality"], known["features"]
    unheard = quality.get("state") == "lost" or any(one["severity"] == "bad" for one in quality.get("findings", ()))
    age_s = saying.age_s(features)
    fresh = not unheard and age_s is not None and age_s < FEATURES_OLD_S
    return {
        "tile": shown,
        "alerts": [alert for alert in (known["alert"], known["sensor_alert"]) if alert],
        "windows": shown["state"].get("windows", {}) if shown["score"] else {},
        "spans_now": spans.of_scores(known["scores"][-SHOWN:]) if shown["score"] else [],
        "bands": shown["state"].get("bands", []) if shown["score"] else [],
        "kept": (shown["score"] or {}).get("false_alarms_per_month", {}).get("kept", True),
        "features": features if fresh else {},
        "charts": charts,
        "trend": spans.trend,
        "bands_chart": bands.bands_chart,
        "ratio_bar": bands.ratio_bar,
        "figure": figures.figure,
        "saying": saying,
    }


@live("sound")
def sound(mirror: Mirror, point: str) -> dict[str, Any]:
    """What ``live/sound.html`` shows; raises KeyError for a point that is not configured."""
    if point not in mirror.points:
        raise KeyError(point)
    return {"heard": mirror.point(point)["windows"], "spectrogram": spectrogram.spectrogram, "now": time.time()}


routes = [Route("/points/{machine}/{point}", point_page)]
