"""What persons do about alerts, through the daemon's pipeline thread: acknowledge, shelve, clear, mute; a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from echo_edge.baseline_store import BaselineStore
from echo_edge.books import Books
from echo_edge.capture import SensorStatus
from echo_edge.errors import OrderError
from echo_edge.history import History
from echo_edge.mailbox import Mailbox
from echo_edge.monitor import Monitor
from echo_edge.operation import OperationLog
from echo_edge.pipeline import Pipeline
from echo_edge.records import Window
from tests.baselines import enroll, learned, make_store
from tests.broker import wait_for
from tests.ledger import TOPICS, Ledger, make_reporter, sensor
from tests.world import POINT, machine_windows, make_config, make_embedder

HOUR_NS = 3600 * 10**9


class Gateway:
    """The daemon's pipeline thread, and what it says; every call below runs in that thread, as orders do."""

    def __init__(self, folder: Path, store: BaselineStore, ledger: Ledger) -> None:
        self.config, self.ledger, self.mailbox = make_config(), ledger, Mailbox[SensorStatus]()
        self.pipeline = Pipeline(self.config, make_embedder())
        self.reporter = make_reporter(self.config, ledger)
        self.log = OperationLog(folder / "state.db")
        books = Books(History(folder / "history", 0), lambda: self.log, folder / "examples")
        self.heard_ns = 0
        self.monitor = Monitor(self.pipeline, self.mailbox, store, self.reporter, books)

    def do(self, work: Callable[[], Any]) -> Any:
        """Run in the pipeline's thread; return or raise what it does."""
        answers: Queue[Any] = Queue()

        def order() -> None:
            try:
                answers.put(work())
            except OrderError as error:
                answers.put(error)

        assert self.mailbox.order(order)
        answer = answers.get(timeout=10)
        if isinstance(answer, OrderError):
            raise answer
        return answer

    def answer(self, alert_id: str, action: Any, **args: Any) -> dict[str, Any]:
        told: dict[str, Any] = self.do(lambda: self.monitor.answer_alert(alert_id, action, "m.lang", **args))
        return told

    def mute(self, machine: str, until_ns: int | None) -> dict[str, Any]:
        told: dict[str, Any] = self.do(lambda: self.monitor.mute(machine, until_ns, "m.lang", "new bearing"))
        return told

    def hear(self, count: int, **machine: Any) -> None:
        """Windows from now on, or after the last ones, until all are judged."""
        begin_ns = max(time.time_ns(), self.heard_ns)
        for window in machine_windows(count, **machine):
            self.mailbox.put(replace(window, time_ns=begin_ns + window.time_ns))
            self.heard_ns = begin_ns + window.end_ns
            self.do(lambda: None)
        self.do(lambda: None)

    def fails(self) -> dict[str, Any]:
        """The machine fails: the alert that opens."""
        self.hear(10, fault="outer_race")
        return self.ledger.events[-1]

    def state(self) -> dict[str, Any]:
        return self.ledger.state(TOPICS.state(POINT))


@contextmanager
def running(folder: Path, store: BaselineStore, ledger: Ledger) -> Iterator[Gateway]:
    gateway = Gateway(folder, store, ledger)
    gateway.monitor.start()
    gateway.mailbox.report("acc", sensor())
    try:
        yield gateway
    finally:
        gateway.mailbox.close()
        gateway.monitor.join(10)
    assert gateway.monitor.failure is None


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    made = make_store(tmp_path)
    enroll(made, learned(Pipeline(make_config(), make_embedder())))
    return made


@pytest.fixture
def gateway(tmp_path: Path, store: BaselineStore) -> Iterator[Gateway]:
    with running(tmp_path, store, Ledger()) as made:
        yield made


def test_an_alert_is_acknowledged_once_and_over_when_it_clears(gateway: Gateway) -> None:
    alert_id = gateway.fails()["alert_id"]
    told = gateway.answer(alert_id, "ack", note="greased", expect_rev=1)
    assert (told["rev"], told["acknowledged"], told["state"]) == (2, True, "active")
    assert gateway.answer(alert_id, "ack", expect_rev=1)["rev"] == 2
    gateway.hear(12, skip_s=50)
    assert gateway.ledger.steps() == ["open", "ack", "clear"]
    assert gateway.ledger.events[-1]["ack"]["by"] == "m.lang"
    assert gateway.ledger.listed() == []
    with pytest.raises(OrderError, match="there are none") as refused:
        gateway.answer(alert_id, "ack")
    assert refused.value.exit_code == 6


def test_what_was_not_seen_so_is_refused_and_a_dry_run_changes_nothing(gateway: Gateway) -> None:
    alert_id = gateway.fails()["alert_id"]
    assert gateway.answer(alert_id, "ack", dry_run=True)["rev"] == 2
    with pytest.raises(OrderError, match="is at rev 1, not 3") as refused:
        gateway.answer(alert_id, "clear", expect_rev=3)
    assert refused.value.exit_code == 6
    with pytest.raises(OrderError, match=f"{alert_id} .pump/de."):
        gateway.answer("no such alert", "ack")
    with pytest.raises(OrderError, match="needs an end") as refused:
        gateway.answer(alert_id, "shelve")
    assert refused.value.exit_code == 2
    assert gateway.ledger.steps() == ["open"]


def test_an_alert_that_a_person_closed_is_over_and_counts_its_windows_anew(gateway: Gateway) -> None:
    alert = gateway.fails()
    assert gateway.log.episode(alert["alert_id"]).open
    gateway.answer(alert["alert_id"], "clear", note="false alarm")
    closed = gateway.ledger.events[-1]
    assert (closed["type"], closed["by"], closed["note"], closed["state"]) == (
        "clear",
        "m.lang",
        "false alarm",
        "cleared",
    )
    assert gateway.ledger.listed() == []
    assert not gateway.log.episode(alert["alert_id"]).open
    gateway.hear(10, fault="outer_race")  # within the hold-off
    assert gateway.ledger.steps() == ["open", "clear"]


def test_a_shelving_ends_by_itself_and_says_so(gateway: Gateway) -> None:
    alert_id = gateway.fails()["alert_id"]
    until_ns = time.time_ns() + 10**9
    assert "shelved_until" in gateway.answer(alert_id, "shelve", until_ns=until_ns)
    wait_for(lambda: gateway.ledger.steps() == ["open", "shelve", "update"], "the end of the shelving", 10)
    assert time.time_ns() >= until_ns
    assert "shelved no longer" in gateway.ledger.events[-1]["text"]


def test_alarms_of_the_gateway_are_answered_as_any_other(gateway: Gateway) -> None:
    gateway.do(lambda: gateway.reporter.monitor_alarms({"outbox": "disk_full"}))
    alert_id = gateway.ledger.events[-1]["alert_id"]
    assert gateway.answer(alert_id, "ack")["about"] == "outbox"
    gateway.answer(alert_id, "clear")
    gateway.do(lambda: gateway.reporter.monitor_alarms({"outbox": "disk_full"}))
    assert gateway.ledger.steps("monitor") == ["open", "ack", "clear"]  # and held off


def test_a_muted_machine_is_not_monitored_and_alarms_nothing(gateway: Gateway) -> None:
    point = gateway.pipeline.points[POINT]
    told = gateway.mute("pump", time.time_ns() + HOUR_NS)
    assert told["points"] == [POINT]
    assert (gateway.state()["level"], gateway.state()["reason"]) == (
        "not_monitored",
        f"muted until {told['muted_until']} by m.lang",
    )
    gateway.hear(10, fault="outer_race")
    gateway.mailbox.report("acc", sensor("lost", "unplugged"))
    gateway.do(lambda: None)
    gateway.do(lambda: gateway.reporter.look(point))
    assert gateway.ledger.events == []
    assert gateway.state()["reason"] == f"muted until {told['muted_until']} by m.lang"
    gateway.mute("pump", None)
    assert gateway.state()["reason"] == "sensor lost: unplugged"
    assert point.muted is None


def test_an_alert_stays_open_while_its_machine_is_muted_and_windows_are_heard_by_who_learns(gateway: Gateway) -> None:
    alert = gateway.fails()
    heard: list[Window] = []

    class Learner:
        def hear(self, window: Window, *_: Any) -> None:
            heard.append(window)

    gateway.mute("pump", time.time_ns() + HOUR_NS)
    gateway.do(lambda: setattr(gateway.pipeline.points[POINT], "learner", Learner()))
    gateway.hear(12, skip_s=50)
    assert len(heard) == 12
    assert gateway.ledger.steps() == ["open"]
    assert gateway.ledger.state(TOPICS.alert_active(POINT))["alert"] == alert


def test_a_mute_ends_by_itself_and_what_began_within_it_is_not_judged(gateway: Gateway) -> None:
    gateway.mute("pump", time.time_ns() + 600_000_000)
    (window,) = machine_windows(1, skip_s=50)
    within = replace(window, time_ns=time.time_ns())
    wait_for(lambda: "muted no longer" in gateway.state()["reason"], "the end of the mute", 10)
    gateway.mailbox.put(within)
    gateway.do(lambda: None)
    gateway.do(lambda: None)
    assert gateway.state()["reason"] == "it was muted until within this window"
    gateway.hear(1, skip_s=50)
    assert gateway.state()["level"] == "normal"


@pytest.mark.parametrize(("machine", "hours", "problem"), [("pomp", 1, "there are pump"), ("pump", -1, "has passed")])
def test_a_mute_that_makes_no_sense_is_refused(gateway: Gateway, machine: str, hours: int, problem: str) -> None:
    with pytest.raises(OrderError, match=problem):
        gateway.mute(machine, time.time_ns() + hours * HOUR_NS)


def test_an_open_alert_survives_a_restart_and_clears_when_the_machine_is_well(
    tmp_path: Path, store: BaselineStore
) -> None:
    ledger = Ledger()
    with running(tmp_path, store, ledger) as first:
        alert = first.fails()
        first.answer(alert["alert_id"], "ack")
    with running(tmp_path, store, ledger) as second:
        second.do(lambda: None)
        assert second.log.episode(alert["alert_id"]).open
        assert ledger.state(TOPICS.alert_active(POINT))["alert"]["rev"] == 2
        second.hear(12, skip_s=50)
        assert [(e["alert_id"], e["rev"], e["type"]) for e in ledger.events] == [
            (alert["alert_id"], rev, kind) for rev, kind in ((1, "open"), (2, "ack"), (3, "clear"))
        ]
        assert ledger.lives == {}
        assert not second.log.episode(alert["alert_id"]).open
