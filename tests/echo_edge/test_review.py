"""Review: what people say of alerts waits for a decision, moves no threshold, and can be asked for later."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from echo_edge import lineage
from echo_edge.baseline import Baseline, Learned
from echo_edge.cli import app
from echo_edge.config import AlertConfig
from echo_edge.errors import BaselineError, HistoryError, OrderError
from echo_edge.examples import examples_of, found_faults, keep_example
from echo_edge.history import History
from echo_edge.material import Material
from echo_edge.memory import Memory
from echo_edge.normal import Normal
from echo_edge.normal_state import NormalState
from echo_edge.operation import Episode, OperationLog
from echo_edge.records import Event, Score
from echo_edge.review_orders import Desk, run_verb
from tests.baselines import enroll, make_store
from tests.echo_edge.remembered import (
    HOUR_NS,
    MODEL,
    ORIGIN,
    POINT,
    SECOND_NS,
    START_NS,
    embedding,
    hop,
    kept,
    memory,
)

ALERT = "ab" * 16
OPENED_NS = START_NS + 100 * 5 * SECOND_NS
THREE_OF_FIVE = AlertConfig(windows=5, strange_windows=3)


def learned(origin: Any = ORIGIN, name: str = "run") -> Baseline:
    state = NormalState.learn(name, Material.of([embedding(t, 10_000 + i) for i, t in enumerate(hop(200))]))
    return Baseline(POINT, origin, "usb:1", (state,), {name: Learned("live", 200)})


def episode() -> list[Memory]:
    """An hour's part: well, then strange windows of which the third opens an alert, then well again."""
    memories = []
    for i, t in enumerate(hop(130)):
        strange = 98 <= i < 110
        open_now = 100 <= i < 112
        memories.append(
            memory(
                t,
                i,
                seen=embedding(t, i, centre=3.0 if strange else 0.0),
                ratio=1.5 if strange else 0.3,
                level="warning" if open_now else "normal",
                alert_id=ALERT if open_now else "",
            )
        )
    return memories


def event(kind: str, time_ns: int) -> Event:
    score = Score(POINT, time_ns - 10, time_ns, 9.0, 5.0, "run", 0, (), "bl_0001", True, {"echo": 9.0})
    return Event(POINT, ALERT, 1, kind, "warning", time_ns, OPENED_NS, 9.0, time_ns, score)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    log = OperationLog(tmp_path / "state.db")
    log.note(event("open", OPENED_NS + 5 * SECOND_NS), "bl_0001")
    log.note(event("clear", START_NS + 112 * 5 * SECOND_NS), "bl_0001")
    store = make_store(tmp_path)
    enroll(store, learned())
    return Desk(log, kept(tmp_path / "history", episode()), tmp_path / "examples", store)


def normal(baseline: Baseline) -> Normal:
    return Normal(baseline.id, baseline.states, 1.0, 5.0, THREE_OF_FIVE)


def say(desk: Desk, label: str = "normal", **more: str) -> dict[str, Any]:
    return run_verb(desk, "feedback", {"alert_id": ALERT, "label": label, "by": "m.lang", **more})


def test_what_is_said_waits_and_is_listed(desk: Desk) -> None:
    item = say(desk, "fault", cause="worn bearing", note="heard it, too")
    assert (item["id"], item["status"], item["point"], item["alert"]["open"]) == (1, "open", POINT, False)
    (listed,) = run_verb(desk, "list", {})["items"]
    assert listed == item == run_verb(desk, "show", {"item": 1})


def test_an_alert_that_nobody_raised_cannot_be_spoken_of(desk: Desk) -> None:
    with pytest.raises(HistoryError, match=f"there is no alert 'ffff'; the latest: {ALERT}"):
        run_verb(desk, "feedback", {"alert_id": "ffff", "label": "normal", "by": "m.lang"})
    assert run_verb(desk, "list", {})["items"] == []


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({"label": "maybe", "by": "x"}, "label: "),
        ({"label": "normal", "by": ""}, "nobody is named"),
        ({"label": "normal", "by": "x", "note": "two\nlines"}, "one line"),
        ({"label": "normal", "by": "x", "cause": "c" * 501}, "at most 500 characters"),
    ],
)
def test_what_cannot_be_kept_is_refused(desk: Desk, args: dict[str, str], problem: str) -> None:
    with pytest.raises((OrderError, BaselineError), match=problem):
        run_verb(desk, "feedback", {"alert_id": ALERT, **args})
    assert run_verb(desk, "list", {})["items"] == []


def test_accepting_a_normal_proposes_a_baseline_that_would_not_have_alarmed(desk: Desk) -> None:
    say(desk, cause="cleaning")
    done = run_verb(desk, "accept", {"item": 1, "by": "a.engineer", "note": "saw it"})
    assert (done["status"], done["settled_by"], done["proposed"], done["added_windows"]) == (
        "accepted", "a.engineer", "bl_0002", 14,
    )  # fmt: skip
    proposal, active = desk.store.load("bl_0002"), desk.store.active(POINT)
    assert active is not None
    assert active.id == proposal.parent == "bl_0001"
    assert proposal.learned["run"] == Learned("history", 214, added_windows=14)
    (row,) = (row for row in desk.store.audit() if row.object == "bl_0002")
    why = f"alert {ALERT} was normal (review item 1): cleaning"
    assert (row.who, row.what, row.why, proposal.note) == ("a.engineer", "propose", why, why)
    before, after = normal(active), normal(proposal)
    assert after.thresholds == before.thresholds
    strange = embedding(0, 105, centre=3.0)
    assert before.score(strange).value > before.score(strange).threshold
    assert after.score(strange).value < after.score(strange).threshold


def test_accepting_a_fault_keeps_it_beyond_the_history(desk: Desk, tmp_path: Path) -> None:
    say(desk, "fault", cause="worn bearing")
    assert run_verb(desk, "accept", {"item": 1, "by": "a.engineer"})["kept_windows"] == 14
    for file in (tmp_path / "history").rglob("*.*"):
        file.unlink()
    (example,) = examples_of(tmp_path / "examples", POINT, MODEL)
    assert (example.alert_id, example.cause, len(example.material)) == (ALERT, "worn bearing", 14)
    assert examples_of(tmp_path / "examples", POINT, "b" * 64) == []
    assert examples_of(tmp_path / "examples", "fan/de", MODEL) == []
    assert [one.id for one in desk.store.list()] == ["bl_0001"]


def test_the_oldest_examples_make_room_for_the_newest(desk: Desk, tmp_path: Path) -> None:
    for number in range(3):
        old = tmp_path / "examples" / f"{number:032x}" / "about.json"
        old.parent.mkdir(parents=True)
        old.write_text(json.dumps({"point": POINT, "cause": "x" * 1000}))
        os.utime(old, (1e9 + number, 1e9 + number))
    (tmp_path / "examples" / ".making-1").mkdir()  # a power cut left it
    alert = desk.log.episode(ALERT)

    def left_within(max_bytes: int) -> list[str]:
        keep_example(tmp_path / "examples", desk.history, alert, "bearing", max_bytes)
        return sorted(path.name for path in (tmp_path / "examples").iterdir())

    size = sum(path.stat().st_size for path in (tmp_path / "examples").rglob("*") if path.is_file())
    assert left_within(10 * size + 10**6) == sorted([*(f"{number:032x}" for number in range(3)), ALERT])
    assert left_within(1) == [ALERT]
    assert len(examples_of(tmp_path / "examples", POINT, MODEL)) == 1


def test_of_a_fault_of_many_hours_only_its_begin_is_read_and_kept(desk: Desk, tmp_path: Path) -> None:
    hours = [START_NS + HOUR_NS * i for i in range(1, 4)]
    kept(tmp_path / "history", [memory(s, i, alert_id=ALERT) for i, h in enumerate(hours) for s in hop(200, h)])
    desk.log.note(event("update", hours[-1] + HOUR_NS), "bl_0001")
    last = sorted((tmp_path / "history" / POINT).glob("*.vectors"))[-1]
    last.unlink()  # would be missed if it were read
    say(desk, "fault")
    assert run_verb(desk, "accept", {"item": 1, "by": "a.engineer"})["kept_windows"] == 256


def test_a_new_threshold_is_asked_which_faults_it_would_find(desk: Desk, tmp_path: Path) -> None:
    say(desk, "fault", cause="worn bearing")
    run_verb(desk, "accept", {"item": 1, "by": "a.engineer"})
    examples = examples_of(tmp_path / "examples", POINT, MODEL)
    baseline = learned()
    (found,) = found_faults(normal(baseline), examples, POINT)
    assert (found.alert_id, found.cause, found.found) == (ALERT, "worn bearing", True)
    assert found.ratio > 1
    (state,) = baseline.states
    deaf = replace(baseline, states=(state.with_more(examples[0].material),))
    (missed,) = found_faults(normal(deaf), examples, POINT)
    assert not missed.found


def test_an_item_is_settled_once(desk: Desk) -> None:
    say(desk)
    assert run_verb(desk, "dismiss", {"item": 1, "by": "a.engineer"})["status"] == "dismissed"
    for verb in ("accept", "dismiss"):
        with pytest.raises(HistoryError, match=r"item 1 was dismissed by a\.engineer"):
            run_verb(desk, verb, {"item": 1, "by": "b"})
    with pytest.raises(HistoryError, match="no review item 7"):
        run_verb(desk, "accept", {"item": 7, "by": "b"})


def test_rows_are_only_added(desk: Desk) -> None:
    say(desk)
    run_verb(desk, "dismiss", {"item": 1, "by": "a.engineer"})
    with desk.log.transaction() as db:
        rows = db.execute("SELECT item, status, who FROM review ORDER BY seq").fetchall()
    assert rows == [(1, "open", "m.lang"), (1, "dismissed", "a.engineer")]


def lose_history(desk: Desk, folder: Path) -> Desk:
    return replace(desk, history=History(folder / "elsewhere"))


def no_baseline(desk: Desk, folder: Path) -> Desk:
    return replace(desk, store=make_store(folder / "new"))


def other_model(desk: Desk, _: Path) -> Desk:
    enroll(desk.store, learned(replace(ORIGIN, model_sha256="b" * 64)))
    return desk


def other_states(desk: Desk, _: Path) -> Desk:
    enroll(desk.store, learned(name="idle"))
    return desk


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lose_history, "the history holds no window of alert"),
        (no_baseline, "no baseline to add the episode to"),
        (other_model, "was made with model"),
        (other_states, "has no state 'run'"),
    ],
)
def test_what_cannot_be_accepted_stays_open(
    desk: Desk, tmp_path: Path, change: Callable[[Desk, Path], Desk], problem: str
) -> None:
    say(desk)
    changed = change(desk, tmp_path)
    with pytest.raises((HistoryError, BaselineError), match=problem):
        run_verb(changed, "accept", {"item": 1, "by": "a.engineer"})
    assert run_verb(desk, "show", {"item": 1})["status"] == "open"
    assert "proposed" not in [one.status for one in changed.store.list()]


def test_an_example_that_is_damaged_is_left_out(desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    say(desk, "fault")
    run_verb(desk, "accept", {"item": 1, "by": "a.engineer"})
    (tmp_path / "examples" / ALERT / "about.json").write_text("{")
    assert examples_of(tmp_path / "examples", POINT, MODEL) == []
    assert "cannot be read" in caplog.text


CONFIG = """
gateway: {id: gw}
devices: {acc: {kind: simulator, rate_hz: 16000}}
machines: {pump: {points: {de: {device: acc}, nde: {device: acc}}}}
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desk: Desk) -> Callable[..., str]:
    """Runs a command on the desk's own state folder; returns what it printed."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "line1.yaml").write_text(CONFIG)
    assert desk.log

    def run(command: str, *arguments: str) -> str:
        line = [*command.split(), str(tmp_path / "line1.yaml"), *arguments]
        result = CliRunner().invoke(app, line, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_the_commands_say_list_and_settle(site: Callable[..., str]) -> None:
    said = json.loads(site("feedback", ALERT, "fault", "--cause", "worn bearing", "--by", "m.lang", "--json"))
    assert (said["id"], said["label"], said["by"]) == (1, "fault", "m.lang")
    assert "worn bearing" in site("review list")
    assert "14 windows are kept" in site("review accept", "1", "--by", "a.engineer")
    assert "fault, accepted; said by m.lang" in site("review show", "1")


def test_the_promise_is_shown_point_by_point(site: Callable[..., str], desk: Desk) -> None:
    desk.log.save(POINT, "bl_0001", 2 * 3600.0, START_NS)
    grown = lineage.keep(desk.store, learned_again(desk))  # the promise stays that of what a person made
    assert grown is not None
    here, there = json.loads(site("promise", "--json"))["points"]
    assert (here["baseline"], here["target"], here["monitored_s"], here["alerts"]) == (grown.id, 0.5, 7200.0, 1)
    assert there == {"point": "pump/nde", "target": 0.5, "verdict": "not enrolled"}
    table = site("promise")
    assert "not enrolled" in table
    assert "not contradicted" in table


def learned_again(desk: Desk) -> Baseline:
    active = desk.store.active(POINT)
    assert active is not None
    return active.grown("adaptation", {"run": Material.of([embedding(t, i) for i, t in enumerate(hop(3))])})


def test_drift_of_a_point_is_a_table_with_a_small_picture(site: Callable[..., str], tmp_path: Path) -> None:
    now_ns = time.time_ns()
    starts = [now_ns - 8 * 3600 * SECOND_NS + 120 * SECOND_NS * i for i in range(230)]
    kept(tmp_path / "history", [memory(t, i) for i, t in enumerate(starts)])
    found = json.loads(site("drift", POINT, "--json"))["trends"]
    assert {trend["what"] for trend in found} == {"ratio", "velocity_rms_mm_s", "kurtosis"}
    table = site("drift", POINT)
    assert "velocity rms, mm/s" in table
    assert "no trend seen" in table


def test_an_episode_is_what_it_was(desk: Desk) -> None:
    assert desk.log.episode(ALERT) == Episode(
        ALERT, POINT, "bl_0001", "run", OPENED_NS, START_NS + 112 * 5 * SECOND_NS, False
    )
