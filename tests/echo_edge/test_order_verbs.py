"""What can be ordered: each verb does its work, a rehearsal changes nothing, a condition that fails stops it."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from echo_edge.baseline_store import BaselineStore
from echo_edge.errors import EchoEdgeError, OrderError
from echo_edge.order_verbs import VERBS, Bench
from echo_edge.outbox import OutboxStatus
from echo_edge.promise import Operation
from tests.baselines import enroll, learned
from tests.benches import Link, alarmed, begun, give, make_bench, versions
from tests.world import POINT, machine_windows, make_config

ALERT = "a" * 32


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return begun(make_bench(tmp_path / "state"))


def taught(bench: Bench) -> BaselineStore:
    """Two versions were made, and the second one judges."""
    for seed in (1, 2):
        enroll(bench.store, learned(bench.monitor._pipeline, seed=seed))  # the bench's own encoder
    bench.monitor._load_baselines()
    return bench.store


def refused(bench: Bench, code: int, verb: str, **args: Any) -> str:
    with pytest.raises(EchoEdgeError) as caught:
        give(bench, verb, **args)
    assert getattr(caught.value, "exit_code", 1) == code
    return str(caught.value)


def test_the_table_has_every_verb_of_the_contract() -> None:
    promised = """ping info.get enroll.start enroll.stop enroll.accept enroll.reject enroll.extend state.set
        baseline.list baseline.activate baseline.rollback baseline.export baseline.import baseline.label feedback
        threshold.set alert.ack alert.shelve alert.clear clip.record config.validate config.apply config.get
        outbox.replay maintenance.mute log.level doctor point.remove"""
    assert set(promised.split()) <= set(VERBS)
    assert all(verb.help.endswith(".") and "\n" not in verb.help for verb in VERBS.values())


def test_arguments_are_not_converted_and_unknown_ones_are_refused(bench: Bench) -> None:
    for args in ({"level": "debug", "minutes": "5"}, {"level": "debug", "hours": 1}, {"level": "loud"}):
        with pytest.raises(ValidationError):
            give(bench, "log.level", **args)


def test_a_point_or_machine_that_is_not_there_is_named_with_those_that_are(bench: Bench) -> None:
    assert refused(bench, 2, "enroll.start", point="pump/nde") == "no point 'pump/nde'; known are pump/de"
    assert refused(bench, 2, "maintenance.mute", machine="fan", minutes=5.0) == "no machine 'fan'; known are pump"


def test_a_condition_that_no_longer_holds_stops_an_order_and_one_that_cannot_be_told_is_refused(bench: Bench) -> None:
    taught(bench)
    text = refused(bench, 6, "baseline.rollback", point=POINT, expect={"baseline": "bl_0001"})
    assert text == "if.baseline: is bl_0002 by now, not bl_0001; look again, then decide"
    refused(bench, 2, "baseline.rollback", point=POINT, expect={"rev": 3})
    refused(bench, 2, "ping", expect={"baseline": "bl_0002"})
    refused(bench, 2, "ping", expect={"config": "0" * 64})  # there is no file here
    assert give(bench, "baseline.rollback", point=POINT, expect={"baseline": "bl_0002"})["active"] == "bl_0001"


REHEARSED = {
    "info.get": {},
    "log.level": {"level": "debug"},
    "outbox.replay": {"from_seq": 1},
    "point.remove": {"point": "old/de"},
    "enroll.start": {"point": POINT},
    "state.set": {"point": POINT, "name": "idle"},
    "state.clear": {"point": POINT},
    "baseline.activate": {"point": POINT, "id": "bl_0001"},
    "baseline.rollback": {"point": POINT},
    "baseline.reject": {"id": "bl_0001"},
    "baseline.label": {"id": "bl_0001", "label": "spring"},
    "baseline.export": {"id": "bl_0001"},
    "threshold.set": {"point": POINT, "target_false_alarms_per_month": 5.0},
    "maintenance.mute": {"machine": "pump", "minutes": 5.0},
    "maintenance.unmute": {"machine": "pump"},
}


def test_a_rehearsal_changes_nothing(bench: Bench) -> None:
    store, link = taught(bench), bench.publisher
    assert isinstance(link, Link)
    link.states.clear()
    before = (list(store.audit()), store.list(), sorted(p.name for p in bench.folder.iterdir()))
    for verb, args in REHEARSED.items():
        answer = give(bench, verb, dry_run=True, **args)
        assert answer["dry_run"] is True, verb
        assert isinstance(answer["would"], str), verb
    assert before == (list(store.audit()), store.list(), sorted(p.name for p in bench.folder.iterdir()))
    assert (link.states, link.replayed) == ({}, [])
    assert bench.points[POINT].target_per_month == 1
    assert bench.monitor.state_of(POINT)["told"] == []
    assert not bench.monitor.sessions.busy(POINT)
    assert logging.getLogger("echo_edge").level == logging.NOTSET


def test_a_rehearsal_is_refused_as_the_order_would_be(bench: Bench) -> None:
    taught(bench)
    for verb, args in (
        ("baseline.activate", {"point": POINT, "id": "bl_0002"}),  # is active
        ("baseline.reject", {"id": "bl_0002"}),
        ("baseline.label", {"id": "bl_0009", "label": "x"}),
        ("enroll.accept", {"point": POINT}),
        ("feedback", {"alert_id": ALERT, "verdict": "fault"}),
        ("clip.record", {"point": POINT}),
    ):
        told = {}
        for dry_run in (True, False):
            with pytest.raises(EchoEdgeError) as caught:
                give(bench, verb, dry_run=dry_run, **args)
            told[dry_run] = str(caught.value)
        assert told[True] == told[False], verb


def test_ping_and_info_answer(bench: Bench) -> None:
    assert give(bench, "ping")["pong"] is True
    assert give(bench, "info.get")["schema"] == "echo-edge/info/1"


def test_info_is_told_again_when_another_engine_computes(bench: Bench) -> None:
    topic, told = bench.topics.info, bench.publisher.states  # type: ignore[attr-defined]
    told.clear()
    bench.reporter.computes_with("fake")
    assert topic not in told
    bench.reporter.computes_with("tensorrt")
    assert b'"engine":"tensorrt"' in told[topic]


def test_logging_more_ends_by_itself(bench: Bench) -> None:
    logger = logging.getLogger("echo_edge")
    give(bench, "log.level", level="debug", minutes=1.0)
    assert logger.level == logging.DEBUG
    bench.monitor.standing.tick()
    assert logger.level == logging.DEBUG
    bench.monitor.standing._now_s = lambda: time.monotonic() + 61
    bench.monitor.standing.tick()
    assert logger.level == logging.NOTSET


def test_doctor_names_what_is_wrong_with_a_mend_and_no_secret(bench: Bench) -> None:
    link = bench.publisher
    assert isinstance(link, Link)
    link.problems = ("mqtt_denied: echo-edge/v1/gw/m/pump/p/de/alert", "refused: password=hunter2")
    link.status = OutboxStatus(durable=True, problem="disk_full: cannot grow", lost=3)
    answer = give(bench, "doctor")
    told = {(one["where"], one["what"]): one["mend"] for one in answer["findings"]}
    assert answer["well"] is False
    assert "access list" in told["mqtt", "mqtt_denied: echo-edge/v1/gw/m/pump/p/de/alert"]
    assert told["outbox", "disk_full: cannot grow"] == "free space on the disk of the state folder"
    assert told[POINT, "not_monitored: starting"] == "enroll it"
    assert "hunter2" not in str(answer)


def test_status_tells_level_score_sensor_and_the_link(bench: Bench) -> None:
    taught(bench)
    (verdict,) = bench.monitor._pipeline.step(machine_windows(1, seed=2, skip_s=20))
    bench.reporter.verdict(verdict, bench.points[POINT])
    answer = give(bench, "status")
    (point,) = answer["points"]
    assert (point["level"], point["baseline"]) == ("normal", "bl_0002")
    assert point["score"]["threshold"] > point["score"]["raw"]
    assert answer["gateway"]["connected"] is True
    assert answer["gateway"]["engine"] == {"serving": "fake", "wanted": "fake", "fallbacks": 0}
    assert answer["gateway"]["clips"] is False


def test_events_are_replayed_by_the_outbox(bench: Bench) -> None:
    assert give(bench, "outbox.replay", from_seq=17)["accepted"] is True
    assert isinstance(bench.publisher, Link)
    assert bench.publisher.replayed == [17]


def test_only_a_point_that_is_not_configured_any_more_is_removed(bench: Bench) -> None:
    assert "take it out of the configuration first" in refused(bench, 6, "point.remove", point=POINT)
    refused(bench, 2, "point.remove", point="../pump")
    assert isinstance(bench.publisher, Link)
    bench.publisher.states.clear()
    give(bench, "point.remove", point="pump/old")
    root = "echo-edge/v1/gw/m/pump/p/old/"
    emptied = {topic.removeprefix(root) for topic in bench.publisher.states}
    assert emptied == {"state", "quality", "baseline", "enroll", "features", "alert/active"}
    assert set(bench.publisher.states.values()) == {b""}


def test_an_enrollment_begins_and_ends_by_order_and_only_the_command_line_names_files(bench: Bench) -> None:
    assert "only the command line names files" in refused(bench, 2, "enroll.start", point=POINT, files=["/etc/passwd"])
    begun_ = give(bench, "enroll.start", point=POINT, state="run-50hz", minutes=1.0)
    assert begun_["accepted"] is True
    assert give(bench, "enroll.status", point=POINT)["session"] == begun_["session"]
    refused(bench, 6, "enroll.start", point=POINT)
    refused(bench, 6, "enroll.start", point=POINT, dry_run=True)
    refused(bench, 6, "enroll.accept", point=POINT)
    ended = give(bench, "enroll.stop", point=POINT, note="wrong machine")
    assert (ended["session"], ended["reason"]) == (begun_["session"], "stopped by lang: wrong machine")


def test_an_operating_state_is_told_until_a_time_to_come(bench: Bench) -> None:
    soon = (datetime.now(timezone.utc) + timedelta(hours=1)).isoformat()
    (told,) = give(bench, "state.set", point=POINT, name="idle", until=soon)["told"]
    assert told["name"] == "idle"
    assert told["until_ns"] > time.time_ns()
    assert give(bench, "state.clear", point=POINT)["told"] == []
    assert refused(bench, 2, "state.set", point=POINT, name="idle", until="2020-01-01T00:00:00Z") == "until: has passed"


def test_baselines_are_listed_labelled_activated_and_rejected(bench: Bench) -> None:
    taught(bench)
    give(bench, "baseline.activate", point=POINT, id="bl_0001", note="the better one")
    judged_by = bench.points[POINT].baseline
    assert judged_by is not None
    assert judged_by.id == "bl_0001"
    give(bench, "baseline.label", id="bl_0002", label="after the bearing was changed")
    give(bench, "baseline.label", id="bl_0002", label="new bearing")
    give(bench, "baseline.reject", id="bl_0002")
    listed = give(bench, "baseline.list", point=POINT, limit=1)
    assert listed["left_out"] == 1
    assert [(b["id"], b["status"], b["label"]) for b in listed["baselines"]] == [("bl_0002", "rejected", "new bearing")]
    shown = give(bench, "baseline.show", id="bl_0002")
    assert shown["label"] == "new bearing"
    assert "zone" not in shown["heard"]["run"]  # the class of this machine is not known
    assert bench.store.verify_audit().problems == []


def test_a_baseline_travels_by_name_only(bench: Bench) -> None:
    taught(bench)
    told = give(bench, "baseline.export", id="bl_0001")
    assert told == give(bench, "baseline.export", id="bl_0001")  # again: the same bytes
    written = bench.folder / "exports" / told["file"]
    assert (told["file"], told["size_bytes"]) == ("bl_0001-pump-de.eebl", written.stat().st_size)
    (bench.folder / "imports").mkdir()
    (bench.folder / "imports" / "twin.eebl").write_bytes(written.read_bytes())
    assert give(bench, "baseline.import", point=POINT, file="twin.eebl")["proposed"] == "bl_0003"
    (bench.folder / "imports" / "link.eebl").symlink_to(written)
    assert "cannot be read" in refused(bench, 1, "baseline.import", point=POINT, file="link.eebl")
    (bench.folder / "imports" / "junk.eebl").write_bytes(b"no baseline")
    why = refused(bench, 1, "baseline.import", point=POINT, file="junk.eebl")
    assert why.startswith("junk.eebl: ")
    assert str(bench.folder) not in why
    for name in ("../exports/bl_0001-pump-de.eebl", "/etc/passwd", "..", "TWIN.eebl", "a/b"):
        with pytest.raises((ValidationError, OrderError)):
            give(bench, "baseline.import", point=POINT, file=name)


def test_only_the_newest_exports_are_kept(bench: Bench) -> None:
    taught(bench)
    (bench.folder / "exports").mkdir()
    for n in range(25):
        (bench.folder / "exports" / f"old{n}.eebl").touch()
    give(bench, "baseline.export", id="bl_0001")
    kept = [path.name for path in (bench.folder / "exports").iterdir()]
    assert len(kept) == 20
    assert "bl_0001-pump-de.eebl" in kept


def test_another_target_moves_the_thresholds_at_once_and_begins_a_new_promise(bench: Bench) -> None:
    taught(bench)
    point = bench.points[POINT]
    point.operation = Operation(monitored_s=3600.0, alerts=2)
    bench.books.minute([point])
    strict = point.thresholds["run"]
    told = give(bench, "threshold.set", point=POINT, target_false_alarms_per_month=100.0)
    (promise,) = told["points"]
    assert promise["thresholds"]["run"] == point.thresholds["run"] < strict
    assert point.operation == Operation()  # alerts under another threshold tell nothing of this one's
    assert isinstance(bench.publisher, Link)
    assert b'"target":100' in bench.publisher.states["echo-edge/v1/gw/m/pump/p/de/baseline"]
    give(bench, "threshold.set", point=POINT)
    assert point.thresholds["run"] == strict
    assert point.operation.monitored_s == 3600.0  # the configured promise goes on where it was


def test_an_ordered_target_survives_a_restart_and_ends_in_time(bench: Bench) -> None:
    give(bench, "threshold.set", machine="pump", target_false_alarms_per_month=7.0, hold_minutes=60.0)
    again = begun(make_bench(bench.folder))
    assert again.points[POINT].target_per_month == 7
    assert again.points[POINT].promise("bl_0001") == "bl_0001@7"
    assert "by order of lang" in str(give(again, "doctor"))
    hour_ns = 3600 * 10**9
    again.monitor.standing._now_ns = lambda: time.time_ns() + hour_ns + 1
    again.monitor.standing.tick()
    assert again.points[POINT].target_per_month == 1
    assert begun(make_bench(bench.folder)).points[POINT].target_per_month == 7  # its hour is not over there


def test_a_machines_points_share_its_target(tmp_path: Path) -> None:
    point = {"device": "acc", "window": {"length_s": 0.5, "hop_s": 0.5}}
    config = make_config(machines={"pump": {"points": {"de": point, "nde": point}}})
    bench = begun(make_bench(tmp_path / "state", config))
    give(bench, "threshold.set", machine="pump", target_false_alarms_per_month=1.0)
    assert [p.target_per_month for p in bench.points.values()] == [0.5, 0.5]
    refused(bench, 2, "threshold.set", target_false_alarms_per_month=1.0)
    refused(bench, 2, "threshold.set", machine="pump", point="pump/de", target_false_alarms_per_month=1.0)


def test_alerts_are_acknowledged_shelved_and_cleared(bench: Bench) -> None:
    taught(bench)
    alert = alarmed(bench)
    rev = give(bench, "status")["points"][0]["alert"]["rev"]
    assert refused(bench, 6, "alert.ack", alert_id=alert, expect={"rev": rev + 1})
    assert give(bench, "alert.ack", alert_id=alert, dry_run=True)["acknowledged"] is True
    (listed,) = give(bench, "alert.list")["alerts"]
    assert (listed["alert_id"], listed["about"], listed["acknowledged"]) == (alert, POINT, False)
    refused(bench, 6, "alert.ack", alert_id=alert[:5])
    told = give(bench, "alert.ack", alert_id=alert[:8], note="on my way", expect={"rev": rev})
    assert told["acknowledged_by"] == "lang"
    assert (told["rev"], told["acknowledged"]) == (rev + 1, True)
    assert give(bench, "alert.shelve", alert_id=alert, minutes=10)["state"] == "active"
    assert give(bench, "alert.clear", alert_id=alert, note="greased")["state"] == "cleared"
    assert give(bench, "alert.list")["alerts"] == []
    (past,) = give(bench, "alert.list", open=False)["alerts"]
    assert (past["alert_id"], past["state"]) == (alert, "cleared")
    with pytest.raises(ValidationError):
        give(bench, "alert.shelve", alert_id=alert, minutes=10081)


def test_planned_work_survives_a_restart_until_it_is_over(bench: Bench) -> None:
    give(bench, "maintenance.mute", machine="pump", minutes=60.0, note="new bearing")
    again = begun(make_bench(bench.folder))
    muted_until_ns = again.points[POINT].muted_until_ns
    assert muted_until_ns is not None
    assert 3590 * 10**9 < muted_until_ns - time.time_ns() <= 3600 * 10**9
    give(again, "maintenance.unmute", machine="pump")
    assert "not muted" in refused(again, 6, "maintenance.unmute", machine="pump")
    assert begun(make_bench(bench.folder)).points[POINT].muted_until_ns is None
    refused(bench, 2, "maintenance.mute", machine="pump", until="2020-01-01T00:00:00Z")
    refused(bench, 2, "maintenance.mute", machine="pump")


def test_feedback_becomes_a_review_item(bench: Bench) -> None:
    taught(bench)
    alert = alarmed(bench)
    assert give(bench, "feedback", alert_id=alert, verdict="fault", dry_run=True)["dry_run"] is True
    item = give(bench, "feedback", alert_id=alert, verdict="fault", cause="worn bearing")
    assert (item["label"], item["status"], item["by"]) == ("fault", "open", "lang")
    assert "there is no alert" in refused(bench, 1, "feedback", alert_id=ALERT, verdict="fault")


CONFIG = """\
gateway: {id: gw}   # token: abcdef
devices: {acc: {kind: simulator, rate_hz: 16000}}
machines: {pump: {points: {de: {device: acc}}}}
"""


def configured(folder: Path) -> tuple[Bench, list[str]]:
    restarts: list[str] = []
    bench = make_bench(folder / "state", restart=lambda: restarts.append("asked"))
    return begun(make_bench(folder / "state", versions=versions(bench.folder, CONFIG), restart=bench.restart)), restarts


def test_the_configuration_is_told_without_what_looks_like_a_secret(tmp_path: Path) -> None:
    bench, _ = configured(tmp_path)
    told = give(bench, "config.get")
    assert told["text"] == CONFIG.replace("abcdef", "***")
    assert told["sha256"].startswith(told["version"])


def test_a_configuration_is_checked_with_every_problem(tmp_path: Path) -> None:
    bench, _ = configured(tmp_path)
    assert give(bench, "config.validate", text=CONFIG) == {"valid": True, "points": ["pump/de"]}
    told = give(bench, "config.validate", text=CONFIG.replace("rate_hz", "rate") + "modle: x\n")
    assert told["valid"] is False
    assert len(told["problems"]) == 2
    assert give(bench, "config.validate", text="[" * 5000)["valid"] is False


def test_a_configuration_is_applied_under_a_condition_and_the_one_before_is_kept(tmp_path: Path) -> None:
    bench, restarts = configured(tmp_path)
    assert bench.versions is not None
    before, text = give(bench, "config.get")["sha256"], CONFIG.replace("rate_hz: 16000", "rate_hz: 8000")
    refused(bench, 6, "config.apply", text=text, expect={"config": "0" * 64})
    refused(bench, 2, "config.apply", text=text.replace("id: gw", "id: other"))
    refused(bench, 2, "config.apply", text="gateway: {}")
    refused(bench, 6, "config.apply", text=CONFIG)
    assert give(bench, "config.apply", text=text, expect={"config": before}, dry_run=True)["dry_run"] is True
    assert restarts == []
    told = give(bench, "config.apply", text=text, expect={"config": before})
    assert bench.versions.path.read_text() == text
    assert give(bench, "config.get")["kept"] == [told["previous"]]
    assert restarts == ["asked"]
    assert "on trial" in refused(bench, 6, "config.apply", text=CONFIG)
    trial = bench.versions.trial()
    assert trial is not None
    bench.versions.restore(trial)
    assert bench.versions.path.read_text() == CONFIG


def test_where_the_daemon_may_not_write_a_configuration_is_refused_in_words(tmp_path: Path) -> None:
    bench, _ = configured(tmp_path)
    assert bench.versions is not None
    bench.versions.path = Path("/proc/version")  # nobody can write there, root included
    assert "cannot be written" in refused(bench, 1, "config.apply", text=CONFIG)
    assert bench.versions.trial() is None


def test_sound_is_never_recorded_unless_the_configuration_says_so(bench: Bench) -> None:
    assert "clips are off" in refused(bench, 2, "clip.record", point=POINT)
    assert "before it is asked for" in refused(bench, 2, "clip.record", point=POINT, pre_s=2.0)
