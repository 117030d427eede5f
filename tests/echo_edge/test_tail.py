"""Tails: seeded samples of known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echo_edge.tail import MONTH_S, EpisodeTail, Persistence, Tail, episode_peaks, persistent

ONE_RUN = Persistence(3, 5)
EVERY = Persistence(1, 1)


def run_of(count: int) -> NDArray[np.bool_]:
    return np.arange(count) == 0


def test_rarity_is_the_chance_of_a_normal_value_in_decades() -> None:
    random = np.random.default_rng(0)
    tail = Tail.fit(random.exponential(size=5000))
    values = random.exponential(size=20_000)
    for decades, doubt in ((1.0, 0.1), (2.0, 0.3), (3.0, 0.9)):
        assert np.mean(tail.rarity(values) > decades) == pytest.approx(10**-decades, rel=doubt)


def test_rarity_rises_with_the_value_from_nothing_on() -> None:
    tail = Tail.fit(np.random.default_rng(1).exponential(size=100))
    rarity = tail.rarity(np.linspace(0, 100, 1000))
    assert rarity[0] == 0
    assert (np.diff(rarity) > 0).all()


@pytest.mark.parametrize("count", [24, 120, 720])
def test_the_promise_is_kept_on_average_over_short_enrollments_of_exponential_scores(count: int) -> None:
    random = np.random.default_rng(1)
    per_month = MONTH_S / 5  # windows of 5 s
    target = 1000.0
    realised = [
        per_month
        * np.exp(-EpisodeTail(random.exponential(size=count), run_of(count), EVERY, 5.0 * count).threshold(target))
        for _ in range(60)
    ]
    assert np.mean(realised) < 2 * target


def test_an_alert_opens_exactly_where_the_persistent_statistic_passes_the_threshold() -> None:
    scores = np.random.default_rng(0).exponential(size=500)
    statistic = persistent(scores, run_of(500), ONE_RUN)
    for threshold in (0.5, 1.0, 2.0):
        by_hand = [
            scores[i] > threshold and (scores[max(0, i - 4) : i + 1] > threshold).sum() >= 3 for i in range(len(scores))
        ]
        assert list(statistic > threshold) == by_hand


def test_windows_before_a_break_do_not_count_after_it() -> None:
    starts = np.array([True, False, False, True, False, False])
    statistic = persistent(np.full(6, 9.0), starts, Persistence(3, 3))
    assert list(np.isfinite(statistic)) == [False, False, True, False, False, True]


def test_exceedances_that_are_close_are_one_episode() -> None:
    statistic = np.array([0, 5, 0, 7, 0, 0, 0, 0, 6, 0.0])
    assert list(episode_peaks(statistic, run_of(10), 1.0, windows=3)) == [7, 6]


def test_the_episodes_of_independent_exponential_scores_are_predicted_far_beyond_what_was_heard() -> None:
    random = np.random.default_rng(2)
    per_month = MONTH_S / 5  # windows of 5 s
    ratios = []
    for _ in range(15):
        tail = EpisodeTail(random.exponential(size=17_280) / np.log(10), run_of(17_280), EVERY, 17_280 * 5.0)
        ratios.append(per_month * 10 ** -tail.threshold(1.0))  # what the true distribution makes of the threshold
    assert np.mean(ratios) < 1.5
    assert np.median(ratios) > 0.1


def test_a_lower_rate_needs_a_higher_threshold_and_gives_the_rate_back() -> None:
    tail = EpisodeTail(np.random.default_rng(3).exponential(size=5000), run_of(5000), EVERY, 25_000.0)
    thresholds = [tail.threshold(rate) for rate in (100, 10, 1, 0.1)]
    assert thresholds == sorted(thresholds)
    assert tail.per_month(thresholds[2]) == pytest.approx(1, rel=1e-3)


def test_scores_that_stay_alike_make_fewer_episodes_than_independent_ones() -> None:
    random = np.random.default_rng(4)
    independent = random.standard_normal(20_000)
    alike = np.convolve(random.standard_normal(20_019), np.ones(20) / np.sqrt(20), "valid")
    few, many = (len(episode_peaks(s, run_of(len(s)), 2.0, 5)) for s in (alike, independent))
    assert few < many / 2


@pytest.mark.parametrize("count", [12, 13, 40])
def test_even_the_shortest_material_has_a_threshold_that_is_a_number(count: int) -> None:
    scores = np.random.default_rng(5).exponential(size=count)
    for rule in (EVERY, ONE_RUN, Persistence(6, 10)):
        tail = EpisodeTail(scores, run_of(count), rule, 5.0 * count)
        assert np.isfinite(tail.threshold(0.1))
