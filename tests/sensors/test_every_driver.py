"""What the daemon relies on, whichever driver it has; each runs over a real transport."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sensors import KINDS, Block, SensorError, SensorFault, SensorUnavailable, Source, create_source
from sensors.alsa_microphone import AlsaMicrophone
from sensors.machine import Machine
from sensors.protocols import PROTOCOLS
from sensors.pty_accelerometer import PtyAccelerometer
from sensors.pty_sensor import PtySensor
from sensors.pty_stand_ins import STAND_INS
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
    rate_hz: int = RATE_HZ
    device: PtySensor | None = None
    """What can be unplugged, and plugged in again as another port of the same name."""


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
    return World(source, absent, 3, "g", identity, lambda: device.lose(100), rate_hz, device)


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


SERIAL = [accelerometer, picoquake, witmotion, csv]
DRIVERS = [microphone, *SERIAL, wavfile, simulator]


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


def second_is_on_time(source: Source, rate_hz: int) -> bool:
    """Read about a second; True when it took as long, and the next block is dated now."""
    start = time.monotonic()
    frames = sum(len(next_block(source).samples) for _ in range(10))
    took_s = time.monotonic() - start
    block = next_block(source)
    age_s = (time.time_ns() - block.time_ns) / 1e9 - len(block.samples) / rate_hz
    return abs(frames / rate_hz - took_s) < 0.35 and -0.01 < age_s < 0.5


def test_samples_come_at_the_pace_of_the_device_and_are_dated_now(world: World) -> None:
    world.source.open()
    for _ in range(3):
        next_block(world.source)
    # A busy machine may stall us for longer than that once; a driver with a wrong pace has it every time.
    assert any(second_is_on_time(world.source, world.rate_hz) for _ in range(4))


# ALSA's file plugin cannot overrun: for the microphone see the tests of LateOverflowFilter
@pytest.mark.parametrize("world", [*SERIAL, wavfile, simulator], indirect=True)
def test_lost_samples_are_marked_and_counted(world: World) -> None:
    assert world.make_gap is not None
    world.source.open()
    next_block(world.source)
    world.make_gap()
    gaps = [block for block in (next_block(world.source) for _ in range(14)) if block.after_gap]
    assert len(gaps) == 1
    assert gaps[0].lost_frames in (0, 100)
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


def test_reading_a_closed_device_is_a_fault(world: World) -> None:
    with pytest.raises(SensorFault):
        world.source.read()


def test_an_absent_device_is_unavailable_and_the_message_starts_with_its_name(world: World) -> None:
    with pytest.raises(SensorUnavailable, match=r"^d: .+") as caught:
        world.absent.open()
    assert isinstance(caught.value, SensorError)
    assert caught.value.device == "d"
    world.absent.close()


def read_until_it_fails(source: Source) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        source.read()


@pytest.mark.parametrize("world", SERIAL, indirect=True)
def test_unplugging_is_a_fault_within_five_seconds_and_leaves_nothing_open(world: World) -> None:
    assert world.device is not None
    world.source.open()
    next_block(world.source)
    world.device.unplug()
    with pytest.raises(SensorFault):
        read_until_it_fails(world.source)
    world.source.close()
    assert not [name for name in open_files() if name.startswith(("/dev/pts", "/dev/ptmx"))]
    with pytest.raises(SensorUnavailable, match="no port"):
        world.source.open()


@pytest.mark.parametrize("world", SERIAL, indirect=True)
def test_plugged_in_again_it_is_found_under_its_stable_name(world: World) -> None:
    assert world.device is not None
    first = world.source.open()
    next_block(world.source)
    world.device.unplug()
    with pytest.raises(SensorFault):
        read_until_it_fails(world.source)
    world.source.close()
    master, slave = os.openpty()  # takes the number that the sensor had
    world.device.plug()
    assert world.source.open() == first
    assert not next_block(world.source).after_gap
    os.close(slave)
    os.close(master)
