"""The audit log is told over MQTT: every row once it is on disk, and none that is not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from echo_edge import audit
from echo_edge.audit_mirror import mirror
from echo_edge.baseline_store import BaselineStore
from echo_edge.envelope import Envelope, Topics
from echo_edge.errors import BaselineError
from echo_edge.outgoing import REST, Outgoing
from tests.baselines import GATEWAY, small

TOPICS = Topics("echo-edge/v1", GATEWAY)


@pytest.fixture
def told() -> list[Outgoing]:
    return []


@pytest.fixture
def store(tmp_path: Path, told: list[Outgoing]) -> BaselineStore:
    made = BaselineStore(tmp_path / "state.db", GATEWAY)
    made.tell = mirror(told.append, TOPICS, Envelope(GATEWAY))
    return made


def test_each_row_is_told_with_its_number_and_its_hash(store: BaselineStore, told: list[Outgoing]) -> None:
    store.note("m-lang", "order", "technician by mqtt", "pump/de", "alert.ack")
    baseline = store.propose(small(1), "anna", "first")
    store.activate(baseline.point, baseline.id, "bert")
    rows = store.audit()
    assert [(one.topic, one.rank, one.waits) for one in told] == [(TOPICS.audit, REST, False)] * 3
    assert [(one.payload["seq_of_log"], one.payload["hash"]) for one in told] == [(row.seq, row.hash) for row in rows]
    assert [one.payload["what"] for one in told] == ["order", "propose", "activate"]
    assert (told[0].payload["machine"], told[0].payload["point"], told[0].payload["object"]) == (
        "pump",
        "de",
        "alert.ack",
    )
    assert store.verify_audit().problems == []


def test_a_change_that_was_refused_is_not_told(store: BaselineStore, told: list[Outgoing]) -> None:
    with pytest.raises(BaselineError):
        store.activate("pump/de", "bl_0009", "bert")
    with pytest.raises(BaselineError):
        store.note("", "order")
    assert told == []


def test_a_broken_seal_is_told_as_the_row_that_says_so(
    store: BaselineStore, told: list[Outgoing], tmp_path: Path
) -> None:
    store.note("m-lang", "order")
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("UPDATE audit_head SET signature = x'00'")
    db.close()
    store.note("m-lang", "order")
    assert [one.payload["what"] for one in told] == ["order", audit.BROKEN, "order"]


def test_a_row_about_something_without_a_topic_is_told_without_it(store: BaselineStore, told: list[Outgoing]) -> None:
    store.note("m-lang", "order", point="Pumpe 12")
    assert "machine" not in told[0].payload
