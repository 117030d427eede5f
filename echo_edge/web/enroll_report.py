"""Report: one sheet about what was taught, when, by whom and how well; for the file, printed or as PDF."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.web import saying
from echo_edge.web.enroll_view import Stand, spectrum_bars, worst_first
from echo_edge.web.figures import figure, rate
from echo_edge.web.link import RefusedError
from echo_edge.web.pages import link_of, mirror_of, need, page

ID = re.compile(r"bl_[0-9]{4,18}")
BAD_ZONES = ("C", "D")
AUDIT_ROWS = 500  # in which who accepted it is looked for


async def report(request: Request) -> Response:
    """Of the baseline that is named, else of the one in force."""
    person = need(request, "viewer")
    point = f"{request.path_params['machine']}/{request.path_params['point']}"
    known = mirror_of(request).point(point)
    wanted = request.query_params.get("baseline") or known["baseline"].get("baseline") or ""
    context: dict[str, Any] = {"point": point, "machine": request.path_params["machine"]}
    if not wanted:
        if point not in mirror_of(request).points:
            raise HTTPException(404)
        return page(request, "enroll_report.html", shown=None, **context)
    if not ID.fullmatch(wanted):
        raise HTTPException(404)
    shown = await link_of(request).order("baseline.show", {"id": wanted}, person)
    if shown["manifest"]["point"] != point:
        raise HTTPException(404)
    active = shown["status"] == "active"
    return page(
        request,
        "enroll_report.html",
        shown=shown,
        states=[_state(state, shown["heard"].get(state["name"], {})) for state in shown["manifest"]["states"]],
        deeds=await _deeds(request, point, wanted),
        now_in_force=known["baseline"] if active else {},
        features=known["features"] if active else {},
        bad_zones=BAD_ZONES,
        rate=rate,
        figure=figure,
        indicator=saying.indicator,
        created=datetime.fromtimestamp(shown["manifest"]["created_ns"] / 1e9, timezone.utc).isoformat(),
        printed=datetime.now(timezone.utc).isoformat(),
        **context,
    )


def _state(state: dict[str, Any], heard: dict[str, Any]) -> dict[str, Any]:
    """What the sheet tells of one state."""
    learned = state["learned"] or {}
    return {
        "name": state["name"],
        "about": state["about"],
        "learned": learned,
        "heard": heard,
        "excluded": Stand(learned, "").excluded,
        "checks": worst_first(learned.get("checks", [])),
        "test": learned.get("self_test") or {},
        "spectrum": spectrum_bars(heard.get("spectrum", [])),
    }


async def _deeds(request: Request, point: str, baseline: str) -> list[dict[str, Any]]:
    """Who did what with it, oldest first; empty where nobody may look that up."""
    try:
        args = {"point": point, "limit": AUDIT_ROWS}
        rows = (await link_of(request).read("audit", args, need(request, "viewer")))["rows"]
    except RefusedError:  # a supplement: the sheet has who made it anyway
        return []
    return [row for row in reversed(rows) if row["object"] == baseline]


routes = [Route("/enroll/{machine}/{point}/report", report)]
