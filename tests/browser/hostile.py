"""Pages and clients of somebody who means harm: a page on another port, and a client that guesses passwords."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.web.raw_http import Answer, request

CSRF = re.compile(r'name="csrf" value="([^"]+)"')


@contextmanager
def served(body: str, policy: str = "") -> Iterator[int]:
    """The same page on every path of a port of its own, which is yielded."""

    class Reply(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html")
            if policy:
                self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(f"<!doctype html><title>a page</title><link rel=icon href=data:,>{body}".encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Reply) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def forged_form(url: str, fields: Mapping[str, str]) -> str:
    """A form that somebody is made to send, by script or by a click on something that looks harmless."""
    inputs = "".join(f'<input type=hidden name="{escape(k)}" value="{escape(v)}">' for k, v in fields.items())
    return f'<form method=post action="{escape(url)}">{inputs}<button>See the photos</button></form>'


class Stranger:
    """Somebody without an account, at the login; ``source`` is where they come from."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._port, self._source = port, source
        page = request(port, "GET", "/login", source=source)
        found = CSRF.search(page.text)
        assert found is not None, page.text
        self._csrf = found[1]
        cookies = "; ".join(value.partition(";")[0] for value in page.headers.get("set-cookie", []))
        self._headers = {"Cookie": cookies, "Origin": f"http://127.0.0.1:{port}"}

    def tries(self, name: str, password: str) -> Answer:
        """One login."""
        fields = {"csrf": self._csrf, "name": name, "password": password}
        return request(self._port, "POST", "/login", self._headers, fields, self._source)
