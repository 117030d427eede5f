"""History: what is remembered comes back as it was, and a bad disk costs windows, never the monitoring."""

from __future__ import annotations

import logging
import resource
import time
import tracemalloc
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from echo_edge.history import FLUSH_WINDOWS, History
from echo_edge.memory import LEVELS
from echo_edge.past import past_span
from tests.echo_edge.remembered import (
    BANDS,
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

ALERT = "00ff" * 8
ALL = (0, 2 * START_NS)


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    history = kept(tmp_path, [memory(START_NS)])
    (file,) = (tmp_path / POINT).glob("*.facts")
    file.with_name(f"{file.stem}.old.facts").write_bytes(file.read_bytes())
    assert history.read(POINT, *ALL, model_sha256=MODEL).heard == 1
    assert kept(tmp_path, [memory(START_NS + 5 * SECOND_NS)]).read(POINT, *ALL, model_sha256=MODEL).heard == 2


def test_what_was_remembered_comes_back_in_order_of_time(tmp_path: Path) -> None:
    starts = hop(100, START_NS + HOUR_NS - 200 * SECOND_NS)  # into the next hour
    past = kept(tmp_path, [memory(t, i) for i, t in enumerate(starts)]).read(POINT, *ALL, model_sha256=MODEL)
    assert past.material is not None
    assert past.material.start_ns.tolist() == starts
    seventh = embedding(starts[7], 7)
    np.testing.assert_array_equal(past.material.bands[7], seventh.bands.astype(np.float16))
    np.testing.assert_array_equal(past.material.spectrum[7], seventh.spectrum.astype(np.float16))
    np.testing.assert_array_equal(past.material.picture[7], seventh.picture)
    np.testing.assert_allclose(past.material.indicators[7], seventh.indicators, rtol=1e-6)
    np.testing.assert_allclose(past.material.level_db[7], seventh.level_db, rtol=1e-6)
    assert (past.heard, past.heard_s, past.excluded) == (100, 500.0, {})
    assert (past.origin, past.identity, past.settings) == (ORIGIN, "usb:1", {"gain": "12 dB"})


def test_only_windows_within_the_span_are_taken(tmp_path: Path) -> None:
    starts = hop(10)
    history = kept(tmp_path, [memory(t) for t in starts])
    past = history.read(POINT, starts[2], starts[6], model_sha256=MODEL)
    assert past.material is not None
    assert past.material.start_ns.tolist() == starts[2:6]


def test_windows_that_must_not_teach_are_counted_by_reason(tmp_path: Path) -> None:
    t = hop(9)
    other_rate = replace(ORIGIN, rate_hz=8000)
    memories = [
        memory(t[0], origin=replace(ORIGIN, model_sha256="b" * 64)),
        memory(t[1], origin=other_rate),
        memory(t[2], settings={"gain": "18 dB"}),
        memory(t[3], level="not_monitored", ratio=None),
        replace(memory(t[4], level="not_monitored", ratio=None, shapes={}), embedding=None),
        memory(t[5], level="alarm", ratio=1.5, alert_id=ALERT),
        memory(t[6], level="unjudged", ratio=None, baseline=""),
        memory(t[7]),
        memory(t[8]),
    ]
    past = kept(tmp_path, memories).read(POINT, *ALL, model_sha256=MODEL)
    assert past.excluded == {"other_model": 1, "other_sensor": 1, "other_gain": 1, "not_monitored": 2, "alert_open": 1}
    assert past.material is not None
    assert past.material.start_ns.tolist() == t[6:]


def test_a_stretch_without_a_usable_window_has_no_material(tmp_path: Path) -> None:
    past = History(tmp_path).read(POINT, *ALL, model_sha256=MODEL)
    assert (past.material, past.origin, past.heard, past.excluded) == (None, None, 0, {})


def test_verdicts_come_back_as_facts(tmp_path: Path) -> None:
    (part,), damaged = kept(tmp_path, [memory(level="warning", ratio=1.25, alert_id=ALERT)]).parts(POINT, *ALL)
    fact = part.facts[0]
    assert damaged == 0
    assert (LEVELS[fact["level"]], fact["ratio"], part.circumstances.states[fact["state"]]) == ("warning", 1.25, "run")
    assert fact["alert"].tobytes().hex() == ALERT
    assert part.in_alert.tolist() == [True]


@pytest.mark.parametrize("suffix", [".facts", ".vectors"])
def test_a_torn_last_record_is_cut_off_and_the_next_ones_follow_it(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    starts = hop(6)
    kept(tmp_path, [memory(t) for t in starts[:3]])
    (path,) = tmp_path.rglob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:-7])
    past = kept(tmp_path, [memory(t) for t in starts[3:]]).read(POINT, *ALL, model_sha256=MODEL)
    assert past.material is not None
    assert past.material.start_ns.tolist() == [*starts[:2], *starts[3:]]
    assert "bytes of an unfinished record were cut off" in caplog.text


@pytest.mark.parametrize("suffix", [".facts", ".vectors"])
def test_no_flipped_bit_passes_for_a_window(tmp_path: Path, suffix: str) -> None:
    history = kept(tmp_path, [memory(t, i) for i, t in enumerate(hop(20))])
    whole = history.read(POINT, *ALL, model_sha256=MODEL).material
    assert whole is not None
    (path,) = tmp_path.rglob(f"*{suffix}")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    for at in rng.integers(0, len(data), 200):
        bit = 1 << int(rng.integers(8))
        data[at] ^= bit
        path.write_bytes(data)
        past = history.read(POINT, *ALL, model_sha256=MODEL)
        data[at] ^= bit
        assert past.excluded.get("damaged", 0) >= 1
        if past.material is not None:
            same = np.isin(whole.start_ns, past.material.start_ns)
            np.testing.assert_array_equal(whole.bands[same], past.material.bands)


def test_a_file_whose_header_is_lost_is_left_alone_and_another_begun(tmp_path: Path) -> None:
    starts = hop(4)
    kept(tmp_path, [memory(t) for t in starts[:2]])
    (path,) = tmp_path.rglob("*.facts")
    lost = b"x" * 100
    path.write_bytes(lost)
    past = kept(tmp_path, [memory(t) for t in starts[2:]]).read(POINT, *ALL, model_sha256=MODEL)
    assert past.material is not None
    assert past.material.start_ns.tolist() == starts[2:]
    assert past.excluded == {"damaged": 1}
    assert path.read_bytes() == lost


def test_it_is_written_after_so_many_windows_and_not_one_by_one(tmp_path: Path) -> None:
    history = History(tmp_path, keep_days=3650)
    for i in range(FLUSH_WINDOWS - 1):
        history.add(POINT, memory(START_NS, i))
    assert not list(tmp_path.rglob("*.facts"))
    history.add(POINT, memory())
    assert len(list(tmp_path.rglob("*.facts"))) == 1


def test_a_disk_that_refuses_is_told_once_and_costs_only_its_windows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "history"
    folder.write_text("in the way")
    history = History(folder, keep_days=3650)
    for t in hop(3):
        history.add(POINT, memory(t))
        history.flush()
    assert history.lost == 3
    assert [r.levelno for r in caplog.records].count(logging.ERROR) == 1
    folder.unlink()
    history.add(POINT, memory())
    history.flush()
    assert history.read(POINT, *ALL, model_sha256=MODEL).heard == 1
    assert "written again; 3 windows were lost" in caplog.text


def test_a_disk_that_fills_up_half_way_through_a_record_leaves_whole_ones(tmp_path: Path) -> None:
    starts = hop(6)
    history = kept(tmp_path, [memory(t) for t in starts[:2]])
    (path,) = tmp_path.rglob("*.vectors")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
    try:
        history.add(POINT, memory(starts[2]))
        history.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert history.lost == 1
    for t in starts[3:]:
        history.add(POINT, memory(t))
    history.flush()
    past = history.read(POINT, *ALL, model_sha256=MODEL)
    assert past.material is not None
    assert past.material.start_ns.tolist() == [*starts[:2], *starts[3:]]
    assert past.excluded == {}


def test_hours_that_are_too_old_go_and_no_others(tmp_path: Path) -> None:
    now_ns = time.time_ns()
    ages_h = (1, 23, 26, 100)
    history = kept(tmp_path, [memory(now_ns - h * HOUR_NS) for h in ages_h], keep_days=1)
    assert history.read(POINT, 0, now_ns, model_sha256=MODEL).heard == 2


def test_a_clock_that_is_years_ahead_for_a_moment_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = time.time_ns()
    kept(tmp_path, [memory(now_ns - h * HOUR_NS) for h in (1, 23)], keep_days=30)
    history = History(tmp_path, keep_days=30)
    monkeypatch.setattr(time, "time_ns", lambda: now_ns + 900 * 24 * HOUR_NS)
    history.add(POINT, memory(now_ns + 900 * 24 * HOUR_NS))
    history.flush()
    assert history.read(POINT, 0, now_ns, model_sha256=MODEL).heard == 2


def test_beyond_its_size_the_oldest_vectors_go_first_and_the_facts_stay(tmp_path: Path) -> None:
    starts = [START_NS + HOUR_NS * h + 5 * SECOND_NS * i for h in range(4) for i in range(50)]
    one_hour = sum(path.stat().st_size for path in _files(tmp_path / "one", [memory(t) for t in starts[:50]]))
    history = kept(tmp_path / "all", [memory(t) for t in starts], max_mb=3.7 * one_hour / 1e6)
    past = history.read(POINT, *ALL, model_sha256=MODEL)
    assert past.material is not None
    assert past.material.start_ns.tolist() == starts[50:]
    assert past.excluded == {"vectors_gone": 50}
    assert sum(len(part.facts) for part in history.parts(POINT, *ALL)[0]) == 200


def _files(folder: Path, memories: list[object]) -> list[Path]:
    kept(folder, memories)  # type: ignore[arg-type]
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nothing_is_kept_for_zero_days(tmp_path: Path) -> None:
    history = kept(tmp_path, [memory()], keep_days=0)
    assert not history.on
    assert not list(tmp_path.iterdir())


def test_where_memory_is_short_whole_stretches_are_left_out_evenly(tmp_path: Path) -> None:
    starts = hop(64 * 16)
    history = kept(tmp_path, [memory(t) for t in starts])
    vectors_mb = 1024 * (BANDS * 16 * 2 + BANDS * 8 * 2 + 16) / 2**20
    past = history.read(POINT, *ALL, model_sha256=MODEL, max_mb=vectors_mb / 3.9)
    assert past.material is not None
    assert len(past.material) == 4 * 64
    assert (past.heard, past.heard_s) == (1024, 5120.0)
    followers = np.diff(past.material.start_ns) == 5 * SECOND_NS
    assert followers.sum() == 4 * 63
    assert past.material.start_ns[0] == starts[0]
    assert past.material.start_ns[-1] == starts[-1]


def test_memory_while_reading_depends_on_what_is_asked_for_and_not_on_the_time(tmp_path: Path) -> None:
    per_hour = 720
    seen = replace(
        embedding(START_NS, 0, shape=(3, 10, 192)),
        spectrum=np.zeros((3, 10, 32), np.float32),
        picture=np.zeros((3, 64, 64), np.uint8),
    )
    history = kept(tmp_path, [memory(START_NS + HOUR_NS * h, seen=seen) for h in range(4)])
    _multiply(tmp_path, per_hour - 1)
    tracemalloc.start()
    past = history.read(POINT, *ALL, model_sha256=MODEL, max_mb=20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert past.heard == 4 * per_hour
    assert past.material is not None
    assert len(past.material) > per_hour
    assert 20e6 < peak < 40e6  # a few megabytes of a file beside what is kept; all of it would be 74


def _multiply(folder: Path, more: int) -> None:
    """Follow the one window of every file by others at the usual distance."""
    from echo_edge.memory import Circumstances  # noqa: PLC0415
    from echo_edge.record_file import append, read_header, read_records, seal  # noqa: PLC0415

    for path in folder.rglob("*-0.*"):
        about, offset = read_header(path)
        common = Circumstances.of_header(about)
        dtype = common.facts_dtype if path.suffix == ".facts" else common.vectors_dtype
        (one,) = read_records(path, offset, dtype)
        records = np.repeat(one, more)
        later = 5 * SECOND_NS * np.arange(1, more + 1)
        for name in {"start_ns", "end_ns"} & {*(dtype.names or ())}:
            records[name] += later
        append(path, about, seal(records))


UTC_NOW = datetime(2026, 5, 4, 17, 30, tzinfo=timezone.utc)
BERLIN = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("yesterday 08:00..16:00", "2026-05-03T08:00", "2026-05-03T16:00"),
        ("yesterday 8:00..yesterday 09:30", "2026-05-03T08:00", "2026-05-03T09:30"),
        ("yesterday 22:00..today 06:00", "2026-05-03T22:00", "2026-05-04T06:00"),
        ("2026-05-03T08:00..2026-05-03T16:00", "2026-05-03T08:00", "2026-05-03T16:00"),
        ("2026-05-03 08:00..16:00:30", "2026-05-03T08:00", "2026-05-03T16:00:30"),
        ("2026-05-03T08:00Z..2026-05-03T18:00+02:00", "2026-05-03T08:00", "2026-05-03T16:00"),
        ("2026-05-01..2026-05-02", "2026-05-01T00:00", "2026-05-03T00:00"),
        ("yesterday..yesterday", "2026-05-03T00:00", "2026-05-04T00:00"),
        ("06:00..07:00", "2026-05-04T06:00", "2026-05-04T07:00"),
        ("-8h..now", "2026-05-04T09:30", "2026-05-04T17:30"),
        ("-1d2h30m..-30m", "2026-05-03T15:00", "2026-05-04T17:00"),
        ("today..today", "2026-05-04T00:00", "2026-05-04T17:30"),
    ],
)
def test_a_stretch_of_the_past_is_named_as_people_name_it(text: str, first: str, last: str) -> None:
    expected = [datetime.fromisoformat(t).replace(tzinfo=timezone.utc).timestamp() for t in (first, last)]
    assert [ns / 1e9 for ns in past_span(text, UTC_NOW)] == expected


def test_times_without_a_zone_are_those_of_the_clock_on_the_wall() -> None:
    now = UTC_NOW.astimezone(BERLIN)
    assert past_span("yesterday 08:00..16:00", now) == past_span("2026-05-03T06:00Z..2026-05-03T14:00Z", UTC_NOW)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("yesterday", "no stretch of time FROM..TO"),
        ("..now", "no stretch of time FROM..TO"),
        ("today 18:00..19:00", "lies in the future"),
        ("-1h..-2h", "before it begins"),
        ("tomorrow..now", "no date or time"),
        ("yesterday 25:00..now", "no time of day"),
        ("2026-02-30..now", "no date or time"),
    ],
)
def test_what_is_no_stretch_of_the_past_is_refused_with_an_example(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        past_span(text, UTC_NOW)


def test_a_clock_that_is_set_back_repeats_no_window(tmp_path: Path) -> None:
    starts = [*hop(10), *hop(10)[5:]]
    past = kept(tmp_path, [memory(t, i) for i, t in enumerate(starts)]).read(POINT, *ALL, model_sha256=MODEL)
    assert past.material is not None
    assert past.material.start_ns.tolist() == hop(10)
