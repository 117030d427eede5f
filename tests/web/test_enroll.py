"""The page of enrollment: always where the session is, with the buttons that are right there, in plain words."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import echo_edge
from echo_edge.session import ENDS, NO_WINDOW, STEPS
from echo_edge.web.enroll_view import PAUSES, Stand
from echo_edge.web.figures import rate
from echo_edge.web.link import RefusedError
from echo_edge.web.texts import Texts, catalogue, languages
from tests.web.world import FakeLink, Visitor

PATH, TOPIC = "/enroll/pump-12/de", "m/pump-12/p/de/enroll"
OK = {"check": "level", "severity": "ok", "text": "0.0914 g RMS", "advice": ""}
GAP = {"check": "gap", "severity": "warning", "text": "1 in 10 windows", "advice": "look at cable, USB hub and load"}
HALVES = {
    "check": "halves",
    "severity": "bad",
    "text": "48% of the second half are strange to the first",
    "advice": "x",
}
RATES = {"target": 1.0, "estimated": 2.2, "demonstrated_upper_95": 12960.0}
TEST = {"passed": True, "alerts": 0, "heard_s": 600.0, "threshold": 9.2, "false_alarms_per_month": RATES, "text": "t"}
SPECTRUM = [{"hz": [0, 1260], "db": 17.8}, {"hz": [1260, 2540], "db": 8.5}]


def told(phase: str, **more: Any) -> dict[str, Any]:
    """A message of a session that goes on."""
    return {
        "session": "c26a5085",
        "normal_state": "run",
        "how": "live",
        "by": "m.lang",
        "phase": phase,
        "useful": 37,
        "needed": 60,
        "excluded": {},
        "checks": [OK],
        "spectrum": SPECTRUM,
        **more,
    }


def over(phase: str, code: int, **more: Any) -> dict[str, Any]:
    return {
        "session": None,
        "last": {"session": "c26a5085", "normal_state": "run", "phase": phase, "code": code, **more},
    }


def visitor(message: dict[str, Any] | None = None, answers: dict[str, Any] | None = None, **more: Any) -> Visitor:
    return Visitor(FakeLink({TOPIC: message} if message else {}, answers), **more)


def words(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def forms(html: str) -> list[str]:
    return re.findall(r'name="form" value="(\w+)"', html)


def obeys(link: Callable[[], FakeLink], message: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """An answer of the daemon, which says on the mirror what it did."""

    def answer(_: Any) -> dict[str, Any]:
        link().mirror.take(TOPIC, message)
        return message

    return answer


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (None, ["start"]),
        (told("sensor_check"), ["stop"]),
        (told("machine_check"), ["stop"]),
        (told("collecting"), ["stop"]),
        (told("testing"), ["stop"]),
        (told("deciding", self_test=TEST), ["accept", "extend", "stop"]),
        (told("deciding", self_test=TEST, how="history"), ["accept", "stop"]),
        (over("accepted", 0, baseline="bl_0008"), ["start"]),
        (over("failed", 3, reason="its sensor is dead"), ["start"]),
    ],
)
def test_each_phase_has_the_buttons_that_are_right_in_it_and_a_viewer_has_none(
    message: dict[str, Any] | None, expected: list[str]
) -> None:
    assert forms(visitor(message).get(PATH).text) == expected
    seen = visitor(message, role="viewer").get(PATH)
    assert (seen.status, forms(seen.text)) == (200, [])


def test_each_phase_that_the_daemon_knows_has_its_step_and_its_words_in_every_language() -> None:
    for language in languages():
        for phase in STEPS:
            seen = visitor(told(phase, self_test=TEST), language=language).get(PATH).text
            assert len(re.findall('aria-current="step"', seen)) == 1, phase
            assert Texts().of(language)(f"enroll.phase.{phase}.title", state="run") in unescape(seen)
        for phase in ENDS:
            seen = visitor(over(phase, 0), language=language).get(PATH).text
            assert Texts().of(language)(f"enroll.phase.{phase}.title", state="run") in unescape(seen)


def test_while_it_listens_the_useful_windows_the_time_left_and_what_is_left_out_are_told() -> None:
    seen = words(visitor(told("collecting", seconds_left=115, excluded={"speech": 3, "new_one": 1})).get(PATH).text)
    assert "37 of 60 windows" in seen
    assert "About 1 minute more" in seen
    assert "3 windows: Somebody seems to speak" in seen
    assert "1 window: new_one" in seen


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("the sensor is being opened", "opening"),
        ("its sensor acc1 is lost: unplugged", "lost"),
        (NO_WINDOW, "late"),
        ("the moon is full", "other"),
    ],
)
def test_a_pause_says_why_and_what_to_do_and_the_daemons_own_words_stand_beneath(reason: str, kind: str) -> None:
    seen = words(visitor(told("collecting", paused=reason, seconds_left=115)).get(PATH).text)
    assert catalogue("en")[f"enroll.paused.{kind}"] in seen
    assert reason in seen
    assert "About 1 minute more" not in seen


def test_the_pauses_that_are_told_in_words_are_those_of_the_daemon() -> None:
    source = (Path(echo_edge.__file__).parent / "sessions.py").read_text("utf-8")
    assert all(f'"{PAUSES[kind]}' in source for kind in ("opening", "lost"))
    assert NO_WINDOW.startswith(PAUSES["late"])


def test_a_decision_shows_both_figures_with_their_meaning_and_the_worst_check_first() -> None:
    seen = words(visitor(told("deciding", self_test=TEST, checks=[OK, GAP])).get(PATH).text)
    assert "about 2.2 a month" in seen
    assert "not more than 18 an hour" in seen
    assert "In 10 minutes there was no false alarm" in seen
    assert seen.index("Samples were lost") < seen.index("The level is plausible")
    assert "Measured: 1 in 10 windows" in seen


def test_rates_are_told_in_the_unit_that_suits_them() -> None:
    t = Texts().of("en")
    assert [rate(t, n) for n in (0.001, 0.5, 12.0, 2160.0, 12960.0)] == [
        "one in eight years, or fewer",
        "0.50 a month",
        "12 a month",
        "72 a day",
        "18 an hour",
    ]


def test_a_doubtful_one_is_accepted_only_by_somebody_who_says_that_the_machine_is_healthy() -> None:
    doubtful = told("deciding", self_test=TEST, healthy_asked=True)
    guest = visitor(doubtful)
    assert "I, m.lang, say that the machine is healthy" in words(guest.get(PATH).text)
    refused = guest.post(PATH, form="accept", session="c26a5085", asked="yes")
    assert (refused.status, guest.link.orders) == (422, [])
    assert catalogue("en")["enroll.accept.say_so"] in unescape(refused.text)

    guest.link.answers["enroll.accept"] = obeys(lambda: guest.link, over("accepted", 0, baseline="bl_0008"))
    assert guest.post(PATH, form="accept", session="c26a5085", asked="yes", healthy="yes").status == 303
    assert guest.link.orders[0][1] == {"point": "pump-12/de", "session": "c26a5085", "healthy": True}


def test_an_order_carries_the_session_that_it_was_shown_for_and_the_page_follows_the_daemon() -> None:
    guest = visitor(told("deciding", self_test=TEST))
    guest.link.answers["enroll.extend"] = obeys(lambda: guest.link, told("collecting"))
    answer = guest.post(PATH, form="extend", session="c26a5085", minutes="7,5")
    assert (answer.status, answer.headers["location"]) == (303, PATH)
    assert guest.link.orders == [
        ("enroll.extend", {"point": "pump-12/de", "session": "c26a5085", "minutes": 7.5}, guest.link.orders[0][2])
    ]
    assert forms(guest.get(PATH).text) == ["stop"]


def test_a_start_says_what_to_learn_for_how_long_and_how_the_sensor_is_mounted() -> None:
    guest = visitor()
    guest.link.answers["enroll.start"] = obeys(lambda: guest.link, told("sensor_check"))
    sent = {"form": "start", "state": "run-50hz", "note": "after the repair", "mount": "magnet"}
    assert guest.post(PATH, **sent, span="working").status == 303
    assert guest.link.orders[0][1] == {
        "point": "pump-12/de",
        "state": "run-50hz",
        "minutes": 60.0,
        "note": "mount: magnet; after the repair",
    }


def test_past_hours_are_told_in_the_gateways_time_of_day_and_go_out_with_their_zone() -> None:
    guest = visitor()
    guest.link.answers["enroll.start"] = obeys(lambda: guest.link, told("testing", how="history"))
    hours = {"past_from": "2026-05-03T08:00", "past_until": "2026-05-03T16:00"}
    assert guest.post(PATH, form="start", state="run", span="past", **hours).status == 303
    args = guest.link.orders[0][1]
    assert re.fullmatch(r"2026-05-03T08:00:00[+-]\d\d:\d\d", args["past_from"])
    assert "minutes" not in args


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ({"state": "Run 50", "span": "firm"}, "enroll.start.bad_state"),
        ({"state": "run", "span": "own", "minutes": "nan"}, "enroll.bad_minutes"),
        ({"state": "run", "span": "own", "minutes": "a lot"}, "enroll.bad_minutes"),
        ({"state": "run", "span": "never"}, "enroll.start.bad_span"),
        ({"state": "run", "span": "past", "past_from": "", "past_until": "2026-05-03T16:00"}, "enroll.start.bad_time"),
        (
            {"state": "run", "span": "past", "past_from": "2026-05-03T16:00", "past_until": "2026-05-03T08:00"},
            "enroll.start.bad_order",
        ),
        ({"state": "run", "span": "firm", "note": "x" * 501}, "enroll.bad_note"),
    ],
)
def test_bad_input_is_told_beside_its_field_and_what_was_typed_stays(sent: dict[str, str], text: str) -> None:
    guest = visitor(language="de")
    refused = guest.post(PATH, form="start", **{"note": "<b>mine</b>", **sent})
    assert (refused.status, guest.link.orders) == (422, [])
    assert catalogue("de")[text].partition("{")[0] in unescape(refused.text)
    assert catalogue("de")["point.not_done"] in refused.text.partition("data-live")[0]  # above how it stands
    assert all(f'value="{value}"' in unescape(refused.text) for name, value in sent.items() if name != "span")


def test_a_time_of_ones_own_is_not_said_to_be_optional() -> None:
    shown = visitor().get(PATH).text
    label = shown.partition('<label for="start-minutes">')[2].partition("</label>")[0]
    assert label == catalogue("en")["enroll.minutes"]


def test_a_refused_order_is_told_and_keeps_what_was_typed() -> None:
    answers = {"enroll.start": RefusedError("pump-12/de is being enrolled already", 6, "conflict")}
    refused = visitor(None, answers).post(PATH, form="start", state="run-9", span="firm", note="mine")
    assert refused.status == 422
    assert "is being enrolled already" in refused.text
    assert 'value="run-9"' in refused.text
    assert 'value="mine"' in refused.text


def test_a_viewer_orders_nothing() -> None:
    guest = visitor(told("collecting"), role="viewer")
    assert guest.post(PATH, form="stop", session="c26a5085").status == 403
    assert guest.link.orders == []


def test_a_form_that_is_none_and_a_point_that_is_none_are_told_as_such() -> None:
    assert visitor().post(PATH, form="destroy").status == 400
    assert visitor().get("/enroll/pump-12/no").status == 404


def test_script_in_what_others_wrote_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    check = {"check": evil, "severity": "bad", "text": evil, "advice": evil}
    going_on = told("collecting", normal_state=evil, paused=evil, excluded={evil: 1}, checks=[check])
    for message in (going_on, over("failed", 5, reason=evil, baseline=evil)):
        assert evil not in visitor(message, {"enroll.status": told("failed", checks=[check])}).get(PATH).text


def test_what_was_accepted_is_not_called_in_force_after_somebody_went_back() -> None:
    link = FakeLink({TOPIC: over("accepted", 0, baseline="bl_0008")})
    assert "In force: bl_0008" in Visitor(link).get(PATH).text
    link.mirror.take("m/pump-12/p/de/baseline", {"baseline": "bl_0007"})
    seen = Visitor(link).get(PATH).text
    assert "In force: bl_0008" not in seen
    assert "Now bl_0007 is in force." in seen


def test_a_machine_that_changed_while_it_was_learned_leads_to_a_second_state() -> None:
    ended = {"enroll.status": told("failed", checks=[HALVES], code=5)}
    seen = visitor(over("failed", 5, reason="the self-test says no"), ended).get(PATH).text
    assert "learn a second state?" in seen
    assert f'href="{PATH}?state=run-2#start"' in seen
    assert 'value="run-2"' in visitor().get(f"{PATH}?state=run-2").text


def test_how_it_ended_is_told_even_where_the_daemon_knows_no_more_of_it() -> None:
    seen = words(visitor(over("failed", 3, reason="pump-12/de: its sensor acc1 is lost")).get(PATH).text)
    assert "The sensor is the problem" in seen
    assert "Nothing was changed" in seen


def test_the_page_is_loaded_anew_exactly_when_other_buttons_are_right() -> None:
    keys = [Stand.of(m).key for m in (told("collecting", useful=1), told("collecting", useful=2), told("testing"))]
    assert keys[0] == keys[1] != keys[2]
    assert f'data-reload-when="{keys[0]}"' in visitor(told("collecting")).get(PATH).text


def checks_of_the_code() -> Iterator[tuple[str, str]]:
    """Every (check, severity) that the daemon's code names; a finding is never ``ok``."""
    for file in Path(echo_edge.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Assign | ast.AugAssign):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and target.id == "looked":
                    lists = [n.elts for n in ast.walk(node.value) if isinstance(n, ast.List)]
                    yield from ((name.value, "ok") for names in lists for name in names)  # type: ignore[attr-defined]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"Check", "Finding"}:
                name, severity = node.args[:2]
                if isinstance(name, ast.Constant):
                    is_check = node.func.id == "Check" and isinstance(severity, ast.Constant)
                    yield name.value, severity.value if is_check else "bad"


def test_every_check_that_the_daemon_can_tell_of_has_its_words_in_every_language() -> None:
    found = set(checks_of_the_code())
    assert {("silence", "ok"), ("clipping", "bad"), ("halves", "ok"), ("unlike_before", "warning")} <= found
    for language in languages():
        keys = catalogue(language)
        for check, severity in found:
            for part in ("name", "ok") if severity == "ok" else ("name", "wrong", "do"):
                assert f"enroll.check.{check}.{part}" in keys, (language, check, severity)


def test_every_reason_to_leave_out_a_past_window_has_its_words() -> None:
    source = (Path(echo_edge.__file__).parent / "past.py").read_text("utf-8")
    (told_of,) = re.findall(r"Other windows by reason: (.*?)\"\"\"", source, re.DOTALL)
    assert all(f"enroll.check.{name}.wrong" in catalogue("en") for name in re.findall(r"``(\w+)``", told_of))
