"""Alert files: the newest message and the steps of each of the newest alerts, however the disk behaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from echo_edge.alert_files import MAX_STEPS, AlertFiles, alert_path, read_alert
from echo_edge.errors import HistoryError

ID = "ab" * 16


def message(rev: int = 1, type_: str = "open", alert_id: str = ID, **more: Any) -> dict[str, Any]:
    fixed = {"kind": "sensor", "severity": "fault", "state": "active", "opened": "2026-05-03T08:00:00.000Z"}
    ts = f"2026-05-03T{8 + rev // 3600:02}:{rev // 60 % 60:02}:{rev % 60:02}.000Z"
    return {"alert_id": alert_id, "rev": rev, "type": type_, "ts": ts, "text": f"step {rev}", **fixed, **more}


def test_the_newest_message_stays_with_every_step_before(tmp_path: Path) -> None:
    files = AlertFiles(tmp_path)
    files.keep(message())
    files.keep(message(2, "ack", by="lang", note="seen"))
    kept = read_alert(alert_path(tmp_path, ID))
    assert kept.message["text"] == "step 2"
    assert [(step["what"], step["by"], step["note"]) for step in kept.steps] == [
        ("opened", None, None),
        ("acknowledged", "lang", "seen"),
    ]
    assert alert_path(tmp_path, ID).stat().st_mode & 0o777 == 0o600


def test_what_was_unlike_normal_stays_when_the_machine_is_well_again(tmp_path: Path) -> None:
    files = AlertFiles(tmp_path)
    for rev, (type_, ratio) in enumerate([("open", 3.0), ("update", 2.0), ("update", 0.7), ("clear", 0.1)], start=1):
        files.keep(message(rev, type_, score={"ratio": ratio}, evidence={"strange_for_s": rev}))
    kept = read_alert(alert_path(tmp_path, ID))
    assert (kept.unlike, kept.message["evidence"]) == ({"strange_for_s": 2}, {"strange_for_s": 4})


def test_of_many_alerts_the_newest_stay_and_pictures_beside_them_too(tmp_path: Path) -> None:
    files = AlertFiles(tmp_path, kept=3)
    (tmp_path / f"{ID}-1.png").touch()
    for i in range(5):
        files.keep(message(alert_id=f"{i:032x}"))
        os.utime(alert_path(tmp_path, f"{i:032x}"), ns=(i, i))
    assert {path.stem for path in tmp_path.glob("*.json")} == {f"{i:032x}" for i in (2, 3, 4)}
    assert (tmp_path / f"{ID}-1.png").exists()


def test_an_alert_that_never_ends_keeps_how_it_began_and_its_newest_steps(tmp_path: Path) -> None:
    files = AlertFiles(tmp_path)
    files.keep(message())
    for rev in range(2, 2 * MAX_STEPS):
        files.keep(message(rev, "ack" if rev % 2 else "shelve", by="lang"))
    steps = read_alert(alert_path(tmp_path, ID)).steps
    assert len(steps) == MAX_STEPS
    assert (steps[0]["what"], steps[-1]["ts"]) == ("opened", message(2 * MAX_STEPS - 1)["ts"])


def test_of_news_that_follow_on_each_other_the_newest_stays(tmp_path: Path) -> None:
    files = AlertFiles(tmp_path)
    for rev, type_ in enumerate(("open", "update", "update", "escalate", "update"), start=1):
        files.keep(message(rev, type_))
    assert [step["what"] for step in read_alert(alert_path(tmp_path, ID)).steps] == [
        "opened",
        "updated",
        "worse",
        "updated",
    ]


@pytest.mark.parametrize(
    "damage", [b"", b"null", b'{"message": {}, "steps": []}', b'{"message": 1, "steps": 2}', b"\xff"]
)
def test_a_damaged_file_is_told_and_begun_anew(tmp_path: Path, damage: bytes) -> None:
    path = alert_path(tmp_path, ID)
    path.write_bytes(damage)
    with pytest.raises(HistoryError, match=f"{path.name}: is damaged"):
        read_alert(path)
    AlertFiles(tmp_path).keep(message(7, "clear"))
    assert [step["what"] for step in read_alert(path).steps] == ["cleared"]


def test_a_file_of_another_alert_is_none_of_this_one(tmp_path: Path) -> None:
    AlertFiles(tmp_path).keep(message())
    other = alert_path(tmp_path, "cd" * 16)
    alert_path(tmp_path, ID).rename(other)
    with pytest.raises(HistoryError, match="of another alert"):
        read_alert(other)


def test_a_disk_that_takes_nothing_is_told_once_until_it_does_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "evidence"
    folder.write_text("in the way")
    files = AlertFiles(folder)
    for rev in (1, 2):
        files.keep(message(rev))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    folder.unlink()
    files.keep(message(3))
    assert read_alert(alert_path(folder, ID)).message["rev"] == 3


def test_what_is_no_id_names_no_file(tmp_path: Path) -> None:
    for name in ("../state", "", ID.upper(), f"{ID}\n"):
        with pytest.raises(ValueError, match="no id of an alert"):
            alert_path(tmp_path, name)
