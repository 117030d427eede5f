"""Drift: a trend is seen when there is one, and its interval is as wide as correlated windows make it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echo_edge.drift import DAY_S, Trend, sparkline, theil_sen, trends
from echo_edge.history_reader import Part
from tests.echo_edge.remembered import DAY_NS, POINT, SECOND_NS, START_NS, embedding, kept, memory

PER_DAY = 24


def lived(folder: Path, days: int, velocity: Callable[[float], float], **facts: object) -> list[Part]:
    """Windows of so many days, one an hour; the velocity after so many days is given."""
    starts = [START_NS + DAY_NS * day + 3600 * SECOND_NS * hour for day in range(days) for hour in range(PER_DAY)]
    memories = [
        memory(t, i, seen=embedding(t, i, velocity=velocity(i / PER_DAY)), **facts)  # type: ignore[arg-type]
        for i, t in enumerate(starts)
    ]
    return kept(folder, memories).parts(POINT, 0, 2 * START_NS)[0]


def trend(found: list[Trend], what: str, state: str = "run") -> Trend:
    return next(t for t in found if t.what == what and t.state == state)


def test_a_rise_is_seen_with_its_size_and_interval(tmp_path: Path) -> None:
    rise = trend(trends(lived(tmp_path, 20, lambda day: 1 + 0.3 * day / 30)), "velocity_rms_mm_s")
    assert (rise.verdict, rise.block, rise.channel) == ("rising", "day", 0)
    assert rise.per_month == pytest.approx(0.3, rel=0.15)
    assert rise.low is not None
    assert rise.high is not None
    assert 0 < rise.low < 0.3 < rise.high
    assert len(rise.medians) >= 20


def test_where_nothing_moves_no_trend_is_seen(tmp_path: Path) -> None:
    still = trends(lived(tmp_path, 15, lambda _: 1.0))
    assert {t.verdict for t in still if t.what != "ratio"} == {"no trend seen"}


def test_few_days_give_hours_and_fewer_give_nothing(tmp_path: Path) -> None:
    starts = [START_NS + 60 * SECOND_NS * i for i in range(8 * 60)]
    hours = trends(
        kept(tmp_path / "hours", [memory(t, i) for i, t in enumerate(starts)]).parts(POINT, 0, 2 * START_NS)[0]
    )
    assert {t.block for t in hours} == {"hour"}
    assert trend(hours, "kurtosis").verdict == "no trend seen"
    little = trends(kept(tmp_path / "few", [memory(t) for t in starts[:200]]).parts(POINT, 0, 2 * START_NS)[0])
    few = trend(little, "kurtosis")
    assert (few.verdict, few.per_month, few.low, few.high) == ("too little", None, None, None)


def test_a_fault_that_was_alarmed_is_no_drift_of_the_normal(tmp_path: Path) -> None:
    def parts(alert_id: str) -> list[Part]:
        folder = tmp_path / (alert_id or "without")
        well = lived(folder, 12, lambda _: 1.0)
        return well + [
            part
            for part in lived(folder / "ill", 24, lambda day: 5.0 if day >= 12 else 1.0, alert_id=alert_id)
            if part.facts["start_ns"].min() >= START_NS + 12 * DAY_NS
        ]

    assert trend(trends(parts("")), "velocity_rms_mm_s").verdict == "rising"
    assert trend(trends(parts("ab" * 16)), "velocity_rms_mm_s").verdict == "no trend seen"


def test_the_ratio_of_an_earlier_baseline_does_not_count(tmp_path: Path) -> None:
    old = lived(tmp_path / "old", 10, lambda _: 1.0, ratio=0.1, baseline="bl_0001")
    new = lived(tmp_path / "new", 20, lambda _: 1.0, ratio=0.4, baseline="bl_0002")[240:]
    ratio = trend(trends(old + new), "ratio")
    assert ratio.medians == pytest.approx([0.4] * len(ratio.medians))
    assert ratio.verdict == "no trend seen"


def test_a_point_without_a_past_has_no_trends() -> None:
    assert trends([]) == []


def correlated(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Noise that remembers an hour: neighbours are alike."""
    noise = rng.standard_normal(count)
    for i in range(1, count):
        noise[i] += 0.9 * noise[i - 1]
    return noise


def test_daily_medians_of_correlated_windows_cover_the_truth_where_windows_do_not() -> None:
    days, per_day = 20, 48
    times_s = np.arange(days * per_day) * DAY_S / per_day
    by_window, by_day = [], []
    for seed in range(60):
        values = correlated(np.random.default_rng(seed), len(times_s))
        medians = np.median(values.reshape(days, per_day), axis=1)
        by_day.append(_covers(theil_sen(times_s[::per_day], medians)))
        by_window.append(_covers(theil_sen(times_s[::2], values[::2])))
    assert np.mean(by_day) >= 0.88
    assert np.mean(by_window) < 0.6


def _covers(found: tuple[float, float, float]) -> bool:
    return found[1] <= 0 <= found[2]


def test_a_small_picture_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0, 1, 2, 7]) == "▁▂▃█"
    assert sparkline([3, 3]) == "▁▁"
    assert sparkline([]) == ""
