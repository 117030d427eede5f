"""What keeps splices and jitter out, without any device."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.block import Block
from sensors.continuity import NS, BlockBuilder, CaptureClock, LateOverflowFilter, SampleIndex


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


def test_capture_times_follow_the_sample_count_and_not_the_jitter_of_arrival() -> None:
    clock = CaptureClock(1000)
    late_ns = [0, 40_000_000, 5_000_000, 90_000_000, 1_000_000]
    stamps = [clock.stamp((i + 1) * NS // 10 + late, 100) for i, late in enumerate(late_ns)]
    assert np.abs(np.diff(stamps) - NS // 10).max() <= 60_000
    assert stamps[0] == 0


def test_a_block_is_never_dated_after_it_arrived_even_when_the_first_came_late() -> None:
    clock = CaptureClock(1000)
    clock.stamp(NS // 10 + 50_000_000, 100)
    assert clock.stamp(2 * NS // 10, 100) == NS // 10


def test_a_stepped_system_clock_is_followed() -> None:
    clock = CaptureClock(1000)
    clock.stamp(NS, 100)
    assert clock.stamp(1_700_000_000 * NS, 100) == 1_700_000_000 * NS - NS // 10


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=NS // 2), min_size=2, max_size=30))
def test_capture_times_always_grow(late_ns: list[int]) -> None:
    clock = CaptureClock(48_000)
    stamps = [clock.stamp((i + 1) * NS // 10 + late, 4800) for i, late in enumerate(late_ns)]
    assert all(a < b for a, b in pairwise(stamps))


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
    builder = BlockBuilder(1000, block_frames=20)
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
    assert [b.time_ns for b in blocks] == [0, 2 * NS // 100, 8 * NS // 100]
