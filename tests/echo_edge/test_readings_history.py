"""History for a chart: what buckets tell of their windows, and that a gap stays a gap."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echo_edge.envelope import timestamp
from echo_edge.errors import OrderRefusedError
from echo_edge.history_reader import HistoryReader
from echo_edge.memory import Memory
from echo_edge.readings import Readings
from echo_edge.readings_history import Grid, grid, history
from tests.echo_edge.remembered import (
    DAY_NS,
    HOUR_NS,
    NAMES,
    POINT,
    SECOND_NS,
    START_NS,
    embedding,
    hop,
    kept,
    memory,
)
from tests.world import make_config

MINUTE_NS = 60 * SECOND_NS


def drawn(folder: Path, memories: Sequence[Memory], count: int = 10, bucket_s: int = 60) -> dict[str, Any]:
    """Buckets of a minute from the first window on."""
    kept(folder, memories)
    return history(HistoryReader(folder), POINT, Grid(START_NS, bucket_s, count), [""])


def test_a_bucket_tells_of_its_windows_and_one_without_any_is_empty(tmp_path: Path) -> None:
    heard = [memory(ns, seed, ratio=0.1 * seed) for seed, ns in enumerate(hop(12))]
    after_a_gap = [memory(START_NS + 3 * MINUTE_NS, 20, ratio=0.5)]
    told = drawn(tmp_path, [*heard, *after_a_gap], 5)
    assert told["t"][1] == timestamp(START_NS + MINUTE_NS)
    assert told["score_max"] == [pytest.approx(3.3), None, None, 1.5, None]
    assert told["score_median"] == [pytest.approx(1.65), None, None, 1.5, None]
    assert told["threshold"] == [3, None, None, 3, None]
    assert told["level"] == ["normal", None, None, "normal", None]
    assert told["heard"] == [1, 0, 0, round(5 / 60, 4), 0]
    assert told["alert"] == [False] * 5
    assert set(told["indicators"]) == set(NAMES)
    columns = [told[name] for name in ("t", "score_max", "level_db")] + list(told["indicators"].values())
    assert {len(column) for column in columns} == {5}
    assert told["level_db"][0] == pytest.approx(-20, abs=0.2)
    assert told["indicators"]["kurtosis"][1:3] == [None, None]


def test_medians_are_those_of_the_windows(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    memories = [memory(ns, seed, ratio=float(rng.random())) for seed, ns in enumerate(hop(40))]
    told = drawn(tmp_path, memories, 4)
    for bucket in range(4):
        own = [one for one in memories if bucket == (one.start_ns - START_NS) // MINUTE_NS]
        values = [one.value for one in own if one.value is not None]
        assert told["score_median"][bucket] == pytest.approx(np.median(values), rel=1e-5)
        velocity = [one.embedding.indicators[0, 0] for one in own if one.embedding is not None]
        assert told["indicators"]["velocity_rms_mm_s"][bucket] == pytest.approx(np.median(velocity), rel=1e-5)


@pytest.mark.parametrize("bucket_s", [5400, 6 * 3600])
def test_a_bucket_over_the_files_of_hours_is_the_same_as_if_it_were_read_at_once(tmp_path: Path, bucket_s: int) -> None:
    memories = [memory(START_NS + i * 7 * MINUTE_NS, i, ratio=(i * 37 % 100) / 100) for i in range(100)]
    count = 12 * 3600 // bucket_s
    told = drawn(tmp_path, memories, count, bucket_s)
    for bucket in range(count):
        values = [one.value for one in memories if bucket == (one.start_ns - START_NS) // (bucket_s * SECOND_NS)]
        assert told["score_median"][bucket] == pytest.approx(np.median(values), rel=1e-5)  # type: ignore[arg-type]


def test_alarms_and_warnings_show_and_of_the_rest_what_most_windows_were(tmp_path: Path) -> None:
    def levels(minute: int, *names: str) -> list[Memory]:
        return [memory(ns, level=name) for ns, name in zip(hop(12, START_NS + minute * MINUTE_NS), names, strict=False)]

    told = drawn(
        tmp_path,
        [
            *levels(0, *["normal"] * 10, "warning", "alarm"),
            *levels(1, *["not_monitored"] * 11, "warning"),
            *levels(2, *["normal"] * 11, "not_monitored"),
            *levels(3, *["not_monitored"] * 11, "normal"),
            *levels(4, "normal", "not_monitored"),
            *levels(5, "resting", "resting", "normal"),
            *levels(6, "unjudged"),
        ],
        7,
    )
    expected = ["alarm", "warning", "normal", "not_monitored", "not_monitored", "resting", "unjudged"]
    assert told["level"] == expected


def test_a_window_without_a_score_or_a_sound_has_none_in_the_chart(tmp_path: Path) -> None:
    unjudged = memory(START_NS, level="unjudged", ratio=None)
    deaf = replace(
        memory(START_NS + MINUTE_NS, level="not_monitored", ratio=None, indicators=(), shapes={}), embedding=None
    )
    told = drawn(tmp_path, [unjudged, deaf], 2)
    assert told["score_max"] == told["threshold"] == [None, None]
    assert told["level_db"][0] is not None
    assert told["level_db"][1] is None
    assert told["indicators"]["kurtosis"][1] is None
    assert told["heard"][1] > 0


def test_an_open_alert_marks_the_bucket(tmp_path: Path) -> None:
    told = drawn(tmp_path, [memory(), memory(START_NS + MINUTE_NS, alert_id="ab" * 16)], 3)
    assert told["alert"] == [False, True, False]


def test_windows_that_overlap_are_heard_once_and_those_across_a_border_on_both_sides(tmp_path: Path) -> None:
    overlapping = [memory(START_NS + i * 2 * SECOND_NS, i) for i in range(3)]  # 0 to 9 s
    across = [memory(START_NS + 58 * SECOND_NS, 9)]  # 58 to 63 s
    told = drawn(tmp_path, [*overlapping, *across], 2)
    assert told["heard"] == [round(11 / 60, 4), round(3 / 60, 4)]


def test_a_short_window_within_a_long_one_is_not_heard_twice(tmp_path: Path) -> None:
    spans_s = ((0, 20), (5, 10), (12, 22))
    memories = [
        replace(memory(START_NS + begin * SECOND_NS, begin), end_ns=START_NS + end * SECOND_NS)
        for begin, end in spans_s
    ]
    assert drawn(tmp_path, memories, 1)["heard"] == [round(22 / 60, 4)]


def test_indicators_of_several_channels_are_named_as_in_messages(tmp_path: Path) -> None:
    seen = embedding(START_NS, 1, shape=(2, 1, 1))
    kept(tmp_path, [memory(seen=seen, origin=replace(memory().circumstances.origin, channels=(0, 2)))])
    span = Grid(START_NS, 60, 1)
    told = history(HistoryReader(tmp_path), POINT, span, ["x", "z"])
    assert sorted(told["indicators"]) == ["kurtosis_x", "kurtosis_z", "velocity_rms_x_mm_s", "velocity_rms_z_mm_s"]
    told = history(HistoryReader(tmp_path), POINT, span, ["x", "y", "z"])  # configured anew since
    assert "kurtosis_ch2" in told["indicators"]


def test_what_is_damaged_is_counted_and_the_rest_is_shown(tmp_path: Path) -> None:
    kept(tmp_path, [memory(ns) for ns in (*hop(3), *hop(3, START_NS + HOUR_NS), *hop(2, START_NS + 2 * HOUR_NS))])
    first, second, third = sorted((tmp_path / POINT).glob("*.facts"))
    first.write_bytes(b"nothing")
    data = bytearray(second.read_bytes())
    data[-1] ^= 1
    second.write_bytes(data)
    with third.open("ab") as file:
        file.write(b"torn")
    told = history(HistoryReader(tmp_path), POINT, Grid(START_NS, 3600, 3), [""])
    assert told["damaged"] == 2
    assert [None if share == 0 else round(share * 3600) for share in told["heard"]] == [None, 10, 10]


def test_buckets_are_of_a_length_that_can_be_read_off_and_no_more_than_wanted() -> None:
    for hours, buckets, bucket_s in ((1, 600, 10), (24, 300, 300), (24 * 7, 600, 1200), (24 * 30, 600, 7200)):
        span = grid(START_NS, START_NS + hours * HOUR_NS, buckets, hop_s=5)
        assert span.bucket_s == bucket_s
        assert span.count <= buckets
        assert span.from_ns <= START_NS < START_NS + hours * HOUR_NS <= span.to_ns
    assert grid(START_NS, START_NS + MINUTE_NS, 600, hop_s=20).bucket_s == 60
    assert grid(START_NS + 1, START_NS + 90 * DAY_NS, 60, hop_s=5).count <= 60


def test_nothing_of_a_point_is_an_answer_of_gaps(tmp_path: Path) -> None:
    args = {"point": POINT, "from": "2026-05-03T08:00:00Z", "to": "2026-05-03T09:00:00Z", "buckets": 60}
    told = Readings(make_config(), tmp_path).read("history", args, "viewer")
    assert told["level"] == [None] * len(told["t"])
    assert told["indicators"] == {}
    assert (told["from"], told["to"], told["bucket_s"]) == ("2026-05-03T08:00:00.000Z", "2026-05-03T09:00:00.000Z", 60)


def test_readings_of_a_kind_wait_for_each_other_and_not_for_ever(tmp_path: Path) -> None:
    readings = Readings(make_config(), tmp_path, patience_s=0.05)
    args = {"point": POINT, "from": "2026-05-03T08:00:00Z", "to": "2026-05-03T09:00:00Z"}
    entered, leave = threading.Event(), threading.Event()

    def first() -> None:
        with readings.alone("history"):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(30)
    try:
        with pytest.raises(OrderRefusedError, match="try again in a minute") as caught:
            readings.read("history", args, "viewer")
        assert caught.value.code == "busy"
        assert readings.read("alerts", {}, "viewer")["alerts"] == []  # others do not wait
    finally:
        leave.set()
        thread.join()
    assert readings.read("history", args, "viewer")["t"]
