"""What the daemon relies on, whichever driver it has; each runs over a real transport."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sensors import KINDS, Block, SensorError, SensorFault, SensorUnavailable, Source, create_source
from sensors.alsa_microphone import AlsaMicrophone
from sensors.iio_simulator import SimulatedIio
from sensors.machine import Machine
from sensors.mcc172_simulator import SimulatedMcc172
from sensors.protocols import PROTOCOLS
from sensors.pty_accelerometer import PtyAccelerometer
from sensors.pty_sensor import PtySensor
from sensors.pty_stand_ins import STAND_INS
from sensors.pty_vibration_meter import PtyVibrationMeter
from sensors.simulator import Simulator, write_wav
from sensors.source import BLOCK_S
from tests.sensors.conftest import open_files

RATE_HZ = 16_000


@dataclass
class World:
    """A driver, what it should find, and how to make it lose samples."""

    source: Source
    absent: Source
    channels: int
    unit: str
    identity: str
    make_gap: Callable[[], None] | None = None
    unplug: Callable[[], None] | None = None
    rate_hz: int = RATE_HZ
    may_lose: Container[int] = (0, 100)
    readings: bool = False
    """A block is one reading of one moment, and no stretch of time."""

    plug: Callable[[], None] | None = None
    """Makes another port of the same name after ``unplug``."""


def microphone(stack: ExitStack, tmp_path: Path) -> World:
    device = stack.enter_context(AlsaMicrophone(Machine(1, RATE_HZ, 1, level=0.2), device="invented"))
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    for name, value in device.env.items():
        patch.setenv(name, value)
    source = create_source("microphone", "d", device="invented", rate_hz=RATE_HZ, scale=2.0, unit="Pa")
    absent = create_source("microphone", "d", device="no such microphone")
    assert tmp_path
    return World(source, absent, 1, "Pa", "invented")


def serial_world(stack: ExitStack, tmp_path: Path, device: PtySensor, identity: str, **options: object) -> World:
    stack.enter_context(device)
    source = create_source("accelerometer", "d", port=device.port, **options)
    absent = create_source("accelerometer", "d", port=str(tmp_path / "ttyNONE"), **options)
    rate_hz = device.machine.rate_hz
    return World(source, absent, 3, "g", identity, lambda: device.lose(100), device.unplug, rate_hz, plug=device.plug)


def accelerometer(stack: ExitStack, tmp_path: Path) -> World:
    device = PtyAccelerometer(Machine(1, RATE_HZ, 3), serial="A7", link=tmp_path / "usb-ee1")
    return serial_world(stack, tmp_path, device, "ee1:A7")


def picoquake(stack: ExitStack, tmp_path: Path) -> World:
    device = STAND_INS["picoquake"](Machine(1, 4000, 3), link=tmp_path / "usb-pq")
    return serial_world(
        stack, tmp_path, device, "picoquake:e6614c311b3a5f2d", protocol="picoquake", rate_hz=4000, range_g=4
    )


def witmotion(stack: ExitStack, tmp_path: Path) -> World:
    link = tmp_path / "usb-wit"
    device = STAND_INS["witmotion"](Machine(1, 200, 3), link=link)
    world = serial_world(stack, tmp_path, device, str(link), protocol="witmotion")
    world.make_gap = device.corrupt  # samples that never came leave no trace in this format
    return world


def csv(stack: ExitStack, tmp_path: Path) -> World:
    link = tmp_path / "usb-csv"
    return serial_world(stack, tmp_path, STAND_INS["csv"](Machine(1, 1000, 3), link=link), str(link), protocol="csv")


def wavfile(stack: ExitStack, tmp_path: Path) -> World:
    assert stack
    path = tmp_path / "a.wav"
    write_wav(Machine(1, RATE_HZ, 2), path, 1.0)
    source = create_source("wavfile", "d", files=[{"path": path, "scale": 1.0, "unit": "g"}])
    absent = create_source("wavfile", "d", files=[{"path": tmp_path / "none.wav"}])
    return World(source, absent, 2, "g", "wavfile:d", lambda: None)  # a gap comes by itself, where it starts again


def simulator(stack: ExitStack, tmp_path: Path) -> World:
    assert stack
    assert tmp_path
    source = create_source("simulator", "d", rate_hz=RATE_HZ, channels=2, seed=5)
    assert isinstance(source, Simulator)
    absent = create_source("simulator", "d", rate_hz=RATE_HZ, fault="no such fault")
    return World(source, absent, 2, "g", "simulator:5", lambda: source.lose(100))


def iio(stack: ExitStack, tmp_path: Path) -> World:
    device = stack.enter_context(SimulatedIio(Machine(1, RATE_HZ, 3), tmp_path))
    source = create_source("iio", "d", device="adxl355", rate_hz=RATE_HZ, root=device.root, dev=device.dev)
    absent = create_source("iio", "d", device="adxl345", root=device.root, dev=device.dev)
    return World(source, absent, 3, "g", "iio:adxl355:1-0050", lambda: device.lose(100), device.unplug)


def mcc172(stack: ExitStack, tmp_path: Path) -> World:
    assert tmp_path
    device = stack.enter_context(SimulatedMcc172(Machine(1, 12_800, 2)))
    options = {"library": device, "iepe": True, "sensitivity_mv_per_unit": 100, "settle_s": 0.1, "rate_hz": 12_800}
    source = create_source("mcc172", "d", channels=[0, 1], **options)
    absent = create_source("mcc172", "d", address=7, **options)
    identity = f"mcc172:{device.serial_number}"
    return World(source, absent, 2, "g", identity, lambda: device.lose(100), device.unplug, 12_800)


def vibration_meter(stack: ExitStack, tmp_path: Path) -> World:
    device = stack.enter_context(PtyVibrationMeter(link=tmp_path / "ttyRS485"))
    options = {"rate_hz": 10, "velocity_scale_mm_s": 0.001}
    source = create_source("vibration_meter", "d", port=device.port, **options)
    absent = create_source("vibration_meter", "d", port=str(tmp_path / "ttyNONE"), **options)
    world = World(source, absent, 10, "as named", f"wtvb01:{device.port}:0x50", lambda: device.skip(1), device.unplug)
    world.rate_hz, world.may_lose, world.readings, world.plug = 10, (1,), True, device.plug
    return world


SERIAL = [accelerometer, picoquake, witmotion, csv]
PULLED = [*SERIAL, iio, mcc172, vibration_meter]
DRIVERS = [microphone, wavfile, simulator, *PULLED]


def test_every_kind_of_driver_and_every_protocol_is_here() -> None:
    assert len(DRIVERS) == len(KINDS) - 1 + len(PROTOCOLS)
    assert set(STAND_INS) == set(PROTOCOLS)


@pytest.fixture(params=DRIVERS, ids=lambda make: make.__name__)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        world: World = request.param(stack, tmp_path)
        stack.callback(world.source.close)
        yield world


def next_block(source: Source) -> Block:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if (block := source.read()) is not None:
            return block
    raise AssertionError("no block came")


def test_readings_are_named_with_their_unit_and_waveforms_are_not(world: World) -> None:
    info = world.source.open()
    assert len(info.indicators) == (info.channels if world.readings else 0)


def test_opening_tells_rate_channels_unit_and_identity(world: World) -> None:
    info = world.source.open()
    assert (info.rate_hz, info.channels, info.unit) == (world.rate_hz, world.channels, world.unit)
    assert info.identity == world.identity


def test_blocks_hold_about_a_tenth_of_a_second_and_follow_each_other(world: World) -> None:
    world.source.open()
    blocks = [next_block(world.source) for _ in range(6)]
    for block in blocks:
        assert block.samples.dtype == np.float32
        assert block.samples.shape[1] == world.channels
        assert block.samples.std() > 0
        assert len(block.samples) == pytest.approx(BLOCK_S * world.rate_hz, rel=0.25)
        assert not block.after_gap
    steps_ns = [after.time_ns - before.time_ns for before, after in pairwise(blocks)]
    assert min(steps_ns) > 0
    # the median: a block that a busy machine fetched late is dated late, and the next one corrects it
    assert np.median(steps_ns) == pytest.approx(BLOCK_S * 1e9, rel=0.5)


def second_is_on_time(world: World) -> bool:
    """Read about a second; True when it took as long, and the next block is dated now."""
    start = time.monotonic()
    frames = sum(len(next_block(world.source).samples) for _ in range(10))
    took_s = time.monotonic() - start
    block = next_block(world.source)
    length_s = 0.0 if world.readings else len(block.samples) / world.rate_hz
    age_s = (time.time_ns() - block.time_ns) / 1e9 - length_s
    return abs(frames / world.rate_hz - took_s) < 0.35 and -0.01 < age_s < 0.5


def test_samples_come_at_the_pace_of_the_device_and_are_dated_now(world: World) -> None:
    world.source.open()
    for _ in range(3):
        next_block(world.source)
    # A busy machine may stall us for longer than that once; a driver with a wrong pace has it every time.
    assert any(second_is_on_time(world) for _ in range(4))


# ALSA's file plugin cannot overrun: for the microphone see the tests of LateOverflowFilter
@pytest.mark.parametrize("world", [wavfile, simulator, *PULLED], indirect=True)
def test_lost_samples_are_marked_and_counted(world: World) -> None:
    assert world.make_gap is not None
    world.source.open()
    next_block(world.source)
    world.make_gap()
    gaps = [block for block in (next_block(world.source) for _ in range(14)) if block.after_gap]
    assert len(gaps) == 1
    assert gaps[0].lost_frames in world.may_lose
    assert world.source.counters["gaps"] == 1
    assert world.source.counters["lost_frames"] == gaps[0].lost_frames


def test_closing_twice_or_before_opening_does_no_harm(world: World) -> None:
    world.source.close()
    world.source.open()
    world.source.close()
    world.source.close()


def test_a_closed_device_can_be_opened_again(world: World) -> None:
    first = world.source.open()
    next_block(world.source)
    world.source.close()
    assert world.source.open() == first
    assert not next_block(world.source).after_gap


def read_until_it_fails(source: Source) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        source.read()


@pytest.mark.parametrize("world", PULLED, indirect=True)
def test_a_device_that_is_pulled_out_is_a_fault_within_five_seconds_and_leaves_nothing_open(world: World) -> None:
    assert world.unplug is not None
    world.source.open()
    next_block(world.source)
    world.unplug()
    with pytest.raises(SensorFault, match=r"^d: .+"):
        read_until_it_fails(world.source)
    world.source.close()
    assert not [name for name in open_files() if name.startswith(("/dev/pts", "/dev/ptmx"))]
    with pytest.raises(SensorUnavailable, match=r"^d: .+"):
        world.source.open()


def test_reading_a_closed_device_is_a_fault(world: World) -> None:
    with pytest.raises(SensorFault):
        world.source.read()


def test_an_absent_device_is_unavailable_and_the_message_starts_with_its_name(world: World) -> None:
    with pytest.raises(SensorUnavailable, match=r"^d: .+") as caught:
        world.absent.open()
    assert isinstance(caught.value, SensorError)
    assert caught.value.device == "d"
    world.absent.close()


@pytest.mark.parametrize("world", [*SERIAL, vibration_meter], indirect=True)
def test_plugged_in_again_it_is_found_under_its_stable_name(world: World) -> None:
    assert world.unplug is not None
    assert world.plug is not None
    first = world.source.open()
    next_block(world.source)
    world.unplug()
    with pytest.raises(SensorFault):
        read_until_it_fails(world.source)
    world.source.close()
    master, slave = os.openpty()  # takes the number that the sensor had
    world.plug()
    assert world.source.open() == first
    assert not next_block(world.source).after_gap
    os.close(slave)
    os.close(master)
