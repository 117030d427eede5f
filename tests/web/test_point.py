"""The page of a point: what it says now, how it was, what it is judged by, and what a person says about it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from echo_edge.order_types import Role
from echo_edge.web.link import RefusedError
from echo_edge.web.live import part
from echo_edge.web.texts import Texts
from tests.web.plant import ago, baseline, features, history, judged, lost, machines, score, sensor, told, window
from tests.web.test_overview import words
from tests.web.world import FakeLink, Visitor

PAGE, BELOW = "/points/pump-12/de", "m/pump-12/p/de"
ORDERS = ("maintenance.mute", "maintenance.unmute", "state.set", "state.clear", "threshold.set")


def well(**more: Any) -> dict[str, Any]:
    messages = {"state": judged(), "quality": sensor(), "features": features(), "baseline": baseline()}
    return {f"{BELOW}/{kind}": message for kind, message in {**messages, **more}.items()}


def visitor(messages: dict[str, Any] | None = None, role: Role = "engineer", **answers: Any) -> Visitor:
    done: dict[str, Any] = {verb: {} for verb in ORDERS}
    link = FakeLink(messages or well(), {"history": history, "status": told(), **done, **answers})
    for end_s in range(12, 2, -1):
        link.mirror.take(f"{BELOW}/score", score(end_s))
        link.mirror.take(f"{BELOW}/window", window(end_s))
    return Visitor(link, role)


def test_a_point_shows_score_threshold_bands_indicators_and_what_it_is_judged_by() -> None:
    said = words(visitor().get(PAGE).text)
    for text in ("1.25 of 5.75, the threshold", "2 of the latest 10 windows", "Mostly 2.5 kHz to 3.8 kHz"):
        assert text in said
    for text in (
        "Velocity RMS x 1.98 mm/s",
        "ISO-style zone B",
        "bl_0001",
        "about 0.50 a month",
        "not more than 13 a month",
    ):
        assert text in said


def test_a_point_that_is_not_monitored_says_so_above_everything_and_shows_no_old_number() -> None:
    quality = sensor(state="lost", reasons=["sensor_lost"])
    html = visitor(well(state={**judged(), **lost()}, quality=quality)).get(PAGE).text
    live = html.partition('data-live="sound"')[0]
    assert "The sensor is lost. /dev/ttyACM0: no such device" in words(live)
    assert live.index("lv-not_monitored") < live.index('<section class="card"')
    assert "5.75" not in live
    assert "1.98" not in live
    assert "Nothing is measured now" in words(live)


def test_a_window_with_a_bad_signal_leaves_no_indicator_of_before() -> None:
    bad = {"check": "stuck", "severity": "bad", "text": "one value for 0.3 s", "advice": "power-cycle"}
    html = visitor(well(quality=sensor(state="degraded", reasons=["stuck"], findings=[bad]))).get(PAGE).text
    assert "1.98" not in html.partition('data-live="sound"')[0]
    assert "one value for 0.3 s" in html
    assert "Unplug the sensor and plug it in again." in html


def test_a_reading_of_long_ago_is_not_shown_as_one_of_now() -> None:
    html = visitor(well(features={**features(), "ts": ago(3600)})).get(PAGE).text
    assert "1.98" not in html.partition('data-live="sound"')[0]


def test_history_is_asked_for_the_span_that_was_chosen_and_trends_are_told_in_words() -> None:
    one = visitor()
    html = one.get(f"{PAGE}?span=week").text
    (what, args), *_ = one.link.readings
    assert (what, args["point"], args["buckets"]) == ("history", "pump-12/de", 84)
    assert 'aria-current="true">week</a>' in html
    assert re.search(r"Velocity RMS x .*rising", words(html))
    assert "not judged" in html


@pytest.mark.parametrize("span", ["century", "<script>", ""])
def test_a_span_that_is_none_is_the_day(span: str) -> None:
    one = visitor()
    assert one.get(f"{PAGE}?span={span}").status == 200
    assert one.link.readings[0][1]["buckets"] == 96


def test_a_history_that_cannot_be_read_says_why_and_the_rest_is_shown() -> None:
    answer = visitor(history=RefusedError("the disk does not answer")).get(PAGE)
    assert answer.status == 200
    assert "the disk does not answer" in answer.text
    assert "1.25 of 5.75" in words(answer.text)


@pytest.mark.parametrize(
    "path", ["/points/pump-12/two", "/points/no/de", "/points/pump-12/de%2Fx", "/points/pump-12/.."]
)
def test_a_point_that_is_not_there_is_not_there(path: str) -> None:
    assert visitor().get(path).status == 404


def test_planned_work_is_announced_for_the_whole_machine_with_its_note() -> None:
    one = visitor(role="technician")
    answer = one.post(f"{PAGE}/mute", minutes="60", note="new bearing")
    assert (answer.status, answer.headers["location"]) == (303, f"{PAGE}?said=mute")
    verb, args, person = one.link.orders[-1]
    assert (verb, args) == ("maintenance.mute", {"machine": "pump-12", "minutes": 60.0, "note": "new bearing"})
    assert person.name == "m.lang"
    assert "Planned work is announced" in one.get(answer.headers["location"]).text


def test_a_name_that_no_state_can_have_is_refused_in_words_beside_its_field() -> None:
    one = visitor(role="technician")
    refused = one.post(f"{PAGE}/state", name="Läuft", hours="")
    assert (refused.status, [order[0] for order in one.link.orders if order[0] in ORDERS]) == (422, [])
    assert "small letters, digits" in refused.text
    assert 'value="Läuft"' in refused.text


def test_the_state_is_set_until_an_end_and_taken_back() -> None:
    one = visitor(role="technician")
    one.post(f"{PAGE}/state", name="idle", hours="8")
    verb, args, _ = one.link.orders[-1]
    assert (verb, args["point"], args["name"]) == ("state.set", "pump-12/de", "idle")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", args["until"])
    one.post(f"{PAGE}/state", name="idle", hours="")
    assert "until" not in one.link.orders[-1][1]
    one.post(f"{PAGE}/state/clear")
    assert one.link.orders[-1][:2] == ("state.clear", {"point": "pump-12/de"})


def test_an_engineer_sets_a_rate_with_a_comma_and_goes_back_to_the_configured_one() -> None:
    one = visitor()
    one.post(f"{PAGE}/threshold", target_false_alarms_per_month="0,5", hold_minutes="1440")
    asked = {"point": "pump-12/de", "target_false_alarms_per_month": 0.5, "hold_minutes": 1440.0}
    assert one.link.orders[-1][:2] == ("threshold.set", asked)
    one.post(f"{PAGE}/threshold")
    assert one.link.orders[-1][:2] == ("threshold.set", {"point": "pump-12/de"})


@pytest.mark.parametrize(
    "typed", ["many", "nan", "inf", "1e9", "1,000", "1.000", "-1", "0", "\N{ARABIC-INDIC DIGIT ONE}"]
)
def test_what_is_no_number_is_said_beside_the_field_and_keeps_what_was_typed(typed: str) -> None:
    one = visitor()
    answer = one.post(f"{PAGE}/threshold", target_false_alarms_per_month=typed)
    assert answer.status == 422
    field = answer.text.partition('name="target_false_alarms_per_month"')[2].partition("</div>")[0]
    assert f'value="{typed}"' in field
    assert "This is no number such as 0.5 or 20." in field
    assert [verb for verb, *_ in one.link.orders if verb != "status"] == []


def test_what_the_daemon_refuses_is_said_beside_its_field() -> None:
    refused = RefusedError("must be at most 1000", 2, "bad_args", "target_false_alarms_per_month")
    answer = visitor(**{"threshold.set": refused}).post(f"{PAGE}/threshold", target_false_alarms_per_month="5000")
    assert answer.status == 422
    assert "must be at most 1000" in answer.text.partition('value="5000"')[2].partition("</div>")[0]


def test_what_the_daemon_refuses_as_a_whole_is_said_above_the_form_that_was_sent() -> None:
    refused = RefusedError("another order is being done", 6, "conflict")
    answer = visitor(**{"maintenance.mute": refused}).post(f"{PAGE}/mute", minutes="60", note="kept <b>")
    assert answer.text.count("another order is being done") == 1
    form = answer.text.partition('action="/points/pump-12/de/mute"')[2].partition("</form>")[0]
    assert "another order is being done" in form
    assert 'value="kept &lt;b&gt;"' in form
    assert 'id="mute" open' in answer.text
    assert 'href="#mute">See why</a>' in answer.text


def test_the_address_of_a_refused_form_leads_to_the_point_when_it_is_loaded_anew() -> None:
    one = visitor()
    answer = one.get(f"{PAGE}/threshold")
    assert (answer.status, answer.headers["location"]) == (303, PAGE)
    assert one.link.orders == []


@pytest.mark.parametrize(("role", "path", "status"), [("viewer", "mute", 403), ("technician", "threshold", 403)])
def test_who_may_not_is_told_so_and_sees_no_such_form(role: Role, path: str, status: int) -> None:
    one = visitor(role=role)
    assert f'action="{PAGE}/{path}"' not in one.get(PAGE).text
    assert one.post(f"{PAGE}/{path}", minutes="60").status == status
    assert [verb for verb, *_ in one.link.orders if verb != "status"] == []


def test_every_form_carries_its_token() -> None:
    html = visitor().get(PAGE).text
    forms = re.findall(r"<form.*?</form>", html, re.DOTALL)
    assert len(forms) >= 6
    assert all('name="csrf" value="a-token"' in form for form in forms)


def test_planned_work_that_goes_on_can_be_ended_where_it_is_shown() -> None:
    html = visitor(status=told(muted_until=ago(-3600))).get(PAGE).text
    assert f'action="{PAGE}/unmute"' in html
    assert f'action="{PAGE}/unmute"' not in visitor().get(PAGE).text


def test_script_in_a_title_a_state_or_a_finding_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    found = {"check": evil, "severity": "warning", "text": evil, "advice": evil}
    known = well(
        state=judged(operating_state={"name": evil, "source": evil}, reason=evil),
        quality=sensor(state="degraded", reasons=[evil], findings=[found]),
        features={"ts": ago(1), "features": {evil: 1.0}},
        baseline={**baseline(), "sensor": evil},
    )
    html = visitor({"info": machines("de", title=evil), **known}).get(f"{PAGE}?said={evil}").text
    assert "<script>alert" not in html
    assert not re.search(r"<style|\sstyle=|\son\w+=", html)


def test_the_live_parts_name_nobody_and_refuse_a_point_that_is_not_there() -> None:
    link = visitor().link
    for name in ("point", "sound"):
        live = part(link.mirror, Texts().of("en"), name, "pump-12/de")
        assert live
        assert "csrf" not in live
        assert part(link.mirror, Texts().of("en"), name, "pump-12/none") is None


def test_a_meter_without_a_waveform_shows_its_readings_although_nothing_is_judged() -> None:
    state = {"ts": ago(1), "level": "not_monitored", "reason": "it measures indicators, not a waveform"}
    readings = {"ts": ago(1), "features": {"temperature_c": 41.5}, "calibration": "unverified"}
    said = words(visitor(well(state=state, features=readings)).get(PAGE).text)
    assert "Temperature 41.5 °C" in said
    assert "the scale was not checked" in said
