"""The page of health: one sentence on top, everything that is known below, and what is not known said as such."""

from __future__ import annotations

import base64
import re
from html import unescape
from typing import Any

import pytest

from echo_edge.web.health_view import troubles
from echo_edge.web.link import RefusedError
from echo_edge.web.texts import catalogue
from tests.web.test_enroll import words
from tests.web.world import FakeLink, Visitor

HEALTH: dict[str, Any] = {
    "ts": "2026-11-28T04:01:12.001Z",
    "uptime_s": 7200,
    "pipeline": {"windows_waiting": 0, "windows_dropped": 0, "rtf": 0.0171},
    "engine": {"serving": "onnx", "wanted": "onnx", "fallbacks": 0},
    "sensors": {"acc1": {"state": "ok", "last_sample_age_s": 0.1, "xruns": 0}},
    "outbox": {"waiting": 3, "lost": 0, "dead": 0, "durable": True, "used_mb": 0.01, "free_mb": 53.6},
    "mqtt": {"problems": [], "broker_cert_days_left": 87.5},
    "disk": {"free_mb": 67102, "free_share": 0.2484},
    "system": {"load_1m": 0.21, "rss_mb": 198.3},
    "clock": {"synced": True, "offset_ms": 0.12, "max_error_ms": 4.1},
}
STATUS = {"gateway": {"broker": "broker:8883", "connected": True, "alarms": []}, "points": []}
DOCTOR = {"well": False, "findings": [{"where": "acc1", "what": "lost: unplugged", "mend": "look at its plug"}]}
ROW = {"ts": "2026-11-28T00:12:00Z", "who": "k.roth", "what": "activate", "why": "", "point": "pump-12/de"}
ANSWERS: dict[str, Any] = {
    "status": STATUS,
    "doctor": DOCTOR,
    "bundle": {"name": "gw-hall3.tar.gz", "tar_gz": base64.b64encode(b"archive").decode()},
    "audit": lambda args: {
        "rows": [{**ROW, "id": (args["before"] or 100) - n, "object": "bl_0007"} for n in range(1, 51)]
    },
}


def visitor(changed: dict[str, Any] | None = None, answers: dict[str, Any] | None = None, **more: Any) -> Visitor:
    quality = {"state": "degraded", "reasons": ["gap"], "rate_hz": 25600, "rate_ppm": -38.2, "gaps": {"count_1h": 1}}
    messages = {
        "health": {**HEALTH, **(changed or {})},
        "status": {"state": "online"},
        "m/pump-12/p/de/quality": quality,
    }
    return Visitor(FakeLink(messages, {**ANSWERS, **(answers or {})}), **more)


def test_a_gateway_that_is_well_says_so_in_one_sentence_with_all_figures_below() -> None:
    seen = words(visitor(role="viewer").get("/health").text)
    assert catalogue("en")["health.well"] in seen
    for text in (
        "acc1",
        "0.1 s ago",
        "echo-tiny",
        "88 days left",
        "67,102 MB free",
        "0.12 ms",
        "2 hours",
        "broker:8883",
    ):
        assert text in seen


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"sensors": {"acc1": {"state": "lost"}}}, "sensor_lost"),
        ({"engine": {"serving": "onnx", "wanted": "tensorrt", "fallbacks": 1, "problem": "no GPU"}}, "engine"),
        ({"engine": {"serving": "onnx", "wanted": "tensorrt", "fallbacks": 0, "building": 0.4}}, "building"),
        ({"pipeline": {"windows_waiting": 9, "windows_dropped": 4}}, "dropped"),
        ({"pipeline": {"windows_waiting": 9, "windows_dropped": 0, "rtf": 0.95}}, "busy"),
        ({"outbox": {"waiting": 9, "lost": 0, "dead": 0, "durable": False, "problem": "disk_full"}}, "outbox"),
        ({"outbox": {"waiting": 9, "lost": 2, "dead": 0, "durable": True}}, "lost"),
        ({"outbox": {"waiting": 9, "lost": 0, "dead": 0, "durable": True, "hours_left": 3.0}}, "full_soon"),
        ({"mqtt": {"problems": ["mqtt_denied: echo-edge/v1/x"]}}, "broker"),
        ({"mqtt": {"problems": [], "client_cert_days_left": 3.2}}, "client_certificate"),
        ({"disk": {"free_mb": 90, "free_share": 0.01}}, "disk"),
        ({"clock": {"synced": False, "offset_ms": 900.0, "max_error_ms": 16000.0}}, "clock"),
    ],
)
def test_what_needs_attention_is_told_on_top_in_every_language(changed: dict[str, Any], key: str) -> None:
    for language in ("en", "de"):
        guest = visitor(changed, language=language)
        assert [name for _, name, _ in troubles(guest.link.mirror)] == [key]
        seen = words(guest.get("/health").text)
        assert catalogue(language)[f"health.trouble.{key}"].partition("{")[0] in seen
        assert catalogue(language)["health.well"] not in seen


def test_the_worst_comes_first() -> None:
    guest = visitor({"clock": {"synced": False}, "sensors": {"acc1": {"state": "lost"}}})
    assert [severity for severity, _, _ in troubles(guest.link.mirror)] == ["bad", "warning"]


def test_what_is_not_known_says_so_and_is_never_zero_or_well() -> None:
    seen = words(Visitor(FakeLink()).get("/health").text)
    assert catalogue("en")["health.unknown"] in seen
    assert catalogue("en")["health.well"] not in seen
    assert catalogue("en")["health.doctor_silent"] in seen
    assert "Windows dropped not known" in seen
    assert "Disk not known" in seen
    sparse = words(visitor({"sensors": {"acc1": {"state": "ok"}}, "disk": {}}).get("/health").text)
    assert "Overruns (the gateway was late) not known" in sparse


def test_each_finding_of_the_doctor_stands_with_its_mend() -> None:
    seen = words(visitor().get("/health").text)
    assert "lost: unplugged What to do: look at its plug" in seen


def test_an_engineer_downloads_the_archive_and_others_are_told_who_may() -> None:
    got = visitor(role="engineer").get("/health/bundle")
    assert (got.status, got.body) == (200, b"archive")
    assert got.headers["content-disposition"] == 'attachment; filename="gw-hall3.tar.gz"'
    guest = visitor(role="technician")
    assert 'href="/health/bundle"' not in guest.get("/health").text
    assert guest.get("/health/bundle").status == 403
    assert guest.link.readings == []


def test_a_name_of_an_archive_that_is_none_does_not_reach_the_browser() -> None:
    odd = {"bundle": {**ANSWERS["bundle"], "name": 'a"\r\nset-cookie: x'}}
    got = visitor(None, odd, role="engineer").get("/health/bundle")
    assert got.headers["content-disposition"] == 'attachment; filename="support.tar.gz"'


def test_the_log_of_the_gateway_goes_back_page_by_page() -> None:
    guest = visitor(role="viewer")
    first = guest.get("/health/audit").text
    assert "k.roth" in first
    (older,) = re.findall(r'href="(/health/audit\?before=\d+)"', first)
    assert older.endswith("=50")
    guest.get(older)
    assert [args["before"] for _, args in guest.link.readings] == [None, 50]
    assert guest.get("/health/audit?before=-1").status == 404


def test_a_refused_doctor_leaves_the_rest_of_the_page() -> None:
    seen = visitor(None, {"doctor": RefusedError("busy"), "status": RefusedError("busy")}).get("/health")
    assert seen.status == 200
    assert catalogue("en")["health.doctor_silent"] in unescape(seen.text)


def test_script_in_what_the_gateway_says_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    changed = {"sensors": {evil: {"state": evil}}, "mqtt": {"problems": [evil]}}
    doctor = {"doctor": {"well": False, "findings": [{"where": evil, "what": evil, "mend": evil}]}}
    assert evil not in visitor(changed, doctor).get("/health").text
