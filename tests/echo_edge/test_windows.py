"""Windower: samples carry their own index, so a window tells where it was cut."""

from __future__ import annotations

import numpy as np
import pytest

from echo_edge.records import Window
from echo_edge.windows import Windower
from sensors import Block

RATE_HZ = 1000
START_NS = 1_000_000_000_000


def block(first: int, frames: int, *, after_gap: bool = False, late_ns: int = 0) -> Block:
    ramp = np.arange(first, first + frames, dtype=np.float32)
    return Block(np.stack([ramp, -ramp], axis=1), START_NS + first * 1_000_000 + late_ns, after_gap)


def cut(
    blocks: list[Block], length_s: float = 0.1, hop_s: float = 0.1, channels: list[int] | None = None
) -> list[Window]:
    windower = Windower("m/p", channels or [0], RATE_HZ, length_s, hop_s)
    return [w for b in blocks for w in windower.push(b)]


def first_samples(windows: list[Window]) -> list[int]:
    return [int(w.samples[0, 0]) for w in windows]


def test_windows_follow_each_other_whatever_the_block_size() -> None:
    for frames in (1, 7, 100, 250, 1000):
        windows = cut([block(i, frames) for i in range(0, 1000, frames) if i + frames <= 1000])
        assert first_samples(windows)[:7] == [0, 100, 200, 300, 400, 500, 600]
        assert all(np.array_equal(np.diff(w.samples[0]), np.ones(99)) for w in windows)


def test_overlapping_windows_start_every_hop() -> None:
    assert first_samples(cut([block(0, 400)], hop_s=0.05)) == [0, 50, 100, 150, 200, 250, 300]


def test_a_hop_that_is_not_a_whole_number_of_samples_does_not_drift() -> None:
    starts = first_samples(cut([block(0, 10_000)], hop_s=1 / 30))
    assert starts[30 * 8] == 8000


def test_no_window_spans_a_gap() -> None:
    windows = cut([block(0, 150), block(500, 250, after_gap=True)])
    assert first_samples(windows) == [0, 500, 600]


def test_a_window_knows_when_its_first_sample_was_captured() -> None:
    windows = cut([block(0, 60), block(60, 60), block(120, 200)])
    assert [w.time_ns - START_NS for w in windows] == [0, 100_000_000, 200_000_000]


def test_scheduling_jitter_hardly_moves_the_clock_but_a_step_is_followed() -> None:
    windower = Windower("m/p", [0], RATE_HZ, 0.1, 0.1)
    windower.push(block(0, 100))
    (jittered,) = windower.push(block(100, 100, late_ns=20_000_000))
    assert jittered.time_ns - START_NS - 100_000_000 <= 200_000
    (stepped,) = windower.push(block(200, 100, late_ns=10**18))
    assert abs(stepped.time_ns - START_NS - 10**18 - 200_000_000) <= 1


def test_only_the_points_own_channels_are_cut() -> None:
    (window,) = cut([block(0, 100)], channels=[1])
    assert window.samples.shape == (1, 100)
    assert window.samples[0, 5] == -5


def test_a_window_shorter_than_one_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="25"):
        Windower("m/p", [0], RATE_HZ, 0.01, 0.01)
