"""Learning rate, gradient clip and momentum at the steps where they turn."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from trainer.config import PretrainConfig
from trainer.schedules import Schedule


def schedule(**optimiser: object) -> Schedule:
    data = {"clips_per_batch": 64, "bands_per_batch": 200}
    return Schedule(PretrainConfig.model_validate({"run": {"steps": 1000}, "data": data, "optimiser": optimiser}))


def test_the_peak_goes_with_the_clips_of_one_step():
    assert schedule(base_lr=1e-3).peak_rate == pytest.approx(1e-3 * 64 / 256)
    assert schedule(base_lr=1e-3, accumulate=4).peak_rate == pytest.approx(1e-3)


def test_the_rate_rises_in_a_line_to_the_peak_and_falls_as_half_a_cosine():
    s = schedule(base_lr=4e-3, warmup_share=0.1, min_lr=1e-6)
    assert s.rate(1) == pytest.approx(1e-3 / 100)
    assert s.rate(50) == pytest.approx(1e-3 / 2)
    assert s.rate(100) == pytest.approx(1e-3)
    assert s.rate(550) == pytest.approx((1e-3 + 1e-6) / 2)
    assert s.rate(1000) == pytest.approx(1e-6)
    rates = [s.rate(step) for step in range(1, 1001)]
    assert rates[:100] == sorted(rates[:100])
    assert rates[99:] == sorted(rates[99:], reverse=True)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_run_without_warm_up_or_of_nothing_else_has_a_rate_at_every_step(share):
    s = schedule(warmup_share=share)
    assert all(0 < s.rate(step) <= s.peak_rate for step in range(1, 1001))


def test_the_clip_tightens_after_its_share_of_the_steps():
    s = schedule(clip_norm=(1.0, 0.3), clip_switch_share=0.15)
    assert [s.clip(step) for step in (1, 150, 151, 1000)] == [1.0, 1.0, 0.3, 0.3]


def test_the_momentum_rises_in_a_line_and_then_stays():
    s = schedule()
    assert s.momentum(125) == pytest.approx((0.9998 + 0.99999) / 2)
    assert s.momentum(250) == s.momentum(1000) == pytest.approx(0.99999)
