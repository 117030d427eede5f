"""Baselines on the page: every version, what would change before it does, and files that come and go."""

from __future__ import annotations

import asyncio
import base64
import copy
from collections.abc import Mapping
from typing import Any

import pytest

from echo_edge.web.link import RefusedError
from tests.web.world import CSRF, Answer, FakeLink, Visitor

HERE = "/baselines/pump-12/de"
SCRIPT = "<script>alert(1)</script>"
CREATED_NS = 1_777_777_777_000_000_000
FALSE_ALARMS = [
    {"target": 1.0, "thresholds": {"run": 5.77}, "estimated": 0.5, "demonstrated_upper_95": 13.0},
    {"target": 10.0, "thresholds": {"run": 4.1}, "estimated": 7.0, "demonstrated_upper_95": 40.0},
]


def version(number: int, status: str, **changed: Any) -> dict[str, Any]:
    """One line of ``baseline.list``."""
    return {
        "id": f"bl_{number:04}",
        "point": "pump-12/de",
        "status": status,
        "problem": None,
        "parent": f"bl_{number - 1:04}" if number > 1 else None,
        "states": ["run"],
        "learned_s": 600.0,
        "author": "m.lang",
        "note": "",
        "label": "",
        "created_ns": CREATED_NS,
        "active_since_ns": CREATED_NS if status == "active" else None,
        "imported_from": None,
    } | changed


VERSIONS = [version(1, "retired"), version(2, "active"), version(3, "proposed")]
MANIFEST = {
    "id": "bl_0003",
    "identity": "picoquake:C6E3",
    "origin": {
        "model_name": "echo-tiny",
        "model_sha256": 64 * "0",
        "rate_hz": 25600,
        "channels": [0, 1],
        "length_s": 1.0,
        "hop_s": 1.0,
        "unit": "g",
    },
    "settings": {"gain": "12 dB"},
    "states": [
        {
            "name": "run",
            "about": {"windows": 512, "windows_heard": 600, "learned_s": 600.0, "parts": ["echo"]},
            "learned": {
                "how": "live",
                "windows": 600,
                "excluded": {"clipping": 2},
                "checks": [],
                "self_test": {},
                "added_windows": 0,
            },
        }
    ],
    "false_alarms": FALSE_ALARMS,
    "imported_from": None,
}
DIFF = {
    "point": "pump-12/de",
    "old": "bl_0002",
    "new": "bl_0003",
    "changed": [{"what": "sensor", "old": "a:1", "new": "b:2"}, {"what": "channels", "old": [0], "new": [0, 1]}],
    "states": [{"name": "run", "old": {"windows": 512}, "new": {"windows": 300}, "strange_share": 0.62}],
    "incomparable": None,
    "false_alarms": {"old": FALSE_ALARMS[:1], "new": FALSE_ALARMS},
}
IN_FORCE = {
    "baseline": "bl_0002",
    "created": "2026-05-03T03:09:37Z",
    "provisional": True,
    "states": [{"name": "run", "windows": 512, "learned_s": 600, "threshold": 5.77}],
    "false_alarms_per_month": {"target": 1, "estimated": 0.5, "demonstrated_upper_95": 13.2},
}


class Daemon(FakeLink):
    """Has these versions; remembers conditions, and which orders were rehearsals."""

    def __init__(self, versions: list[dict[str, Any]] = VERSIONS, *, in_force: Any = IN_FORCE, **answers: Any) -> None:
        known = {
            "baseline.list": lambda args: {
                "baselines": versions if args.get("point") in {None, "pump-12/de"} else [],
                "left_out": 0,
            },
            "baseline.show": {"status": "proposed", "label": "", "manifest": MANIFEST},
            "baseline.diff": DIFF,
        }
        super().__init__({"m/pump-12/p/de/baseline": in_force}, {**known, **answers})

    @property
    def done(self) -> list[tuple[str, dict[str, Any], Any, bool]]:
        return [one for one in self.given if one[0] not in {"baseline.list", "baseline.show", "baseline.diff"}]


def engineer(link: FakeLink) -> Visitor:
    return Visitor(link, "engineer")


def upload(visitor: Visitor, data: bytes, name: str = "pump.eebl", **fields: str) -> Answer:
    """A file chosen in the browser."""
    parts = [
        f'--xyz\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'.encode()
        for key, text in {"csrf": CSRF, **fields}.items()
    ]
    parts.append(f'--xyz\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode())
    body = b"".join([*parts, data, b"\r\n--xyz--\r\n"])
    return asyncio.run(visitor._ask("POST", f"{HERE}/import", body, b"multipart/form-data; boundary=xyz"))


def test_every_point_says_what_it_is_judged_by_and_what_waits() -> None:
    told = Visitor(Daemon()).get("/baselines").text
    for words in ("bl_0002", "Feed pump 12 / de", "Provisional", "1 proposal waits"):
        assert words.casefold() in told.casefold()


def test_what_is_in_force_is_not_guessed_before_it_is_told() -> None:
    assert "nothing taught" not in Visitor(Daemon(in_force={})).get("/baselines").text.casefold()
    assert "nothing taught" in Visitor(Daemon(in_force={"baseline": None})).get("/baselines").text.casefold()


def test_the_one_in_force_is_marked_and_both_figures_are_explained() -> None:
    told = Visitor(Daemon()).get(HERE).text
    assert told.index("bl_0003") < told.rindex("bl_0001")
    for words in (
        "about 0.50 a month",
        "not more than 13 a month",
        "95 % certainty",
        "statistical model",
        "m.lang",
        "10 minutes",
    ):
        assert words in told
    assert told.count('class="in-force"') == 1


def test_figures_that_are_not_known_are_dashes() -> None:
    unknown = {**IN_FORCE, "false_alarms_per_month": {"target": 1}}
    told = Visitor(Daemon(in_force=unknown)).get(HERE).text
    assert '<b class="big">about \u2013</b>' in told
    assert "not more than \u2013" in told
    damaged = version(4, "damaged", problem="its signature does not verify", author="", created_ns=0, states=[])
    told = Visitor(Daemon([*VERSIONS, damaged])).get(f"{HERE}/bl_0004").text
    assert "1970" not in told
    assert "does not verify" in Visitor(Daemon([*VERSIONS, damaged])).get(HERE).text


def test_a_version_tells_of_what_it_was_made() -> None:
    told = Visitor(Daemon()).get(f"{HERE}/bl_0003").text
    for words in ("picoquake:C6E3", "echo-tiny", "25,600 Hz", "512", "12 dB", "hits the limit of its range"):
        assert words in told


def test_from_a_version_its_report_is_one_step_away() -> None:
    assert "/enroll/pump-12/de/report?baseline=bl_0003" in Visitor(Daemon()).get(f"{HERE}/bl_0003").text


def test_a_version_that_was_brought_in_says_from_where() -> None:
    origin = {"id": "bl_0042", "point": "pump-1/de", "gateway": "gw-hall4", "key_id": "k-77", "signature": "0"}
    link = Daemon(**{"baseline.show": {"manifest": {**MANIFEST, "imported_from": origin}}})
    told = Visitor(link).get(f"{HERE}/bl_0003").text
    for words in ("bl_0042", "gw-hall4", "k-77"):
        assert words in told


def test_the_address_of_a_form_loaded_anew_leads_back() -> None:
    visitor = engineer(Daemon())
    for below, to in (
        ("rollback", ""),
        ("import", ""),
        ("bl_0003/activate", "/bl_0003"),
        ("bl_0003/label", "/bl_0003"),
    ):
        answer = visitor.get(f"{HERE}/{below}")
        assert (answer.status, answer.headers.get("location")) == (303, f"{HERE}{to}")
    assert visitor.get(f"{HERE}/bl_0003/other").status == 404


def test_a_version_that_cannot_be_loaded_is_still_shown_with_the_reason() -> None:
    link = Daemon(**{"baseline.show": RefusedError("bl_0001: its vectors were given up")})
    answer = engineer(link).get(f"{HERE}/bl_0001")
    assert answer.status == 200
    assert "its vectors were given up" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        f"{HERE}/bl_9999",
        f"{HERE}/bl_0001%00",
        f"{HERE}/../../secret",
        "/baselines/no/where",
        f"{HERE}/compare?old=bl_0001&new=bl_9999",
        f"{HERE}/compare",
        f"{HERE}/audit?before=1;--",
        f"{HERE}/exports/..%2fsigning.key",
        f"{HERE}/exports/a..b",
        f"{HERE}/exports/Key",
    ],
)
def test_what_is_not_there_is_no_page_and_is_not_asked_for(path: str) -> None:
    link = Daemon()
    assert engineer(link).get(path).status == 404
    assert link.readings == []


def test_two_versions_are_compared_in_words_and_numbers() -> None:
    told = Visitor(Daemon()).get(f"{HERE}/compare?old=bl_0002&new=bl_0003").text
    for words in ("a:1", "b:2", "0, 1", "62 %", "would have been an alert", "fewer than 40"):
        assert words in told
    alike = {**DIFF, "changed": [], "incomparable": "another model", "states": [{**DIFF["states"][0]}]}
    alike["states"][0]["strange_share"] = None
    told = Visitor(Daemon(**{"baseline.diff": alike})).get(f"{HERE}/compare?old=bl_0002&new=bl_0003").text
    assert "another model" in told
    assert "would have been an alert" not in told


@pytest.mark.parametrize(
    ("what", "path", "args", "condition"),
    [
        ("activate", f"{HERE}/bl_0003/activate", {"point": "pump-12/de", "id": "bl_0003"}, {"baseline": "bl_0002"}),
        ("rollback", f"{HERE}/rollback", {"point": "pump-12/de"}, {"baseline": "bl_0002"}),
        ("reject", f"{HERE}/bl_0003/reject", {"id": "bl_0003"}, None),
    ],
)
def test_a_change_is_rehearsed_and_told_before_it_is_done(
    what: str, path: str, args: dict[str, str], condition: dict[str, str] | None
) -> None:
    verb = f"baseline.{what}"
    link = Daemon(**{verb: {"would": "do it", "active": "bl_0001", "states": ["run"]}})
    asked = engineer(link).post(path, in_force="bl_0002")
    assert (asked.status, link.done) == (200, [(verb, args, condition, True)])
    assert 'name="sure" value="yes"' in asked.text
    done = engineer(link).post(path, in_force="bl_0002", sure="yes", note="compared on site")
    assert (done.status, done.headers["location"]) == (303, f"{HERE}?done={what}")
    assert link.done[1:] == [(verb, {**args, "note": "compared on site"}, condition, False)]
    assert 'role="status"' in engineer(link).get(done.headers["location"]).text


def test_a_note_that_is_refused_is_asked_for_again_with_the_reason_beside_it() -> None:
    def activate(args: Mapping[str, Any]) -> dict[str, Any]:
        if "note" in args:
            raise RefusedError("is one line of at most 500 characters", 2, "bad_args", "note")
        return {"would": "do it", "active": "bl_0003", "states": ["run"]}

    link = Daemon(**{"baseline.activate": activate})
    answer = engineer(link).post(f"{HERE}/bl_0003/activate", sure="yes", note=f"because {SCRIPT}")
    assert answer.status == 422
    assert "at most 500 characters" in answer.text
    assert "because &lt;script&gt;" in answer.text
    assert SCRIPT not in answer.text


@pytest.mark.parametrize("sure", ["", "yes"])
def test_who_proposed_a_version_is_told_that_another_person_must_agree(sure: str) -> None:
    text = "bl_0003 was proposed by m.lang: 'approval' asks that another person activates it"
    answer = engineer(Daemon(**{"baseline.activate": RefusedError(text)})).post(f"{HERE}/bl_0003/activate", sure=sure)
    assert answer.status == 422
    assert "&#39;approval&#39; asks" in answer.text
    assert "somebody else activates it" in answer.text


def test_a_change_that_comes_too_late_shows_how_it_is_by_now() -> None:
    refused = RefusedError("if.baseline: is bl_0003 by now, not bl_0002", 6, "conflict")
    answer = engineer(Daemon(**{"baseline.rollback": refused})).post(f"{HERE}/rollback", in_force="bl_0002", sure="yes")
    assert answer.status == 409
    assert "Somebody changed something meanwhile" in answer.text


def test_a_label_is_kept_when_it_is_refused_and_shown_when_it_is_taken() -> None:
    refused = RefusedError("is too long", 2, "bad_args", "label")
    answer = engineer(Daemon(**{"baseline.label": refused})).post(f"{HERE}/bl_0003/label", label="after the repair")
    assert answer.status == 422
    assert 'value="after the repair"' in answer.text
    assert "is too long" in answer.text
    taken = Daemon(**{"baseline.label": {}})
    assert engineer(taken).post(f"{HERE}/bl_0003/label", label="").status == 303
    assert taken.done == [("baseline.label", {"id": "bl_0003", "label": ""}, None, False)]


@pytest.mark.parametrize("role", ["viewer", "technician"])
def test_who_is_no_engineer_sees_no_forms_and_changes_nothing(role: Any) -> None:
    link = Daemon()
    visitor = Visitor(link, role)
    for path in (HERE, f"{HERE}/bl_0003"):
        assert 'method="post" action="/baselines' not in visitor.get(path).text
    for path in ("rollback", "import", "bl_0003/activate", "bl_0003/reject", "bl_0003/label", "bl_0003/export"):
        assert visitor.post(f"{HERE}/{path}", sure="yes").status == 403
    assert visitor.get(f"{HERE}/exports/bl_0003.eebl").status == 403
    assert (link.done, link.readings) == ([], [])


def test_an_export_is_made_and_then_downloaded_under_its_name() -> None:
    file = "bl_0003-pump-12-de.eebl"
    link = Daemon(**{"baseline.export": {"file": file}, "export": {"data": base64.b64encode(b"signed").decode()}})
    made = engineer(link).post(f"{HERE}/bl_0003/export")
    assert made.status == 303
    assert f'href="{HERE}/exports/{file}"' in engineer(link).get(made.headers["location"]).text
    answer = engineer(link).get(f"{HERE}/exports/{file}")
    assert (answer.body, answer.headers["content-disposition"]) == (b"signed", f'attachment; filename="{file}"')


def test_a_link_names_no_file_of_its_own_choice() -> None:
    told = engineer(Daemon()).get(f"{HERE}/bl_0003?done=export&file=..%2f..%2fevil").text
    assert "evil" not in told


def test_a_file_is_put_at_the_gateway_and_proposed() -> None:
    link = Daemon(
        **{"import": lambda args: {"file": f"web-{args['name']}"}, "baseline.import": {"proposed": "bl_0003"}}
    )
    answer = upload(engineer(link), b"\x00signed\xff", "..\\..\\Pumpe 12 \u00dc..eebl", note="twin", key="")
    assert (answer.status, answer.headers["location"]) == (303, f"{HERE}/bl_0003?done=import")
    ((_, put),) = link.readings
    assert base64.b64decode(put["data"]) == b"\x00signed\xff"
    expected = {"point": "pump-12/de", "note": "twin", "file": f"web-{put['name']}"}
    assert link.done == [("baseline.import", expected, None, False)]
    assert ".." not in put["name"]
    assert put["name"].endswith(".eebl")


def test_a_file_that_is_refused_says_why_and_keeps_what_was_typed() -> None:
    refused = RefusedError("is signed with a key that is not trusted here", 1, "refused")
    link = Daemon(**{"import": {"file": "web-a"}, "baseline.import": refused})
    answer = upload(engineer(link), b"x", note="twin", key="no key")
    assert answer.status == 422
    for words in ("not trusted here", 'value="twin"', ">no key</textarea>"):
        assert words in answer.text


def test_an_empty_file_and_one_too_large_are_not_passed_on() -> None:
    link = Daemon()
    assert "Choose a file" in upload(engineer(link), b"").text
    large = upload(engineer(link), bytes((16 << 20) + 1))
    assert large.status == 422
    assert "larger than 16 MB" in large.text
    assert link.readings == []


def test_the_audit_trail_is_read_in_pages() -> None:
    def rows(args: Mapping[str, Any]) -> dict[str, Any]:
        newest = args["before"] or 80
        numbers = range(newest - 1, max(0, newest - 1 - args["limit"]), -1)
        row = {"ts": "2026-05-03T03:09:37Z", "who": SCRIPT, "what": "activate", "why": SCRIPT, "object": "bl_0001"}
        return {"rows": [{"id": n, "point": "pump-12/de", **row} for n in numbers]}

    link = Daemon(audit=rows)
    first = Visitor(link).get(f"{HERE}/audit").text
    assert "audit?before=30" in first
    assert SCRIPT not in first
    assert "before=" not in Visitor(link).get(f"{HERE}/audit?before=30").text


def test_a_script_in_any_text_stays_text() -> None:
    evil = [
        version(n, s, author=SCRIPT, note=SCRIPT, label=SCRIPT, states=[SCRIPT])
        for n, s in ((1, "active"), (2, SCRIPT))
    ]
    manifest = copy.deepcopy(MANIFEST) | {"identity": SCRIPT, "settings": {SCRIPT: SCRIPT}}
    manifest["states"][0] |= {"name": SCRIPT}
    diff = copy.deepcopy(DIFF) | {"incomparable": SCRIPT, "changed": [{"what": SCRIPT, "old": SCRIPT, "new": None}]}
    link = Daemon(evil, **{"baseline.show": {"manifest": manifest}, "baseline.diff": diff})
    for path in (HERE, f"{HERE}/bl_0002", f"{HERE}/compare?old=bl_0001&new=bl_0002"):
        answer = engineer(link).get(path)
        assert answer.status == 200
        assert SCRIPT not in answer.text
        assert "&lt;script&gt;" in answer.text


def test_german_pages_have_german_words() -> None:
    visitor = Visitor(Daemon(), "engineer", "de")
    assert "Was jetzt gilt" in visitor.get(HERE).text
    assert "Als Vorschlag einbringen" in visitor.get(HERE).text
