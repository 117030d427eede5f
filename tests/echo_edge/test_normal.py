"""Normal states: seeded clouds of vectors stand for embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echo_edge.config import AlertConfig
from echo_edge.errors import BaselineError, EnrollError
from echo_edge.frontend import band_edges_hz
from echo_edge.material import Material
from echo_edge.normal import Normal
from echo_edge.normal_state import NormalState, blocks
from echo_edge.records import Embedding
from echo_edge.tail import MONTH_S

RATE_HZ = 16_000
BANDS, WIDTH = len(band_edges_hz(RATE_HZ)), 24
SECOND_NS = 1_000_000_000


def cloud(n: int, seed: int, centre: float = 0.0) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).standard_normal((n, 1, BANDS, WIDTH))
    return (centre + noise).astype(np.float32)


def material(vectors: NDArray[np.float32], hop_ns: int = SECOND_NS, length_ns: int = SECOND_NS) -> Material:
    return Material.of([embedding(v, i * hop_ns, i * hop_ns + length_ns) for i, v in enumerate(vectors)])


def embedding(vectors: NDArray[np.float32], start_ns: int = 0, end_ns: int = SECOND_NS) -> Embedding:
    channels = len(vectors)
    return Embedding(
        "m/p",
        vectors,
        RATE_HZ,
        start_ns,
        end_ns,
        spectrum=vectors[..., :8],
        picture=np.full((channels, 4, 4), start_ns // SECOND_NS % 256, np.uint8),
        level_db=np.zeros(channels),
    )


def state(n: int = 200, seed: int = 1, centre: float = 0.0, name: str = "run") -> NormalState:
    return NormalState.learn(name, material(cloud(n, seed, centre)))


def normal(*states: NormalState, target: float = 1.0) -> Normal:
    return Normal("bl_0001", states, target, hop_s=1.0, alert=AlertConfig())


def test_another_normal_window_is_as_rare_as_it_scores_and_stays_below_the_threshold() -> None:
    judge = normal(state(1000))
    scores = [judge.score(embedding(v)) for v in cloud(1000, seed=2)]
    # of two parts the rarer counts, so that twice as many windows as 10 ** -value may reach it
    assert 0.004 < np.mean([s.value > 2 for s in scores]) < 0.03
    assert max(s.value for s in scores) < scores[0].threshold


def test_a_window_that_differs_in_one_band_is_strange_and_that_band_is_named() -> None:
    judge = normal(state())
    odd = cloud(1, seed=3)[0]
    odd[0, 4] += 8
    score = judge.score(embedding(odd))
    assert score.value > score.threshold
    worst = max(score.bands, key=lambda band: band.share)
    assert (worst.low_hz, worst.high_hz) == band_edges_hz(RATE_HZ)[4]
    assert sum(band.share for band in score.bands) == pytest.approx(1)


def test_a_window_is_judged_by_the_state_it_is_most_like() -> None:
    judge = normal(state(name="idle"), state(seed=5, centre=20, name="run-50hz"))
    score = judge.score(embedding(cloud(1, seed=6, centre=20)[0]))
    assert score.state == "run-50hz"
    assert score.value < score.threshold


def test_the_strangest_channel_decides() -> None:
    three = np.concatenate([cloud(60, seed) for seed in (1, 2, 3)], axis=1)
    judge = normal(NormalState.learn("run", material(three)))
    odd = np.concatenate([cloud(1, seed) for seed in (4, 5, 6)], axis=1)[0]
    odd[2] += 5
    assert judge.score(embedding(odd)).channel == 2


def test_a_stricter_target_raises_the_threshold() -> None:
    one = state()
    thresholds = [normal(one, target=t).thresholds["run"] for t in (100, 10, 1, 0.1)]
    assert thresholds == sorted(thresholds)


def test_what_is_estimated_is_the_careful_target_and_half_an_alert_in_the_time_without_one() -> None:
    judge = normal(state(200), target=48)  # 200 s: a 24th of the target
    unheard = 0.5 * MONTH_S / 200
    assert judge.false_alarm_rate().estimated == pytest.approx(unheard + 2, rel=1e-4)
    assert judge.false_alarm_rate(1800).estimated == pytest.approx(unheard / 10 + 2, rel=1e-4)
    assert judge.false_alarm_rate(1800, alerts=3).estimated == pytest.approx(7 * unheard / 10 + 2, rel=1e-4)


def test_fewer_windows_give_a_more_careful_threshold() -> None:
    few = [normal(state(20, seed)).thresholds["run"] for seed in range(10)]
    assert np.median(few) > normal(state(1000)).thresholds["run"]


def test_what_is_demonstrated_tightens_with_clean_hours() -> None:
    judge = normal(state(100))
    assert judge.false_alarm_rate().demonstrated_upper_95 == pytest.approx(3 * MONTH_S / 100, rel=2e-3)
    assert judge.false_alarm_rate(monitored_s=900).demonstrated_upper_95 == pytest.approx(3 * MONTH_S / 1000, rel=2e-3)


def test_every_alert_loosens_what_is_demonstrated_as_poisson_says() -> None:
    judge = normal(state(100))
    bounds = [judge.false_alarm_rate(alerts=n).demonstrated_upper_95 * 100 / MONTH_S for n in (0, 1, 2, 10)]
    assert bounds == pytest.approx([2.996, 4.744, 6.296, 16.96], abs=0.01)  # tabulated 95 % upper limits


def test_a_calm_state_of_many_windows_does_not_hide_a_lively_one() -> None:
    def lively(n: int, seed: int) -> NDArray[np.float32]:
        spread = np.random.default_rng(seed).uniform(0.3, 3.0, (n, 1, 1, 1))
        return (40 + spread * cloud(n, seed)).astype(np.float32)

    small = NormalState.learn("start", material(lively(24, 7)))
    judge = normal(state(2000), small)
    scores = [judge.score(embedding(v)) for v in lively(300, 8)]
    assert {s.state for s in scores} == {"start"}
    assert sum(s.value > s.threshold for s in scores) <= 3


def test_a_stay_too_short_for_its_windows_is_refused() -> None:
    with pytest.raises(EnrollError, match="too short a time for windows of this length"):
        NormalState.learn("run", material(cloud(12, 1), SECOND_NS // 2, 5 * SECOND_NS))


def test_windows_that_overlap_never_test_each_other() -> None:
    n = 60
    vectors = np.repeat(cloud(n // 2, seed=1), 2, axis=0)  # every window has a twin that overlaps it
    learned = NormalState.learn("run", material(vectors, SECOND_NS // 2))
    # a twin would lie at distance 0: nothing rare about it
    assert learned.held_out.min() > 0.1


def test_blocks_are_contiguous_and_at_least_four() -> None:
    starts = np.arange(20, dtype=np.int64) * SECOND_NS
    numbers = blocks(starts, starts + SECOND_NS)
    assert list(np.unique(numbers)) == [0, 1, 2, 3]
    assert (np.diff(numbers) >= 0).all()


def test_a_window_of_another_shape_is_refused() -> None:
    with pytest.raises(BaselineError, match="enroll again"):
        normal(state()).score(embedding(np.zeros((1, BANDS + 1, WIDTH), np.float32)))


def test_too_few_windows_teach_nothing() -> None:
    with pytest.raises(EnrollError, match="5 useful windows are too few"):
        state(5)


def test_windows_that_do_not_differ_teach_nothing() -> None:
    same = np.repeat(cloud(1, seed=1), 30, axis=0)
    with pytest.raises(EnrollError, match="do not differ"):
        NormalState.learn("run", material(same))
