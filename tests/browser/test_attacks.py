"""Attacks on a page at work: nothing is changed by any of them, and no window of the monitoring is lost meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import quote

import pytest

from tests.broker import needs_mosquitto, wait_for
from tests.browser.chromium import Chromium, needs_chromium
from tests.browser.hostile import Stranger, forged_form, served
from tests.browser.page_service import PageService
from tests.browser.person import PASSWORD, Person, somebody
from tests.browser.plant import OTHER_POINT, POINT, STEADY_POINT, STEADY_S, Plant
from tests.browser.shift import Shift
from tests.web.raw_http import Crowd, request

pytestmark = [needs_chromium, needs_mosquitto, pytest.mark.timeout(150)]

WINDOW_S = 0.5
REBOUND = "evil.example"
SCRIPT = "\"'><script>document.title='owned'</script><img src=/x onerror=document.title='owned'><b data-owned>"
SLOW, READERS, WRONG_LOGINS = 50, 10, 1000
MAX_RESIDENT_MB = 200


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """The owner of a name lets it point at the gateway's address."""
    with Chromium(f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shift]:
    """A plant whose people, machines and sensors have script in every name that may have one; it is clean before."""
    folder = tmp_path_factory.mktemp("attacked")
    with (
        Plant(
            folder / "plant", fan_title=f"Fan {SCRIPT}", fan_serial="SIM<b data-owned>", window_s=WINDOW_S, steady=True
        ) as plant,
        PageService(folder / "page", plant.socket) as page,
    ):
        plant.wait_until_heard()
        plant.teach(POINT, minutes=0.15, note=f"note {SCRIPT}")
        plant.pump.set_fault("inner_race")
        wait_for(lambda: bool(plant.heard.alerts(POINT, "open")), "the alert", 30)
        yield Shift(plant, page, plant.heard.alerts(POINT, "open")[0].payload["alert_id"])


@pytest.fixture(scope="module")
def admin(chromium: Chromium, attacked: Shift) -> Iterator[Person]:
    with somebody(chromium, attacked.page, "m.lang", "admin") as person:
        yield person


@contextmanager
def nothing_changes(now: Shift) -> Iterator[None]:
    """Orders, baselines and accounts are the same after the block, and every window of its time was judged."""
    decided = now.plant.decided()
    accounts = {file.name: file.read_bytes() for file in now.page.folder.iterdir() if file.is_file()}
    heard, dropped = now.plant.windows(STEADY_POINT)
    begun_s = time.monotonic()
    yield
    assert now.plant.decided() == decided
    assert {file.name: file.read_bytes() for file in now.page.folder.iterdir() if file.is_file()} == accounts
    assert now.page.resident_mb() < MAX_RESIDENT_MB
    due = heard + (time.monotonic() - begun_s) // STEADY_S
    wait_for(lambda: now.plant.windows(STEADY_POINT)[0] >= due, "the windows of this time", 20)
    assert now.plant.windows(STEADY_POINT)[1] == dropped


def cookies_of(person: Person) -> str:
    return "; ".join(f"{one['name']}={one['value']}" for one in person.page.context.cookies())


def forgeries(now: Shift) -> dict[str, dict[str, str]]:
    """What somebody else would like to have done in the administrator's name."""
    return {
        f"/alerts/{now.alert_id}/ack": {"note": "forged"},
        f"/alerts/{now.alert_id}/fault": {"form": "fault", "cause": "forged"},
        f"/enroll/{OTHER_POINT}": {"form": "start", "state": "run", "span": "own", "minutes": "5"},
        f"/baselines/{POINT}/rollback": {"sure": "yes"},
        f"/points/{POINT}/mute": {"minutes": "600"},
        "/people/add": {"name": "mallory", "role": "admin"},
        "/people/remove": {"name": "m.lang"},
        "/logout": {},
        "/language": {"language": "de", "next": "//evil.example"},
    }


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])  # the same site on another port, and another site
def test_a_hostile_page_orders_nothing_in_the_name_of_who_is_logged_in(
    chromium: Chromium, attacked: Shift, admin: Person, script: bool, host: str
) -> None:
    page = attacked.page
    state = admin.page.context.storage_state()
    options = {"complains": True, "java_script_enabled": script, "storage_state": state}
    with nothing_changes(attacked), chromium.visitor(page.origin, **options) as visitor:
        for path, fields in forgeries(attacked).items():
            fetch = f"fetch('{page.origin}{path}', {{method: 'POST', mode: 'no-cors', credentials: 'include'}})"
            body = forged_form(page.origin + path, fields)
            body += f"<script>{fetch}.catch(() => 0).then(() => document.forms[0].submit())</script>" if script else ""
            with served(body) as port, visitor.page.expect_response(f"**{path}") as answered:
                visitor.page.goto(f"http://{host}:{port}/", wait_until="commit")
                if not script:
                    visitor.page.get_by_role("button").click()
            assert answered.value.status == 403
            visitor.page.wait_for_url(f"**{path}")
        Person(visitor, "m.lang").opens("/people")  # still logged in, in the same language
        assert "mallory" not in visitor.page.inner_text("main")
        assert visitor.page.get_attribute("html", "lang") == "en"


def test_no_other_page_can_hold_ours_in_a_frame_or_read_it(chromium: Chromium, attacked: Shift, admin: Person) -> None:
    origin = attacked.page.origin
    read = f"<script>fetch('{origin}/', {{credentials: 'include'}}).then(a => a.text())"
    read += ".then(t => document.title = t, e => document.title = 'refused')</script>"
    state = admin.page.context.storage_state()
    with (
        served(f"<iframe src='{origin}/'></iframe><object data='{origin}/'></object>{read}") as port,
        chromium.visitor(origin, complains=True, storage_state=state) as visitor,
    ):
        visitor.page.goto(f"http://127.0.0.1:{port}/")
        visitor.page.wait_for_function("document.title === 'refused'")
        for frame in visitor.page.frames[1:]:
            assert "m.lang" not in frame.content()


def test_a_name_that_is_pointed_at_the_gateway_by_its_owner_gets_nothing(
    chromium: Chromium, attacked: Shift, admin: Person
) -> None:
    port = attacked.page.port
    with chromium.visitor(f"http://{REBOUND}:{port}", complains=True) as visitor:
        for path in ("/", "/login", "/static/page.css"):
            assert visitor.open(path) == 421
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}.evil.example", ""):
        answer = request(port, "GET", "/", {"Host": host, "Cookie": cookies_of(admin)})
        assert answer.status in {400, 421}
        assert "m.lang" not in answer.text


def test_script_in_every_name_and_note_stays_text(chromium: Chromium, attacked: Shift, admin: Person) -> None:
    """The browser says so itself: nothing of it runs, nothing is fetched, no policy had to step in."""
    plant = attacked.plant
    admin.opens(f"/alerts/{attacked.alert_id}")
    admin.types("alert.note", f"seen {SCRIPT}", admin.answer("ack"))
    admin.presses("alert.do.ack", admin.answer("ack"))
    admin.reads("alert.done.ack")
    admin.types("alert.cause", f"cause {SCRIPT}", admin.answer("fault"))
    admin.presses("alert.do.fault", admin.answer("fault"))
    admin.reads("alert.done.fault")
    with somebody(chromium, attacked.page, "a.berg", "engineer") as engineer:
        engineer.opens(f"/baselines/{POINT}/bl_0001")
        engineer.types("baselines.label", f"label {SCRIPT}")
        engineer.presses("baselines.do.label")
        tricks = [f"{path}{'&' if '?' in path else '?'}{name}={quote(SCRIPT)}" for path in attacked.paths.values()
                  for name in ("next", "said", "done", "state", "span", "point", "before", "file")][:200]  # fmt: skip
        for path in [*attacked.paths.values(), *tricks[::5], f"/login?next={quote('//evil.example/' + SCRIPT)}"]:
            if path.startswith(("/people", "/password")):
                continue
            engineer.visitor.open(path)
            assert engineer.page.title() != "owned"
            assert engineer.page.locator("[data-owned], main script, img[src='/x']").count() == 0, path
            assert engineer.page.url.startswith(engineer.visitor.origin)
        engineer.opens("/")
        assert SCRIPT in engineer.page.inner_text("main")  # the machine's name is told as it is
        engineer.opens(f"/alerts/{attacked.alert_id}")
        assert f"cause {SCRIPT}" in engineer.page.inner_text("main")
    assert plant.heard.alerts(POINT, "ack")[-1].payload["ack"]["note"] == f"seen {SCRIPT}"


def test_to_look_changes_nothing_and_no_path_leads_out(attacked: Shift, admin: Person) -> None:
    headers = {"Cookie": cookies_of(admin), "Accept": "text/html"}
    tricks = ("/static/../config.py", "/static/%2e%2e/config.py", "/static/..%2f..%2fcli.py", "//etc/passwd", "/%00")
    tricks += (
        "/static/....//page.css",
        f"/alerts/../../{attacked.alert_id}",
        "/baselines/a/b/exports/..%2f..%2fstate.db",
    )
    tricks += (f"/alerts/{attacked.alert_id}/..%2f..%2fstate.db.png", f"/alerts/{attacked.alert_id}/state.db.png")
    with nothing_changes(attacked):
        for path in attacked.paths.values():
            assert request(attacked.page.port, "GET", path, headers).status == 200, path
        for path in forgeries(attacked):
            assert request(attacked.page.port, "GET", path, headers).status in {200, 303, 404, 405}, path
        for path in tricks:
            answer = request(attacked.page.port, "GET", path, headers)
            assert answer.status in {400, 404}, path
            assert "root:" not in answer.text


def test_slow_clients_and_a_thousand_wrong_logins_keep_nobody_out_and_cost_no_window(
    chromium: Chromium, attacked: Shift, admin: Person
) -> None:
    page = attacked.page
    state = admin.page.context.storage_state()
    live = f"GET /live?part=overview: HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nCookie: {cookies_of(admin)}\r\n\r\n"
    with nothing_changes(attacked), ExitStack() as stack:
        slow = stack.enter_context(Crowd(page.port, SLOW))
        assert slow.send(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nX-Slow: ".encode()) == SLOW
        assert stack.enter_context(Crowd(page.port, READERS)).send(live.encode()) == READERS  # who never read
        stranger = Stranger(page.port)
        refused = [stranger.tries("m.lang", f"wrong-horse-{number}") for number in range(WRONG_LOGINS)]
        assert {answer.status for answer in refused} <= {422, 429}
        set_ = [cookie for answer in refused for cookie in answer.headers.get("set-cookie", ())]
        assert all("-visit=" in cookie for cookie in set_), "no session"
        slow.send(b"still ")
        visitor = stack.enter_context(chromium.visitor(page.origin, storage_state=state))
        Person(visitor, "m.lang").opens("/")  # who is in stays in
        assert Stranger(page.port, "127.0.0.5").tries("m.lang", PASSWORD).status == 303  # and who knows it gets in
