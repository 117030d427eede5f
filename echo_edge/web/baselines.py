"""Baselines: every version of what is normal, the one in force, how two differ, and who decided so. Only reads."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.web.figures import figure, rate
from echo_edge.web.link import RefusedError
from echo_edge.web.pages import back, link_of, mirror_of, need, page

ID = re.compile(r"bl_[0-9]{4,18}")
FILE = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")
MOST = 500  # versions of a list; the daemon gives no more
AUDIT_ROWS = 50
MAX_FILE_MB = 16  # the daemon takes and gives no larger ones this way
STATUSES = {"active": "good", "proposed": "info", "rejected": "warning", "damaged": "bad"}
"""Status -> look; others have none of their own."""


async def _every_point(request: Request) -> Response:
    person, mirror = need(request, "viewer"), mirror_of(request)
    told = await link_of(request).order("baseline.list", {"limit": MOST}, person)
    waiting = [one["point"] for one in told["baselines"] if one["status"] == "proposed"]
    gone = sorted({one["point"] for one in told["baselines"]} - set(mirror.points))
    points = [(point, mirror.point(point)["baseline"], waiting.count(point)) for point in mirror.points]
    return page(request, "baselines.html", points=points, gone=gone, figure=figure, rate=rate)


async def _point(request: Request) -> Response:
    need(request, "viewer")
    return await point_page(request)


async def point_page(request: Request, status: int = 200, **more: Any) -> Response:
    """All versions of a point; ``more``: what a form of the page needs to be shown again."""
    point, versions = await _versions(request)
    return page(
        request,
        "baseline_point.html",
        status,
        versions=versions,
        active=next((one for one in versions if one["status"] == "active"), None),
        choices=[(one["id"], _called(one)) for one in versions],
        done=request.query_params.get("done", ""),
        max_mb=MAX_FILE_MB,
        **_of_point(request, point),
        **more,
    )


async def _version(request: Request) -> Response:
    need(request, "viewer")
    return await version_page(request)


async def version_page(request: Request, status: int = 200, **more: Any) -> Response:
    """One version; what cannot be shown of it (damaged, or its vectors were given up) is said."""
    id_ = version_id(request)
    point, versions = await _versions(request)
    one = next((one for one in versions if one["id"] == id_), None)
    if one is None:
        raise HTTPException(404)
    manifest: dict[str, Any] = {}
    unreadable = ""
    try:
        manifest = (await link_of(request).order("baseline.show", {"id": id_}, need(request, "viewer")))["manifest"]
    except RefusedError as error:
        unreadable = error.text
    file = request.query_params.get("file", "")
    return page(
        request,
        "baseline.html",
        status,
        one=one,
        manifest=manifest,
        unreadable=unreadable,
        others=[(other["id"], _called(other)) for other in versions if other["id"] != id_],
        active=next((other["id"] for other in versions if other["status"] == "active"), ""),
        done=request.query_params.get("done", ""),
        file=file if FILE.fullmatch(file) else "",
        max_mb=MAX_FILE_MB,
        **_of_point(request, point),
        **more,
    )


async def _compare(request: Request) -> Response:
    person = need(request, "viewer")
    point, versions = await _versions(request)
    old, new = (request.query_params.get(name, "") for name in ("old", "new"))
    if {old, new} - {one["id"] for one in versions}:
        raise HTTPException(404)
    difference = await link_of(request).order("baseline.diff", {"old": old, "new": new}, person)
    return page(request, "baseline_compare.html", difference=difference, versions=versions, **_of_point(request, point))


async def _audit(request: Request) -> Response:
    person, point, before = need(request, "viewer"), point_id(request), request.query_params.get("before", "")
    if before and not re.fullmatch(r"[1-9][0-9]{0,17}", before):
        raise HTTPException(404)
    args = {"point": point, "limit": AUDIT_ROWS, "before": int(before) if before else None}
    rows = (await link_of(request).read("audit", args, person))["rows"]
    older = rows[-1]["id"] if len(rows) == AUDIT_ROWS else None
    return page(request, "baseline_audit.html", rows=rows, older=older, newer=bool(before), **_of_point(request, point))


async def _download(request: Request) -> Response:
    person, file = need(request, "engineer"), str(request.path_params["file"])
    if not FILE.fullmatch(file) or ".." in file:
        raise HTTPException(404)
    told = await link_of(request).read("export", {"name": file}, person)
    headers = {"content-disposition": f'attachment; filename="{file}"', "cache-control": "no-store"}
    return Response(base64.b64decode(told["data"]), media_type="application/octet-stream", headers=headers)


async def _to_point(request: Request) -> Response:
    """The address of a form that was refused, loaded anew."""
    return back(f"/baselines/{point_id(request)}")


async def _versions(request: Request) -> tuple[str, list[dict[str, Any]]]:
    """The point of the address and its versions, the newest first; 404 when there are neither."""
    point = point_id(request)
    told = await link_of(request).order("baseline.list", {"point": point, "limit": MOST}, need(request, "viewer"))
    if not told["baselines"] and point not in mirror_of(request).points:
        raise HTTPException(404)
    return point, told["baselines"][::-1]


def _of_point(request: Request, point: str) -> dict[str, Any]:
    mirror = mirror_of(request)
    in_force = mirror.point(point)["baseline"] if point in mirror.points else {}
    return {
        "point": point,
        "in_force": in_force,
        "iso": iso,
        "statuses": STATUSES,
        "promises": promises,
        "figure": figure,
        "rate": rate,
    }


def _called(version: Mapping[str, Any]) -> str:
    return f"{version['id']} {version['label']}".strip()


def point_id(request: Request) -> str:
    return "{machine}/{point}".format_map(request.path_params)


def version_id(request: Request) -> str:
    id_ = str(request.path_params["id"])
    if not ID.fullmatch(id_):
        raise HTTPException(404)
    return id_


def iso(time_ns: int | None) -> str | None:
    """RFC 3339 of nanoseconds since 1970; None where a version does not tell (0 or nothing)."""
    if not time_ns:
        return None
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=time_ns // 1000)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def promises(*tables: Sequence[Mapping[str, Any]]) -> list[tuple[float, list[Mapping[str, Any] | None]]]:
    """Target a month -> what each table says of it; None where one does not."""
    targets = sorted({row["target"] for table in tables for row in table})
    return [
        (target, [next((r for r in table if r["target"] == target), None) for table in tables]) for target in targets
    ]


BELOW = "/baselines/{machine}/{point}"
routes = [
    Route("/baselines", _every_point),
    Route(BELOW, _point),
    Route(f"{BELOW}/compare", _compare),
    Route(f"{BELOW}/audit", _audit),
    Route(f"{BELOW}/exports/{{file}}", _download),
    Route(f"{BELOW}/rollback", _to_point),
    Route(f"{BELOW}/import", _to_point),
    Route(f"{BELOW}/{{id}}", _version),
]
