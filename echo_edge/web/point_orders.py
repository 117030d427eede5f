"""Point orders: what a person says about a point: planned work, the operating state, how many false alarms."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.config_model import ID_PATTERN
from echo_edge.order_types import Role
from echo_edge.web.link import RefusedError
from echo_edge.web.pages import back, fail, form, link_of, need, refusal, translator
from echo_edge.web.point import asked, context, stamp

NUMBER = r"0[.,][0-9]{1,4}|[0-9]{1,5}([.,][0-9]{1,2})?"
"""With a comma or a point; ``1,000`` is a thousand to some and one to others, and refused."""

Args = Callable[[str, Mapping[str, str]], dict[str, Any]]
"""Point and what was typed -> arguments of the order; raises ValueError of a field's name that holds no such thing."""


async def _do(request: Request, name: str, role: Role, verb: str, args: Args) -> Response:
    point, person, typed = asked(request), need(request, role), await form(request)
    typed["form"] = name
    try:
        given = args(point, typed)
    except ValueError as error:
        wrong = "enroll.start.bad_state" if str(error) == "name" else "point.no_number"
        return await _again(request, {str(error): translator(request)(wrong)}, typed)
    try:
        await link_of(request).order(verb, given, person)
    except RefusedError as error:
        return await _again(request, refusal(error, *typed), typed)
    return back(f"/points/{point}?said={name}")


async def _again(request: Request, errors: dict[str, str], typed: dict[str, str]) -> Response:
    return fail(request, "point.html", errors, typed, **await context(request))


async def mute(request: Request) -> Response:
    """Announce planned work at the machine."""
    return await _do(request, "mute", "technician", "maintenance.mute", _mute)


async def unmute(request: Request) -> Response:
    """The work is over."""
    return await _do(
        request, "unmute", "technician", "maintenance.unmute", lambda point, _: {"machine": _machine(point)}
    )


async def state_set(request: Request) -> Response:
    """Say which operating state is in force."""
    return await _do(request, "state", "technician", "state.set", _state)


async def state_clear(request: Request) -> Response:
    """Take it back."""
    return await _do(request, "unstate", "technician", "state.clear", lambda point, _: {"point": point})


async def threshold(request: Request) -> Response:
    """Ask for another rate of false alarms; as it is configured where none is named."""
    return await _do(request, "threshold", "engineer", "threshold.set", _threshold)


async def to_point(request: Request) -> Response:
    """The address of a form that was refused, loaded anew: the page of the point."""
    return back(f"/points/{asked(request)}")


def _mute(point: str, typed: Mapping[str, str]) -> dict[str, Any]:
    note = {"note": typed["note"]} if typed.get("note") else {}
    return {"machine": _machine(point), "minutes": _number(typed, "minutes"), **note}


def _unmute(point: str, _: Mapping[str, str]) -> dict[str, Any]:
    return {"machine": _machine(point)}


def _state(point: str, typed: Mapping[str, str]) -> dict[str, Any]:
    args = {"point": point, "name": typed.get("name", "")}
    if not re.match(ID_PATTERN, args["name"]):
        raise ValueError("name")
    if typed.get("hours"):
        end = datetime.now(timezone.utc) + timedelta(hours=_number(typed, "hours"))
        args["until"] = stamp(end)
    return args


def _threshold(point: str, typed: Mapping[str, str]) -> dict[str, Any]:
    args: dict[str, Any] = {"point": point}
    if typed.get("target_false_alarms_per_month"):
        args["target_false_alarms_per_month"] = _number(typed, "target_false_alarms_per_month")
        if typed.get("hold_minutes"):
            args["hold_minutes"] = _number(typed, "hold_minutes")
    return args


def _number(typed: Mapping[str, str], name: str) -> float:
    if not re.fullmatch(NUMBER, typed.get(name, "")):
        raise ValueError(name)
    number = float(typed[name].replace(",", "."))
    if number == 0:
        raise ValueError(name)
    return number


def _machine(point: str) -> str:
    return point.partition("/")[0]


BELOW = {"mute": mute, "unmute": unmute, "state": state_set, "state/clear": state_clear, "threshold": threshold}

routes = [
    route
    for name, endpoint in BELOW.items()
    for path in [f"/points/{{machine}}/{{point}}/{name}"]
    for route in (Route(path, endpoint, methods=["POST"]), Route(path, to_point, methods=["GET"]))
]
