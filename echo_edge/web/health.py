"""Health: how the gateway itself is, what the doctor finds, who did what, and the archive for whoever helps."""

from __future__ import annotations

import base64
import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge import __version__
from echo_edge.web import saying
from echo_edge.web.figures import figure
from echo_edge.web.health_view import troubles
from echo_edge.web.link import RefusedError
from echo_edge.web.live import live
from echo_edge.web.mirror import Mirror
from echo_edge.web.pages import link_of, mirror_of, need, page

AUDIT_ROWS = 50
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
IN_BUNDLE = ("configuration", "versions", "doctor", "status", "audit", "devices", "journal")
NOT_IN_BUNDLE = ("sound", "embeddings", "secrets", "names")


@live("health")
def parts(mirror: Mirror, _: str) -> dict[str, Any]:
    """What the messages say of the gateway."""
    return {
        "troubles": troubles(mirror),
        "health": mirror.get("health"),
        "info": mirror.get("info"),
        "link": mirror.get("status"),
        "points": [(point, mirror.point(point)["quality"]) for point in mirror.points],
        "page_version": __version__,
        "saying": saying,
        "figure": figure,
    }


async def show(request: Request) -> Response:
    """How it is now, and what the doctor says."""
    return page(
        request,
        "health.html",
        **parts(mirror_of(request), ""),
        asked=(await _asked(request, "status")).get("gateway", {}),
        doctor=await _asked(request, "doctor"),
        in_bundle=IN_BUNDLE,
        not_in_bundle=NOT_IN_BUNDLE,
    )


async def audit(request: Request) -> Response:
    """Who did what on the whole gateway, newest first."""
    person, before = need(request, "viewer"), request.query_params.get("before", "")
    if before and not re.fullmatch(r"[1-9][0-9]{0,17}", before):
        raise HTTPException(404)
    args = {"point": None, "limit": AUDIT_ROWS, "before": int(before) if before else None}
    rows = (await link_of(request).read("audit", args, person))["rows"]
    older = rows[-1]["id"] if len(rows) == AUDIT_ROWS else None
    return page(request, "health_audit.html", rows=rows, older=older, newer=bool(before))


async def bundle(request: Request) -> Response:
    """The support archive; it is gathered while one waits."""
    told = await link_of(request).read("bundle", {}, need(request, "engineer"))
    name = told["name"] if FILE.fullmatch(told["name"]) else "support.tar.gz"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    return Response(base64.b64decode(told["tar_gz"]), media_type="application/gzip", headers=headers)


async def _asked(request: Request, verb: str) -> dict[str, Any]:
    """What the daemon answers; empty where it refuses: the page then says that it is not known."""
    try:
        return await link_of(request).order(verb, {}, need(request, "viewer"))
    except RefusedError:
        return {}


routes = [Route("/health", show), Route("/health/audit", audit), Route("/health/bundle", bundle)]
