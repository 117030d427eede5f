"""The machine at work is the same whoever asks, every day like the other, and within what was said of it."""

from __future__ import annotations

import numpy as np

from tests.torture.hall import DAY_WINDOWS, LOAD_RANGE, by_day, stay
from tests.torture.operation import Operation, site

DAYS = 20


def test_a_longer_stay_begins_like_a_shorter_one_and_another_machine_has_another() -> None:
    short, long, other = stay(1, 4000), stay(1, 3 * DAY_WINDOWS), stay(2, 4000)
    for name in ("stiffness_w", "damping_w", "load_w", "speed_w", "ambient_w", "neighbours_wk", "drift_w"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[:4000])
    assert not np.array_equal(short.load_w, other.load_w)
    assert short.knocks == tuple(knock for knock in long.knocks if knock.window < 4000)


def test_every_day_is_drawn_from_the_same_distribution() -> None:
    early, late = [], []
    for machine in range(12):
        hall = stay(machine, DAYS * DAY_WINDOWS)
        for name in ("stiffness_w", "load_w", "ambient_w", "neighbours_wk", "drift_w"):
            days = getattr(hall, name).reshape(DAYS, DAY_WINDOWS, -1)
            early.append([days[: DAYS // 2].mean(), days[: DAYS // 2].std()])
            late.append([days[DAYS // 2 :].mean(), days[DAYS // 2 :].std()])
    np.testing.assert_allclose(np.reshape(early, (12, 5, 2)).mean(0), np.reshape(late, (12, 5, 2)).mean(0), atol=0.02)


def test_temperature_moves_the_structure_by_one_to_two_percent_within_a_day() -> None:
    for machine in range(6):
        stiffness = stay(machine, DAY_WINDOWS).stiffness_w
        assert 0.007 < stiffness.max() - stiffness.min() < 0.025


def test_the_load_keeps_its_range_and_the_shifts_are_heard() -> None:
    hall = stay(3, DAYS * DAY_WINDOWS)
    low, high = LOAD_RANGE
    assert low <= hall.load_w.min() < hall.load_w.max() <= high
    day = by_day(hall.hour_w) == 1
    assert hall.load_w[day].mean() > hall.load_w[~day].mean() + 0.05
    assert (hall.neighbours_wk[day] > 0).mean() > 1.3 * (hall.neighbours_wk[~day] > 0).mean()
    assert 3 < len(hall.knocks) / DAYS < 8


def test_a_part_of_the_stream_is_one_gapless_signal_that_can_be_made_again() -> None:
    operation = Operation(site(2), 200)
    windows = list(operation.part(100, 103))
    assert [w.time_ns for w in windows] == [n * 5_000_000_000 for n in (100, 101, 102)]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(windows, operation.part(100, 103), strict=True))
    joint = np.concatenate([w.samples[0] for w in windows])
    steps = np.abs(np.diff(joint))
    size = windows[0].samples.shape[1]
    assert steps[[size - 1, 2 * size - 1]].max() < steps.max()


def test_two_days_of_one_machine_are_equally_loud_and_differ() -> None:
    operation = Operation(site(0), 2 * DAY_WINDOWS)
    one, two = (next(operation.part(day * DAY_WINDOWS, 2 * DAY_WINDOWS)) for day in (0, 1))
    assert not np.array_equal(one.samples, two.samples)
    assert 0.8 < one.samples.std() / two.samples.std() < 1.25


def test_a_fault_grows_as_it_was_told_to() -> None:
    severity = np.zeros(40)
    severity[20:] = 1.0
    healthy = [w.samples.std() for w in Operation(site(0), 40).part(0, 40)]
    broken = [w.samples.std() for w in Operation(site(0), 40, "imbalance", severity).part(0, 40)]
    assert broken[:20] == healthy[:20]
    assert min(broken[23:]) > 2 * max(healthy)
