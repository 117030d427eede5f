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
from sensors.identify import what_speaks
from sensors.machine import Machine
from sensors.picoquake import PicoQuake
from sensors.pty_accelerometer import FRAME_S, SCALE, PtyAccelerometer
from sensors.pty_stand_ins import STAND_INS
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
    with pytest.raises(SensorFault, match="was unplugged"):
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
    with pytest.raises(SensorUnavailable, match="nothing came within 4 s"):
        Accelerometer("acc", port=sensor.port).open()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"12.5,13.5\r\n" * 50, "does not answer as ee1: csv speaks there; write protocol: csv"),
        (b"U-Boot 2024.01 (Jan 01 2024)\r\n" * 3, r"90 bytes of text came \('U-Boot .*'\); check the port"),
        (bytes(range(256)) * 2, "512 bytes without any form came: check baud"),
    ],
    ids=["csv", "text", "noise"],
)
def test_a_port_that_is_something_else_says_what_came(said: bytes, message: str) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    driver = Accelerometer("acc", port=os.ttyname(slave))
    talk = threading.Timer(0.5, os.write, (master, said))  # opening forgets what came before
    talk.start()
    with pytest.raises(SensorUnavailable, match=message):
        driver.open()
    talk.join()
    os.close(slave)
    os.close(master)


@pytest.mark.parametrize(
    ("configured", "there"), [("ee1", "picoquake"), ("picoquake", "witmotion"), ("witmotion", "csv"), ("csv", "ee1")]
)
def test_another_sensor_on_the_port_is_named_within_six_seconds(configured: str, there: str) -> None:
    with STAND_INS[there](Machine(1, 200, 3)) as sensor:
        start = time.monotonic()
        with pytest.raises(SensorUnavailable, match=f"does not answer as {configured}: {there} speaks there"):
            Accelerometer("acc", port=sensor.port, protocol=configured).open()
        assert time.monotonic() - start < 6


@pytest.mark.parametrize("there", STAND_INS)
def test_what_a_sensor_sends_in_four_seconds_is_never_taken_for_another_protocol(there: str) -> None:
    sensor = STAND_INS[there](Machine(1, 200, 3))
    sensor.answer(PicoQuake(rate_hz=200).start())
    for seconds in range(30):
        frames = [b"".join(sensor.frames(4)) for _ in range(200)]
        assert what_speaks(sensor.status().join(frames)) == f"{there} speaks there; write protocol: {there}", seconds


@pytest.mark.parametrize(
    ("protocol", "options", "message"),
    [
        ("witmotion", {"answers": False}, "does not answer what its return rate is: give rate_hz"),
        ("csv", {"header": ""}, r"does not say its unit: give unit \(and scale\)"),
        ("csv", {"timed": False, "header": "# unit=g cols=ax,ay,az"}, "no t_us that would tell its rate: give rate_hz"),
        ("csv", {"timed": False, "header": "# unit=g"}, "its lines hold 3 numbers, not t_us,ax,ay,az: give columns"),
    ],
)
def test_a_sensor_that_does_not_tell_enough_says_which_option_mends_it(
    protocol: str, options: dict[str, object], message: str
) -> None:
    sensor = STAND_INS[protocol](Machine(1, 200, 3), **options)
    with sensor, pytest.raises(SensorUnavailable, match=f"speaks {protocol}, but .*{message}"):
        Accelerometer("acc", port=sensor.port, protocol=protocol).open()


@pytest.mark.parametrize(
    ("protocol", "stand_in", "options"),
    [
        ("witmotion", {"answers": False}, {"rate_hz": 200}),
        ("csv", {"header": "", "timed": False}, {"rate_hz": 200, "unit": "g", "scale": 0.001, "columns": list("xyz")}),
    ],
)
def test_with_its_option_given_it_opens(protocol: str, stand_in: dict[str, object], options: dict[str, object]) -> None:
    with STAND_INS[protocol](Machine(1, 200, 3), **stand_in) as sensor:
        driver = Accelerometer("acc", port=sensor.port, protocol=protocol, **options)
        info = driver.open()
        assert (info.rate_hz, info.channels, info.unit, info.gravity) == (200, 3, "g", True)
        assert collect(driver, 40).std() > 0
        driver.close()


def test_1200_baud_is_refused_because_it_reboots_boards() -> None:
    with pytest.raises(ValueError, match="1200 baud reboots many boards"):
        Accelerometer("acc", port="/dev/null", baud=1200)


def test_an_option_of_another_protocol_is_refused_and_its_taker_named() -> None:
    with pytest.raises(ValueError, match="protocol witmotion takes rate_hz, not range_g; it is for protocol picoquake"):
        Accelerometer("acc", port="/dev/null", protocol="witmotion", range_g=4)


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


def test_three_axes_of_24_bit_at_26667_hertz_arrive_whole_for_ten_seconds() -> None:
    rate_hz = 26_667
    with PtyAccelerometer(Machine(1, rate_hz, 3), fmt="i24") as sensor:
        driver = Accelerometer("acc", port=sensor.port)
        info = driver.open()
        start = time.monotonic()
        got = collect(driver, 10 * rate_hz)  # fails on a gap
        took_s = time.monotonic() - start
        assert driver.counters["lost_frames"] == driver.counters["bad_crc"] == driver.counters["bad_frames"] == 0
        driver.close()
    assert info.lsb == (16 / 2**23,) * 3
    byte_rate = len(got) / took_s * 9
    assert byte_rate == pytest.approx(9 * rate_hz, rel=0.1)
    made = Machine(1, rate_hz, 3).samples(14 * rate_hz)
    frame = round(FRAME_S * rate_hz)
    begin = next(at for at in range(0, 4 * rate_hz, frame) if np.allclose(made[at : at + 9], got[:9], atol=1e-5))
    assert np.allclose(made[begin : begin + len(got)], got, atol=16 / 2**23)
