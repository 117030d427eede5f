"""What no request gets past, seen from outside: a real server on loopback."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator

import pytest

from echo_edge.web.guard import SECURITY_HEADERS
from tests.web.pages_served import PATIENCE_S, Client, Served, served
from tests.web.world import FakeLink


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> None:
    """Those of the page end with it, after all tests of this module: ``served`` sees to that."""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("page")) as page:
        page.person("boss", "admin")
        page.person("ann", "engineer")
        page.person("m.lang", "technician")
        yield page


def raw(door: Served, request: str | bytes) -> str:
    """What the server says to bytes that no browser would send."""
    data = request.encode() if isinstance(request, str) else request
    with socket.create_connection(("127.0.0.1", door.port), PATIENCE_S) as client:
        client.sendall(data.replace(b"HOST", f"127.0.0.1:{door.port}".encode()))
        answer = http.client.HTTPResponse(client)
        answer.begin()
        headers = "".join(f"{name.lower()}: {value}\n" for name, value in answer.getheaders())
        return f"{answer.status}\n{headers}{answer.read().decode()}"


def add(client: Client, csrf: str, **headers: str | None) -> int:
    """Try to let somebody in."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.ask("POST", "/people/add", f"csrf={csrf}&name=intruder&role=admin".encode(), named).status


@pytest.mark.parametrize("host", ["evil.test", "evil.test:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.:{port}", ""])
def test_a_host_that_is_not_ours_is_answered_with_nothing(door: Served, host: str) -> None:
    client = door.client("boss")
    assert client.get("/people", Host=host.format(port=door.port)).status == 421
    assert add(client, client.get("/people").csrf, Host=host.format(port=door.port)) == 421
    assert "intruder" not in door.accounts.all()


def test_every_name_of_loopback_is_ours_in_capitals_too(door: Served) -> None:
    for host in ("localhost", "LocalHost", "[::1]", "127.0.0.1"):
        assert door.client().get("/login", Host=f"{host}:{door.port}").status == 200


@pytest.mark.parametrize("origin", ["http://evil.test", "null", None, "https://127.0.0.1:{port}", "http://127.0.0.1"])
def test_a_form_of_another_origin_changes_nothing(door: Served, origin: str | None) -> None:
    client = door.client("boss")
    csrf = client.get("/people").csrf
    assert add(client, csrf, Origin=origin and origin.format(port=door.port)) == 403
    assert add(client, csrf, Sec_Fetch_Site="cross-site") == 403
    assert add(client, csrf, Sec_Fetch_Site="same-site") == 403
    assert "intruder" not in door.accounts.all()


def test_a_form_without_the_token_of_its_session_changes_nothing(door: Served) -> None:
    boss, other = door.client("boss"), door.client("ann")
    foreign = other.get("/password").csrf
    visit = door.client().get("/login").csrf
    assert [add(boss, csrf) for csrf in ("", "x", foreign, visit)] == [403] * 4
    assert "intruder" not in door.accounts.all()
    assert add(boss, "", X_EE_CSRF=boss.get("/people").csrf) == 303
    door.accounts.remove("intruder")


def test_the_login_form_has_a_token_too(door: Served) -> None:
    client = door.client()
    assert client.post("/login", name="boss", password="x").status == 403
    assert client.post("/login", csrf=door.client().get("/login").csrf, name="boss", password="x").status == 403


def test_nothing_of_another_page_may_be_fetched_but_a_link_may_lead_here(door: Served) -> None:
    client = door.client("ann")
    assert client.get("/password", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403
    assert client.get("/live?part=daemon:", Origin="http://evil.test").status == 403
    assert client.get("/password", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200


def test_without_a_session_there_is_nothing_but_the_login(door: Served) -> None:
    client = door.client()
    assert client.get("/live?part=daemon:", Accept="text/event-stream").status == 401
    assert client.get("/points/pump-12/de", Accept="image/png").status == 401
    assert client.get("/no/such/page").status == 303
    assert add(client, "") == 401
    assert client.get("/static/page.css").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/%252e%252e/app.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "//evil.test/static/page.css",
        "/\\evil.test",
        "/static/page.css%00.png",
        "/static/./page.css",
        "/static/../static/page.css",
        "http://127.0.0.1/login",
        "http://evil.test/login",
        "login",
        "*",
    ],
)
def test_a_path_with_a_trick_in_it_names_nothing(door: Served, path: str) -> None:
    cookie = "; ".join(f"{k}={v}" for k, v in door.client("boss").cookies.items())
    answer = raw(door, f"GET {path} HTTP/1.1\r\nHost: HOST\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n")
    assert answer.startswith("404")
    assert "import" not in answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_no_other_method_is_known(door: Served, method: str) -> None:
    assert door.client("boss").ask(method, "/people").status == 405


def test_what_is_too_large_is_refused_by_its_header_alone(door: Served) -> None:
    ann, lang = door.client("ann"), door.client("m.lang")
    assert ann.get("/password", X_Much="x" * 9000).status == 431
    assert ann.get("/password?" + "x" * 9000).status == 431
    much = {"Content-Length": None}
    assert raw(door, "GET / HTTP/1.1\r\nX: " + "x" * 70000).startswith("400")
    assert ann.ask("POST", "/logout", b"x" * 70000).status == 413
    assert lang.ask("POST", "/baselines/pump-12/de/import", b"x" * 70000, much).status in {400, 413}
    assert ann.ask("POST", "/baselines/pump-12/de/import", b"csrf=x&" + b"x" * 70000).status == 403
    assert ann.get("/password").status == 200


def test_a_large_file_of_an_engineer_is_let_through_whole_with_its_token(door: Served) -> None:
    ann = door.client("ann")
    for token, status in ((ann.get("/password").csrf, {303, 422}), ("another", {403})):
        parts = (
            '--x\r\nContent-Disposition: form-data; name="file"; filename="b.zip"\r\n\r\n' + "y" * (2 << 20) + "\r\n",
            f'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n{token}\r\n--x--\r\n',
        )
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = ann.ask("POST", "/baselines/pump-12/de/import", "".join(parts).encode(), kind)
        assert answer.status in status


def test_large_files_are_taken_one_at_a_time(door: Served) -> None:
    ann = door.client("ann")
    cookie = "; ".join(f"{k}={v}" for k, v in ann.cookies.items())
    head = f"POST /baselines/pump-12/de/import HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nCookie: {cookie}\r\n"
    head = head.replace("HOST", f"127.0.0.1:{door.port}")
    large = b"x" * 70000
    with socket.create_connection(("127.0.0.1", door.port), PATIENCE_S) as slow:
        slow.sendall(f"{head}Content-Length: 80000\r\n\r\n".encode())
        deadline_s = time.monotonic() + PATIENCE_S
        while ann.ask("POST", "/baselines/pump-12/de/import", large).status != 503:
            assert time.monotonic() < deadline_s
        assert ann.get("/password").status == 200
    while ann.ask("POST", "/baselines/pump-12/de/import", large).status != 403:
        assert time.monotonic() < deadline_s


@pytest.mark.parametrize(
    "how",
    [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: xchunked",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: +4",
        "Content-Length: -1",
        "Content-Length: 0x4",
    ],
)
def test_a_body_of_doubtful_length_is_never_read(door: Served, how: str) -> None:
    boss = door.client("boss")
    cookie = "; ".join(f"{k}={v}" for k, v in boss.cookies.items())
    hidden = f"POST /people/remove HTTP/1.1\r\nHost: HOST\r\nCookie: {cookie}\r\n\r\n"
    head = f"POST /logout HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nCookie: {cookie}\r\n"
    answer = raw(door, f"{head}{how}\r\n\r\n0\r\n\r\n{hidden}")
    assert answer[:3] in {"400", "411", "501"}
    assert boss.get("/password").status == 200


def test_a_form_in_a_charset_that_is_no_text_is_refused_and_no_defect(door: Served) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n\\ud800\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x; charset=unicode_escape"}
    assert door.client().ask("POST", "/login", body, kind).status == 400


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_length_beyond_all_measure_is_refused_and_no_defect(door: Served, digits: int) -> None:
    head = "POST /login HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nContent-Length: "
    assert raw(door, f"{head}{'9' * digits}\r\n\r\n")[:3] in {"400", "413"}


def test_a_request_that_only_looks_has_no_body(door: Served) -> None:
    assert raw(door, "GET /login HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\n\r\nx=1").startswith("400")


def strict(headers: dict[str, str]) -> bool:
    return all(headers.get(name) == value for name, value in SECURITY_HEADERS.items())


def test_every_answer_keeps_browsers_strict_and_caches_empty(door: Served) -> None:
    boss, nobody = door.client("boss"), door.client()
    answers = {
        200: boss.get("/people"),
        303: nobody.get("/people"),
        401: nobody.get("/live"),
        403: boss.ask("POST", "/logout"),
        404: boss.get("/no/such/page"),
        405: boss.ask("PUT", "/people"),
        411: boss.ask("POST", "/logout", headers={"Transfer-Encoding": "chunked"}),
        413: boss.ask("POST", "/logout", b"x" * 70000),
        421: boss.get("/", Host="evil.test"),
        422: boss.send("/people", "/people/add", name="NO NAME", role="viewer"),
        431: boss.get("/", X_Much="x" * 9000),
    }
    answers[401] = nobody.get("/live", Accept="text/event-stream")
    assert {status: answer.status for status, answer in answers.items()} == {status: status for status in answers}
    assert [status for status, answer in answers.items() if not strict(answer.headers)] == []
    assert {answer.headers["cache-control"] for answer in answers.values()} == {"no-store"}
    assert "server" not in answers[200].headers
    assert not any(name.startswith("access-control") for answer in answers.values() for name in answer.headers)
    nonsense = raw(door, "NONSENSE\r\n\r\n")
    assert nonsense.startswith("400")
    assert all(f"{name}: {value}" in nonsense for name, value in SECURITY_HEADERS.items())


def test_a_defect_is_answered_strictly_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    link = FakeLink()
    with served(tmp_path_factory.mktemp("page"), link=link) as page:
        link.mirror = None  # type: ignore[assignment]  # so that no page can be rendered
        answer = page.client().get("/login")
    assert answer.status == 500
    assert strict(answer.headers)
    assert "Traceback" not in answer.text


def test_only_what_has_its_hash_in_its_address_is_kept_by_browsers(door: Served) -> None:
    client = door.client()
    assert "immutable" in client.get("/static/page.css?0123").headers["cache-control"]
    assert client.get("/static/page.css").headers["cache-control"] == "no-store"
    assert client.get("/static/none.css?0123").headers["cache-control"] == "no-store"
