"""The lines of a bearing in the squared envelope: how they are laid out, and that none is an alias of another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import fft, signal

from echo_edge.bearing_lines import SIDE, Bearing, line_levels_db, plan_lines

RATE_HZ, FRAMES = 25_600, 128_000
BIN_HZ = RATE_HZ / FRAMES
BEARING = Bearing(bpfo=3.5848, bpfi=5.4152, bsf=2.3567, ftf=0.3983)  # 6205
SHAFT_HZ = 29.5


def spectrum(samples: NDArray[np.float64]) -> NDArray[np.complex64]:
    shaped = samples * signal.windows.hann(FRAMES, sym=False)
    return np.asarray(fft.rfft(shaped[None].astype(np.float32), axis=1))


def ringing(rate_per_s: float, carrier_hz: float = 4200.0) -> NDArray[np.float64]:
    """A carrier that swells ``rate_per_s`` times a second, in noise."""
    t = np.arange(FRAMES) / RATE_HZ
    swell = 1 + np.cos(2 * np.pi * rate_per_s * t)
    return swell * np.sin(2 * np.pi * carrier_hz * t) + 0.5 * np.random.default_rng(0).standard_normal(FRAMES)


@pytest.mark.parametrize(
    ("defect", "per_turn"), [("bpfo", 3.5848), ("bpfi", 5.4152), ("bsf", 2 * 2.3567), ("ftf", 0.3983)]
)
def test_what_repeats_at_a_defect_s_rate_raises_that_line_above_the_others(defect: str, per_turn: float) -> None:
    plan = plan_lines(BEARING, SHAFT_HZ, RATE_HZ, FRAMES)
    levels = dict(zip(plan.defects, line_levels_db(spectrum(ringing(per_turn * SHAFT_HZ)), plan)[0], strict=True))
    own = levels.pop(defect)
    assert own > 12
    assert own > max(levels.values()) + 8  # bpfo's third harmonic hears bpfi's second


def test_a_swelling_below_the_band_is_not_heard() -> None:
    plan = plan_lines(BEARING, SHAFT_HZ, RATE_HZ, FRAMES)
    assert line_levels_db(spectrum(ringing(3.5848 * SHAFT_HZ, carrier_hz=1500)), plan).max() < 4


def test_the_short_inverse_transform_gives_what_a_long_one_gives() -> None:
    plan = plan_lines(BEARING, SHAFT_HZ, RATE_HZ, FRAMES)
    heard = spectrum(ringing(3.5848 * SHAFT_HZ))
    whole = line_levels_db(heard, replace(plan, points=4 * plan.points))
    assert line_levels_db(heard, plan) == pytest.approx(whole, abs=0.01)
    assert plan.points < 0.5 * FRAMES


def test_harmonics_that_two_defects_share_are_told_of_the_first_only() -> None:
    plan = plan_lines(BEARING, SHAFT_HZ, RATE_HZ, FRAMES)
    middles = {
        defect: [(h.first + (SIDE + 0.5) * h.width) * BIN_HZ / SHAFT_HZ for h in harmonics]
        for defect, harmonics in zip(plan.defects, plan.harmonics, strict=True)
    }
    assert middles["bpfo"] == pytest.approx([3.58, 7.17, 10.75], rel=0.01)
    assert middles["bpfi"] == pytest.approx([5.42, 16.25], rel=0.01)  # its second, 10.83, lies on bpfo's third
    assert middles["bsf"] == pytest.approx([4.71, 9.43, 14.14], rel=0.01)


@pytest.mark.parametrize(
    ("rate_hz", "length_s", "defects"),
    [
        (25_600, 5, ("bpfo", "bpfi", "bsf", "ftf")),
        (25_600, 1, ("bpfo", "bpfi", "bsf")),  # 11.7 turns of the cage
        (25_600, 0.1, ()),
        (1500, 5, ("bpfo", "ftf")),  # half the width of 375-675 Hz reaches to 150 Hz
        (1000, 5, ("ftf",)),
    ],
)
def test_a_line_is_told_where_the_window_and_the_rate_can_show_it(
    rate_hz: int, length_s: float, defects: tuple[str, ...]
) -> None:
    assert plan_lines(BEARING, SHAFT_HZ, rate_hz, round(rate_hz * length_s)).defects == defects


def test_a_window_of_nothing_has_no_lines() -> None:
    plan = plan_lines(BEARING, SHAFT_HZ, RATE_HZ, FRAMES)
    assert line_levels_db(spectrum(np.zeros(FRAMES)), plan).tolist() == [[0.0] * 4]
