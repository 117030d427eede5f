"""Invented machines: another one at every call, the same one from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from echo_edge.frontend import log_spectrogram
from trainer.data.machines import RATES_HZ, bearing_orders, machine_signal, machine_states


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_machine_is_finite_and_as_loud_as_promised_at_every_rate(rate_hz):
    for seed in range(4):
        samples = machine_signal(np.random.default_rng(seed), rate_hz, rate_hz // 2)
        assert samples.dtype == np.float32
        assert samples.shape == (rate_hz // 2,)
        assert 0.001 * 0.99 < np.sqrt(np.mean(samples.astype(np.float64) ** 2)) < 3.17


def test_a_machine_follows_from_its_seed_and_no_two_are_alike():
    one, again, other = (machine_signal(np.random.default_rng(seed), 16_000, 4000) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_the_states_of_a_machine_are_more_alike_than_machines_are_and_yet_differ():
    spectra = np.array(
        [
            [
                log_spectrogram(state, 8_000).mean(1)
                for state in machine_states(np.random.default_rng(seed), 8_000, 16_000, 3)
            ]
            for seed in range(30)
        ]
    )
    shapes = spectra - spectra.mean(2, keepdims=True)
    between_states = np.abs(shapes[:, 1:] - shapes[:, :1]).mean((1, 2))
    between_machines = np.abs(shapes[1:, 0] - shapes[:-1, 0]).mean(1)
    assert 0.01 < np.median(between_states) < 0.5 * np.median(between_machines)


@pytest.mark.parametrize("frames", [200, 1000, 16_000])  # the shortest crop at 8 kHz has 2680
def test_short_clips_can_be_drawn(frames):
    for seed in range(20):
        assert np.isfinite(machine_signal(np.random.default_rng(seed), 8_000, frames)).all()


def test_levels_spread_over_the_whole_range():
    levels = [
        20 * np.log10(np.std(machine_signal(np.random.default_rng(seed), 8_000, 2000)) + 1e-12) for seed in range(100)
    ]
    assert np.ptp(levels) > 40  # -40 to +6 dB are drawn from


def test_the_races_of_a_bearing_share_the_passes_of_its_balls():
    for seed in range(50):
        outer, inner, ball, cage = bearing_orders(np.random.default_rng(seed))
        balls = outer + inner  # per turn of the shaft, one race or the other
        assert balls == pytest.approx(round(balls))
        assert 6 <= round(balls) <= 16
        assert outer == pytest.approx(balls * cage)
        assert 0 < cage < 0.5 < inner / balls
        assert ball > 1
