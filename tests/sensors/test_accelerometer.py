"""The serial driver on a real pseudo-terminal, with everything that goes wrong on a wire."""

from __future__ import annotations

import os
import threading
import time
import tty
from collections.abc import Iterator

import numpy as np
import pytest

from sensors import SensorFault, SensorUnavailable
from sensors.accelerometer import Accelerometer
from sensors.block import Block
from sensors.ee1 import read_card
from sensors.machine import Machine
from sensors.pty_accelerometer import FRAME_S, SCALE, PtyAccelerometer
from tests.sensors.conftest import collect

RATE_HZ = 4000
FRAME = round(FRAME_S * RATE_HZ)


@pytest.fixture
def sensor() -> Iterator[PtyAccelerometer]:
    with PtyAccelerometer(Machine(1, RATE_HZ, 3)) as sensor:
        yield sensor


@pytest.fixture
def driver(sensor: PtyAccelerometer) -> Iterator[Accelerometer]:
    driver = Accelerometer("acc", port=sensor.port)
    driver.open()
    yield driver
    driver.close()


def gaps(driver: Accelerometer, blocks: int = 8) -> list[Block]:
    read = [driver.read() for _ in range(blocks)]
    return [block for block in read if block is not None and block.after_gap]


def test_what_arrives_is_what_the_machine_made_in_its_unit(driver: Accelerometer) -> None:
    got = collect(driver, RATE_HZ // 2)
    made = Machine(1, RATE_HZ, 3).samples(2 * RATE_HZ)
    start = next(i for i in range(0, RATE_HZ, FRAME) if np.allclose(made[i : i + FRAME], got[:FRAME], atol=SCALE))
    assert np.allclose(made[start : start + len(got)], got, atol=SCALE * 0.51)


def test_a_wrong_checksum_becomes_a_gap_of_one_frame(driver: Accelerometer, sensor: PtyAccelerometer) -> None:
    driver.read()
    sensor.break_crc()
    assert [block.lost_frames for block in gaps(driver)] == [FRAME]
    assert driver.counters["bad_crc"] == 1


def test_half_a_frame_becomes_a_gap_of_one_frame(driver: Accelerometer, sensor: PtyAccelerometer) -> None:
    driver.read()
    sensor.cut_frame()
    assert [block.lost_frames for block in gaps(driver)] == [FRAME]
    assert driver.counters["bad_crc"] + driver.counters["bad_frames"] == 1


def test_garbage_between_frames_costs_no_sample(driver: Accelerometer, sensor: PtyAccelerometer) -> None:
    sensor.send(b"\x01\xff garbage \0 and more \xaa\0")
    collect(driver, RATE_HZ // 2)
    assert driver.counters["gaps"] == 0
    assert driver.counters["garbage_bytes"] > 0


def test_a_jump_of_the_index_is_lost_samples(driver: Accelerometer, sensor: PtyAccelerometer) -> None:
    sensor.lose(1234)
    assert [block.lost_frames for block in gaps(driver)] == [1234]
    assert driver.counters["lost_frames"] == 1234


def test_a_restarted_sensor_is_a_gap_of_unknown_length(driver: Accelerometer, sensor: PtyAccelerometer) -> None:
    driver.read()
    sensor.restart()
    assert [block.lost_frames for block in gaps(driver)] == [0]
    assert driver.counters["gaps"] == 1


def test_another_sensor_on_the_same_port_is_a_fault(driver: Accelerometer, sensor: PtyAccelerometer) -> None:
    sensor.announce(serial="ANOTHER")
    with pytest.raises(SensorFault, match="another sensor"):
        gaps(driver)


def test_unplugging_is_a_fault_at_once_and_closing_still_works(driver: Accelerometer, sensor: PtyAccelerometer) -> None:
    driver.read()
    sensor.unplug()
    start = time.monotonic()
    with pytest.raises(SensorFault, match="failed"):
        gaps(driver)
    driver.close()
    assert time.monotonic() - start < 1


def test_a_sensor_that_falls_silent_is_a_fault_within_four_seconds(
    driver: Accelerometer, sensor: PtyAccelerometer
) -> None:
    driver.read()
    sensor.silent.set()
    start = time.monotonic()
    with pytest.raises(SensorFault, match="no valid samples"):
        gaps(driver, 20)
    assert 2 < time.monotonic() - start < 4


def test_a_silent_port_is_unavailable_and_says_that_nothing_came(sensor: PtyAccelerometer) -> None:
    sensor.silent.set()
    time.sleep(0.1)
    with pytest.raises(SensorUnavailable, match="nothing came within 3 s"):
        Accelerometer("acc", port=sensor.port).open()


def test_a_port_with_another_protocol_says_how_much_came_and_what_to_check() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    driver = Accelerometer("acc", port=os.ttyname(slave))
    talk = threading.Timer(0.5, os.write, (master, b"12.5,13.5\r\n" * 50))  # opening forgets what came before
    talk.start()
    with pytest.raises(SensorUnavailable, match=r"550 bytes came .* check baud and protocol"):
        driver.open()
    talk.join()
    os.close(slave)
    os.close(master)


def test_a_port_in_use_says_so(driver: Accelerometer, sensor: PtyAccelerometer) -> None:
    assert driver.read() is not None
    with pytest.raises(SensorUnavailable, match="in use by another program"):
        Accelerometer("second", port=sensor.port).open()


@pytest.mark.parametrize(
    "change",
    [{"serial": ""}, {"rate_num": 0}, {"scale": []}, {"scale": [0, 1, 1]}, {"scale": ["nan", 1, 1]}, {"unit": None}],
    ids=str,
)
def test_a_description_without_what_samples_need_is_refused(change: dict[str, object]) -> None:
    good: dict[str, object] = {"serial": "1", "rate_num": 80000, "rate_den": 3, "unit": "g", "scale": [1, 1, 1]}
    assert round(read_card(good)[0].rate_hz) == 26_667
    if change == {"unit": None}:
        good.pop("unit")
        change = {}
    with pytest.raises(ValueError, match=r".+"):
        read_card({**good, **change})
