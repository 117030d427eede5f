"""What a person does on the page: reads its words, clicks, types. Words by their keys, so in any language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, expect

from echo_edge.web.texts import Texts
from tests.browser.chromium import PATIENCE_MS, Chromium, Visitor
from tests.browser.page_service import PageService

PASSWORD = "four-belts-hum-in-hall-3"
expect.set_options(timeout=PATIENCE_MS)


class Person:
    """Somebody before a browser; ``name`` logs in with ``PASSWORD``."""

    def __init__(self, visitor: Visitor, name: str, language: str = "en") -> None:
        self.visitor, self.page, self.name = visitor, visitor.page, name
        self.t = Texts().of(language)

    def opens(self, path: str, status: int = 200) -> None:
        answered = self.visitor.open(path)
        assert answered == status, f"{path}: {answered}, {self.page.inner_text('body')[:300]}"

    def presses(self, key: str, within: str = "main", **values: Any) -> None:
        """Click the button of these words."""
        button = self.page.locator(within).get_by_role("button", name=self.t(key, **values), exact=True)
        button.click()

    def follows(self, key: str, within: str = "body", **values: Any) -> None:
        """Click the first link of these words."""
        self.page.locator(within).get_by_role("link", name=self.t(key, **values)).first.click()

    def types(self, key: str, text: str, within: str = "main") -> None:
        self._field(key, within).fill(text)

    def chooses(self, key: str, within: str = "main") -> None:
        """Tick the box, or take the choice, of these words."""
        self.page.locator(within).get_by_text(self.t(key), exact=True).click()

    def reads(self, key: str, within: str = "body", timeout_s: float = PATIENCE_MS / 1000, **values: Any) -> None:
        """Wait until the words are to be seen, however they come there: without loading the page again."""
        words = self.page.locator(within).get_by_text(self.t(key, **values)).locator("visible=true").first
        expect(words).to_be_visible(timeout=timeout_s * 1000)

    def reads_not(self, key: str, **values: Any) -> None:
        """The words are not to be seen, or soon no more."""
        expect(self.page.get_by_text(self.t(key, **values)).locator("visible=true")).to_have_count(0)

    def form(self, name: str) -> str:
        """One of several forms of a page, for ``within``."""
        return f"form:has(input[name=form][value={json.dumps(name)}])"

    def answer(self, what: str) -> str:
        """One of the answers to an alert, unfolded, for ``within``."""
        unfold = self.page.locator(f"details:not([open]):has(form[action$='/{what}']) > summary")
        if unfold.count():
            unfold.click()
        return f"form[action$='/{what}']"

    def logs_in_first(self, code: str) -> None:
        """Come with a one-time code, and choose a password."""
        self.opens("/login")
        self.follows("login.have_code")
        self.types("login.name", self.name)
        self.types("login.code", code)
        self.types("login.new_password", PASSWORD)
        self.types("login.repeat", PASSWORD)
        self.presses("login.set")
        self.is_in()

    def logs_in(self) -> None:
        """Come again."""
        self.opens("/login")
        self.types("login.name", self.name)
        self.types("login.password", PASSWORD)
        self.presses("login.do")
        self.is_in()

    def logs_out(self) -> None:
        self.presses("base.logout", "header")
        self.page.get_by_role("heading", name=self.t("login.title")).wait_for()

    def is_in(self) -> None:
        """The page knows who it is."""
        self.page.locator("header").get_by_text(self.name).first.wait_for()

    def _field(self, key: str, within: str) -> Locator:
        label, optional = re.escape(self.t(key)), re.escape(self.t("parts.optional"))
        return self.page.locator(within).get_by_label(re.compile(rf"^\s*{label}(\s+{optional})?\s*$"))


@contextmanager
def somebody(
    chromium: Chromium, service: PageService, name: str, role: str, language: str = "en", **options: Any
) -> Iterator[Person]:
    """Let a person in by the command line, with their first login done in a browser of their own."""
    code = service.code_of_first_admin(name) if role == "admin" else service.code_of(name, role)
    with chromium.visitor(service.origin, language=language, **options) as visitor:
        person = Person(visitor, name, language)
        person.logs_in_first(code)
        yield person
