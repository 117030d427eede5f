"""The measurement of false alarms, end to end on an hour of one machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.torture import promise_report
from tests.torture.false_alarm_promise import NAME
from tests.torture.features import MODEL, Piece, hear_all, read_piece
from tests.torture.options import write
from tests.torture.promise import Enrollments, Plan, measure

HOUR = 1 / 24


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operation") / MODEL


@pytest.mark.timeout(240)  # 20 s alone on two cores
def test_an_hour_of_signal_becomes_a_report_with_everything_that_was_promised(cache: Path, tmp_path: Path) -> None:
    plan = Plan((0,), HOUR, (Enrollments(10, 2), Enrollments(30, 1), Enrollments(24 * 60, 1)), (1.0, 100.0), 1, jobs=2)
    result = measure(plan, cache)
    assert result["skipped"] == ["24 h"]
    rows = {(row["enrolled"], row["method"], row["rule"]): row for row in result["rows"]}
    for enrolled, windows in (("10 min", None), ("30 min", 360)):
        for method, rule in (
            ("echo-edge", "1"),
            ("echo-edge", "100"),
            ("mean log spectrum", "1"),
            ("plain KNN", "maximum"),
        ):
            row = rows[enrolled, method, rule]
            assert row["resampled"]["months"] == row["enrollments"]
            low, high = row["distinct"]["interval"]
            assert low <= row["distinct"]["per_month"] <= high
            if windows:
                assert row["distinct"]["months"] == pytest.approx(windows * 5 / (30 * 86400))
            if row["target"]:
                assert row["estimated"] > 0
                assert row["bounds"] >= row["enrollments"]
    assert set(result["cost_s_per_day"]) == {"simulate", "embed", "indicators"}

    text = write(NAME, result, tmp_path, promise_report.draw, promise_report.markdown)
    assert json.loads((tmp_path / "false_alarm_promise.json").read_text())["rows"]
    for words in ("## Enrolled for 10 min", "## Cost", "too short: 24 h", "echo-edge | 100 |", "## Real recordings"):
        assert words in text


def test_what_was_heard_is_computed_once_and_read_back_nearly_as_it_was(cache: Path) -> None:
    piece = Piece(1, 0, 20)
    hear_all([piece], cache, 1)
    file = piece.file(cache)
    written = file.stat().st_mtime_ns
    hear_all([piece], cache, 1)
    assert file.stat().st_mtime_ns == written
    heard = read_piece(file)
    assert heard.bands.shape == (20, 1, 7, 192)
    assert heard.spectrum.shape == (20, 1, 7, 32)
    assert heard.part(5, 9).begin_ns[0] == 25 * 10**9
