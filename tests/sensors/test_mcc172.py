"""The MCC 172: its rates, its sensors' scale, overruns, and what is said when something is wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from sensors import Block, SensorFault, SensorUnavailable
from sensors.discover import list_mcc172
from sensors.machine import Machine
from sensors.mcc172 import RATES_HZ, Mcc172
from sensors.mcc172_simulator import SimulatedMcc172
from tests.sensors.conftest import collect

RATE_HZ = 5120


@pytest.fixture
def board() -> Iterator[SimulatedMcc172]:
    with SimulatedMcc172(Machine(3, RATE_HZ, 2)) as made:
        yield made


def driver(board: SimulatedMcc172, **options: object) -> Mcc172:
    given = {"iepe": True, "rate_hz": RATE_HZ, "sensitivity_mv_per_unit": 100.0, "settle_s": 0.0, **options}
    return Mcc172("d", library=board, **given)  # type: ignore[arg-type]


def unavailable(source: Mcc172) -> str:
    with pytest.raises(SensorUnavailable) as caught:
        source.open()
    return caught.value.message


def read_until_fault(source: Mcc172) -> str:
    with pytest.raises(SensorFault) as caught:
        collect(source, 60 * RATE_HZ)
    return caught.value.message


def read_some(source: Mcc172, count: int) -> list[Block]:
    blocks: list[Block] = []
    while len(blocks) < count:
        if (block := source.read()) is not None:
            blocks.append(block)
    return blocks


def test_the_samples_are_the_machines_in_its_unit(board: SimulatedMcc172) -> None:
    source = driver(board, channels=[0, 1])
    info = source.open()
    got = collect(source, RATE_HZ // 2)
    source.close()
    np.testing.assert_allclose(got, Machine(3, RATE_HZ, 2).samples(len(got)), atol=1e-6)
    assert info.full_scale == (50.0, 50.0)
    assert info.lsb == pytest.approx((100 / 2**24,) * 2)
    assert (info.calibration, info.unit) == ("configuration", "g")


def test_one_channel_is_that_channel(board: SimulatedMcc172) -> None:
    source = driver(board, channels=[1])
    source.open()
    got = collect(source, RATE_HZ // 4)
    source.close()
    np.testing.assert_allclose(got, Machine(3, RATE_HZ, 2).samples(len(got))[:, 1:], atol=1e-6)


def test_without_a_sensitivity_the_samples_are_volts(board: SimulatedMcc172) -> None:
    board.told_mv = [7.0, 7.0]  # what an earlier program left there
    source = driver(board, sensitivity_mv_per_unit=None)
    info = source.open()
    got = collect(source, RATE_HZ // 4)
    source.close()
    np.testing.assert_allclose(got, Machine(3, RATE_HZ, 2).samples(len(got))[:, :1] / 10, atol=1e-6)
    assert (info.unit, info.calibration, info.full_scale) == ("V", "none", (5.0,))


def test_each_channel_has_its_own_supply_and_sensitivity(board: SimulatedMcc172) -> None:
    source = driver(board, channels=[0, 1], iepe=[False, True], sensitivity_mv_per_unit=[100, 50])
    info = source.open()
    assert info.settings == {"channel 0": "IEPE off, 100 mV/g", "channel 1": "IEPE on, 50 mV/g"}
    assert info.full_scale == (50.0, 100.0)
    assert (board.iepe, board.told_mv) == ([0, 1], [100, 50])
    source.close()
    assert source.settings() == {}


def test_what_comes_while_the_bias_settles_is_thrown_away(board: SimulatedMcc172) -> None:
    source = driver(board, settle_s=0.5)
    source.open()
    (block,) = read_some(source, 1)
    source.close()
    whole = Machine(3, RATE_HZ, 2).samples(RATE_HZ)[:, :1]
    np.testing.assert_allclose(block.samples, whole[RATE_HZ // 2 : RATE_HZ // 2 + len(block.samples)], atol=1e-6)
    assert (block.index, block.after_gap) == (0, False)


def test_without_a_supply_nothing_need_settle(board: SimulatedMcc172) -> None:
    source = driver(board, iepe=False, settle_s=60.0)
    source.open()
    assert len(collect(source, 1)) > 0
    source.close()


@pytest.mark.parametrize("hardware", [True, False])
def test_an_overrun_is_a_gap_and_what_came_with_it_is_dropped(board: SimulatedMcc172, hardware: bool) -> None:
    source = driver(board)
    source.open()
    before = read_some(source, 2)
    board.lose(33, hardware=hardware)
    after = read_some(source, 3)
    source.close()
    assert [block.after_gap for block in after] == [True, False, False]
    assert (source.counters["gaps"], source.counters["overflows"]) == (1, 1)
    whole = Machine(3, RATE_HZ, 2).samples(2 * RATE_HZ)[:, :1]
    for block in before + after:
        starts = np.flatnonzero(np.abs(whole[:, 0] - block.samples[0, 0]) < 1e-6)
        assert any(np.allclose(whole[start : start + len(block.samples)], block.samples, atol=1e-6) for start in starts)


def test_overruns_without_end_are_a_fault(board: SimulatedMcc172, monkeypatch: pytest.MonkeyPatch) -> None:
    source = driver(board)
    source.open()
    read = board.a_in_scan_read_numpy
    monkeypatch.setattr(board, "a_in_scan_read_numpy", lambda *a: read(*a)._replace(buffer_overrun=True))
    with pytest.raises(SensorFault, match="no whole samples"):
        collect(source, 1)
    source.close()


def test_every_rate_is_a_whole_part_of_the_clock() -> None:
    assert RATES_HZ[0] == 200
    assert RATES_HZ[-1] == 51_200
    assert all(51_200 % rate_hz == 0 and 51_200 // rate_hz <= 256 for rate_hz in RATES_HZ)


@pytest.mark.parametrize(
    ("rate_hz", "nearest"),
    [(16_000, "12800 Hz and 25600 Hz"), (17_067, "12800 Hz and 25600 Hz"), (100, "200 Hz"), (96_000, "51200 Hz")],
)
def test_a_rate_it_has_not_is_answered_with_the_nearest(board: SimulatedMcc172, rate_hz: int, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"no rate of {rate_hz} Hz on an MCC 172: the nearest it has: {nearest}"):
        driver(board, rate_hz=rate_hz)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "daqhats", None)  # any import of it raises ImportError
    message = unavailable(Mcc172("d", iepe=True))
    assert "pip install 'echo-edge[mcc172]'" in message
    assert "vendor's library" in message
    assert list_mcc172() == []


def test_a_wrong_address_is_answered_with_the_right_one(board: SimulatedMcc172) -> None:
    assert unavailable(driver(board, address=3)) == "no MCC 172 at address 3; there is one at 0"


def test_no_board_at_all_says_what_finds_them(board: SimulatedMcc172) -> None:
    board.unplug()
    assert "daqhats_read_eeproms" in unavailable(driver(board))


def test_converters_that_never_synchronize_are_no_reason_to_wait_for_ever(board: SimulatedMcc172) -> None:
    board.never_synchronized = True
    assert unavailable(driver(board)) == "the MCC 172's converters did not synchronize in 2 s"


def test_a_board_that_another_scan_has_is_unavailable(board: SimulatedMcc172) -> None:
    board.scanning = True
    assert "address 0 refused: A scan is already active." in unavailable(driver(board))


def test_a_board_that_falls_silent_is_a_fault_within_three_seconds(board: SimulatedMcc172) -> None:
    source = driver(board)
    source.open()
    board.silent.set()
    start = time.monotonic()
    assert read_until_fault(source) == "no whole samples from the MCC 172 for 2 s"
    assert time.monotonic() - start < 4
    source.close()


def test_a_closed_board_can_be_scanned_by_others(board: SimulatedMcc172) -> None:
    source = driver(board)
    source.open()
    source.close()
    assert not board.scanning


@pytest.mark.parametrize(
    "options",
    [{"channels": [1, 0]}, {"channels": []}, {"iepe": [True, True]}, {"sensitivity_mv_per_unit": -1}],
)
def test_an_option_that_makes_no_sense_is_refused_at_once(board: SimulatedMcc172, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"channels|iepe|sensitivity"):
        driver(board, **options)


def test_the_boards_that_are_there_come_with_a_line_to_paste(board: SimulatedMcc172) -> None:
    (found,) = list_mcc172(board)
    assert (found.kind, found.id, found.channels) == ("mcc172", "0", 2)
    assert found.config_lines[0].startswith("  daq1: {kind: mcc172, address: 0, channels: [0, 1], iepe: true, ")
