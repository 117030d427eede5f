"""Adaptation in the running pipeline thread: from remembered windows to a signed version that judges, or a proposal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from echo_edge.adaptation import DAY_NS
from echo_edge.audit import AuditEntry
from echo_edge.baseline import Baseline
from echo_edge.baseline_store import BaselineStore
from echo_edge.books import Books
from echo_edge.capture import SensorStatus
from echo_edge.config import Config
from echo_edge.history import History
from echo_edge.lineage import AUTHOR, ancestor
from echo_edge.mailbox import Mailbox
from echo_edge.monitor import Monitor
from echo_edge.mqtt import MqttSettings
from echo_edge.operation import OperationLog
from echo_edge.outbox import Outbox
from echo_edge.payload import Envelope, Info, Topics
from echo_edge.pipeline import Pipeline
from echo_edge.publisher import Publisher
from echo_edge.report import Reporter
from tests.baselines import enroll, learned, make_store
from tests.broker import wait_for
from tests.world import POINT, machine_windows, make_config, make_embedder


def books(folder: Path) -> Books:
    return Books(History(folder / "history"), lambda: OperationLog(folder / "state.db"), folder / "examples")


def adapting() -> Config:
    points = {"de": {"device": "acc", "window": {"length_s": 0.5, "hop_s": 0.5}}}
    return make_config(machines={"pump": {"points": points, "adaptation": {"share_per_month": 0.25}}})


def enrolled_a_while_ago(folder: Path, store: BaselineStore) -> Baseline:
    """Lang taught it, and eight days ago the daemon judged and remembered 40 windows of the same machine."""
    pipeline, kept = Pipeline(adapting(), make_embedder()), books(folder)
    baseline = enroll(store, learned(pipeline))
    point = pipeline.points[POINT]
    point.adopt(baseline)
    kept.begin()
    for window in machine_windows(40, skip_s=40):
        dated = replace(window, time_ns=window.time_ns + time.time_ns() - 8 * DAY_NS)
        (verdict,) = pipeline.step([dated])
        kept.verdict(verdict, point)
    kept.minute([point])
    return baseline


@contextmanager
def monitored(folder: Path, store: BaselineStore) -> Iterator[Pipeline]:
    """The daemon's pipeline thread, whose daily work falls due at once."""
    config, mailbox = adapting(), Mailbox[SensorStatus]()
    topics, envelope = Topics("echo-edge/v1", "gw"), Envelope("gw")
    outbox = Outbox(None, "gw")
    publisher = Publisher(MqttSettings(host="127.0.0.1"), topics, envelope, outbox)  # not started: nobody listens
    info = Info("0", "fake", None, "fake", "5", tuple(config.points()), {})
    reporter = Reporter(config, publisher, outbox, topics, envelope, info)
    pipeline = Pipeline(config, make_embedder())
    monitor = Monitor(pipeline, mailbox, store, reporter, books(folder))
    monitor.adapts(config, first_after_s=0)
    monitor.start()
    try:
        yield pipeline
    finally:
        mailbox.close()
        monitor.join(5)
        publisher.stop()
    assert monitor.failure is None


def rows(store: BaselineStore, who: str) -> list[AuditEntry]:
    return [row for row in store.audit() if row.who == who]


def test_what_was_calm_a_week_ago_joins_and_judges_under_the_promise_of_the_person_who_taught_it(
    tmp_path: Path,
) -> None:
    store = make_store(tmp_path)
    first = enrolled_a_while_ago(tmp_path, store)
    with monitored(tmp_path, store) as pipeline:
        point = pipeline.points[POINT]
        wait_for(lambda: point.baseline is not None and point.baseline.id == "bl_0002", "the adapted version")
        assert point.promised_by == first.id
    active = store.active(POINT)
    assert active is not None
    assert (active.id, active.parent, active.author) == ("bl_0002", first.id, AUTHOR)
    told = store.manifest(active.id).states[0].learned
    assert told is not None
    assert (told.how, told.windows, told.added_windows) == ("adaptation", 30 + told.added_windows, 7)  # 25 % of 30
    why = "grown by 7 windows of 'run'"
    assert [(row.what, row.object, row.why) for row in rows(store, AUTHOR)] == [
        ("propose", active.id, why),
        ("activate", active.id, why),
    ]
    assert store.verify_audit().problems == []


def test_where_two_persons_decide_it_is_only_proposed_and_one_of_them_may_activate_it(tmp_path: Path) -> None:
    first = enrolled_a_while_ago(tmp_path, make_store(tmp_path))
    store = make_store(tmp_path, two_person=(POINT,))
    with monitored(tmp_path, store) as pipeline:
        wait_for(lambda: len(store.list(POINT)) == 2, "the proposal")
    judged_by = pipeline.points[POINT].baseline
    assert judged_by is not None
    assert judged_by.id == first.id
    assert [(one.id, one.status, one.parent) for one in store.list(POINT)] == [
        (first.id, "active", None),
        ("bl_0002", "proposed", first.id),
    ]
    assert [row.what for row in rows(store, AUTHOR)] == ["propose"]
    activated = store.activate(POINT, "bl_0002", "vogt")
    assert ancestor(store, activated) == first.id


def test_after_a_restart_the_promise_is_still_that_of_the_person_who_taught_it(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    first = enrolled_a_while_ago(tmp_path, store)
    with monitored(tmp_path, store):
        wait_for(lambda: len(rows(store, AUTHOR)) == 2, "the adapted version")
    with monitored(tmp_path, store) as again:
        point = again.points[POINT]
        wait_for(lambda: point.baseline is not None and point.baseline.id == "bl_0002", "the start")
        assert point.promised_by == first.id
    assert len(store.list(POINT)) == 2, "a week has not passed"
