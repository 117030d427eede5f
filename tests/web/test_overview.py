"""The overview: every point with its level in words, why, since when; what is not monitored shows no number."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import pytest

from echo_edge.web.link import RefusedError
from echo_edge.web.live import part
from echo_edge.web.texts import Texts
from tests.web.plant import BANDS, ago, baseline, judged, lost, machines, sensor, told
from tests.web.world import FakeLink, Visitor

STATE, QUALITY, BASELINE = "m/pump-12/p/de/state", "m/pump-12/p/de/quality", "m/pump-12/p/de/baseline"
WEIGHT = 150_000  # bytes of the overview with all that it loads


def overview(messages: dict[str, Any], language: str = "en", **answers: Any) -> str:
    return Visitor(FakeLink(messages, {"status": told(), **answers}), language=language).get("/").text


def tiles(html: str) -> list[str]:
    return re.findall(r'<article class="tile.*?</article>', html, re.DOTALL)


def words(html: str) -> str:
    """What a person reads of it."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_a_point_shows_its_level_in_words_its_score_since_when_and_its_state() -> None:
    (tile,) = tiles(overview({STATE: judged(), BASELINE: baseline()}))
    assert "lv-normal" in tile
    for text in ("Feed pump 12", "de", "Normal", "1.2 of 5.8", "for 2 hours", "run (recognised)"):
        assert text in words(tile)


def test_the_score_is_that_of_the_newest_window_and_not_of_the_state_that_was_told_before_it() -> None:
    window = {"ts": ago(0), "raw": 3.4, "threshold": 5.8, "level": "normal"}
    older = {**window, "ts": ago(4000)}
    assert "3.4 of 5.8" in words(overview({STATE: judged(), "m/pump-12/p/de/score": window}))
    assert "1.2 of 5.8" in words(overview({STATE: judged(), "m/pump-12/p/de/score": older}))


def test_a_point_that_is_not_monitored_says_why_and_shows_no_number() -> None:
    (tile,) = tiles(overview({STATE: {**judged(), **lost()}, QUALITY: sensor(state="lost", reasons=["sensor_lost"])}))
    assert "lv-not_monitored" in tile
    assert "Not monitored" in words(tile)
    assert "The sensor is lost. /dev/ttyACM0: no such device" in words(tile)
    assert "5.8" not in tile
    assert 'class="bar"' not in tile


def test_a_point_of_which_nothing_is_known_yet_is_not_called_normal() -> None:
    (tile,) = tiles(overview({}))
    assert "lv-not_monitored" in tile
    assert "No verdict yet" in words(tile)


def test_a_bar_beyond_the_threshold_is_explained_until_the_alert_opens_and_after_it_went_down() -> None:
    rising, falling = judged("normal", 80.0), judged("warning", 0.5)
    assert "2 of the latest 10 windows were above the threshold; 6 open an alert" in words(overview({STATE: rising}))
    assert "Below the threshold again" in words(overview({STATE: falling}))
    assert "Below the threshold again" not in words(overview({STATE: judged("warning", 80.0)}))


def test_the_counts_stand_first_and_add_up() -> None:
    levels = {"a": "alarm", "b": "not_monitored", "c": "normal", "d": "normal"}
    html = overview({"info": machines(*levels), **{f"m/pump-12/p/{p}/state": judged(v) for p, v in levels.items()}})
    counts = re.findall(r'<li class="count lv-(\w+)">.*?<b>(\d+)</b>', html)
    assert counts == [("alarm", "1"), ("not_monitored", "1"), ("normal", "2")]
    assert html.index("count lv-alarm") < html.index('class="tile')


def test_open_alerts_come_before_the_machines_with_their_sentence_and_whether_somebody_cares() -> None:
    alert = {"alert_id": "a" * 32, "kind": "machine", "severity": "alarm", "state": "active", "opened": ago(780)}
    moved = {"name": "acceleration_rms_g", "channel": 0, "value": 0.176, "usual": [0.088, 0.091], "text": ""}
    whole = {**alert, "normal_state": "run", "evidence": {"bands": BANDS, "indicators": [moved]}, "text": "as told"}
    short = {**alert, "machine": "pump-12", "point": "de", "acknowledged": False, "text": "as told"}
    messages = {STATE: judged("alarm", 82.5), "m/pump-12/p/de/alert/active": {"alert": whole, "sensor": None}}
    html = overview({**messages, "alerts/active": {"alerts": [short]}})
    said = words(html.partition('<div class="tiles">')[0])
    assert 'Unlike normal "run". Mostly 2.5 kHz to 3.8 kHz (65 %)'.replace('"', "&#34;") in said
    assert "Acceleration RMS 0.176 g, usual 0.088 to 0.091" in said
    assert "for 13 minutes" in said
    assert "nobody has looked at it yet" in said
    assert f'href="/alerts/{"a" * 32}"' in html


def test_a_lost_sensor_is_shown_as_what_is_not_monitored_and_never_as_an_alarm_of_the_machine() -> None:
    short = {"alert_id": "c" * 32, "kind": "sensor", "severity": "fault", "state": "active", "opened": ago(60)}
    short |= {"machine": "pump-12", "point": "de", "acknowledged": False, "text": "the sensor is lost"}
    html = overview({STATE: lost(), "alerts/active": {"alerts": [short]}})
    assert 'class="notice lv-not_monitored"' in html
    assert "lv-alarm" not in html


def test_a_point_that_nobody_taught_offers_to_be_taught_and_one_that_learns_says_how_far() -> None:
    untaught = overview({STATE: {"ts": ago(1), "level": "not_monitored", "reason": "not enrolled yet"}})
    assert 'href="/enroll/pump-12/de"' in untaught
    assert "Nobody has shown this point what is normal" in untaught
    learning = overview({"m/pump-12/p/de/enroll": {"session": "c26a5085", "step": 3, "steps": 6}})
    assert "Learning: step 3 of 6" in learning


def test_quality_is_told_in_plain_words_of_the_language() -> None:
    messages = {STATE: judged(), QUALITY: sensor(state="degraded", reasons=["clipping", "what_is_this"])}
    assert "Too loud for its range" in overview(messages)
    german = overview(messages, "de")
    assert "Zu laut für seinen Messbereich" in german
    assert "what_is_this" in german


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("muted until 2026-05-04T18:00:00.000Z by m.lang", "Planned work until"),
        ("state run-40hz is not enrolled: `echo-edge enroll start`", "in state run-40hz, which nobody has taught"),
        ("the machine is off, although run is told (mqtt)", "The machine is off, although state run is told."),
        ("the sensor: stuck (power-cycle it)", "The sensor repeats one value. Unplug the sensor"),
        ("settling after the change to run", "has just changed"),
        ("something new", "something new"),
    ],
)
def test_a_reason_is_told_in_plain_words_and_one_without_as_it_came(reason: str, said: str) -> None:
    html = overview({STATE: {"ts": ago(1), "level": "not_monitored", "reason": reason}})
    assert said in words(html)


def test_script_in_a_title_a_name_or_a_reason_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    state = judged(operating_state={"name": evil, "source": evil}, reason=evil)
    html = overview({"info": machines("de", title=evil), STATE: state, QUALITY: sensor(state="lost", reasons=[evil])})
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_since_when_is_what_was_seen_to_change_and_left_out_where_nobody_knows() -> None:
    link = FakeLink({STATE: judged()}, {"status": RefusedError("no")})
    visitor = Visitor(link)
    assert "for 2 hours" not in visitor.get("/").text
    link.mirror.take(STATE, judged("warning", 9.0))
    assert re.search(r"for \d+ seconds?", words(visitor.get("/").text))
    link.mirror.begin()
    assert link.mirror.since == {}


def test_a_level_of_another_moment_lends_no_time_to_this_one() -> None:
    assert "for 2 hours" not in overview({STATE: judged("warning", 9.0)})


def test_the_live_part_is_the_same_as_the_page_and_names_nobody() -> None:
    link = FakeLink({STATE: judged()}, {"status": told()})
    html = Visitor(link).get("/").text
    live = part(link.mirror, Texts().of("en"), "overview", "")
    assert live is not None
    assert live in html
    assert "m.lang" not in live
    assert "csrf" not in live


def test_sixteen_points_weigh_less_than_what_a_slow_network_takes() -> None:
    points = [f"p{i}" for i in range(16)]
    known = {
        f"m/pump-12/p/{p}/{kind}": message
        for p in points
        for kind, message in (("state", judged()), ("quality", sensor()))
    }
    visitor = Visitor(FakeLink({"info": machines(*points), **known}, {"status": told()}))
    html = visitor.get("/").text
    folder = resources.files("echo_edge.web").joinpath("static")
    loaded = [folder.joinpath(name).read_bytes() for name in re.findall(r'(?:href|src)="/static/([^"?]+)', html)]
    assert len(loaded) == 2
    assert len(html.encode()) + sum(map(len, loaded)) < WEIGHT


def test_nothing_on_the_page_needs_an_inline_style_or_script() -> None:
    html = overview({STATE: judged()})
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", html)
