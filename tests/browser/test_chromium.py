"""The browser of these tests sees what it must: else a page that misbehaves would pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.browser.axe import grave_findings
from tests.browser.chromium import Chromium, fits, needs_chromium
from tests.browser.hostile import served

pytestmark = needs_chromium

POLICY = "default-src 'none'; script-src 'self'; img-src * data:"


@contextmanager
def page_of(body: str) -> Iterator[str]:
    """The origin that serves it."""
    with served(body, POLICY) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_page_that_behaves_gives_no_reason_to_complain(chromium: Chromium) -> None:
    with page_of("<h1>still</h1>") as origin, chromium.visitor(origin, width=360) as visitor:
        assert visitor.open("/") == 200
        assert visitor.open("/not-there") == 404
        assert fits(visitor.page)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<img src=http://127.0.0.1:9/pixel.png>", "left the host: GET http://127.0.0.1:9/pixel.png"),
        ("<script>document.title = 'changed'</script>", "Content Security Policy"),
        ("<p style='color: red'>red</p>", "Content Security Policy"),
        ("<script src=/script.js></script>", "404"),
    ],
)
def test_what_a_page_must_not_do_is_noted(chromium: Chromium, body: str, complaint: str) -> None:
    with page_of(body) as origin, chromium.visitor(origin, complains=True) as visitor:
        visitor.open("/")
        assert complaint in "\n".join(visitor.complaints)
        assert visitor.page.title() == "a page"


def test_a_page_too_wide_for_a_phone_is_noticed(chromium: Chromium) -> None:
    with page_of(f"<pre>{'wide ' * 100}</pre>") as origin, chromium.visitor(origin, width=360) as visitor:
        visitor.open("/")
        assert not fits(visitor.page)


def test_a_picture_that_nobody_describes_is_a_grave_finding(chromium: Chromium) -> None:
    body = "<main><h1>a</h1><img src=/ width=9 height=9></main>"
    with page_of(body) as origin, chromium.visitor(origin, bypass_csp=True, complains=True) as visitor:
        visitor.open("/")
        assert any(finding.startswith("critical: image-alt: ") for finding in grave_findings(visitor.page))
