"""Baseline changes: activate, roll back, reject (after a page that says what would change), label, export, import."""

from __future__ import annotations

import base64
import re
from typing import Any, Literal

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from echo_edge.web.baselines import BELOW, MAX_FILE_MB, point_id, point_page, promises, version_id, version_page
from echo_edge.web.figures import figure
from echo_edge.web.link import RefusedError
from echo_edge.web.pages import back, form, link_of, mirror_of, need, page, refusal, translator

Change = Literal["activate", "reject", "rollback"]
CHANGES_OF_VERSION = ("activate", "reject", "label", "export")


async def _of_version(request: Request) -> Response:
    what = request.path_params["what"]
    if what not in CHANGES_OF_VERSION:
        raise HTTPException(404)
    if what == "label":
        return await _label(request)
    return await (_export(request) if what == "export" else _change(request, what))


async def _rollback(request: Request) -> Response:
    return await _change(request, "rollback")


async def _change(request: Request, what: Change) -> Response:
    """First a rehearsal, and a page that tells what it said; with ``sure`` it is done."""
    person, point, sent = need(request, "engineer"), point_id(request), await form(request)
    id_ = "" if what == "rollback" else version_id(request)
    args = ({} if what == "reject" else {"point": point}) | ({"id": id_} if id_ else {})
    expect = {"baseline": sent["in_force"] or None} if "in_force" in sent and what != "reject" else None
    errors: dict[str, str] = {}
    order = link_of(request).order
    if sent.get("sure") == "yes":
        noted = args | ({"note": sent["note"]} if sent.get("note") else {})
        try:
            await order(f"baseline.{what}", noted, person, expect)
        except RefusedError as error:
            if error.where != "note":
                return await _refused(request, error, id_)
            errors = refusal(error, "note")
        else:
            return back(f"/baselines/{point}?done={what}")
    try:
        told = await order(f"baseline.{what}", args, person, expect, dry_run=True)
    except RefusedError as error:
        return await _refused(request, error, id_)
    now = mirror_of(request).point(point)["baseline"].get("baseline")
    return page(
        request,
        "baseline_confirm.html",
        422 if errors else 200,
        point=point,
        what=what,
        action=f"/baselines/{point}/{f'{id_}/' if id_ else ''}{what}",
        now=now,
        after=told.get("active", id_),
        would=told["would"],
        states=told.get("states", []),
        expected=sent.get("in_force"),
        difference=await _difference(request, now, told.get("active")),
        promises=promises,
        figure=figure,
        errors=errors,
        typed=sent,
    )


async def _difference(request: Request, old: str | None, new: str | None) -> dict[str, Any] | None:
    """How the version to come differs from the one in force; None where that cannot be told."""
    if old is None or new is None:
        return None
    try:
        return await link_of(request).order("baseline.diff", {"old": old, "new": new}, need(request, "viewer"))
    except RefusedError:
        return None


async def _refused(request: Request, error: RefusedError, id_: str) -> Response:
    """The page that it was asked from, as it stands now, with the reason."""
    status = {"forbidden": 403, "conflict": 409}.get(error.kind, 422)
    shown = version_page if id_ else point_page
    moved_on = error.kind == "conflict"
    return await shown(request, status, errors={"": error.text}, typed={"form": "change"}, moved_on=moved_on)


async def _label(request: Request) -> Response:
    person, id_, sent = need(request, "engineer"), version_id(request), await form(request)
    try:
        await link_of(request).order("baseline.label", {"id": id_, "label": sent.get("label", "")}, person)
    except RefusedError as error:
        typed = {**sent, "form": "label"}
        return await version_page(request, 422, errors=refusal(error, "label"), typed=typed)
    return back(f"/baselines/{point_id(request)}/{id_}?done=label")


async def _export(request: Request) -> Response:
    person, id_ = need(request, "engineer"), version_id(request)
    try:
        told = await link_of(request).order("baseline.export", {"id": id_}, person)
    except RefusedError as error:
        return await _refused(request, error, id_)
    return back(f"/baselines/{point_id(request)}/{id_}?done=export&file={told['file']}")


async def _import(request: Request) -> Response:
    """A file that was chosen in the browser, as a proposal for this point."""
    person, point, t = need(request, "engineer"), point_id(request), translator(request)
    async with request.form(max_files=1, max_fields=20) as sent:
        typed = {name: value.strip() for name, value in sent.items() if isinstance(value, str)} | {"form": "import"}
        upload = sent.get("file")
        data = await upload.read((MAX_FILE_MB << 20) + 1) if isinstance(upload, UploadFile) else b""
        name = _plain(upload.filename or "") if isinstance(upload, UploadFile) else ""
    if not data or len(data) > MAX_FILE_MB << 20:
        words = t("baselines.file_too_large", mb=MAX_FILE_MB) if data else t("baselines.file_missing")
        return await point_page(request, 422, errors={"file": words}, typed=typed)
    link = link_of(request)
    args = {"point": point} | {field: typed[field] for field in ("key", "note") if typed.get(field)}
    try:
        put = await link.read("import", {"name": name, "data": base64.b64encode(data).decode()}, person)
        told = await link.order("baseline.import", {**args, "file": put["file"]}, person)
    except RefusedError as error:
        where = "file" if error.where in {"name", "data"} else error.where
        errors = refusal(RefusedError(error.text, error.code, error.kind, where), "file", "key", "note")
        return await point_page(request, 403 if error.kind == "forbidden" else 422, errors=errors, typed=typed)
    return back(f"/baselines/{point}/{told['proposed']}?done=import")


def _plain(name: str) -> str:
    """A name that the daemon takes, as like the chosen one as possible."""
    plain = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]", "-", name.lower())).lstrip("._-")
    return plain[-60:].lstrip("._-") or "baseline"


async def _to_version(request: Request) -> Response:
    """The address of a form that was refused, loaded anew."""
    if request.path_params["what"] not in CHANGES_OF_VERSION:
        raise HTTPException(404)
    return back(f"/baselines/{point_id(request)}/{version_id(request)}")


routes = [
    Route(f"{BELOW}/rollback", _rollback, methods=["POST"]),
    Route(f"{BELOW}/import", _import, methods=["POST"]),
    Route(f"{BELOW}/{{id}}/{{what}}", _of_version, methods=["POST"]),
    Route(f"{BELOW}/{{id}}/{{what}}", _to_version),
]
