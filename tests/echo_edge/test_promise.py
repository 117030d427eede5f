"""The promise in operation: counted over restarts, broken only by more alerts than chance explains."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echo_edge.books import Books
from echo_edge.errors import HistoryError
from echo_edge.history import History
from echo_edge.operation import OperationLog
from echo_edge.pipeline import Pipeline
from echo_edge.promise import Operation, broken, in_words
from echo_edge.records import Event, FalseAlarmRate, Score
from echo_edge.review import Reviews
from echo_edge.tail import MONTH_S
from tests.echo_edge.test_pipeline import enrolled
from tests.world import POINT, machine_windows, make_config, make_embedder

DAY_S = 86400.0


def event(alert_id: str, kind: str = "open", time_ns: int = 1000, baseline: str = "bl_0001") -> Event:
    score = Score(POINT, time_ns - 10, time_ns, 9.0, 5.0, "run", 0, (), baseline, True, {"echo": 9.0})
    return Event(POINT, alert_id, 1, kind, "warning", time_ns, 1000, 9.0, time_ns, score)


def ids(count: int) -> list[str]:
    return [f"{i:032x}" for i in range(1, count + 1)]


@pytest.mark.parametrize(
    ("alerts", "months", "expected"),
    [
        (0, 1.0, False),
        (1, 0.001, False),  # one may always happen
        (2, 0.01, True),
        (2, 0.1, False),  # 0.2 x 2! / 0.3^3 x e^0.1 = 16.4 times as likely at another rate; 20 are needed
        (3, 0.1, True),
        (4, 1.0, False),
        (5, 1.0, True),
        (21, 10.0, False),
        (22, 10.0, True),
    ],
)
def test_a_promise_is_broken_by_more_alerts_than_chance_explains(alerts: int, months: float, expected: bool) -> None:
    assert broken(alerts, months * MONTH_S, target_per_month=1.0) == expected


@pytest.mark.parametrize(
    ("operation", "provisional"),
    [
        (Operation(0.9 * DAY_S), True),
        (Operation(DAY_S), False),
        (Operation(DAY_S, alerts=1), True),
        (Operation(1.5 * DAY_S, alerts=1), True),  # 4.74 / 3.00 of a day
        (Operation(1.6 * DAY_S, alerts=1), False),
        (Operation(DAY_S, alerts=1, faults=1), False),
    ],
)
def test_alerts_are_warnings_until_a_day_shows_that_they_are_rare(operation: Operation, provisional: bool) -> None:
    world = Pipeline(make_config(), make_embedder())
    enrolled(world)
    point = world.points[POINT]
    point.operation = operation
    assert point.provisional == provisional


def test_a_promise_that_is_kept_is_called_broken_in_less_than_one_of_twenty_machines_in_two_years() -> None:
    rng = np.random.default_rng(3)
    machines = 2000
    called = 0
    for _ in range(machines):  # looked at where the evidence is strongest: at every alert
        months = np.cumsum(rng.exponential(size=60))
        called += any(broken(n + 1, m * MONTH_S, 1.0) for n, m in enumerate(months[months < 24]))
    assert called / machines <= 0.055


def test_before_anything_was_monitored_nothing_is_known() -> None:
    assert Operation().kept(1.0) is None
    assert Operation(60.0).kept(1.0) is True
    assert Operation(60.0, alerts=5).kept(1.0) is False
    assert Operation(60.0, alerts=5, faults=4).kept(1.0) is True


def test_the_verdict_says_what_can_be_done() -> None:
    rate = FalseAlarmRate(1.0, 1.0, 90.0)
    assert in_words(Operation(10 * 3600, 3), rate, DAY_S).startswith("BROKEN: 3 alerts in 10 h, 0.014 were promised")
    assert in_words(Operation(DAY_S), replace(rate, demonstrated_upper_95=45.0), DAY_S) == (
        "not contradicted; demonstrated after 88 more days without a false alarm"
    )
    assert in_words(Operation(100 * DAY_S), replace(rate, demonstrated_upper_95=0.9), DAY_S) == "kept, and demonstrated"
    assert in_words(Operation(30 * DAY_S, 1), rate, DAY_S) == "not contradicted"


def test_counters_survive_a_restart_each_baseline_has_its_own(tmp_path: Path) -> None:
    log = OperationLog(tmp_path / "state.db")
    for alert_id in ids(3):
        log.note(event(alert_id), "bl_0001")
    log.save(POINT, "bl_0001", 7200.0, 2000)
    log.save(POINT, "bl_0002", 60.0, 2000)
    again = OperationLog(tmp_path / "state.db")
    assert again.of(POINT, "bl_0001") == Operation(7200.0, 3, 0)
    assert again.of(POINT, "bl_0002") == Operation(60.0, 0, 0)
    assert again.of("fan/de", "bl_0001") == Operation()


def test_an_alert_that_was_open_when_the_power_failed_ends_when_it_was_last_seen(tmp_path: Path) -> None:
    (alert_id,) = ids(1)
    log = OperationLog(tmp_path / "state.db")
    log.note(event(alert_id), "bl_0001")
    log.save(POINT, "bl_0001", 60.0, 5000)
    assert log.episode(alert_id).open
    log.begin()
    log.save(POINT, "bl_0001", 61.0, 9000)
    episode = log.episode(alert_id)
    assert (episode.opened_ns, episode.until_ns, episode.open) == (1000, 5000, False)


def test_an_alert_that_clears_has_its_end(tmp_path: Path) -> None:
    (alert_id,) = ids(1)
    log = OperationLog(tmp_path / "state.db")
    log.note(event(alert_id), "bl_0001")
    log.note(event(alert_id, "clear", 7000), "bl_0001")
    episode = log.episode(alert_id)
    assert (episode.until_ns, episode.open) == (7000, False)
    assert log.of(POINT, "bl_0001").alerts == 1


def test_an_alert_that_a_person_calls_a_fault_breaks_no_promise(tmp_path: Path) -> None:
    log = OperationLog(tmp_path / "state.db")
    reviews = Reviews(log)
    first, second = ids(2)
    log.note(event(first), "bl_0001")
    log.note(event(second), "bl_0001")
    reviews.say(first, "fault", "m.lang", "worn bearing")
    assert log.of(POINT, "bl_0001") == Operation(0.0, 2, 1)
    reviews.say(first, "normal", "m.lang", note="it was the crane")  # the newest word counts
    assert log.of(POINT, "bl_0001").faults == 0
    reviews.settle(2, "dismissed", "a.engineer")  # and what is dismissed does not
    assert log.of(POINT, "bl_0001").faults == 1


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)
    with pytest.raises(HistoryError, match=r"state\.db"):
        OperationLog(tmp_path / "state.db")


def books(folder: Path) -> Books:
    return Books(History(folder / "history"), lambda: OperationLog(folder / "state.db"), folder / "examples")


def live(world: Pipeline, kept: Books, count: int, skip_s: float, fault: str | None = None) -> None:
    for verdict in world.step(machine_windows(count, skip_s=skip_s, fault=fault)):
        kept.verdict(verdict, world.points[POINT])
    kept.minute(world.points.values())


def test_a_broken_promise_is_published_and_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world, kept = Pipeline(make_config(), make_embedder()), books(tmp_path)
    enrolled(world)
    kept.begin()
    point = world.points[POINT]
    live(world, kept, 20, 40)
    rate = point.false_alarm_rate
    assert rate is not None
    assert rate.kept is True
    point.operation.alerts = 4
    live(world, kept, 20, 60)
    live(world, kept, 20, 80)
    rate = point.false_alarm_rate
    assert rate is not None
    assert rate.kept is False
    assert [r.levelno for r in caplog.records].count(logging.WARNING) == 1
    assert "its promise is BROKEN: 4 alerts" in caplog.text


def test_a_restart_goes_on_counting(tmp_path: Path) -> None:
    world, kept = Pipeline(make_config(), make_embedder()), books(tmp_path)
    baseline = replace(enrolled(world), id="bl_0007")
    point = world.points[POINT]
    point.adopt(baseline)
    kept.begin()
    live(world, kept, 20, 40)
    live(world, kept, 10, 0, fault="outer_race")
    again, kept_again = Pipeline(make_config(), make_embedder()), books(tmp_path)
    kept_again.begin()
    again.points[POINT].adopt(baseline, kept_again.operation(POINT, "bl_0007"))
    assert again.points[POINT].operation == point.operation
    assert point.operation == Operation(15.0, 1, 0)


def test_a_database_that_refuses_costs_the_record_and_not_the_monitoring(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world, kept = Pipeline(make_config(), make_embedder()), books(tmp_path)
    enrolled(world)
    kept.begin()
    blocker = sqlite3.connect(tmp_path / "state.db")
    blocker.execute("DROP TABLE operation")
    blocker.commit()
    blocker.close()
    world.points[POINT].adopt(replace(enrolled(world), id="bl_0001"))
    live(world, kept, 5, 40)
    live(world, kept, 5, 50)
    assert world.points[POINT].operation.monitored_s == 5.0
    assert [r.levelno for r in caplog.records].count(logging.ERROR) == 1


def test_of_many_alerts_the_oldest_are_forgotten_and_still_count_against_the_promise(tmp_path: Path) -> None:
    log = OperationLog(tmp_path / "state.db", kept=4)
    reviews, alerts = Reviews(log), ids(8)
    for number, alert_id in enumerate(alerts):
        opened = replace(event(alert_id, time_ns=2000 + number), opened_ns=1000 + number)
        log.note(opened, "bl_0001")
        if number != 1:  # that one is open still
            log.note(replace(opened, type="clear"), "bl_0001")
        if number == 0:
            reviews.say(alert_id, "fault", "m.technician", "worn bearing")
    left = [one.alert_id for one in log.episodes()]
    assert left == [alerts[1], *alerts[5:]]
    assert log.of(POINT, "bl_0001") == Operation(0.0, alerts=8, faults=1)
    with pytest.raises(HistoryError, match="there is no alert"):
        log.episode(alerts[0])
    assert reviews.items() == []
