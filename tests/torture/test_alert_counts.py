"""Counting months at once is exact, and a month keeps the time of day."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from echo_edge.tail import Persistence
from tests.torture.alert_counts import MONTH_WINDOWS, Count, opened, opened_at_once, resampled_month
from tests.torture.hall import DAY_WINDOWS


@pytest.mark.parametrize("rule", [Persistence(3, 5), Persistence(1, 1), Persistence(6, 10)])
def test_counting_at_once_finds_the_alerts_that_the_policy_opens(rule: Persistence) -> None:
    random = np.random.default_rng(1)
    found = 0
    for _ in range(20):
        slow = np.repeat(random.standard_normal(300), 10)
        ratios = 0.8 + 0.1 * slow + 0.08 * random.standard_normal(3000)
        begins = opened_at_once(ratios, rule)
        assert begins == opened(ratios, rule)
        found += len(begins)
    assert found > 100


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
