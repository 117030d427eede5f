"""Enrollment: one page that is always where the session is, whoever began it and by whichever way."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.config_model import ID_PATTERN
from echo_edge.web.enroll_view import LISTENING, Stand, spectrum_bars
from echo_edge.web.figures import rate
from echo_edge.web.link import RefusedError
from echo_edge.web.live import live
from echo_edge.web.mirror import Mirror
from echo_edge.web.pages import back, fail, form, link_of, mirror_of, need, page, refusal, translator
from echo_edge.web.spectrogram import spectrogram
from echo_edge.web.texts import Translator

SPANS = {"provisional": 10, "working": 60, "firm": 24 * 60}
"""Minutes that are suggested."""

MOST_MINUTES = 14 * 24 * 60
MOST_WORDS = 500  # of a note
MOUNTS = ("stud", "adhesive", "magnet", "probe", "microphone")
HEARD_S = 10.0  # of sound that is shown while it listens
TELLS_S = 2.0  # after an order, the daemon says so on the mirror within that time

Made = tuple[dict[str, str], dict[str, Any]]
"""What is wrong by field, and the order's arguments."""


@live("enroll")
def parts(mirror: Mirror, args: str) -> dict[str, Any]:
    """What is shown of a point's enrollment."""
    if args not in mirror.points:
        raise KeyError(args)
    told = mirror.point(args)
    stand = Stand.of(told["enroll"])
    windows = told["windows"] if stand.phase in LISTENING and not stand.pause else []
    hop_s = windows[-1]["hop_s"] if windows else HEARD_S
    return {
        "point": args,
        "stand": stand,
        "baseline": told["baseline"],
        "rate": rate,
        "heard": windows[-max(1, round(HEARD_S / hop_s)) :],
        "spectrogram": spectrogram,
        "now": time.time(),
        "spectrum": spectrum_bars(stand.told.get("spectrum", [])),
    }


async def show(request: Request) -> Response:
    """Where it is, and the buttons that are right now."""
    return page(request, "enroll.html", **await _context(request, _point(request)))


async def act(request: Request) -> Response:
    """Do what one of the page's forms asks for."""
    point, person = _point(request), need(request, "technician")
    sent, link = await form(request), link_of(request)
    try:
        verb, fields, made = ACTIONS[sent.get("form", "")]
    except KeyError:
        raise HTTPException(400) from None
    errors, args = made(translator(request), sent)
    if not errors:
        before = _stand(request, point).key
        try:
            await link.order(verb, {"point": point, **args}, person)
        except RefusedError as error:
            if error.kind == "forbidden":
                raise
            errors = refusal(error, *fields)
        else:
            await _until_told(request, point, before)
            return back(f"/enroll/{point}")
    return fail(request, "enroll.html", errors, sent, **await _context(request, point))


def _start(t: Translator, sent: dict[str, str]) -> Made:
    errors: dict[str, str] = {}
    args: dict[str, Any] = {"state": sent.get("state", "")}
    if not re.match(ID_PATTERN, args["state"]):
        errors["state"] = t("enroll.start.bad_state")
    span = sent.get("span", "")
    if span in SPANS:
        args["minutes"] = float(SPANS[span])
    elif span == "own":
        errors |= _minutes(t, sent, args)
    elif span == "past":
        errors |= _past(t, sent, args)
    else:
        errors["span"] = t("enroll.start.bad_span")
    mount, words = sent.get("mount", ""), sent.get("note", "")
    said = [t("enroll.start.mounted", how=t(f"enroll.mount.{mount}"))] if mount in MOUNTS else []
    args["note"] = "; ".join([*said, *([words] if words else [])])
    if len(args["note"]) > MOST_WORDS or not args["note"].isprintable():
        errors["note"] = t("enroll.bad_note", most=MOST_WORDS)
    return errors, args


def _past(t: Translator, sent: dict[str, str], args: dict[str, Any]) -> dict[str, str]:
    """Past hours, told in the gateway's time of day."""
    errors = {}
    for name in ("past_from", "past_until"):
        try:
            args[name] = datetime.fromisoformat(sent.get(name, "")).astimezone().isoformat()
        except (ValueError, OverflowError):
            errors[name] = t("enroll.start.bad_time")
    if not errors and datetime.fromisoformat(args["past_from"]) >= datetime.fromisoformat(args["past_until"]):
        errors["past_until"] = t("enroll.start.bad_order")
    return errors


def _minutes(t: Translator, sent: dict[str, str], args: dict[str, Any]) -> dict[str, str]:
    try:
        minutes = float(sent.get("minutes", "").replace(",", "."))
    except ValueError:
        minutes = 0.0
    if not 0 < minutes <= MOST_MINUTES:  # false for what is no number, too
        return {"minutes": t("enroll.bad_minutes", most=MOST_MINUTES)}
    args["minutes"] = minutes
    return {}


def _of_session(sent: dict[str, str]) -> dict[str, Any]:
    """The session that the form was shown for: an order for another one is a conflict."""
    return {"session": sent.get("session", "")}


def _accept(t: Translator, sent: dict[str, str]) -> Made:
    healthy = sent.get("healthy") == "yes"
    errors = {"healthy": t("enroll.accept.say_so")} if sent.get("asked") and not healthy else {}
    return errors, {**_of_session(sent), "healthy": healthy}


def _extend(t: Translator, sent: dict[str, str]) -> Made:
    args = _of_session(sent)
    return _minutes(t, sent, args), args


def _stop(t: Translator, sent: dict[str, str]) -> Made:
    note = sent.get("note", "")
    wrong = len(note) > MOST_WORDS or not note.isprintable()
    return {"note": t("enroll.bad_note", most=MOST_WORDS)} if wrong else {}, {**_of_session(sent), "note": note}


ACTIONS: dict[str, tuple[str, tuple[str, ...], Callable[[Translator, dict[str, str]], Made]]] = {
    "start": ("enroll.start", ("state", "minutes", "past_from", "past_until", "note"), _start),
    "accept": ("enroll.accept", ("healthy",), _accept),
    "extend": ("enroll.extend", ("minutes",), _extend),
    "stop": ("enroll.stop", ("note",), _stop),
}
"""Form -> its verb, the fields beside which a refusal can be shown, and what makes its arguments."""


async def _context(request: Request, point: str) -> dict[str, Any]:
    told = parts(mirror_of(request), point)
    stand: Stand = told["stand"]
    ended: dict[str, Any] = {}
    if stand.told and not stand.runs:
        ended = await _ended(request, point, stand.session)
    return {
        **told,
        "machine": point.partition("/")[0],
        "ended": Stand(ended, stand.phase),
        "spans": SPANS,
        "mounts": MOUNTS,
        "state": request.query_params.get("state", "run"),
    }


async def _ended(request: Request, point: str, session: str) -> dict[str, Any]:
    """All that the daemon still knows of the latest session; empty where that is another one."""
    try:
        progress = await link_of(request).order("enroll.status", {"point": point}, need(request, "viewer"))
    except RefusedError:  # it is a supplement; how it ended is told without it
        return {}
    return progress if progress.get("session") == session else {}


async def _until_told(request: Request, point: str, before: str) -> None:
    """Wait until the mirror shows what an order did: the page that follows has the right buttons without a script."""
    loop = asyncio.get_running_loop()
    ends_s = loop.time() + TELLS_S
    while _stand(request, point).key == before and loop.time() < ends_s:
        await asyncio.sleep(0.05)


def _stand(request: Request, point: str) -> Stand:
    return Stand.of(mirror_of(request).point(point)["enroll"])


def _point(request: Request) -> str:
    point = f"{request.path_params['machine']}/{request.path_params['point']}"
    if point not in mirror_of(request).points:
        raise HTTPException(404)
    return point


routes = [
    Route("/enroll/{machine}/{point}", show, methods=["GET"]),
    Route("/enroll/{machine}/{point}", act, methods=["POST"]),
]
