"""What keeps splices and jitter out, without any device."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.block import Block
from sensors.continuity import NS, BlockBuilder, LateOverflowFilter, SampleClock, SampleIndex


def numbered(number: int, frames: int = 10) -> Block:
    return Block(np.full((frames, 1), number, dtype=np.float32), time_ns=number)


def released(reports: list[bool]) -> list[tuple[int, bool]]:
    late = LateOverflowFilter()
    blocks = [late.push(numbered(i), overflowed=overflowed) for i, overflowed in enumerate(reports)]
    return [(block.time_ns, block.after_gap) for block in blocks if block is not None]


def test_blocks_pass_one_read_late_when_nothing_overflows() -> None:
    assert released([False, False, False]) == [(0, False), (1, False)]


def test_overflow_drops_the_block_before_the_report_and_marks_the_next() -> None:
    assert released([False, False, True, False, False]) == [(0, False), (2, True), (3, False)]


def test_an_overflow_reported_twice_running_drops_both_blocks_and_counts_their_frames() -> None:
    late = LateOverflowFilter()
    for number, overflowed in enumerate([False, True, True]):
        assert late.push(numbered(number), overflowed=overflowed) is None
    block = late.push(numbered(3), overflowed=False)
    assert block is not None
    assert (block.time_ns, block.after_gap, block.lost_frames) == (2, True, 20)


def test_an_overflow_at_the_first_read_still_marks_a_gap() -> None:
    assert released([True, False]) == [(0, True)]


class WallClock:
    """A system clock that can be set; the monotonic one starts at 0."""

    def __init__(self) -> None:
        self.offset_ns = 0

    def __call__(self) -> int:
        return self.offset_ns


def stamped(clock: SampleClock, arrivals_ns: list[int], frames: int = 100) -> list[Block]:
    return [clock.block(np.zeros((frames, 1), dtype=np.float32), at_ns) for at_ns in arrivals_ns]


def test_capture_times_follow_the_sample_count_and_not_the_jitter_of_arrival() -> None:
    late_ns = [0, 40_000_000, 5_000_000, 90_000_000, 1_000_000]
    blocks = stamped(SampleClock(1000, WallClock()), [(i + 1) * NS // 10 + late for i, late in enumerate(late_ns)])
    assert np.abs(np.diff([block.time_ns for block in blocks]) - NS // 10).max() <= 60_000
    assert blocks[0].time_ns == 1


def test_a_block_is_never_dated_after_it_arrived_even_when_the_first_came_late() -> None:
    blocks = stamped(SampleClock(1000, WallClock()), [NS // 10 + 50_000_000, 2 * NS // 10])
    assert blocks[1].time_ns == NS // 10


def test_setting_the_system_clock_moves_the_dates_and_nothing_else() -> None:
    wall = WallClock()
    clock = SampleClock(1000, wall)
    arrivals_ns = [(i + 1) * NS // 10 for i in range(40)]
    before = stamped(clock, arrivals_ns[:20])
    wall.offset_ns = 1_700_000_000 * NS
    after = stamped(clock, arrivals_ns[20:])
    assert not any(block.after_gap for block in before + after)
    assert [block.index for block in before + after] == [100 * i for i in range(40)]
    assert set(np.diff([block.monotonic_ns for block in before + after][1:])) == {NS // 10}
    assert after[0].time_ns - before[-1].time_ns == 1_700_000_000 * NS + NS // 10


def test_the_running_index_counts_lost_samples_too() -> None:
    clock = SampleClock(1000, WallClock())
    ten = np.zeros((10, 1), dtype=np.float32)
    first = clock.block(ten, NS)
    second = clock.block(ten, 2 * NS, after_gap=True, lost_frames=990)
    assert (first.index, second.index, second.lost_frames) == (0, 1000, 990)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=NS // 2), min_size=2, max_size=30))
def test_capture_times_always_grow(late_ns: list[int]) -> None:
    clock = SampleClock(48_000, WallClock())
    blocks = stamped(clock, [(i + 1) * NS // 10 + late for i, late in enumerate(late_ns)], 4800)
    assert all(a.time_ns < b.time_ns for a, b in pairwise(blocks))


def heard(seconds: float, ppm: float, *, late_s: float = 0.003, seed: int = 0) -> list[int]:
    """Arrival of every tenth of a second from a device at 16 kHz that is ``ppm`` fast, always somewhat late."""
    random = np.random.default_rng(seed)
    count = round(seconds * 10)
    due_s = (np.arange(count) + 1) / 10 / (1 + ppm * 1e-6)
    return [int(s * NS) for s in due_s + random.exponential(late_s, count)]


@pytest.mark.parametrize("ppm", [-80_000, -1000, -38, 0, 38, 1000])
def test_the_rate_is_measured_within_ten_ppm_in_a_minute_though_every_arrival_is_late(ppm: float) -> None:
    clock = SampleClock(16_000, WallClock())
    blocks = stamped(clock, heard(60, ppm), 1600)
    assert clock.rate_ppm == pytest.approx(ppm, rel=0.001, abs=10)
    assert not any(block.after_gap for block in blocks)


def test_no_rate_is_told_before_twenty_seconds() -> None:
    clock = SampleClock(16_000, WallClock())
    stamped(clock, heard(15, 0), 1600)
    assert clock.rate_ppm is None


def test_a_reader_that_was_held_up_for_a_while_loses_nothing_and_changes_no_rate() -> None:
    clock = SampleClock(16_000, WallClock())
    arrivals_ns = heard(60, 100)
    held_up = [max(at_ns, 31 * NS) if 30.1 * NS < at_ns < 31 * NS else at_ns for at_ns in arrivals_ns]
    blocks = stamped(clock, held_up, 1600)
    assert not any(block.after_gap for block in blocks)
    assert clock.rate_ppm == pytest.approx(100, abs=10)


def gaps_s(clock: SampleClock, lost_s: float, at_s: float) -> list[float]:
    """When gaps are marked after a loss that nobody reports."""
    arrivals_ns = [at_ns + (round(lost_s * NS) if at_ns > at_s * NS else 0) for at_ns in heard(60, 100)]
    return [i / 10 for i, block in enumerate(stamped(clock, arrivals_ns, 1600)) if block.after_gap]


@pytest.mark.parametrize("lost_s", [0.025, 0.1, 0.5])
def test_samples_lost_in_silence_are_noticed_within_four_seconds_because_they_are_missing(lost_s: float) -> None:
    clock = SampleClock(16_000, WallClock())
    (marked_s,) = gaps_s(clock, lost_s, at_s=30)
    assert 30 < marked_s < 34
    assert clock.jumps == 1


@pytest.mark.parametrize("at_s", [0.5, 5, 30])
def test_a_loss_of_more_than_a_second_is_a_gap_at_once(at_s: float) -> None:
    (marked_s,) = gaps_s(SampleClock(16_000, WallClock()), lost_s=5, at_s=at_s)
    assert marked_s - at_s <= 0.1


def test_a_young_stream_notices_a_tenth_of_a_second_and_more() -> None:
    (marked_s,) = gaps_s(SampleClock(16_000, WallClock()), lost_s=0.15, at_s=5)
    assert 5 < marked_s < 9


def test_many_small_losses_are_gaps_and_no_wrong_rate() -> None:
    clock = SampleClock(16_000, WallClock())
    arrivals_ns = [at_ns + round(0.025 * NS) * (at_ns // (30 * NS)) for at_ns in heard(600, 0)]
    gaps = [block for block in stamped(clock, arrivals_ns, 1600) if block.after_gap]
    assert 18 <= len(gaps) <= 20
    assert clock.rate_ppm == pytest.approx(0, abs=20)


def test_a_day_of_drift_leaves_no_date_more_than_fifty_milliseconds_off() -> None:
    clock = SampleClock(16_000, WallClock())
    ten_s = np.zeros((160_000, 1), dtype=np.float32)
    for ppm in (200, -200):
        for i in range(8640):
            due_s = (i + 1) * 10 / (1 + ppm * 1e-6)
            block = clock.block(ten_s, int(due_s * NS) + 3_000_000)
        assert abs(block.monotonic_ns / NS - (due_s - 10 / (1 + ppm * 1e-6))) < 0.05


def test_a_sample_index_that_jumps_tells_how_many_are_missing() -> None:
    index = SampleIndex()
    assert [index.push(start, 10) for start in (0, 10, 25, 35)] == [0, 0, 5, 0]


def test_a_sample_index_may_pass_its_32_bits() -> None:
    index = SampleIndex()
    assert [index.push(start, 10) for start in (2**32 - 10, 0, 13)] == [0, 0, 3]


def test_a_sample_index_that_goes_back_or_leaps_is_a_restarted_device() -> None:
    index = SampleIndex(plausible_frames=1000)
    assert [index.push(start, 10) for start in (500, 0, 10, 90_000)] == [0, None, 0, None]


def test_frames_are_joined_into_blocks_but_never_across_a_gap() -> None:
    builder = BlockBuilder(SampleClock(1000, WallClock()), block_frames=20)
    ten = np.zeros((10, 2), dtype=np.float32)
    blocks = [
        block
        for at, lost in ((1, 0), (2, 0), (3, 0), (9, 50), (10, 0))
        for block in builder.push(ten, at * NS // 100, lost_frames=lost)
    ]
    assert [(len(b.samples), b.after_gap, b.lost_frames) for b in blocks] == [
        (20, False, 0),
        (10, False, 0),
        (20, True, 50),
    ]
    assert [b.time_ns for b in blocks] == [1, 2 * NS // 100, 8 * NS // 100]
    assert [b.index for b in blocks] == [0, 20, 80]
