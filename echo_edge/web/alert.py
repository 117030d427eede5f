"""Alert: one of them, with all that is known of it, and what a person says of it or does about it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.web import saying
from echo_edge.web.alerts import open_alerts, point_of
from echo_edge.web.bands import bands_chart, mostly
from echo_edge.web.figures import figure
from echo_edge.web.link import RefusedError
from echo_edge.web.live import live
from echo_edge.web.mirror import Mirror
from echo_edge.web.pages import back, form, link_of, mirror_of, need, page, refusal, translator
from echo_edge.web.texts import Translator

ALERT_ID = re.compile(r"[0-9a-f]{32}")
PICTURE = re.compile(r"[0-9a-f]{32}-[0-9]{1,9}")
SHELVES = (60, 480, 1440, 10080)
"""Minutes that are offered: an hour, a shift, a day, a week; the longest is the most that the daemon takes."""

FIELDS = {
    "ack": ("note",),
    "shelve": ("minutes", "note"),
    "clear": ("note",),
    "normal": ("note",),
    "fault": ("cause", "note"),
}
"""What each form of the page asks."""


async def _show(request: Request) -> Response:
    need(request, "viewer")
    return await _page(request)


async def _page(request: Request, status: int = 200, **more: Any) -> Response:
    alert_id = _id(request)
    person, mirror, t = need(request, "viewer"), mirror_of(request), translator(request)
    try:
        told = await link_of(request).read("alert", {"alert_id": alert_id}, person)
    except RefusedError as error:
        if error.kind in {"refused", "bad_args"}:  # nothing is kept of it
            raise HTTPException(404) from error
        raise
    message: dict[str, Any] = told["message"] or {}
    standing = any(alert["alert_id"] == alert_id for alert in open_alerts(mirror))
    evidence = told.get("unlike") or message.get("evidence", {})
    bands = evidence.get("bands", [])
    return page(
        request,
        "alert.html",
        status,
        alert=told,
        message=message,
        evidence=evidence,
        can=_possible(told, standing=standing),
        strength=_strength(message),
        bands_chart=bands_chart(t, bands, "bands-table") if bands else None,
        said=saying.alert(t, message | {"evidence": evidence} if evidence else message) if message else "",
        reasons=[(saying.check(t, reason), t.or_else(f"advice.{reason}", "")) for reason in message.get("reasons", ())],
        mostly=mostly(t, bands) if bands else "",
        indicators=_indicators(t, evidence.get("indicators", [])),
        parts=[
            (t.or_else(f"alert.part.{name}", name), figure(t, value))
            for name, value in evidence.get("parts", {}).items()
        ],
        pictures=[name.removesuffix(".png") for name in reversed(told["pictures"])],
        live_args=f"{alert_id}/{message.get('rev', 0)}",
        shelves=[(minutes, t(f"alert.shelf.{minutes}")) for minutes in SHELVES],
        done=request.query_params.get("done", ""),
        **_stands(mirror, f"{alert_id}/{message.get('rev', 0)}"),
        **more,
    )


def _possible(told: Mapping[str, Any], *, standing: bool) -> set[str]:
    """What may be done about it as it stands; feedback also long after."""
    active = told["state"] == "active"
    possible = {"shelve", "clear"} if active else set()
    if (active or standing) and not told["ack"]:
        possible.add("ack")
    return possible | ({"feedback"} if told["kind"] == "machine" else set())


def _strength(message: Mapping[str, Any]) -> dict[str, float | None]:
    """Peak and latest score as multiples of the threshold; None where one of them is not known."""
    score, peak = message.get("score", {}), message.get("peak", {})
    raw, threshold = peak.get("raw"), score.get("threshold")
    return {"peak": raw / threshold if raw is not None and threshold else None, "latest": score.get("ratio")}


def _indicators(t: Translator, moved: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Those that left their usual range, in words of the language."""
    found = []
    for one in moved:
        name, unit = saying.indicator(t, one["name"])
        usual = t("charts.from_to", low=figure(t, one["usual"][0]), high=figure(t, one["usual"][1]))
        value = f"{figure(t, one['value'])} {unit}".strip()
        where = t("alert.channel", n=one["channel"]) if "channel" in one else ""
        found.append({"name": f"{name} {where}".strip(), "value": value, "usual": usual, "text": one["text"]})
    return found


@live("alert_now")
def _stands(mirror: Mirror, args: str) -> dict[str, Any]:
    """How an alert stands now; ``args``: ``ID/REV``, the revision that the page around shows."""
    alert_id, _, rev = args.partition("/")
    if not ALERT_ID.fullmatch(alert_id) or not rev.isdecimal():
        raise KeyError(args)
    now = next((alert for alert in open_alerts(mirror) if alert["alert_id"] == alert_id), None)
    point = "" if now is None else point_of(now)
    state = mirror.point(point)["state"] if point else {}
    news = now is not None and now["rev"] > int(rev)
    return {"now": now, "state": state, "news": news, "alert_id": alert_id}


async def _act(request: Request) -> Response:
    """One of the page's forms: the order, then the page again, which shows what came of it."""
    person, alert_id, what = need(request, "technician"), _id(request), request.path_params["what"]
    if what not in FIELDS:
        raise HTTPException(404)
    sent = await form(request)
    typed = {**sent, "form": what}
    args: dict[str, Any] = {"alert_id": alert_id}
    args |= {name: sent[name] for name in FIELDS[what] if name != "minutes" and sent.get(name)}
    if what == "shelve":
        minutes = _minutes(sent)
        if minutes is None:
            words = translator(request)("alert.minutes_bad", most=SHELVES[-1])
            return await _page(request, 422, errors={"minutes": words}, typed=typed)
        args["minutes"] = minutes
    try:
        if what in {"normal", "fault"}:
            await link_of(request).order("feedback", {**args, "verdict": what}, person)
        else:
            rev = sent.get("rev", "")
            await link_of(request).order(f"alert.{what}", args, person, {"rev": int(rev)} if rev.isdecimal() else None)
    except RefusedError as error:
        return await _refused(request, error, typed, FIELDS[what])
    return back(f"/alerts/{alert_id}?done={what}")


async def _refused(request: Request, error: RefusedError, typed: dict[str, str], fields: tuple[str, ...]) -> Response:
    errors = refusal(error, *fields)
    if error.kind == "conflict":  # somebody was faster: the page shows how it stands by now
        errors[""] = f"{translator(request)('alert.moved_on')} {error.text}"
    status = {"forbidden": 403, "conflict": 409}.get(error.kind, 422)
    return await _page(request, status, errors=errors, typed=typed)


def _minutes(sent: Mapping[str, str]) -> int | None:
    """How long somebody wants to hear nothing; None where they typed no such length."""
    typed = sent.get("minutes") or sent.get("for", "")
    return int(typed) if re.fullmatch(r"\d{1,5}", typed, re.ASCII) and 1 <= int(typed) <= SHELVES[-1] else None


async def _picture(request: Request) -> Response:
    person, alert_id, name = need(request, "viewer"), _id(request), request.path_params["name"]
    if not PICTURE.fullmatch(name) or not name.startswith(f"{alert_id}-"):
        raise HTTPException(404)
    try:
        told = await link_of(request).read("picture", {"name": f"{name}.png"}, person)
    except RefusedError as error:
        raise HTTPException(404) from error
    headers = {"cache-control": "private, max-age=86400"}  # a picture is never changed, and its name never given again
    return Response(base64.b64decode(told["png"]), media_type="image/png", headers=headers)


async def _to_alert(request: Request) -> Response:
    """The address of a form that was refused, loaded anew."""
    if request.path_params["what"] not in FIELDS:
        raise HTTPException(404)
    return back(f"/alerts/{_id(request)}")


def _id(request: Request) -> str:
    alert_id = str(request.path_params["alert_id"])
    if not ALERT_ID.fullmatch(alert_id):
        raise HTTPException(404)
    return alert_id


routes = [
    Route("/alerts/{alert_id}", _show),
    Route("/alerts/{alert_id}/{name}.png", _picture),
    Route("/alerts/{alert_id}/{what}", _act, methods=["POST"]),
    Route("/alerts/{alert_id}/{what}", _to_alert),
]
