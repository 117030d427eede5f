"""Logging in, as somebody at a browser sees it: a real server on loopback."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from echo_edge.web.config import WebConfig
from tests.web.pages_served import PASSWORD, Served, cheap, free_port, served


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> None:
    """Those of the page end with it, after all tests of this module: ``served`` sees to that."""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("page")) as page:
        page.person("boss", "admin")
        page.person("m.lang", "technician")
        yield page


def test_a_code_of_the_console_becomes_a_password_and_works_once(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        client = page.client()
        assert "Nobody can log in yet" in client.get("/login").text
        code = page.accounts.add("first.one", "admin")
        typed = {"name": "first.one", "code": code.upper().replace("-", " "), "password": PASSWORD}
        refused = client.send("/first", "/first", **typed, repeat="another one")
        assert refused.status == 422
        assert "not the same password" in refused.text
        assert 'value="first.one"' in refused.text
        assert PASSWORD not in refused.text
        assert client.send("/first", "/first", **typed, repeat=PASSWORD).status == 303
        assert client.get("/people").status == 200
        other = page.client()
        again = other.send("/first", "/first", **typed, repeat=PASSWORD)
        assert again.status == 422
        assert "has been used" in again.text
        assert other.log_in("first.one").status == 303


def test_who_is_not_logged_in_is_sent_to_the_login_and_then_where_they_wanted(door: Served) -> None:
    client = door.client()
    sent = client.get("/people?x=1")
    assert (sent.status, sent.headers["location"]) == (303, "/login?next=/people%3Fx%3D1")
    form = client.get(sent.headers["location"])
    done = client.post("/login", csrf=form.csrf, name="boss", password=PASSWORD, next="/people?x=1")
    assert (done.status, done.headers["location"]) == (303, "/people?x=1")
    assert client.get("/people").status == 200


def test_whose_login_is_over_is_told_so_and_who_comes_first_or_logged_out_is_not(door: Served) -> None:
    client = door.client()
    assert "You were logged out" not in client.get("/login").text
    assert client.log_in("boss").status == 303
    door.door.sessions.end(client.cookies[door.door.cookie])
    assert "You were logged out" in client.get("/login").text
    assert client.log_in("boss").status == 303
    assert client.send("/", "/logout").status == 303
    assert "You were logged out" not in client.get("/login").text


@pytest.mark.parametrize("elsewhere", ["//evil.test", "/\\evil.test", "https://evil.test/", "javascript:alert(1)", ""])
def test_the_login_leads_to_no_other_host(door: Served, elsewhere: str) -> None:
    client = door.client()
    form = client.get("/login")
    done = client.post("/login", csrf=form.csrf, name="boss", password=PASSWORD, next=elsewhere)
    assert (done.status, done.headers["location"]) == (303, "/")


def test_wrong_name_and_wrong_password_look_the_same(door: Served) -> None:
    answers = [
        door.client(source=f"127.0.0.{n}").log_in(name, "not the password")
        for n, name in ((21, "m.lang"), (22, "nobody.here"))
    ]
    assert [a.status for a in answers] == [422, 422]
    assert all("Name or password is wrong" in a.text for a in answers)


def test_logging_out_ends_the_session_and_not_only_the_cookie(door: Served) -> None:
    client = door.client("m.lang")
    kept = dict(client.cookies)
    assert client.send("/password", "/logout").status == 303
    client.cookies = kept
    assert client.get("/password").status == 303


def test_no_password_comes_into_the_log(door: Served, caplog: pytest.LogCaptureFixture) -> None:
    canary = "canary of the quarry"
    with caplog.at_level(logging.DEBUG):
        client = door.client(source="127.0.0.31")
        client.log_in("m.lang", canary)
        client.log_in(canary, canary)
        client.get(f"/login?password={canary.replace(' ', '+')}")
    assert "canary" not in caplog.text
    assert "login refused for m.lang from 127.0.0.31" in caplog.text


def test_a_session_id_that_somebody_brings_is_never_taken_over(door: Served) -> None:
    client = door.client()
    planted = client.cookies[door.door.cookie] = "planted-by-somebody-else"
    assert client.log_in("m.lang").status == 303
    assert client.cookies[door.door.cookie] != planted
    other = door.client()
    other.cookies = {door.door.cookie: planted}
    assert other.get("/password").status == 303
    before = dict(client.cookies)
    assert client.get("/login").status == 303
    form = client.get("/password")
    assert client.post("/login", csrf=form.csrf, name="boss", password=PASSWORD).status == 303
    assert client.cookies[door.door.cookie] != before[door.door.cookie]
    other.cookies = before
    assert other.get("/password").status == 303, "the session before it is over"


def test_the_pages_of_two_gateways_on_one_machine_log_nobody_out_of_the_other(tmp_path: Path) -> None:
    with ExitStack() as open_:
        jar: dict[str, str] = {}  # browsers know no ports
        clients = []
        for name in ("line1", "line2"):
            (tmp_path / name).mkdir()
            config = WebConfig(gateway=name, port=free_port())
            page = open_.enter_context(served(tmp_path / name, config))
            page.person("ann", "viewer")
            clients.append(page.client("ann"))
            jar |= clients[-1].cookies
        for client in clients:
            client.cookies = dict(jar)
            assert client.get("/password").status == 200


def test_a_thousand_wrong_logins_let_nobody_in_and_keep_nobody_out(tmp_path: Path) -> None:
    hashed: list[str] = []

    def counting(password: str, salt: bytes) -> str:
        hashed.append(password)
        return cheap(password, salt)

    with served(tmp_path, hasher=counting) as page:
        for name in ("boss", "ann"):
            page.person(name, "admin")
        hashed.clear()
        visitor = page.client(source="127.0.0.66")
        csrf = visitor.get("/login").csrf
        answers = [visitor.post("/login", csrf=csrf, name="boss", password=f"wrong {n}").status for n in range(1000)]
        assert answers == [422] * 5 + [429] * 995
        assert len(hashed) == 5, "what is refused costs no hash"
        assert visitor.post("/login", csrf=csrf, name="boss", password=PASSWORD).status == 429
        assert page.client(source="127.0.0.67").log_in("boss").status == 303
        assert page.client(source="127.0.0.67").log_in("ann").status == 303


def test_one_time_codes_cannot_be_guessed_either(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        page.accounts.add("boss", "admin")
        visitor = page.client()
        csrf, fields = visitor.get("/first").csrf, {"name": "boss", "password": PASSWORD, "repeat": PASSWORD}
        answers = [visitor.post("/first", csrf=csrf, code=f"aaaa-aaaa-aaaa-aaa{n}", **fields) for n in range(2, 9)]
        assert [answer.status for answer in answers] == [422] * 5 + [429] * 2
        assert "Wait a minute" in answers[-1].text


def test_a_new_password_needs_the_old_one_and_ends_every_other_session(door: Served) -> None:
    name = door.person("own.pass", "viewer")
    here, elsewhere = door.client(name), door.client(name)
    new = "eight loud fans"
    refused = here.send("/password", "/password", old="a wrong one", password=new, repeat=new)
    assert refused.status == 422
    assert "That is not your password" in refused.text
    assert here.send("/password", "/password", old=PASSWORD, password=new, repeat=new).status == 303
    assert here.get("/password").status == 200
    assert elsewhere.get("/password").status == 303
    assert door.client(source="127.0.0.41").log_in(name).status == 422
    assert door.client(source="127.0.0.41").log_in(name, new).status == 303


def test_an_admin_lets_somebody_in_by_a_code_that_is_shown_once(door: Served) -> None:
    boss = door.client("boss")
    assert boss.send("/people", "/people/add", name="j.doe", role="technician").headers["location"] == "/people"
    shown = boss.get("/people")
    found = re.search(r"<code>([a-z0-9-]{19})</code>", shown.text)
    assert found is not None
    assert found[1] not in boss.get("/people").text
    first = {"name": "j.doe", "code": found[1], "password": PASSWORD, "repeat": PASSWORD}
    person = door.client(source="127.0.0.51")
    assert person.send("/first", "/first", **first).status == 303
    assert person.get("/people").status == 403
    assert boss.send("/people", "/people/role", name="j.doe", role="admin").status == 303
    assert person.get("/people").status == 303, "another role, another login"
    person = door.client("j.doe")
    assert person.get("/people").status == 200
    assert boss.send("/people", "/people/code", name="j.doe").status == 303
    assert person.get("/people").status == 303
    assert boss.send("/people", "/people/remove", name="j.doe").status == 303
    assert "j.doe" not in boss.get("/people").text


def test_people_are_for_admins_alone(door: Served) -> None:
    lang = door.client("m.lang")
    for what in ("add", "role", "code", "remove"):
        assert lang.send("/password", f"/people/{what}", name="boss", role="viewer").status == 403
    account = door.accounts.all()["boss"]
    assert (account.role, account.password is not None) == ("admin", True)


@pytest.mark.parametrize(
    ("what", "fields", "told"),
    [
        ("add", {"name": "Two Words", "role": "viewer"}, "lower-case letters"),
        ("add", {"name": "m.lang", "role": "viewer"}, "This name is there already"),
        ("add", {"name": "x", "role": "god"}, "Choose a role"),
        ("role", {"name": "boss", "role": "viewer"}, "This is the last administrator"),
        ("remove", {"name": "boss"}, "This is the last administrator"),
        ("remove", {"name": "gone"}, "This person is not there any more"),
        ("paint", {"name": "boss"}, "That cannot be done here"),
    ],
)
def test_what_is_refused_is_told_and_what_was_typed_is_kept(
    door: Served, what: str, fields: dict[str, str], told: str
) -> None:
    before = door.accounts.all()
    answer = door.client("boss").send("/people", f"/people/{what}", **fields)
    assert answer.status == 422
    assert told in answer.text
    assert what != "add" or f'value="{fields["name"]}"' in answer.text
    assert door.accounts.all() == before


def test_what_a_name_says_is_no_markup(door: Served) -> None:
    script = "<script>alert(1)</script>"
    for answer in (
        door.client("boss").send("/people", "/people/add", name=script, role=script),
        door.client(source="127.0.0.61").log_in(script),
        door.client().get("/login?next=/%22%3E%3Cscript%3Ealert(1)"),
    ):
        assert "<script>alert" not in answer.text


def test_accounts_that_cannot_be_used_let_nobody_in_and_say_why_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served(tmp_path) as page:
        page.person("boss", "admin")
        client = page.client("boss")
        (tmp_path / "accounts.json").write_text("{")
        assert client.get("/people").status == 503
        assert page.client().get("/login").status == 503
    assert "accounts.json: is damaged; put back a copy" in caplog.text


def test_what_the_disk_does_not_take_is_told_and_changes_nothing(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        page.person("boss", "admin")
        (tmp_path / "accounts.lock").unlink()
        (tmp_path / "accounts.lock").mkdir()  # as good as a disk that refuses
        answer = page.client("boss").send("/people", "/people/add", name="ann", role="viewer")
        assert answer.status == 422
        assert "disk did not take it" in answer.text
        assert set(page.accounts.all()) == {"boss"}
