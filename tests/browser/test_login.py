"""The way in, in a real browser: one-time code, password, out again, and in with the keyboard alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker import needs_mosquitto
from tests.browser.chromium import Chromium, fits, needs_chromium
from tests.browser.page_service import PageService
from tests.browser.person import PASSWORD, Person, somebody

pytestmark = [needs_chromium, needs_mosquitto]


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_new_administrator_comes_in_with_the_code_of_the_terminal_and_again_with_a_password(
    chromium: Chromium, tmp_path: Path, language: str
) -> None:
    with (
        PageService(tmp_path / "page", tmp_path / "no.sock") as service,
        somebody(chromium, service, "m.lang", "admin", language, width=360) as person,
    ):
        assert fits(person.page)
        assert person.page.get_attribute("html", "lang") == language
        person.logs_out()
        person.logs_in()
        with chromium.visitor(service.origin) as visitor:
            other = Person(visitor, "m.lang")
            other.opens("/login")
            visitor.page.get_by_label("Name").focus()
            for key in ("m.lang", "Tab", PASSWORD, "Enter"):
                (visitor.page.keyboard.press if key in {"Tab", "Enter"} else visitor.page.keyboard.type)(key)
            other.is_in()
