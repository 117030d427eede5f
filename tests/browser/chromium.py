"""Debian's Chromium, driven as a person would, that notes everything a page must not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, sync_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="the chromium program is not installed")

PATIENCE_MS = 20_000.0
"""For a page to show what the machine has done, on a machine that does much else."""

WITHOUT_ADDRESS = {"data", "blob", "about"}
BAD_STATUS = "Failed to load resource: the server responded with a status of"


class Visitor:
    """One person's browser profile with one tab; made by ``Chromium.visitor``."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.complaints: list[str] = []
        """Requests that left the origin, errors and violations of the CSP, in order."""

        self.bytes_received = 0
        page.context.on("request", self._look_at)
        page.context.on("console", self._hear)
        page.context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))

    def open(self, path: str) -> int:
        """Go to a path of the page; returns the status."""
        answer = self.page.goto(self.origin + path)
        assert answer is not None
        return answer.status

    def show(self) -> None:
        """Print what a person would see now: pytest shows it with the failure."""
        print(self.page.url, self.page.inner_text("body", timeout=1000), *self.complaints, sep="\n")

    def _look_at(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in WITHOUT_ADDRESS and f"{url.scheme}://{url.netloc}" != self.origin:
            self.complaints.append(f"left the host: {request.method} {request.url}")

    def _hear(self, message: ConsoleMessage) -> None:
        # An answer of 403 or 422 to a person's own click is no fault of the page, and Chromium notes it as one.
        own = message.text.startswith(BAD_STATUS) and message.location["url"].partition("#")[0] in self._addresses()
        if message.type in {"error", "warning"} and not own:
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")

    def _addresses(self) -> set[str]:
        return {page.url.partition("#")[0] for page in self.page.context.pages}


class Chromium:
    """The browser; a context manager. It starts in half a second, so that each test file has its own.

    Args:
        options: of its command line.
    """

    def __init__(self, *options: str) -> None:
        self._options = ["--no-sandbox", *options]
        self._driver: Playwright | None = None

    def __enter__(self) -> Chromium:
        assert CHROMIUM is not None
        self._driver = sync_playwright().start()
        self._browser: Browser = self._driver.chromium.launch(executable_path=CHROMIUM, args=self._options)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._driver is not None
        self._browser.close()
        self._driver.stop()

    @contextmanager
    def visitor(
        self,
        origin: str,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        language: str = "en-GB",
        complains: bool = False,
        **options: Any,
    ) -> Iterator[Visitor]:
        """A fresh profile; when the block ends without an error, a page that did what it must not fails the test.

        Args:
            origin: scheme, host and port of the page; every request must go there.
            complains: whether complaints are expected, and looked at by the test itself.
            options: more of Playwright's for a context: ``java_script_enabled``, ``bypass_csp``.
        """
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale=language,
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        visitor = Visitor(context.new_page(), origin)
        try:
            yield visitor
            assert complains or not visitor.complaints, "\n".join(visitor.complaints)
        except BaseException:
            visitor.show()
            raise
        finally:
            context.close()


def fits(page: Page) -> bool:
    """Whether nothing of a page has to be scrolled to sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))
