"""The frame of the page: problems told in words, texts whole in every language, parts that change by themselves."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from echo_edge.web.link import READINGS, Link, NotRunningError, RefusedError
from echo_edge.web.live import KNOWN, Live, Viewer
from echo_edge.web.mirror import Mirror
from echo_edge.web.person import Person
from echo_edge.web.texts import Texts, catalogue, languages
from tests.web.world import INFO, FakeLink, Visitor


def fields_of(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", [name for name in languages() if name != "en"])
def test_every_text_is_there_in_every_language_with_the_same_places_to_fill(language: str) -> None:
    assert {key: fields_of(text) for key, text in catalogue(language).items()} == {
        key: fields_of(text) for key, text in catalogue("en").items()
    }


def test_a_text_that_no_language_has_is_a_defect_and_not_an_empty_place() -> None:
    with pytest.raises(KeyError):
        Texts().of("en")("no.such.text")


def test_times_are_told_as_people_say_them() -> None:
    now = datetime(2026, 5, 3, 12, 0, tzinfo=timezone.utc)
    t, d = Texts().of("en"), Texts().of("de")
    assert t.ago(now - timedelta(seconds=61), now) == "1 minute ago"
    assert t.ago(now - timedelta(days=3, hours=5), now) == "3 days ago"
    assert d.ago(now - timedelta(hours=2), now) == "vor 2 Stunden"
    assert t.ago(now + timedelta(hours=1), now) == "just now"
    assert (t.number(1234.56, 2), d.number(1234.5), t.number(None)) == (
        "1,234.56",
        "1\N{NO-BREAK SPACE}234,5",
        "\N{EN DASH}",
    )


def test_the_language_is_the_persons_else_the_browsers_else_the_configured_one() -> None:
    texts = Texts("de")
    assert texts.of(None, *texts.accepted("fr, en-GB;q=0.8")).language == "en"
    assert texts.of("de", "en").language == "de"
    assert texts.of("xx", None).language == "de"


def test_an_address_that_is_nothing_is_told_as_such_and_its_text_is_no_markup() -> None:
    answer = Visitor(FakeLink()).get("/no/such/<script>page")
    assert answer.status == 404
    assert "There is no such page" in answer.text
    assert "<script>page" not in answer.text


def test_while_the_daemon_does_not_run_the_gateway_has_its_name_still() -> None:
    link = FakeLink()
    link.mirror.lose(None)
    visitor = Visitor(link)
    visitor.app.state.gateway = "gw-hall3"
    answer = visitor.get("/")
    assert answer.status == 503
    assert "gw-hall3" in answer.text


def test_a_viewer_is_sent_each_part_once_and_again_only_when_it_changed() -> None:
    link = FakeLink()
    live, viewer = Live(link), Viewer(Texts().of("en"), [("daemon", "")])
    live.viewers.add(viewer)
    live._render()
    assert viewer.waiting == {("daemon", ""): ""}
    viewer.waiting.clear()
    live._render()
    assert viewer.waiting == {}


def test_a_viewer_is_woken_when_the_daemon_goes_although_no_part_can_be_shown() -> None:
    link = FakeLink()
    live, viewer = Live(link), Viewer(Texts().of("en"), [("point", "pump-12/de")])
    live.viewers.add(viewer)
    link.mirror.lose(None)
    live._render()
    assert viewer.waiting == {}
    assert viewer.ready.is_set()


def test_a_defect_in_one_part_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Mirror, __: str) -> dict[str, Any]:
        raise ValueError("a defect")

    monkeypatch.setitem(KNOWN, "broken", broken)
    live, viewer = Live(FakeLink()), Viewer(Texts().of("en"), [("broken", ""), ("daemon", "")])
    live.viewers.add(viewer)
    live._render()
    assert viewer.waiting == {("daemon", ""): ""}


class Daemon:
    """What listens on the socket: says what it was given, and answers orders."""

    def __init__(self, path: Path, messages: dict[str, Any]) -> None:
        self._path, self._messages = path, messages
        self.orders: list[dict[str, Any]] = []

    async def __aenter__(self) -> Daemon:
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.watchers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        order = json.loads(await reader.readline())
        if order["order"] == "watch":
            self.watchers.append(writer)
            for topic, message in self._messages.items():
                writer.write(json.dumps({"progress": {"topic": topic, "message": message}}).encode() + b"\n")
            writer.write(b'{"progress": {"complete": true}}\n')
            await writer.drain()
            return
        if order.get("what") == "slow":
            self.watchers.append(writer)
            return
        self.orders.append(order)
        refused = {"ok": False, "code": 2, "error": "Field required", "kind": "bad_args", "where": "args.note"}
        answer = refused if order.get("verb") == "alert.ack" else {"ok": True, "result": {"pong": True}}
        writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    @property
    def watchers(self) -> list[asyncio.StreamWriter]:
        return self.__dict__.setdefault("_watchers", [])


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "page.sock"


async def until(what: Any) -> None:
    for _ in range(500):
        if what():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come")


def test_what_the_daemon_says_is_there_and_is_gone_when_it_goes_and_there_again_when_it_comes(socket: Path) -> None:
    async def scenario() -> None:
        link = Link(socket)
        task = asyncio.create_task(link.run())
        async with Daemon(socket, {"info": INFO}):
            await until(lambda: link.mirror.running)
            assert link.mirror.points == ["pump-12/de"]
        await until(lambda: not link.mirror.running)
        assert link.mirror.points == []
        assert link.mirror.lost_since is not None
        with pytest.raises(NotRunningError):
            await link.order("ping", {}, Person("m.lang", "viewer"))
        async with Daemon(socket, {"info": INFO}):
            await until(lambda: link.mirror.running)
            task.cancel()

    asyncio.run(scenario())


def test_an_order_carries_its_person_and_role_and_a_refusal_names_the_field(socket: Path) -> None:
    async def scenario() -> None:
        link = Link(socket)
        async with Daemon(socket, {}) as daemon:
            assert await link.order("ping", {}, Person("m.lang", "viewer")) == {"pong": True}
            assert (daemon.orders[0]["actor"], daemon.orders[0]["role"]) == ("m.lang", "viewer")
            with pytest.raises(RefusedError) as refused:
                await link.order("alert.ack", {"alert_id": "a"}, Person("m.lang", "technician"))
            assert (refused.value.where, refused.value.kind) == ("note", "bad_args")

    asyncio.run(scenario())


def test_an_order_does_not_wait_for_what_others_look_up(socket: Path) -> None:
    async def scenario() -> None:
        link = Link(socket)
        async with Daemon(socket, {}) as daemon:
            viewer = Person("wall", "viewer")
            readings = [asyncio.create_task(link.read("slow", {}, viewer)) for _ in range(READINGS + 20)]
            await until(lambda: len(daemon.watchers) == READINGS)
            answer = await asyncio.wait_for(link.order("ping", {}, Person("m.lang", "technician")), 20)
            assert answer == {"pong": True}
            for reading in readings:
                reading.cancel()
            await asyncio.gather(*readings, return_exceptions=True)

    asyncio.run(scenario())


def test_what_cannot_be_understood_leaves_no_old_numbers_and_the_daemon_is_asked_again(
    socket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        link = Link(socket)
        task = asyncio.create_task(link.run())
        async with Daemon(socket, {"info": INFO}) as daemon:
            await until(lambda: link.mirror.running)
            daemon.watchers[0].write(b'{"progress": {"topic": "m/pump-12/p/de/state"}}\n')  # no message
            await until(lambda: len(daemon.watchers) == 2 and link.mirror.running)
            task.cancel()

    asyncio.run(scenario())
    assert "cannot be taken" in caplog.text


def test_a_topic_that_holds_nothing_any_more_is_not_known() -> None:
    mirror = Mirror()
    mirror.begin()
    mirror.take("m/pump-12/p/de/state", {"level": "normal", "ts": "2026-05-03T12:00:00Z"})
    mirror.take("m/pump-12/p/de/state", {})
    assert mirror.point("pump-12/de")["state"] == {}
    assert mirror.since == {}


def test_a_mirror_keeps_the_newest_of_each_topic_and_the_last_windows() -> None:
    mirror = Mirror()
    mirror.begin()
    for n in range(100):
        mirror.take("m/pump-12/p/de/window", {"n": n})
        mirror.take("m/pump-12/p/de/state", {"n": n})
    told = mirror.point("pump-12/de")
    assert (told["state"], len(told["windows"]), told["windows"][-1]) == ({"n": 99}, 60, {"n": 99})
