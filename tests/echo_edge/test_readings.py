"""Readings: who may look at what, what is told of alerts of the past, and that no name leads out of its folder."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from echo_edge.album import Album
from echo_edge.errors import OrderRefusedError
from echo_edge.order_bench import Bench
from echo_edge.order_types import ROLES, Role
from echo_edge.readings import KEPT_IMPORTS, MAX_FILE_BYTES, READINGS, Readings
from tests.baselines import enroll, learned
from tests.benches import Link, alarmed, begun, give, make_bench
from tests.ledger import sensor
from tests.world import POINT

ARGS: dict[str, dict[str, Any]] = {
    "history": {"point": POINT, "from": "2026-05-03T08:00:00Z", "to": "2026-05-03T09:00:00Z"},
    "alert": {"alert_id": "0" * 32},
    "picture": {"name": f"{'0' * 32}-1.png"},
    "export": {"name": "bl_0001-pump-de.eebl"},
    "import": {"name": "twin.eebl", "data": "AAAA"},
}


def watched(folder: Path, link: Link | None = None) -> Bench:
    """A gateway with a machine, whose alerts leave pictures and files; with ``link`` it goes on after a restart."""
    bench = make_bench(folder, album=Album(folder / "evidence"), link=link)
    bench.points[POINT].adopt(enroll(bench.store, learned()) if link is None else bench.store.active(POINT))
    return begun(bench)


def readings(bench: Bench, path: Path | None = None) -> Readings:
    return Readings(bench.config, bench.folder, lambda: bench.reporter.alerts.standing, path)


def read(bench: Bench, what: str, role: Role = "engineer", **args: Any) -> dict[str, Any]:
    told = readings(bench).read(what, args, role)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    return told


def refused(bench: Bench, what: str, role: Role = "engineer", **args: Any) -> OrderRefusedError:
    with pytest.raises(OrderRefusedError) as caught:
        readings(bench).read(what, args, role)
    return caught.value


@pytest.mark.parametrize("what", READINGS)
def test_only_who_may_can_read_it(tmp_path: Path, what: str) -> None:
    bench = begun(make_bench(tmp_path))
    least = READINGS[what].role
    for role in ROLES[: ROLES.index(least)]:
        assert refused(bench, what, role, **ARGS.get(what, {})).code == "forbidden"
    known = {"history", "alerts", "audit", "import"}  # of the others there is nothing yet
    if what in known:
        readings(bench).read(what, ARGS.get(what, {}), least)
    else:
        assert refused(bench, what, least, **ARGS.get(what, {})).code == "refused"


def test_a_reading_that_is_not_known_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    error = refused(make_bench(tmp_path), "alert_")
    assert (error.code, error.message) == ("unknown_verb", "'alert_' is no reading; did you mean 'alert'?")


def test_an_argument_that_does_not_fit_is_named(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    for what, args, where in (
        ("history", {**ARGS["history"], "buckets": 601}, "args.buckets"),
        ("history", {**ARGS["history"], "point": "pump/nde"}, "args.point"),
        ("history", {**ARGS["history"], "to": "2026-05-03T07:00:00Z"}, "args.to"),
        ("history", {**ARGS["history"], "to": ARGS["history"]["from"]}, "args.to"),
        ("history", {**ARGS["history"], "from": "2026-01-03T07:00:00Z"}, "args.from"),
        ("history", {**ARGS["history"], "from": "today"}, "args.from"),
        ("alerts", {"limit": 0}, "args.limit"),
        ("alert", {"alert_id": "../state"}, "args.alert_id"),
        ("audit", {"before": "1"}, "args.before"),
        ("import", {"name": "twin.eebl", "data": "?"}, "args.data"),
        ("import", {"name": "twin.eebl", "data": ""}, "args.data"),
    ):
        error = refused(bench, what, **args)
        assert (error.code, error.where) == ("bad_args", where)


def test_an_open_alert_is_told_with_its_message_pictures_and_steps(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    give(bench, "alert.ack", alert_id=alert_id, note="greased")
    (listed,) = read(bench, "alerts", "viewer")["alerts"]
    told = read(bench, "alert", "viewer", alert_id=alert_id)
    assert {name: told[name] for name in listed} == listed
    assert (listed["point"], listed["kind"], listed["state"], listed["until"]) == (POINT, "machine", "active", None)
    assert (listed["ack"]["by"], listed["ack"]["note"], listed["verdict"]) == ("lang", "greased", None)
    assert told["message"]["alert_id"] == alert_id
    assert told["message"]["evidence"]["bands"]
    assert [(step["what"], step["by"]) for step in told["steps"]][-1] == ("acknowledged", "lang")
    assert told["steps"][0]["what"] == "opened"
    for name in listed["pictures"]:
        png = base64.b64decode(read(bench, "picture", "viewer", name=name)["png"])
        assert png.startswith(b"\x89PNG")
    assert listed["pictures"]


def test_an_alert_of_the_past_keeps_its_message_after_it_cleared_and_after_a_restart(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    give(bench, "alert.shelve", alert_id=alert_id, minutes=60, note="tomorrow")
    bench = watched(tmp_path, bench.outbox)  # type: ignore[arg-type]
    give(bench, "alert.clear", alert_id=alert_id, note="new bearing")
    give(bench, "feedback", alert_id=alert_id, verdict="fault", cause="bearing", note="outer race")
    bench = watched(tmp_path, bench.outbox)  # type: ignore[arg-type]
    assert bench.reporter.alerts.standing == {}
    told = read(bench, "alert", alert_id=alert_id)
    assert (told["state"], told["severity"], told["verdict"], told["cause"]) == (
        "cleared",
        "warning",
        "fault",
        "bearing",
    )
    assert told["message"]["evidence"]["bands"]
    assert told["message"]["text"] == told["text"]
    steps = [
        (step["what"], step["by"], step["note"]) for step in told["steps"] if step["what"] not in {"updated", "worse"}
    ]
    assert steps == [
        ("opened", None, None),
        ("shelved", "lang", "tomorrow"),
        ("cleared", "lang", "new bearing"),
        ("feedback", "lang", "outer race"),
    ]
    assert told["until"] == told["steps"][-2]["ts"]
    assert next(step for step in told["steps"] if step["what"] == "shelved")["until"] is not None


def test_alerts_of_sensors_and_of_the_gateway_are_kept_as_the_machines_are(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    machine = alarmed(bench)
    bench.reporter.sensor(sensor("lost", "unplugged"), bench.points[POINT])
    bench.reporter.look(bench.points[POINT])
    bench.points[POINT].sensor_alarm._since_s["fault"] -= 5
    bench.reporter.look(bench.points[POINT])
    kinds = {alert["kind"]: alert for alert in read(bench, "alerts")["alerts"]}
    assert set(kinds) == {"machine", "sensor"}
    assert kinds["machine"]["alert_id"] == machine
    assert "unplugged" in read(bench, "alert", alert_id=kinds["sensor"]["alert_id"])["text"]
    assert read(bench, "alerts", point="pump/other") == {"alerts": []}
    assert len(read(bench, "alerts", limit=1)["alerts"]) == 1


def test_a_file_that_is_behind_gives_way_to_what_the_daemon_knows(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    file = tmp_path / "evidence" / f"{alert_id}.json"
    before = file.read_bytes()
    give(bench, "alert.ack", alert_id=alert_id)
    file.write_bytes(before)  # as if the disk had not taken the newest
    assert read(bench, "alert", alert_id=alert_id)["ack"]["by"] == "lang"


def test_an_alert_whose_end_nobody_saw_is_not_open_for_ever(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    forgetful = Readings(bench.config, bench.folder)  # the daemon of today knows nothing of it
    told = forgetful.read("alert", {"alert_id": alert_id}, "viewer")
    assert (told["state"], told["message"]["state"]) == ("cleared", "active")


def test_the_verdict_is_what_was_said_last_and_not_dismissed(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    give(bench, "feedback", alert_id=alert_id, verdict="fault", cause="bearing")
    give(bench, "feedback", alert_id=alert_id, verdict="normal", cause="wash-down")
    assert read(bench, "alert", alert_id=alert_id)["verdict"] == "normal"
    bench.monitor.review("dismiss", {"item": 2, "by": "eng", "note": "no"})
    told = read(bench, "alert", alert_id=alert_id)
    assert (told["verdict"], told["cause"]) == ("fault", "bearing")
    assert [(step["what"], step["by"]) for step in told["steps"]][-1] == ("dismissed", "eng")


def test_pictures_are_in_the_order_of_their_revisions(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    for rev in (10, 9, 100):
        (tmp_path / "evidence" / f"{alert_id}-{rev}.png").touch()
    pictures = read(bench, "alert", alert_id=alert_id)["pictures"]
    assert pictures[-3:] == [f"{alert_id}-{rev}.png" for rev in (9, 10, 100)]


def test_of_an_alert_whose_file_is_gone_is_told_what_is_known(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    give(bench, "alert.clear", alert_id=alert_id)
    (tmp_path / "evidence" / f"{alert_id}.json").unlink()
    told = read(bench, "alert", alert_id=alert_id)
    assert (told["state"], told["message"], told["severity"], told["text"]) == ("cleared", None, None, None)
    assert [step["what"] for step in told["steps"]] == ["opened", "cleared"]
    assert told["until"] is not None
    assert refused(bench, "alert", alert_id="0" * 32).code == "refused"


def test_what_is_damaged_is_told_and_the_rest_shown(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    (tmp_path / "evidence" / f"{alert_id}.json").write_text('{"message": {')
    told = read(bench, "alert", alert_id=alert_id)
    assert told["message"]["alert_id"] == alert_id  # the daemon's own, while it is open
    assert "is damaged" in told["problems"][0]
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)
    told = read(bench, "alerts")
    assert [alert["alert_id"] for alert in told["alerts"]] == [alert_id]
    assert len(told["problems"]) >= 2


def test_a_disk_that_takes_nothing_holds_up_no_alert(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "evidence").write_text("a file where the folder should be")
    bench = watched(tmp_path)
    alert_id = alarmed(bench)
    give(bench, "alert.ack", alert_id=alert_id)
    assert bench.reporter.alerts.standing[f"machine:{POINT}"]["ack"]["by"] == "lang"
    assert read(bench, "alert", alert_id=alert_id)["message"]["rev"] >= 2
    assert [r.levelname for r in caplog.records if "not kept beside" in r.message] == ["ERROR"]


def test_the_audit_log_is_read_from_its_end_page_by_page(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    for i in range(5):
        bench.store.note("lang", "order", f"number {i}", POINT if i % 2 else "", "state.set")
    newest = read(bench, "audit", "viewer", limit=2)["rows"]
    assert [row["why"] for row in newest] == ["number 4", "number 3"]
    assert newest[1]["point"] == POINT
    assert newest[0]["point"] is None
    older = read(bench, "audit", limit=2, before=newest[-1]["id"])["rows"]
    assert [row["why"] for row in older] == ["number 2", "number 1"]
    assert [row["why"] for row in read(bench, "audit", point=POINT)["rows"]] == ["number 3", "number 1"]


TRICKS = ("../state.db", "..", ".hidden", "a/b", "/etc/passwd", "a..b", "A.eebl", "a\0b", "a\n", "-a", "")


@pytest.mark.parametrize("name", TRICKS)
def test_no_name_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    bench = make_bench(tmp_path)
    for what, more in (("picture", {}), ("export", {}), ("import", {"data": "AAAA"})):
        error = refused(bench, what, name=name, **more)
        assert (error.code, error.where) == ("bad_args", "args.name")
    assert not (tmp_path / "imports").exists()


def test_links_and_pipes_and_files_without_end_are_refused(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    exports = tmp_path / "exports"
    exports.mkdir()
    (exports / "link.eebl").symlink_to(tmp_path / "state.db")
    os.mkfifo(exports / "pipe.eebl")
    with (exports / "large.eebl").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    for name in ("link.eebl", "pipe.eebl", "large.eebl", "absent.eebl"):
        assert refused(bench, "export", name=name).code == "refused"


def test_an_exported_baseline_comes_over_and_can_be_imported(tmp_path: Path) -> None:
    bench = watched(tmp_path)
    made = give(bench, "baseline.export", id="bl_0001")
    file = read(bench, "export", name=made["file"])
    put = read(bench, "import", name=file["name"], data=file["data"])
    assert (tmp_path / "imports" / put["file"]).read_bytes() == base64.b64decode(file["data"])
    proposed = give(bench, "baseline.import", point=POINT, file=put["file"], note="twin")
    assert proposed["proposed"]


def test_of_what_came_this_way_the_newest_stay_and_nobodys_own_file_goes(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    (tmp_path / "imports").mkdir()
    own = tmp_path / "imports" / "twin.eebl"
    own.write_bytes(b"by hand")
    for i in range(KEPT_IMPORTS + 2):
        read(bench, "import", name=f"twin{i}.eebl", data="AAAA")
    read(bench, "import", name="twin.eebl", data="AAAA")
    assert own.read_bytes() == b"by hand"
    assert len(list(own.parent.glob("web-*"))) == KEPT_IMPORTS
    assert (own.parent / "web-twin.eebl").exists()


def test_a_link_in_imports_is_replaced_and_not_followed(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    (tmp_path / "imports").mkdir()
    (tmp_path / "secret").write_bytes(b"mine")
    (tmp_path / "imports" / "web-twin.eebl").symlink_to(tmp_path / "secret")
    read(bench, "import", name="twin.eebl", data="AAAA")
    assert (tmp_path / "secret").read_bytes() == b"mine"


def test_a_support_archive_comes_whole(tmp_path: Path, state_folder: Path) -> None:
    path = tmp_path / "line1.yaml"
    path.write_text("gateway: {id: gw}\nmachines: {}\ndevices: {}\n")
    told = readings(make_bench(state_folder), path).read("bundle", {}, "engineer")
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(told["tar_gz"]))) as archive:
        names = [name.rpartition("/")[2] for name in archive.getnames()]
    assert {"configuration.yaml", "versions.json", "doctor.json"} <= set(names)
    assert told["name"].startswith("echo-edge-line1-")
    assert refused(make_bench(state_folder), "bundle").code == "refused"
