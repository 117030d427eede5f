"""The messages keep the promises of their schemas, and the schemas bite."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest

from echo_edge.alert_life import Life
from echo_edge.audit import AuditEntry
from echo_edge.audit_mirror import audit_payload
from echo_edge.baseline import Baseline, Origin
from echo_edge.capture import SensorStatus
from echo_edge.engine.standby import EngineStatus
from echo_edge.envelope import Envelope, Payload, Topics, timestamp
from echo_edge.errors import OrderRefusedError
from echo_edge.evidence import Evidence, Moved
from echo_edge.health import Health, Watched
from echo_edge.normal_state import NormalState
from echo_edge.order_answers import answer_payload, failure, nonce_payload
from echo_edge.outbox import OutboxStatus
from echo_edge.payload import (
    SCHEMAS,
    FalseAlarmRate,
    Info,
    MachineState,
    OperatingState,
    PointState,
    Quality,
    WindowCount,
    alert_active_payload,
    alert_payload,
    alerts_active_payload,
    encode,
    features_payload,
    info_payload,
    load_schema,
    machine_state_payload,
    point_state_payload,
    quality_payload,
    score_payload,
    status_payload,
    step_payload,
    will_payload,
)
from echo_edge.payload_enroll import InForce, baseline_payload, enroll_payload
from echo_edge.records import Answer, BandShare, Event, Score
from echo_edge.sentence import dominant_bands
from echo_edge.signal_checks import Finding

OPENED_NS = 1_777_885_512_412_999_999  # 2026-05-04 09:05:12.412 UTC
BANDS = (BandShare(0, 1280, 0.12), BandShare(1280, 2560, 0.55), BandShare(2560, 3840, 0.2), BandShare(3840, 5120, 0.13))
SCORE = Score("pump-12/de", OPENED_NS - 5_000_000_000, OPENED_NS, 2.31, 1.4, "run-50hz", 1, BANDS, "bl_0007", False, {})
EVENT = Event("pump-12/de", "a1", 1, "open", "alarm", OPENED_NS, OPENED_NS, 2.31, OPENED_NS, SCORE)
PARTS = {"echo": 2.1, "spectrum": 0.96, "indicators": 0.0}
MOVED = Moved("velocity_rms_mm_s", 1, 4.2, 1.1, 1.4, "velocity RMS (y) 4.2 mm/s, usual 1.1 to 1.4")
COARSE = np.zeros((64, 64), np.uint8)
EVIDENCE = Evidence(BANDS, PARTS, (MOVED,), 12.5, "y", 16000, 5.0, COARSE, COARSE, (4.2, 1.4), "C", "B")
STATE = PointState(
    point="pump-12/de",
    time_ns=OPENED_NS,
    level="alarm",
    model="echo-tiny",
    score=replace(SCORE, rarities=PARTS),
    false_alarms=FalseAlarmRate(target=1, estimated=0.5, demonstrated_upper_95=13),
    windows=WindowCount(k=6, n_of=10, k_needed=6),
    operating_state=OperatingState("run-50hz", "auto"),
    quality="ok",
    lag_ms=640.2,
)
CLIPPED = Finding("clipping", False, "0.30% of the samples are at its full scale of 16 g", "choose a larger range")
COUNTERS = {"bad_crc": 2, "overflows": 0}
QUALITY = Quality(
    "pump-12/de", OPENED_NS, "degraded", ("clipping",), 26667, -38, 2, 512, "g", "sensor", COUNTERS, (CLIPPED,)
)
INFO = Info("0.1.0", "echo-tiny", "ab" * 32, "onnx", "5", ("pump-12/de", "pump-12/nde"), {"pump-12": "Feed pump 12"})
RATE = FalseAlarmRate(1, 0.5, 13000)
FIGURES = {"target": 1, "estimated": 0.5, "demonstrated_upper_95": 13000}
PROGRESS = {
    "session": "00c0ffee",
    "normal_state": "run",
    "how": "live",
    "by": "m.lang",
    "phase": "deciding",
    "step": 5,
    "steps": 6,
    "useful": 118,
    "needed": 118,
    "excluded": {"gap": 1},
    "checks": [{"check": "rate", "severity": "ok", "text": "26667 Hz", "advice": ""}],
    "spectrum": [{"hz": [0, 1280.0], "db": -31.5}],
    "self_test": {
        "passed": True,
        "alerts": 0,
        "heard_s": 590,
        "threshold": 4.1,
        "supports_one_in": 118,
        "false_alarms_per_month": FIGURES,
        "table": [{"threshold": 4.1, **FIGURES}],
        "text": "leave-block-out: 0 alerts",
    },
    "seconds_left": 3600,
}
NONE = np.empty(0)
LEARNED = NormalState("run", {}, {}, np.ones(12), np.arange(12), np.arange(12), 590.0, NONE, NONE, NONE, (), NONE)
IN_FORCE = InForce(
    Baseline(
        "pump-12/de",
        Origin("echo-tiny", "ab" * 32, 26667, (0,), 5.0, 5.0, "g"),
        "ee1:A7",
        (LEARNED,),
        parent="bl_0001",
        id="bl_0002",
        created_ns=OPENED_NS,
    ),
    {"run": 4.1},
    RATE,
    provisional=True,
)


def envelope() -> Envelope:
    return Envelope("gw-hall3", boot="b7c1b7c1")


def whole(event: Payload) -> Payload:
    """An event as the outbox completes it."""
    return event | {"seq": 7, "id": "gw-hall3:c0ffee:7"}


def health() -> Payload:
    sensor = SimpleNamespace(
        device="mic1", last_block_s=1.0, status=SensorStatus("mic1", "ok", counters={"overflows": 1})
    )
    monitor = SimpleNamespace(busy_s=0.0, signal_s=0.0)
    mailbox = SimpleNamespace(waiting=1, windows_dropped={"pump-12/de": 2})
    publisher = SimpleNamespace(problems=("no answer",), broker_certificate_ends_s=OPENED_NS / 1e9)
    status = OutboxStatus(waiting=3, oldest_ns=OPENED_NS, hours_left=70.25, problem="disk_full: no space left")
    outbox = SimpleNamespace(status=status)
    engine = SimpleNamespace(status=EngineStatus("onnx", "tensorrt", "the GPU was lost", 0.25, fallbacks=1))
    made = Health(Watched(monitor, mailbox, [sensor], publisher, outbox, engine, Path()))  # type: ignore[arg-type,list-item]
    monitor.busy_s, monitor.signal_s = 0.5, 10.0
    return made.payload(envelope())


ROW = AuditEntry(7, OPENED_NS, "m-lang", "order", "by mqtt", "pump-12/de", "alert.ack", "", "0" * 64, "1" * 64)

SENSOR = Life.opened("sensor", "pump-12/de", "fault", OPENED_NS)
LOST = whole(step_payload(envelope(), SENSOR, "Feed pump 12 / de: the sensor is lost", None, ["sensor_lost"]))
SHELVED = Life.opened("monitor", "outbox", "warning", OPENED_NS).answered(
    "shelve", Answer("m.lang", "disk is on its way", OPENED_NS + 10**9), OPENED_NS + 10**12
)
FULL = whole(step_payload(envelope(), SHELVED, "gateway gw-hall3: disk_full"))
MESSAGES: dict[str, Callable[[], Payload]] = {
    "status": lambda: status_payload(envelope(), "degraded", OPENED_NS, "mic1 lost"),
    "info": lambda: info_payload(envelope(), INFO, OPENED_NS),
    "health": health,
    "point-state": lambda: point_state_payload(envelope(), STATE),
    "quality": lambda: quality_payload(envelope(), QUALITY),
    "features": lambda: features_payload(
        envelope(), "pump-12/de", OPENED_NS, {"velocity_x_mm_s": 1.25, "crest_x": 4.1}, "unverified", "B"
    ),
    "alert": lambda: whole(alert_payload(envelope(), EVENT, "echo-tiny", "Feed pump 12", EVIDENCE, "a1-1.png")),
    "enroll": lambda: enroll_payload(envelope(), "pump-12/de", OPENED_NS, PROGRESS),
    "baseline": lambda: baseline_payload(envelope(), "pump-12/de", OPENED_NS, IN_FORCE),
    "alert-active": lambda: alert_active_payload(
        envelope(), "pump-12/de", OPENED_NS, whole(alert_payload(envelope(), EVENT, "echo-tiny", None, EVIDENCE)), LOST
    ),
    "audit": lambda: whole(audit_payload(envelope(), ROW)),
    "order-nonce": lambda: nonce_payload(envelope(), OPENED_NS, "AAECAwQFBgcICQoLDA0ODw", 120),
    "order-answer": lambda: answer_payload(
        envelope(),
        OPENED_NS,
        "alert.ack",
        "hmi-2-0001",
        failure(OrderRefusedError("bad_args", "is missing", "args.id")),
        repeated=True,
    ),
    "alerts-active": lambda: alerts_active_payload(envelope(), OPENED_NS, [LOST, *[FULL] * 60]),
    "machine-state": lambda: machine_state_payload(
        envelope(), "pump-12", OPENED_NS, MachineState("alarm", 1, 2, "run-50hz", ("a1",))
    ),
    "score": lambda: score_payload(envelope(), STATE),
}


def valid(name: str, payload: Payload) -> bool:
    return bool(jsonschema.Draft202012Validator(load_schema(name)).is_valid(json.loads(encode(payload))))


def test_there_is_a_message_here_for_every_schema() -> None:
    assert sorted(MESSAGES) == sorted(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_message_satisfies_its_schema_and_the_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(load_schema(name))
    jsonschema.Draft202012Validator(load_schema(name)).validate(json.loads(encode(MESSAGES[name]())))


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_required_field_can_be_left_out(name: str) -> None:
    for field in load_schema(name)["required"]:
        payload = MESSAGES[name]()
        del payload[field]
        assert not valid(name, payload), field


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_field_can_be_added_at_any_depth(name: str) -> None:
    def objects(value: object) -> list[Payload]:
        if isinstance(value, list):
            return [found for item in value for found in objects(item)]
        if isinstance(value, dict):
            return [value, *(found for item in value.values() for found in objects(item))]
        return []

    for index in range(len(objects(MESSAGES[name]()))):
        payload = copy.deepcopy(MESSAGES[name]())
        objects(payload)[index]["surprise"] = 1
        assert not valid(name, payload), (index, payload)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_never_published(bad: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        point_state_payload(envelope(), replace(STATE, score=replace(SCORE, value=bad)))
    with pytest.raises(ValueError, match="not a number"):
        alert_payload(envelope(), replace(EVENT, peak_value=bad), "echo-tiny")
    with pytest.raises(ValueError, match="not a number"):
        quality_payload(envelope(), replace(QUALITY, rate_ppm=bad))
    with pytest.raises(ValueError, match="JSON compliant"):
        encode({"anything": bad})


def test_a_refused_record_uses_up_no_sequence_number() -> None:
    stamps = envelope()
    with pytest.raises(ValueError, match="not a number"):
        quality_payload(stamps, replace(QUALITY, rate_ppm=math.nan))
    assert quality_payload(stamps, QUALITY)["seq"] == 1


def test_what_is_unknown_is_absent() -> None:
    bare = point_state_payload(envelope(), PointState("pump-12/de", OPENED_NS, "not_monitored", reason="device lost"))
    assert set(bare) == {"schema", "ts", "seq", "boot", "gw", "machine", "point", "level", "reason"}
    assert valid("point-state", bare)
    quality = quality_payload(envelope(), Quality("pump-12/de", OPENED_NS, "ok"))
    assert set(quality) == {"schema", "ts", "seq", "boot", "gw", "machine", "point", "state", "reasons"}
    assert valid("quality", quality)


def test_a_verdict_without_a_score_and_a_silence_without_a_reason_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a score and a model"):
        point_state_payload(envelope(), PointState("pump-12/de", OPENED_NS, "normal", model="echo-tiny"))
    with pytest.raises(ValueError, match="needs a reason"):
        point_state_payload(envelope(), PointState("pump-12/de", OPENED_NS, "not_monitored"))
    assert not valid("point-state", envelope().stamp("point-state", OPENED_NS, "p/q") | {"level": "normal"})
    assert not valid("point-state", envelope().stamp("point-state", OPENED_NS, "p/q") | {"level": "not_monitored"})
    with pytest.raises(ValueError, match="needs a reason"):
        point_state_payload(envelope(), replace(STATE, level="unknown", reason="not enrolled"))
    assert not valid("point-state", envelope().stamp("point-state", OPENED_NS, "p/q") | {"level": "unknown"})
    assert not valid("quality", envelope().stamp("quality", OPENED_NS, "p/q") | {"state": "lost", "reasons": []})


def test_an_unknown_state_needs_no_score_and_says_who_told_it() -> None:
    told = PointState("p/q", OPENED_NS, "unknown", operating_state=OperatingState("x", "order"), reason="not enrolled")
    unknown = point_state_payload(envelope(), told)
    assert unknown["operating_state"] == {"name": "x", "source": "order"}
    assert valid("point-state", unknown)


def test_the_score_says_how_far_from_the_threshold_it_is() -> None:
    assert MESSAGES["point-state"]()["score"] == {
        "raw": 2.31,
        "calibrated": 0.6814,
        "threshold": 1.4,
        "ratio": 1.65,
        "parts": {"echo": 2.1, "spectrum": 0.96, "indicators": 0},
        "false_alarms_per_month": {"target": 1, "estimated": 0.5, "demonstrated_upper_95": 13},
    }


def test_an_indicator_without_its_unit_is_refused_unless_it_has_none() -> None:
    def named(name: str) -> bool:
        return valid("features", features_payload(envelope(), "pump-12/de", OPENED_NS, {name: 1.0}, "sensor"))

    assert all(map(named, ("crest", "kurtosis_ch2", "level_dbfs", "rms_mv", "envelope_bpfo_z_db", "temperature_c")))
    assert not any(map(named, ("velocity", "velocity_rms", "crest_x_y", "skewness", "Crest", "rms_", "_g")))


def test_the_open_alert_is_the_alert_message_word_for_word() -> None:
    alert = alert_payload(envelope(), EVENT, "echo-tiny")
    assert alert_active_payload(envelope(), "pump-12/de", OPENED_NS, alert)["alert"] == alert
    assert valid("alert-active", alert_active_payload(envelope(), "pump-12/de", OPENED_NS, None))
    inner = load_schema("alert-active")["$defs"]["alert"]
    alone = load_schema("alert")
    assert inner["properties"] == alone["properties"]
    assert inner["allOf"] == alone["allOf"]
    assert set(alone["required"]) - set(inner["required"]) == {"seq", "id"}  # of before a restart: they are not kept


def test_the_will_is_a_status_without_a_number() -> None:
    stamps = envelope()
    assert valid("status", will_payload(stamps, OPENED_NS))
    assert "seq" not in will_payload(stamps, OPENED_NS)
    assert status_payload(stamps, "online", OPENED_NS)["seq"] == 1


def test_numbers_count_per_schema_and_times_are_utc_milliseconds_rounded_down() -> None:
    stamps = envelope()
    assert [stamps.stamp(kind, 0)["seq"] for kind in ("alert", "alert", "quality", "alert")] == [1, 2, 1, 3]
    assert timestamp(OPENED_NS) == "2026-05-04T09:05:12.412Z"
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"


def test_info_says_that_an_old_protocol_cannot_notice_a_denied_message() -> None:
    old = info_payload(envelope(), replace(INFO, protocol="3.1.1", model_sha256=None), OPENED_NS)
    assert old["mqtt"] == {"protocol": "3.1.1", "denied_publish_is_noticed": False}
    assert old["model"] == {"name": "echo-tiny"}
    assert old["machines"] == [{"id": "pump-12", "title": "Feed pump 12", "points": ["de", "nde"]}]
    assert valid("info", old)


def test_an_alert_is_one_sentence() -> None:
    def text(event: Event, title: str | None = "Feed pump 12") -> str:
        return str(alert_payload(envelope(), event, "echo-tiny", title)["text"])

    later = OPENED_NS + 86_400_000_000_000
    assert text(EVENT) == "Feed pump 12 / de: unlike normal run-50hz since 09:05:12 UTC, mostly 1.3-2.6 kHz"
    assert text(replace(EVENT, score=replace(SCORE, bands=())), None) == (
        "pump-12 / de: unlike normal run-50hz since 09:05:12 UTC"
    )
    assert text(replace(EVENT, type="update", time_ns=later)) == (
        "Feed pump 12 / de: unlike normal run-50hz since 2026-05-04 09:05:12 UTC, mostly 1.3-2.6 kHz"
    )
    assert text(replace(EVENT, type="clear", time_ns=OPENED_NS + 60_000_000_000)) == (
        "Feed pump 12 / de: like normal run-50hz again at 09:06:12 UTC, had been unlike it since 09:05:12 UTC"
    )


def test_frequencies_are_named_only_when_they_carry_most_of_the_score() -> None:
    def bands(*shares: float) -> list[BandShare]:
        return [BandShare(i * 100, (i + 1) * 100, share) for i, share in enumerate(shares)]

    assert dominant_bands(bands(0.1, 0.4, 0.3, 0.2)) == (100, 400)
    assert dominant_bands(bands(0.4, 0.1, 0.3, 0.1, 0.1)) is None
    assert dominant_bands([]) is None


def test_evidence_is_told_with_units_by_name_and_what_is_unknown_is_absent() -> None:
    told = alert_payload(envelope(), EVENT, "echo-tiny", None, EVIDENCE, "a1-1.png")
    assert told["evidence"] == {
        "bands": [{"hz": [b.low_hz, b.high_hz], "share": b.share} for b in BANDS],
        "parts": {"echo": 2.1, "spectrum": 0.96, "indicators": 0},
        "indicators": [
            {"name": MOVED.name, "channel": 1, "value": 4.2, "usual": [1.1, 1.4], "text": MOVED.words},
        ],
        "zone": "C",
        "usual_zone": "B",
        "strange_for_s": 12.5,
        "spectrogram": "a1-1.png",
    }
    assert told["text"].endswith("mostly 1.3-2.6 kHz; velocity RMS (y) 4.2 mm/s, usual 1.1 to 1.4")
    bare = replace(EVIDENCE, moved=(), strange_for_s=None, zone=None, usual_zone=None)
    told = whole(alert_payload(envelope(), EVENT, "echo-tiny", None, bare))
    assert set(told["evidence"]) == {"bands", "parts", "indicators"}
    assert valid("alert", whole(told))


def test_the_retained_alert_of_the_fastest_sensor_stays_small() -> None:
    bands = tuple(BandShare(i * 1280.0, i * 1280 + 1280.0, 0.0132) for i in range(76))  # 192 kHz
    wordy = replace(EVIDENCE, moved=(MOVED,) * 5)
    alert = alert_payload(envelope(), replace(EVENT, score=replace(SCORE, bands=bands)), "echo-tiny", "W" * 500, wordy)
    assert len(encode(alert_active_payload(envelope(), "pump-12/de", OPENED_NS, alert))) < 65_536 / 4


def test_topics_follow_the_tree_and_refuse_what_a_broker_would_misread() -> None:
    topics = Topics("echo-edge/v1", "gw-hall3")
    assert topics.status == "echo-edge/v1/gw-hall3/status"
    assert topics.alert_active("pump-12/de") == "echo-edge/v1/gw-hall3/m/pump-12/p/de/alert/active"
    for base, gateway in (("a/#", "gw"), ("/a", "gw"), ("", "gw"), ("a", "GW"), ("a", "g" * 49), ("a", "+")):
        with pytest.raises(ValueError, match=r"topic base|id "):
            Topics(base, gateway)
    for point in ("pump-12", "pump-12/de/x", "pump-12/+", "/de", "pump-12/"):
        with pytest.raises(ValueError, match="id "):
            topics.state(point)


def test_an_enrollment_that_is_over_says_how_it_ended_and_a_point_without_one_says_null() -> None:
    over = PROGRESS | {"phase": "accepted", "code": 0, "baseline": "bl_0002", "result": {}, "point": "pump-12/de"}
    told = enroll_payload(envelope(), "pump-12/de", OPENED_NS, over)
    last = {"session": "00c0ffee", "normal_state": "run", "phase": "accepted", "code": 0, "baseline": "bl_0002"}
    assert (told["session"], told["last"]) == (None, last)
    assert valid("enroll", told)
    assert valid("enroll", enroll_payload(envelope(), "pump-12/de", OPENED_NS, None))
    assert valid("baseline", baseline_payload(envelope(), "pump-12/de", OPENED_NS, None))
