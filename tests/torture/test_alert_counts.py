"""Counting is exact: quiet time that is left out changes nothing, and a month keeps the time of day."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from echo_edge.alerts import AlertPolicy
from echo_edge.config import AlertConfig
from echo_edge.records import Score
from tests.torture.alert_counts import MONTH_WINDOWS, Count, opened, resampled_month
from tests.torture.hall import DAY_WINDOWS


def one_by_one(ratios: np.ndarray, config: AlertConfig) -> list[int]:
    policy, begins = AlertPolicy(config), []
    for w, ratio in enumerate(ratios):
        score = Score("m/p", w * 5 * 10**9, (w + 1) * 5 * 10**9, float(ratio), 1.0, "run", 0, (), "bl", False)
        if (event := policy.update(score)) is not None and event.type == "open":
            begins.append(w)
    return begins


@pytest.mark.parametrize("config", [AlertConfig(), AlertConfig(windows=3, strange_windows=1, hold_off_s=60)])
@pytest.mark.parametrize("seed", range(5))
def test_leaving_out_quiet_time_finds_the_alerts_that_the_whole_stream_has(config: AlertConfig, seed: int) -> None:
    random = np.random.default_rng(seed)
    slow = np.repeat(random.standard_normal(300), 10)
    ratios = 0.8 + 0.1 * slow + 0.08 * random.standard_normal(3000)
    begins = opened(ratios, config)
    assert begins == one_by_one(ratios, config)
    assert len(begins) > 10


def test_a_month_of_blocks_keeps_the_time_of_day() -> None:
    first = DAY_WINDOWS // 3
    hours = (first + np.arange(3 * DAY_WINDOWS)) % DAY_WINDOWS
    month = resampled_month(hours.astype(float), first, np.random.default_rng(1))
    assert np.array_equal(month, np.arange(MONTH_WINDOWS) % DAY_WINDOWS)


def test_the_interval_of_a_count_is_where_poisson_counts_fall() -> None:
    low, high = Count(10, 1.0).interval
    assert poisson.sf(9, low) == pytest.approx(0.025)
    assert poisson.cdf(10, high) == pytest.approx(0.025)
    assert Count(0, 2.0).interval == (0.0, pytest.approx(3.689 / 2, rel=1e-3))


@pytest.mark.parametrize(("alerts", "verdict"), [(0, "fewer"), (5, "fewer"), (10, "kept"), (25, "too many")])
def test_a_promise_is_kept_when_it_lies_within_the_interval(alerts: int, verdict: str) -> None:
    assert Count(alerts, 10.0).against(1.2) == verdict
