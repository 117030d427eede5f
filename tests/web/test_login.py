"""Logging in, as somebody at a browser sees it: a real server on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.pages_served import PASSWORD, Served, served


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
