"""Every trouble of a wire, on every protocol's stand-in, through the driver: what blocks and counters make of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from sensors import STAND_INS, Block, SensorFault
from sensors.accelerometer import Accelerometer
from sensors.machine import Machine
from sensors.pty_sensor import FRAME_S, PtySensor
from tests.sensors.conftest import collect

RATES_HZ = {"ee1": 4000, "picoquake": 4000, "witmotion": 200, "csv": 1000}
OPTIONS = {"picoquake": {"rate_hz": 4000}}
STEPS = {"ee1": 16 / 32768, "picoquake": 16 / 32768, "witmotion": 16 / 32768, "csv": 0.001}
EE1_FRAME = round(FRAME_S * RATES_HZ["ee1"])


@dataclass
class Wire:
    """A driver and the sensor at its other end."""

    protocol: str
    sensor: PtySensor
    driver: Accelerometer

    def gaps(self) -> list[Block]:
        """Read until a gap is well past; the blocks behind gaps."""
        blocks = [self.driver.read() for _ in range(8)]
        return [block for block in blocks if block is not None and block.after_gap]


@pytest.fixture(params=STAND_INS)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    name = request.param
    with STAND_INS[name](Machine(1, RATES_HZ[name], 3)) as sensor:
        driver = Accelerometer("acc", port=sensor.port, protocol=name, **OPTIONS.get(name, {}))
        driver.open()
        for _ in range(3):
            driver.read()
        yield Wire(name, sensor, driver)
        driver.close()


def test_what_arrives_is_what_the_machine_made_in_its_unit(wire: Wire) -> None:
    rate_hz, step = RATES_HZ[wire.protocol], STEPS[wire.protocol]
    got = collect(wire.driver, rate_hz // 2)
    made = Machine(1, rate_hz, 3).samples(8 * rate_hz)
    start = next(at for at in range(6 * rate_hz) if np.allclose(made[at : at + 30], got[:30], atol=0.51 * step))
    assert np.allclose(made[start : start + len(got)], got, atol=0.51 * step)


def test_a_corrupt_byte_costs_one_frame_and_is_a_gap(wire: Wire) -> None:
    wire.sensor.corrupt()
    lost = {"ee1": EE1_FRAME, "picoquake": 1, "witmotion": 0, "csv": 1}[wire.protocol]
    assert [block.lost_frames for block in wire.gaps()] == [lost]
    assert wire.driver.counters["bad_crc"] + wire.driver.counters["bad_frames"] == 1


def test_half_a_frame_is_a_gap(wire: Wire) -> None:
    wire.sensor.cut_frame()
    lost = {"ee1": EE1_FRAME, "picoquake": 1, "witmotion": 0, "csv": 2}[wire.protocol]  # half a line spoils the next
    assert [block.lost_frames for block in wire.gaps()] == [lost]
    assert wire.driver.counters["bad_crc"] + wire.driver.counters["bad_frames"] >= 1


def test_skipped_counts_are_lost_samples_where_there_are_counts(wire: Wire) -> None:
    wire.sensor.lose(50)
    assert [block.lost_frames for block in wire.gaps()] == ([] if wire.protocol == "witmotion" else [50])


def test_a_restart_is_a_gap_of_unknown_length_where_there_are_counts(wire: Wire) -> None:
    wire.sensor.restart()
    assert [block.lost_frames for block in wire.gaps()] == ([] if wire.protocol == "witmotion" else [0])
    assert wire.driver.counters["resets"] == (wire.protocol != "witmotion")


def test_noise_between_frames_does_not_stop_the_stream(wire: Wire) -> None:
    wire.sensor.send(bytes(range(256)) * 4)
    wire.gaps()
    assert wire.driver.counters["garbage_bytes"] > 500
    collect(wire.driver, RATES_HZ[wire.protocol] // 2)


def test_silence_is_a_fault_within_four_seconds(wire: Wire) -> None:
    wire.sensor.silent.set()
    start = time.monotonic()
    with pytest.raises(SensorFault, match="no valid samples"):
        collect(wire.driver, 20 * RATES_HZ[wire.protocol])
    assert time.monotonic() - start < 4


def test_a_clock_that_runs_fast_sends_more(wire: Wire) -> None:
    def frames_per_second() -> float:
        start = time.monotonic()
        return len(collect(wire.driver, RATES_HZ[wire.protocol])) / (time.monotonic() - start)

    right = frames_per_second()
    wire.sensor.clock_ppm = 300_000
    assert any(frames_per_second() > 1.15 * right for _ in range(3))  # a busy machine may stall one of them
