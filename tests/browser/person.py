"""What a person does on the page, by clicks and typing alone."""

from __future__ import annotations

from tests.browser.chromium import Visitor
from tests.browser.page_service import PageService

PASSWORD = "four-belts-hum-in-hall-3"


def log_in_first(visitor: Visitor, name: str, code: str, password: str = PASSWORD) -> None:
    """Come with a one-time code, and choose a password."""
    visitor.open("/")
    page = visitor.page
    page.get_by_role("link", name="I have a one-time code").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("One-time code").fill(code)
    page.get_by_label("New password", exact=True).fill(password)
    page.get_by_label("New password again").fill(password)
    page.get_by_role("button", name="Keep this password").click()
    page.get_by_role("button", name="Log out").wait_for()


def log_in(visitor: Visitor, name: str, password: str = PASSWORD) -> None:
    """Come again."""
    visitor.open("/login")
    page = visitor.page
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for()


def log_out(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Log out").click()
    visitor.page.get_by_role("heading", name="Log in").wait_for()


def let_in(service: PageService, visitor: Visitor, name: str, role: str) -> None:
    """An account by the command line, and its first login in the browser."""
    code = service.code_of_first_admin(name) if role == "admin" else service.code_of(name, role)
    log_in_first(visitor, name, code)
