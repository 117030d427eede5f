"""Alerts on the page: what stands there, what a person may answer, and what is not believed."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from echo_edge.web.link import NotRunningError, RefusedError
from tests.web.world import FakeLink, Visitor

MACHINE_ID, SENSOR_ID, MONITOR_ID = "c" * 32, "f" * 32, "9" * 32
SCRIPT = "<script>alert(1)</script>"
PNG = b"\x89PNG\r\n\x1a\n and more"


def documented(heading: str) -> list[dict[str, Any]]:
    """The examples below a heading of docs/mqtt.md."""
    text = Path("docs/mqtt.md").read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [json.loads(example) for example in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def message(kind: str = "machine", **changed: Any) -> dict[str, Any]:
    """The newest message of an alert of a kind, as it was documented."""
    example = documented("alerts")[0] if kind == "monitor" else documented("alert")[{"machine": 0, "sensor": 2}[kind]]
    ids = {"machine": MACHINE_ID, "sensor": SENSOR_ID, "monitor": MONITOR_ID}
    return {**copy.deepcopy(example), "alert_id": ids[kind], **changed}


def row(of: Mapping[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """What reading ``alert`` answers of a message."""
    told = message() if of is None else dict(of)
    step = {"ts": told["opened"], "what": "opened", "by": None, "note": None}
    return {
        "alert_id": told["alert_id"],
        "point": f"{told['machine']}/{told['point']}" if "machine" in told else None,
        **{name: told.get(name) for name in ("kind", "severity", "state", "opened", "text", "ack", "shelved_until")},
        "until": None,
        **dict.fromkeys(("verdict", "cause", "note")),
        "pictures": [f"{told['alert_id']}-1.png"],
        "message": told,
        "steps": [step],
    } | changed


def entry(of: Mapping[str, Any]) -> dict[str, Any]:
    """What ``alerts/active`` tells of it."""
    known = ("alert_id", "rev", "kind", "severity", "state", "machine", "point", "problem", "opened", "text")
    return {**{name: of[name] for name in known if name in of}, "acknowledged": "ack" in of}


class Daemon(FakeLink):
    """Knows these alerts; remembers which conditions orders had."""

    def __init__(self, *rows: Mapping[str, Any], active: Any = None, **answers: Any) -> None:
        shown = [entry(r["message"]) for r in rows if r["state"] == "active"] if active is None else active
        by_id = {told["alert_id"]: told for told in rows}
        known = {"alerts": {"alerts": list(rows)}, "alert": lambda args: by_id[args["alert_id"]]}
        super().__init__({"alerts/active": {"alerts": shown}}, {**known, **answers})

    @property
    def conditions(self) -> list[Mapping[str, Any] | None]:
        return [expect for _, _, expect, _ in self.given]


def test_the_list_shows_what_is_open_first_and_what_is_past_once() -> None:
    past = row(message(alert_id="1" * 32, state="cleared", text="the old one"), state="cleared", verdict="fault")
    told = Visitor(Daemon(row(), row(message("sensor")), row(message("monitor")), past)).get("/alerts").text
    before, after = told.split('id="past"')
    for alert_id in (MACHINE_ID, SENSOR_ID, MONITOR_ID):
        assert alert_id in before
        assert alert_id not in after
    assert "1" * 32 in after
    assert "Was a fault" in after
    assert "The gateway itself" in before


def test_the_list_is_of_one_point_where_that_is_asked() -> None:
    link = Daemon(row(), row(message("monitor")))
    told = Visitor(link).get("/alerts?point=pump-12/de").text
    assert link.readings[-1] == ("alerts", {"point": "pump-12/de", "limit": 200})
    assert MONITOR_ID not in told.split('id="past"')[0]
    assert Visitor(link).get("/alerts?point=no/where").status == 404


def test_what_is_not_known_to_be_open_is_not_called_nothing() -> None:
    told = Visitor(FakeLink({}, {"alerts": {"alerts": []}})).get("/alerts").text
    assert "Nothing is open" not in told
    assert "has not been told" in told


def test_an_alert_tells_what_where_how_strong_and_which_frequencies() -> None:
    told = Visitor(Daemon(row())).get(f"/alerts/{MACHINE_ID}").text
    for words in ("Feed pump 12 / de", "32.4 times the threshold", "3.8 kHz"):
        assert words in told
    assert f'src="/alerts/{MACHINE_ID}/{MACHINE_ID}-1.png"' in told
    assert re.search(r'alt="Spectrogram[^"]*kHz[^"]*"', told)
    assert "kurtosis (ch1) 9.2, usual 2.9 to 3" in told
    assert "zone C" in told


def test_an_alert_that_is_over_still_tells_what_was_unlike_normal() -> None:
    strange = message()["evidence"]
    well = {"bands": [{"hz": [100, 200], "share": 0.9}], "indicators": []}
    over = row(message(type="clear", state="cleared", evidence=well), unlike=strange)
    told = Visitor(Daemon(over)).get(f"/alerts/{MACHINE_ID}").text
    assert "kurtosis (ch1) 9.2, usual 2.9 to 3" in told
    assert "3.8 kHz" in told
    assert "100 Hz" not in told


@pytest.mark.parametrize("gone", ["score", "peak", "evidence", "baseline", "normal_state", "model"])
def test_what_a_message_lacks_is_left_out_and_no_number_stands_for_it(gone: str) -> None:
    without = message()
    without.pop(gone)
    answer = Visitor(Daemon(row(without))).get(f"/alerts/{MACHINE_ID}")
    assert answer.status == 200
    if gone in {"score", "peak"}:
        assert "Not known" in answer.text
        assert not re.search(r"\b0(\.0)? times the threshold", answer.text)


def test_an_alert_of_which_only_its_time_is_kept_is_shown_all_the_same() -> None:
    bare = row(state="cleared", message=None, severity=None, text=None, pictures=[])
    told = Visitor(Daemon(bare)).get(f"/alerts/{MACHINE_ID}")
    assert told.status == 200
    assert "no longer kept" in told.text
    assert "<img" not in told.text


@pytest.mark.parametrize(("kind", "words"), [("sensor", "The sensor is lost"), ("monitor", "kept safely on disk")])
def test_alerts_of_sensors_and_of_the_gateway_say_what_is_wrong_with_them(kind: str, words: str) -> None:
    told = Visitor(Daemon(row(message(kind)))).get(f"/alerts/{message(kind)['alert_id']}").text
    assert words in told
    assert "This was a fault" not in told


def test_an_alert_that_nobody_knows_is_no_page() -> None:
    link = Daemon(alert=RefusedError("nothing is kept of it"))
    assert Visitor(link).get(f"/alerts/{'0' * 32}").status == 404
    for name in ("short", "A" * 32, "..%2f..%2fetc%2fpasswd", "%3Cscript%3E"):
        assert Visitor(link).get(f"/alerts/{name}").status == 404
    assert [what for what, _ in link.readings] == ["alert"]


def test_a_picture_is_sent_as_one() -> None:
    link = Daemon(picture={"png": base64.b64encode(PNG).decode()})
    answer = Visitor(link).get(f"/alerts/{MACHINE_ID}/{MACHINE_ID}-1.png")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "image/png", PNG)
    assert link.readings == [("picture", {"name": f"{MACHINE_ID}-1.png"})]


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fstate",
        "../secret",
        f"{SENSOR_ID}-1",
        MACHINE_ID,
        f"{MACHINE_ID}-",
        f"{MACHINE_ID}-1%00",
        f"{MACHINE_ID}-1.png.exe",
        f"{MACHINE_ID}-{'1' * 40}",
        f"{MACHINE_ID}-\u0661",
    ],
)
def test_a_name_that_is_no_picture_of_this_alert_is_not_asked_for(name: str) -> None:
    link = Daemon(row())
    assert Visitor(link).get(f"/alerts/{MACHINE_ID}/{name}.png").status == 404
    assert link.readings == []


@pytest.mark.parametrize(
    ("what", "fields", "verb", "args", "condition"),
    [
        ("ack", {"note": "greased"}, "alert.ack", {"note": "greased"}, {"rev": 1}),
        ("ack", {"note": ""}, "alert.ack", {}, {"rev": 1}),
        ("shelve", {"for": "60", "minutes": ""}, "alert.shelve", {"minutes": 60}, {"rev": 1}),
        ("shelve", {"for": "60", "minutes": "7"}, "alert.shelve", {"minutes": 7}, {"rev": 1}),
        ("clear", {"note": "seen to"}, "alert.clear", {"note": "seen to"}, {"rev": 1}),
        ("normal", {"note": "cleaning"}, "feedback", {"verdict": "normal", "note": "cleaning"}, None),
        ("fault", {"cause": "bearing", "note": ""}, "feedback", {"verdict": "fault", "cause": "bearing"}, None),
    ],
)
def test_an_answer_is_ordered_once_for_what_was_seen_and_the_page_says_so(
    what: str, fields: dict[str, str], verb: str, args: dict[str, Any], condition: dict[str, Any] | None
) -> None:
    link = Daemon(row(), **{verb: {}})
    visitor = Visitor(link)
    answer = visitor.post(f"/alerts/{MACHINE_ID}/{what}", rev="1", **fields)
    assert [(v, a) for v, a, _ in link.orders] == [(verb, {"alert_id": MACHINE_ID, **args})]
    assert link.conditions == [condition]
    assert answer.status == 303
    assert 'role="status"' in visitor.get(answer.headers["location"]).text


@pytest.mark.parametrize("typed", ["0", "10081", "-5", "1.5", "soon", "\u0661", "1e3", "99999999999999999999"])
def test_a_length_that_is_none_is_said_beside_its_field_which_keeps_it(typed: str) -> None:
    link = Daemon(row())
    answer = Visitor(link).post(f"/alerts/{MACHINE_ID}/shelve", **{"for": "60", "minutes": typed, "note": "night"})
    assert (answer.status, link.orders) == (422, [])
    form = answer.text.split('action="/alerts/' + MACHINE_ID + '/shelve"')[1].split("</form>")[0]
    assert "A whole number of minutes" in form
    assert f'value="{typed}"' in form
    assert 'value="night"' in form
    assert answer.text.count('value="night"') == 1


def test_a_refusal_stands_beside_its_field_and_what_was_typed_stays() -> None:
    refused = RefusedError("args.cause: is one line of at most 500 characters", 2, "bad_args", "cause")
    answer = Visitor(Daemon(row(), feedback=refused)).post(f"/alerts/{MACHINE_ID}/fault", cause="x" * 30, note=SCRIPT)
    form = answer.text.split("/fault")[1].split("</form>")[0]
    assert answer.status == 422
    assert "is one line of at most 500 characters" in form
    assert "args." not in form
    assert "x" * 30 in form
    assert SCRIPT not in answer.text


def test_who_answers_what_has_moved_on_is_told_and_sees_how_it_is_by_now() -> None:
    moved = row(message(rev=5, text="it became worse"))
    refused = RefusedError("alert is at rev 5, not 1: look at it again", 6, "conflict")
    answer = Visitor(Daemon(moved, **{"alert.ack": refused})).post(f"/alerts/{MACHINE_ID}/ack", rev="1", note="mine")
    assert answer.status == 409
    for words in ("changed meanwhile", "it became worse", 'name="rev" value="5"', 'value="mine"'):
        assert words in answer.text


def test_the_address_of_a_form_loaded_anew_leads_back() -> None:
    answer = Visitor(Daemon(row())).get(f"/alerts/{MACHINE_ID}/ack")
    assert (answer.status, answer.headers["location"]) == (303, f"/alerts/{MACHINE_ID}")
    assert Visitor(Daemon(row())).get(f"/alerts/{MACHINE_ID}/other").status == 404


def test_a_viewer_sees_no_forms_and_can_order_nothing() -> None:
    link = Daemon(row())
    visitor = Visitor(link, "viewer")
    assert 'action="/alerts' not in visitor.get(f"/alerts/{MACHINE_ID}").text
    for what in ("ack", "shelve", "clear", "normal", "fault"):
        assert visitor.post(f"/alerts/{MACHINE_ID}/{what}", minutes="60").status == 403
    assert link.orders == []


def test_only_what_can_be_done_is_offered() -> None:
    def offered(told: dict[str, Any], active: Any = None) -> set[str]:
        text = Visitor(Daemon(told, active=active)).get(f"/alerts/{MACHINE_ID}").text
        return set(re.findall(rf'action="/alerts/{MACHINE_ID}/(\w+)"', text))

    ack = {"by": "m.lang", "note": "", "ts": "2026-11-28T04:17:31.858Z"}
    waits = message(state="cleared")
    assert offered(row()) == {"ack", "shelve", "clear", "normal", "fault"}
    assert offered(row(message(ack=ack))) == {"shelve", "clear", "normal", "fault"}
    assert offered(row(waits), [entry(waits)]) == {"ack", "normal", "fault"}
    assert offered(row(waits), []) == {"normal", "fault"}


def test_an_alert_that_is_over_says_so_in_the_readers_language_and_what_acknowledging_it_then_does() -> None:
    over = message(state="cleared", text="like normal run again")
    told = {name: value for name, value in over.items() if name != "evidence"}
    link = Daemon(row(over, state="cleared"), active=[entry(told)])
    assert "Wieder wie normal" in Visitor(link, language="de").get("/alerts").text
    seen = Visitor(link).get(f"/alerts/{MACHINE_ID}").text
    assert "You say that you have seen it" in seen
    assert "It stays open until the machine is well" not in seen


def test_a_script_in_any_text_stays_text() -> None:
    ack = {"by": SCRIPT, "note": SCRIPT, "ts": "2026-11-28T04:17:31.858Z"}
    evil = message(text=SCRIPT, model=SCRIPT, baseline=SCRIPT, normal_state=SCRIPT, ack=ack, note=SCRIPT, by=SCRIPT)
    evil["evidence"]["indicators"][0] |= {"name": SCRIPT, "text": SCRIPT}
    evil["evidence"]["parts"] = {SCRIPT: 1.0}
    steps = [{"ts": evil["opened"], "what": SCRIPT, "by": SCRIPT, "note": SCRIPT, "cause": SCRIPT}]
    sensor = message("sensor", reasons=[SCRIPT], problem=SCRIPT, text=SCRIPT)
    visitor = Visitor(Daemon(row(evil, steps=steps, cause=SCRIPT, note=SCRIPT), row(sensor)))
    for path in ("/alerts", f"/alerts/{MACHINE_ID}", f"/alerts/{SENSOR_ID}"):
        answer = visitor.get(path)
        assert answer.status == 200
        assert SCRIPT not in answer.text
        assert "&lt;script&gt;" in answer.text


def test_the_part_that_is_live_says_when_the_alert_moved_on() -> None:
    link = Daemon(row(), active=[entry(message(rev=2))])
    assert "has changed since" in Visitor(link).get(f"/alerts/{MACHINE_ID}").text
    assert "has changed since" not in Visitor(Daemon(row())).get(f"/alerts/{MACHINE_ID}").text


def test_german_pages_have_german_words() -> None:
    visitor = Visitor(Daemon(row()), language="de")
    assert "Ihre Antwort" in visitor.get(f"/alerts/{MACHINE_ID}").text
    assert "Frühere Alarme" in visitor.get("/alerts").text


def test_a_daemon_that_goes_away_while_it_is_asked_is_said_so() -> None:
    answer = Visitor(Daemon(alert=NotRunningError("gone"))).get(f"/alerts/{MACHINE_ID}")
    assert answer.status == 503
