"""The report of a baseline: everything that a file must hold, on one sheet, in words."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from echo_edge.baseline_orders import run_verb
from echo_edge.web.link import RefusedError
from echo_edge.web.texts import catalogue
from tests.baselines import enroll, make_store, small
from tests.web.test_enroll import GAP, RATES, TEST, words
from tests.web.world import FakeLink, Visitor

PATH = "/enroll/pump-12/de/report"
SPECTRUM = [{"hz": [20, 60], "db": -20.0}, {"hz": [60, 8000], "db": -31.5}]
HEARD = {
    "from": "2026-11-28T00:01:49Z",
    "until": "2026-11-28T00:11:49Z",
    "spectrum": SPECTRUM,
    "usual": {"velocity_rms_mm_s": [4.9, 5.2], "crest": [3.1, 4.0]},
    "zone": "C",
}


def shown(**more: Any) -> dict[str, Any]:
    """What ``baseline.show`` answers."""
    learned = {"how": "live", "windows": 120, "excluded": {"speech": 2}, "checks": [GAP], "self_test": TEST}
    return {
        "status": "active",
        "label": "new bearing",
        "active_since": "2026-11-28T00:12:00Z",
        "manifest": {
            "id": "bl_0007",
            "point": "pump-12/de",
            "parent": "bl_0006",
            "gateway": "gw-hall3",
            "key_id": "9f1c2a7d40b8e653",
            "origin": {
                "model_name": "echo-tiny",
                "model_sha256": 64 * "a",
                "rate_hz": 25600,
                "channels": [0, 1, 2],
                "length_s": 5.0,
                "hop_s": 5.0,
                "unit": "g",
            },
            "identity": "picoquake:C6E3",
            "settings": {"range": "16 g"},
            "states": [{"name": "run", "learned": learned, "about": {"windows": 118, "learned_s": 600.0}}],
            "false_alarms": [{**RATES, "thresholds": {"run": 9.2}}],
            "imported_from": None,
            "author": "m.lang",
            "note": "mount: magnet; after the repair",
            "created_ns": 1_790_000_000_000_000_000,
            "vectors_sha256": 64 * "b",
        },
        "manifest_sha256": 64 * "c",
        "signature": 128 * "d",
        "heard": {"run": HEARD},
        **more,
    }


ROWS = [{"id": 5, "ts": "2026-11-28T00:12:00Z", "who": "k.roth", "what": "activate", "why": "", "object": "bl_0007"}]


def visitor(answer: Any, **more: Any) -> Visitor:
    answers = {"baseline.show": answer, "audit": {"rows": ROWS}}
    return Visitor(FakeLink({"m/pump-12/p/de/baseline": {"baseline": "bl_0007"}}, answers), **more)


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_sheet_holds_machine_sensor_checks_figures_who_and_signature(language: str) -> None:
    guest = visitor(shown(), role="viewer", language=language)
    seen = words(guest.get(PATH).text)
    assert guest.link.orders[0][:2] == ("baseline.show", {"id": "bl_0007"})
    texts = catalogue(language)
    for text in (
        *(
            "Feed pump 12",
            "pump-12/de",
            "picoquake:C6E3",
            "range 16 g",
            "mount: magnet",
            "m.lang",
            "k.roth",
            "new bearing",
        ),
        *(64 * "a", 64 * "c", 128 * "d", "9f1c2a7d40b8e653", "1 in 10 windows", texts["enroll.check.speech.wrong"]),
        *(
            texts["enroll.estimated_means"],
            texts["report.zone_bad"],
            texts["base.not_safety"],
            texts["report.sign.taught"],
        ),
    ):
        assert text in seen


def test_a_good_zone_is_no_warning_and_an_unknown_one_is_said() -> None:
    good = visitor(shown(heard={"run": {**HEARD, "zone": "A"}})).get(PATH).text
    assert catalogue("en")["report.zone_bad"] not in unescape(good)
    unknown = visitor(shown(heard={"run": {k: v for k, v in HEARD.items() if k != "zone"}})).get(PATH).text
    assert catalogue("en")["report.no_zone"] in unescape(unknown)


def test_nothing_taught_yet_is_said_and_another_points_baseline_is_not_shown_here() -> None:
    assert catalogue("en")["report.none"] in unescape(Visitor(FakeLink()).get(PATH).text)
    other = shown()
    other["manifest"]["point"] = "pump-12/nde"
    assert visitor(other).get(f"{PATH}?baseline=bl_0007").status == 404
    assert visitor(shown()).get(f"{PATH}?baseline=../x").status == 404
    assert visitor(RefusedError("there is no baseline", 1)).get(f"{PATH}?baseline=bl_9999").status == 422


def test_script_in_what_others_wrote_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    answer = shown(label=evil)
    answer["manifest"] |= {"note": evil, "identity": evil, "author": evil, "settings": {evil: evil}}
    assert evil not in visitor(answer).get(PATH).text


def test_the_sheet_shows_what_a_real_baseline_answers(tmp_path: Path) -> None:
    store = make_store(tmp_path / "state")
    stored = enroll(store, small(1, "pump-12/de"))
    told = run_verb(store, "show", {"id": stored.id})
    seen = visitor(told).get(f"{PATH}?baseline={stored.id}")
    assert seen.status == 200
    (bars,) = re.findall(r'class="bars".*?</svg>', seen.text, re.DOTALL)
    assert bars.count("<rect") == len(told["heard"]["run"]["spectrum"])
