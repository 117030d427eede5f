"""Lines of numbers: headers, options, rates from times, what a bad line costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sensors.ascii_csv import AsciiCsv
from sensors.csv_columns import measured_rate_hz
from sensors.protocol import ProtocolError, Samples

HEADER = b"# unit=g scale=0.5 cols=t_us,ax,ay,az\n"
PERIOD_US = 1000


def line(number: int, *, period_us: int = PERIOD_US) -> bytes:
    return b"%d,%d,%d,2\r\n" % (number * period_us % (1 << 32), number % 1000, -(number % 777))


def lines(numbers: range) -> bytes:
    return b"".join(map(line, numbers))


def introduced(first: int = 0, **options: Any) -> AsciiCsv:
    protocol = AsciiCsv(**options)
    protocol.push(HEADER + lines(range(first, first + 40)))
    assert protocol.card is not None
    return protocol


def shape(runs: list[Samples]) -> list[tuple[int, bool, int]]:
    """Frames, gap and lost frames of each run."""
    return [(len(run.values), run.gap, run.lost_frames) for run in runs]


def test_header_and_times_become_the_card() -> None:
    card = introduced().card
    assert card is not None
    assert (card.rate_hz, card.channels, card.unit, card.gravity, card.calibration) == (1000, 3, "g", True, "sensor")
    assert card.settings == (("scale", "0.5"), ("columns", "t_us,ax,ay,az"))


def test_options_go_before_the_header() -> None:
    card = introduced(unit="m/s2", scale=9.8, rate_hz=1001).card
    assert card is not None
    assert (card.rate_hz, card.unit, card.gravity, card.calibration) == (1001, "m/s2", False, "configuration")


def test_numbers_are_scaled_and_the_time_is_no_channel() -> None:
    protocol = introduced()
    (first, second) = protocol.push(lines(range(40, 44))), protocol.push(lines(range(44, 46)))
    assert np.array_equal(second[0].values, [[22, -22, 1], [22.5, -22.5, 1]])
    assert shape(first) == [(4, False, 0)]
    assert first[0].values.dtype == np.float32


def test_lines_arrive_however_the_bytes_are_cut() -> None:
    data = lines(range(40, 90))
    for size in (1, 7, 100, 5000):
        protocol = introduced()
        runs = [run for at in range(0, len(data), size) for run in protocol.push(data[at : at + size])]
        assert sum(len(run.values) for run in runs) == 50
        assert not any(run.gap for run in runs[1:])


def test_a_missing_line_is_a_lost_sample() -> None:
    protocol = introduced()
    protocol.push(lines(range(40, 50)))
    assert shape(protocol.push(lines(range(50, 55)) + lines(range(58, 60)))) == [(5, False, 0), (2, True, 3)]


@pytest.mark.parametrize(
    "bad",
    [
        b"50000,1,2",
        b"50000,1,2,3,4",
        b"x",
        b"50000,1,,2",
        b"50000,1e999,2,3",
        b"50000,1e38,2,3",
        b"50000,nan,2,3",
        b"5e-1,1,2,3",
    ],
)
def test_a_bad_line_costs_its_sample_and_is_counted(bad: bytes) -> None:
    protocol = introduced()
    protocol.push(lines(range(40, 50)))
    assert shape(protocol.push(bad + b"\n" + lines(range(51, 54)))) == [(3, True, 1)]
    assert protocol.counters["bad_frames"] == 1


def test_a_damaged_time_costs_its_sample_and_no_other() -> None:
    protocol = introduced()
    protocol.push(lines(range(40, 50)))
    assert shape(protocol.push(b"90050000,1,2,3\n" + lines(range(51, 54)))) == [(3, True, 1)]
    assert protocol.counters["resets"] == 0


def test_the_time_may_wrap() -> None:
    first = (1 << 32) // PERIOD_US - 45
    protocol = AsciiCsv()
    protocol.push(HEADER + b"".join(line(n) for n in range(first, first + 40)))
    assert sum(len(run.values) for run in protocol.push(lines(range(first + 40, first + 60)))) == 20
    assert protocol.counters["resets"] == 0
    assert not protocol.push(lines(range(first + 60, first + 65)))[0].gap


def test_time_that_goes_back_far_is_a_reset() -> None:
    protocol = introduced(500_000)
    protocol.push(lines(range(500_040, 500_050)))
    assert shape(protocol.push(lines(range(5)))) == [(5, True, 0)]
    assert protocol.counters["resets"] == 1


def test_without_time_a_bad_line_is_a_gap() -> None:
    protocol = AsciiCsv(rate_hz=100, unit="g", columns=["x", "-", "y"])
    protocol.push(b"0,0,0\n" + b"1,2,3\n" * 3)
    assert protocol.card is not None
    runs = protocol.push(b"1,2,3\n1,2,3\n1,2,x\n4,5,6\n")
    assert shape(runs) == [(2, False, 0), (1, True, 0)]
    assert np.array_equal(runs[1].values, [[4, 6]])


def test_the_first_line_may_be_half_a_line_and_is_left_out() -> None:
    protocol = AsciiCsv(rate_hz=100, unit="g", columns=["x"])
    protocol.push(b"23\n1123\n")
    assert protocol.good_frames == 1


@pytest.mark.parametrize(
    ("steps_us", "rate_hz"),
    [([1000], 1000), ([1200], 1e6 / 1200), ([333, 333, 334], 3000), ([996, 1004], 1000), ([1000] * 9 + [5000], 1000)],
)
def test_the_rate_is_what_the_times_tell(steps_us: list[int], rate_hz: float) -> None:
    times = np.cumsum([4_294_900_000, *(steps_us * 40)[:40]]) % (1 << 32)
    assert measured_rate_hz(times.tolist()) == pytest.approx(rate_hz, rel=1e-4)


def test_a_time_that_stands_still_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="which is no rate: give columns"):
        AsciiCsv().push(HEADER + b"7,1,2,3\n" * 40)


def test_times_that_contradict_the_configuration_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="t_us tells of 1000 samples per second, not 500"):
        AsciiCsv(rate_hz=500).push(HEADER + lines(range(40)))


@pytest.mark.parametrize(
    ("header", "what"), [(b"# unit=m/s2\n", "unit=m/s2"), (b"# rate=500\n", "rate=500"), (b"# scale=2\n", "scale=2")]
)
def test_a_header_that_changes_its_mind_is_an_error(header: bytes, what: str) -> None:
    protocol = introduced()
    protocol.push(HEADER + b"# a comment\n# rate=1000\n")
    with pytest.raises(ProtocolError, match=f"its header now says {what}"):
        protocol.push(header)


@pytest.mark.parametrize("columns", [["ax", "t_us"], ["t_us"], ["-"], ["a"] * 18])
def test_columns_that_make_no_sense_are_refused(columns: list[str]) -> None:
    with pytest.raises(ValueError, match="columns"):
        AsciiCsv(columns=columns)


def test_a_flood_without_a_line_takes_no_memory_and_the_next_one_is_found() -> None:
    protocol = introduced()
    protocol.push(lines(range(40, 50)))
    for _ in range(10):
        assert protocol.push(b"1" * 10_000) == []
        assert len(protocol._rest) <= 256
    assert shape(protocol.push(b"\n" + lines(range(50, 55)))) == [(5, False, 0)]
