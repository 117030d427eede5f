"""Pages: templates with what all of them need, forms that answer beside the field, and who may see what."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import Any, cast

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from echo_edge.order_types import Role
from echo_edge.web.link import Link, RefusedError
from echo_edge.web.mirror import Mirror
from echo_edge.web.person import Person
from echo_edge.web.texts import Texts, Translator

LANGUAGE_COOKIE = "lang"


class ForbiddenError(Exception):
    """The person's role may not; ``role`` is the least that may."""

    def __init__(self, role: Role) -> None:
        super().__init__(role)
        self.role = role


def page(request: Request, template: str, /, status: int = 200, **context: Any) -> Response:
    """A whole page of ``templates/``; scripts and styles are not within it, the browser would refuse them."""
    return HTMLResponse(render(template, translator(request), {**_common(request), **context}), status)


def fail(
    request: Request, template: str, /, errors: Mapping[str, str], typed: Mapping[str, str], **context: Any
) -> Response:
    """The page of a form again, with what was typed, and what is wrong beside each field; ``""`` is for the whole."""
    return page(request, template, 422, errors=errors, typed=typed, **context)


def refusal(error: RefusedError, *fields: str) -> dict[str, str]:
    """What the daemon refused, as ``errors`` for ``fail``: beside the field where the form has it, else above all."""
    return {error.where if error.where in fields else "": error.text.removeprefix(f"args.{error.where}: ")}


def back(path: str) -> Response:
    """After a form that did its work: see the result, and reload it without sending the form again."""
    return RedirectResponse(path, 303)


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, without blanks around them; files are left out."""
    async with request.form(max_files=1, max_fields=50) as sent:
        return {name: value.strip() for name, value in sent.items() if isinstance(value, str)}


def need(request: Request, role: Role) -> Person:
    """The person, where their role is at least that.

    Raises:
        ForbiddenError: it is not.
    """
    person = cast(Person, request.state.person)
    if not person.at_least(role):
        raise ForbiddenError(role)
    return person


def person_of(request: Request) -> Person | None:
    """Who has logged in; None before that."""
    return cast("Person | None", getattr(request.state, "person", None))


def link_of(request: Request) -> Link:
    return cast(Link, request.app.state.link)


def mirror_of(request: Request) -> Mirror:
    return link_of(request).mirror


def translator(request: Request) -> Translator:
    """The person's choice, else their browser's, else the configured language."""
    texts = cast(Texts, request.app.state.texts)
    return texts.of(request.cookies.get(LANGUAGE_COOKIE), *texts.accepted(request.headers.get("accept-language", "")))


def render(template: str, t: Translator, context: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(t=t, lang=t.language, **context)


def _common(request: Request) -> dict[str, Any]:
    csrf = getattr(request.state, "csrf", "")
    return {
        "person": person_of(request),
        "mirror": mirror_of(request),
        "gateway": mirror_of(request).get("info").get("gw", request.app.state.gateway),
        "csrf_field": lambda: Markup('<input type="hidden" name="csrf" value="{}">').format(csrf),
        "path": request.url.path,
        "languages": cast(Texts, request.app.state.texts).languages,
        "errors": {},
        "typed": {},
    }


@lru_cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echo_edge.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,  # a name that is not there is a defect, and never an empty place on a page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = static
    return environment


@lru_cache
def static(name: str) -> str:
    """The address of a file of ``static/``: with its hash, so that browsers keep it until it changes."""
    data = resources.files("echo_edge.web").joinpath("static", name).read_bytes()
    return f"/static/{name}?{sha256(data).hexdigest()[:12]}"
