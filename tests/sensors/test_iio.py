"""The kernel's accelerometers: what the bytes mean, which scans are missing, what is said when something is wrong."""

from __future__ import annotations

import errno
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sensors import SensorFault, SensorUnavailable
from sensors.discover import list_iio
from sensors.iio import STANDARD_GRAVITY, Iio
from sensors.iio_scan import ScanElement, ScanFormat, TimestampGaps
from sensors.iio_simulator import SCALE, SimulatedIio
from sensors.iio_sysfs import UDEV_RULE, IioError, matching_rate, why
from sensors.machine import Machine
from sensors.users import user_of
from tests.sensors.conftest import collect

RATE_HZ = 4000


def layout(*types: str) -> ScanFormat:
    return ScanFormat([ScanElement.parse(f"c{n}", n, text) for n, text in enumerate(types)])


# --- bytes -> samples


def test_three_axes_of_16_bits_and_a_timestamp_are_sixteen_bytes() -> None:
    form = layout("le:s16/16>>0", "le:s16/16>>0", "le:s16/16>>0", "le:s64/64>>0")
    raw = form.decode(bytes.fromhex("0100 ffff 0080 aaaa 15cd5b0700000000"))
    assert form.scan_bytes == 16
    assert [raw[f"c{n}"].tolist() for n in range(4)] == [[1], [-1], [-32768], [123456789]]


def test_a_small_element_before_a_large_one_is_padded_to_the_size_of_the_large_one() -> None:
    form = layout("le:u8/8>>0", "be:s32/32>>0")
    assert form.scan_bytes == 8
    assert form.decode(bytes.fromhex("07 aaaaaa fffffffe"))["c1"].tolist() == [-2]


def test_a_large_element_before_a_small_one_pads_the_end_of_the_scan() -> None:
    assert layout("le:s32/32>>0", "le:s16/16>>0").scan_bytes == 8


@pytest.mark.parametrize(
    ("text", "stored", "raw"),
    [
        ("le:s12/16>>4", "f0ff", -1),
        ("be:s12/16>>4", "7ff0", 2047),
        ("be:s20/32>>8", "ff80 0000", -32768),
        ("le:u12/16>>4", "f0ff", 4095),
        ("le:s12/16>>0", "ff0f", -1),  # what lies above the bits is not the sample's
        ("le:u16/16>>0", "00f0", 61440),
        ("be:u24/32>>0", "aa000102", 258),
    ],
)
def test_bits_shift_sign_and_byte_order(text: str, stored: str, raw: int) -> None:
    assert layout(text).decode(bytes.fromhex(stored))["c0"].tolist() == [raw]


def test_an_element_that_repeats_is_aligned_to_all_of_itself() -> None:
    form = layout("le:s16/16>>0", "le:s16/16X4>>0")
    raw = form.decode(bytes.fromhex("0100 aaaaaaaaaaaa 0100020003000400"))
    assert form.scan_bytes == 16
    assert raw["c1"].tolist() == [[1, 2, 3, 4]]


def test_elements_lie_in_the_order_of_their_index() -> None:
    form = ScanFormat([ScanElement.parse("b", 2, "le:s16/16>>0"), ScanElement.parse("a", 0, "le:s16/16>>0")])
    raw = form.decode(struct.pack("<2h", 1, 2))
    assert (raw["a"].tolist(), raw["b"].tolist()) == ([1], [2])


@pytest.mark.parametrize("text", ["", "le:f32/32>>0", "le:s16/24>>0", "le:s16/16>>1", "le:s0/16>>0", "le:s16/16"])
def test_a_type_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="in_accel_x has the type"):
        ScanElement.parse("in_accel_x", 0, text)


@st.composite
def elements(draw: st.DrawFn) -> ScanElement:
    storage_bits = draw(st.sampled_from([8, 16, 32, 64]))
    bits = draw(st.integers(1, storage_bits))
    shift = draw(st.integers(0, storage_bits - bits))
    return ScanElement("e", 0, draw(st.booleans()), draw(st.booleans()), bits, storage_bits, shift)


@given(st.lists(elements(), min_size=1, max_size=5), st.data())
def test_every_layout_gives_back_the_values_that_were_stored(parts: list[ScanElement], data: st.DataObject) -> None:
    named = [ScanElement(f"c{n}", n, *_rest(part)) for n, part in enumerate(parts)]
    values, stored, noise = [], bytearray(), data.draw(st.integers(0, 255))
    for e in named:
        least = -(1 << (e.bits - 1)) if e.signed else 0
        most = min((1 << (e.bits - e.signed)) - 1, (1 << 63) - 1)
        value = data.draw(st.integers(least, most))
        values.append(value)
        word = (value % (1 << e.bits)) << e.shift
        stored += bytes([noise]) * (-len(stored) % e.size)
        stored += word.to_bytes(e.size, "big" if e.big_endian else "little")
    stored += bytes([noise]) * (-len(stored) % max(e.size for e in named))
    raw = ScanFormat(named).decode(bytes(stored) * 3)
    assert [raw[e.name].tolist() for e in named] == [[value] * 3 for value in values]


def _rest(e: ScanElement) -> tuple[bool, bool, int, int, int]:
    return e.big_endian, e.signed, e.bits, e.storage_bits, e.shift


# --- missing scans


def gaps_of(periods: list[float], *, at_once: int = 1000) -> list[tuple[int, int]]:
    """Feed times, in periods of 1 ms, as the driver does; return positions in the whole and how many are missing."""
    watch, found, waiting, done = TimestampGaps(1000), [], np.zeros(0, np.int64), 0
    times_ns = np.rint(np.array(periods) * 1e6).astype(np.int64)
    for start in range(0, len(times_ns), at_once):
        waiting = np.concatenate([waiting, times_ns[start : start + at_once]])
        found += [(done + position, lost) for position, lost in watch.push(waiting)]
        judged = max(0, len(waiting) - TimestampGaps.AHEAD)
        waiting, done = waiting[judged:], done + judged
    return found


@pytest.mark.parametrize("at_once", [1, 3, 7, 1000])
def test_a_step_of_three_periods_is_two_lost_scans(at_once: int) -> None:
    assert gaps_of([*range(20), *range(22, 40)], at_once=at_once) == [(20, 2)]


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_one_scan_that_was_dated_late_is_no_loss(at_once: int) -> None:
    times = [float(n) for n in range(40)]
    times[20] += 0.7
    assert gaps_of(times, at_once=at_once) == []


def test_a_device_that_runs_fifteen_percent_slow_loses_nothing() -> None:
    assert gaps_of([1.15 * n for n in range(100)]) == []


def test_losses_of_a_slow_device_are_counted_in_its_own_periods() -> None:
    assert gaps_of([1.15 * n for n in [*range(50), *range(60, 100)]]) == [(50, 10)]


def test_a_clock_that_was_set_is_a_gap_of_unknown_length() -> None:
    assert gaps_of([*range(20), *range(5, 30)]) == [(20, 0)]
    assert gaps_of([*range(20), *range(100_000, 100_020)]) == [(20, 0)]


@given(st.sets(st.integers(1, 199), max_size=20), st.integers(1, 50))
def test_every_loss_that_stands_alone_is_found_and_counted(lost: set[int], at_once: int) -> None:
    alone = [n for n in lost if not any(n != m and abs(n - m) <= 2 * TimestampGaps.AHEAD for m in lost)]
    times = [float(n) for n in range(220) if n not in alone]
    assert sum(count for _, count in gaps_of(times, at_once=at_once)) == len(alone)


# --- the device


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SimulatedIio]:
    with SimulatedIio(Machine(1, RATE_HZ, 3), tmp_path) as made:
        yield made


def driver(device: SimulatedIio, wanted: str = "adxl355", **options: object) -> Iio:
    return Iio("d", device=wanted, root=device.root, dev=device.dev, **options)  # type: ignore[arg-type]


def is_part_of_the_machine(got: NDArray[np.float32], columns: tuple[int, ...] = (0, 1, 2)) -> bool:
    """True when the samples stand in the machine's signal as they are; with a splice inside they stand nowhere."""
    step = SCALE / STANDARD_GRAVITY
    whole = Machine(1, RATE_HZ, 3).samples(RATE_HZ * 5)[:, columns]
    starts = np.flatnonzero((np.abs(whole - got[0]) < step).all(axis=1))
    return any(np.allclose(whole[start : start + len(got)], got, atol=step) for start in starts)


def read_until_fault(source: Iio) -> str:
    with pytest.raises(SensorFault) as caught:
        collect(source, 60 * RATE_HZ)
    return caught.value.message


def unavailable(source: Iio) -> str:
    with pytest.raises(SensorUnavailable) as caught:
        source.open()
    return caught.value.message


def test_the_samples_are_the_machines_in_g(device: SimulatedIio) -> None:
    source = driver(device)
    info = source.open()
    got = collect(source, RATE_HZ // 2)
    source.close()
    assert is_part_of_the_machine(got)
    assert info.lsb == pytest.approx([SCALE / STANDARD_GRAVITY] * 3, rel=1e-6)
    assert info.full_scale == pytest.approx([16.0] * 3)
    assert (info.gravity, info.calibration) == (True, "sensor")


def test_the_offset_is_added_before_the_scale(device: SimulatedIio) -> None:
    device.write("in_accel_x_offset", "-2048")
    device.write("in_accel_x_scale", "0.01")
    source = driver(device, axes=["x"])
    info = source.open()
    mean_g = collect(source, RATE_HZ // 2).mean()
    source.close()
    assert mean_g == pytest.approx(-2048 * 0.01 / STANDARD_GRAVITY, rel=0.1)
    assert info.full_scale == pytest.approx([(32768 + 2048) * 0.01 / STANDARD_GRAVITY])


def test_axes_come_in_the_order_that_was_asked_for(device: SimulatedIio) -> None:
    source = driver(device, axes=["z", "x"])
    info = source.open()
    got = collect(source, RATE_HZ // 2)
    source.close()
    assert is_part_of_the_machine(got, (2, 0))
    assert (info.channels, info.gravity) == (2, False)


def test_buffer_watermark_trigger_and_clock_are_set(device: SimulatedIio) -> None:
    source = driver(device)
    source.open()
    folder = device.root / "devices" / "iio:device0"
    says = {
        file: (folder / file).read_text().strip()
        for file in (
            "buffer/length",
            "buffer/watermark",
            "buffer/enable",
            "trigger/current_trigger",
            "current_timestamp_clock",
        )
    }
    source.close()
    assert list(says.values()) == [str(2 * RATE_HZ), str(RATE_HZ // 20), "1", "adxl355-dev0", "monotonic"]
    assert (folder / "buffer/enable").read_text() == "0"


def test_a_trigger_that_is_set_is_kept(device: SimulatedIio) -> None:
    device.write("trigger/current_trigger", "hrtimer-1")
    source = driver(device)
    source.open()
    assert source.settings()["current_trigger"] == "hrtimer-1"
    source.close()


def test_a_device_whose_trigger_is_missing_says_how_to_make_one(device: SimulatedIio) -> None:
    (device.root / "devices" / "trigger0").unlink()
    assert re.search(r"needs a trigger .*modprobe iio-trig-hrtimer", unavailable(driver(device)))


def test_a_device_that_fills_its_buffer_by_itself_needs_no_trigger(device: SimulatedIio) -> None:
    (device.root / "devices" / "trigger0").unlink()
    device.write("buffer/hwfifo_enabled", "1")
    source = driver(device)
    source.open()
    source.close()


def test_the_rate_is_set_and_a_rate_it_has_not_is_answered_with_those_it_has(device: SimulatedIio) -> None:
    source = driver(device, rate_hz=1000)
    assert source.open().rate_hz == 1000
    source.close()
    message = unavailable(driver(device, rate_hz=2000))
    assert message == "adxl355 has no rate of 2000 Hz: it has 125.000000, 1000.000000, 4000.000000 Hz"


def test_rates_come_as_a_list_or_as_least_step_and_largest() -> None:
    assert matching_rate("a", 833, "12.5 833.333 1666.667") == "833.333"
    assert matching_rate("a", 25, "[5 5 100]") == "25"
    assert matching_rate("a", 777, "") == "777"
    with pytest.raises(IioError, match=r"it has 5 to 100 Hz in steps of 5$"):
        matching_rate("a", 26, "[5 5 100]")


def test_a_device_without_a_rate_has_that_of_its_trigger(device: SimulatedIio) -> None:
    device.remove("sampling_frequency")
    assert "does not tell its rate" in unavailable(driver(device))
    device.write("../trigger0/sampling_frequency", str(RATE_HZ))
    source = driver(device)
    assert source.open().rate_hz == RATE_HZ
    source.close()


def test_a_scale_that_is_not_told_is_never_guessed(device: SimulatedIio) -> None:
    device.remove("in_accel_scale")
    assert "does not tell the scale of in_accel_x" in unavailable(driver(device))


def test_an_axis_that_is_not_there_is_answered_with_those_that_are(device: SimulatedIio) -> None:
    device.remove("scan_elements/in_accel_z_index")
    device.remove("scan_elements/in_accel_z_en")
    assert unavailable(driver(device, axes=["x", "z"])) == "adxl355 has no axis z: it has x, y"


def test_an_option_that_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"axes are some of x, y and z"):
        Iio("d", device="a", axes=["x", "x"])


def test_of_two_devices_of_one_name_the_label_or_the_place_says_which(device: SimulatedIio, tmp_path: Path) -> None:
    device.write("label", "drive end")
    with SimulatedIio(Machine(2, RATE_HZ, 3), tmp_path, number=1, label="fan end") as other:
        message = unavailable(driver(device))
        assert message == "2 devices are called adxl355; say which: adxl355@drive end, adxl355@fan end"
        for wanted in ("adxl355@fan end", "adxl355@1-0051"):
            source = driver(other, wanted)
            assert source.open().identity == "iio:adxl355:fan end"
            source.close()
        assert [found.id for found in list_iio(device.root)] == ["adxl355@drive end", "adxl355@fan end"]


def test_a_serial_number_is_the_identity(device: SimulatedIio) -> None:
    device.write("serial_number", "0x1A2B")
    source = driver(device)
    assert source.open().identity == "iio:adxl355:0x1A2B"
    source.close()


def test_no_such_device_is_answered_with_those_that_are(device: SimulatedIio) -> None:
    message = unavailable(driver(device, "lis3dh"))
    assert message == "no IIO accelerometer lis3dh; there is: adxl355@1-0050"


@pytest.mark.parametrize("number", ["iio:device0", "device12"])
def test_a_number_is_no_name(number: str) -> None:
    with pytest.raises(ValueError, match="changes from boot to boot; write the device's name"):
        Iio("acc", device=number)


def test_a_device_without_a_name_is_listed_by_its_place(device: SimulatedIio) -> None:
    device.remove("name")
    assert "there is: unnamed@1-0050" in unavailable(driver(device, "adxl355"))


def test_where_there_is_no_iio_none_is_found(tmp_path: Path) -> None:
    assert unavailable(Iio("d", device="a", root=tmp_path, dev=tmp_path)) == "no IIO accelerometer a; there is: none"
    assert list_iio(tmp_path) == []


def test_a_permission_error_names_the_udev_rule() -> None:
    message = why("adxl355", "it did not open", PermissionError(errno.EACCES, "Permission denied"))
    assert UDEV_RULE in message
    assert "group iio" in message


def test_a_device_in_use_says_by_whom() -> None:
    assert why("a", "", OSError(errno.EBUSY, "busy")) == "a is in use: another program captures from it"


def test_the_process_that_has_a_file_open_is_named(tmp_path: Path) -> None:
    path = tmp_path / "iio:device0"
    path.touch()
    pid = os.posix_spawn(
        "/bin/sleep", ["sleep", "30"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 5, str(path), os.O_RDONLY, 0)]
    )
    try:
        assert user_of(path) == f"sleep (pid {pid})"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert user_of(path) == ""


def test_lost_scans_are_counted_and_cut_out(device: SimulatedIio) -> None:
    source = driver(device)
    source.open()
    collect(source, 1)
    device.lose(37)
    blocks = [block for _ in range(14) if (block := source.read()) is not None]
    source.close()
    (gap,) = [n for n, block in enumerate(blocks) if block.after_gap]
    assert blocks[gap].lost_frames == 37
    assert blocks[gap].index == blocks[gap - 1].index + len(blocks[gap - 1].samples) + 37
    assert all(is_part_of_the_machine(block.samples) for block in blocks)


@pytest.mark.parametrize("ppm", [-1000, 1000])
def test_a_clock_that_is_off_by_a_thousandth_loses_nothing(tmp_path: Path, ppm: float) -> None:
    with SimulatedIio(Machine(1, RATE_HZ, 3), tmp_path, ppm=ppm) as device:
        source = driver(device)
        source.open()
        assert is_part_of_the_machine(collect(source, RATE_HZ))
        source.close()
    assert source.counters["lost_frames"] == 0


def test_without_a_timestamp_the_samples_come_all_the_same(tmp_path: Path) -> None:
    with SimulatedIio(Machine(1, RATE_HZ, 3), tmp_path, timestamps=False) as device:
        source = driver(device)
        source.open()
        got = collect(source, RATE_HZ // 2)
        source.close()
    assert is_part_of_the_machine(got)


def test_a_device_that_falls_silent_is_a_fault_within_three_seconds(device: SimulatedIio) -> None:
    source = driver(device)
    source.open()
    device.silent.set()
    start = time.monotonic()
    assert read_until_fault(source) == "no samples from adxl355 for 2 s"
    assert time.monotonic() - start < 4
    source.close()


def test_half_a_scan_is_a_fault(device: SimulatedIio) -> None:
    source = driver(device)
    source.open()
    device.silent.set()
    file = os.open(device.dev / "iio:device0", os.O_WRONLY | os.O_NONBLOCK)
    os.write(file, b"\0" * 7)
    os.close(file)
    assert read_until_fault(source) == "adxl355 sent 7 bytes, which are no whole scans"
    source.close()


def test_the_devices_that_are_there_come_with_a_line_to_paste(device: SimulatedIio) -> None:
    (found,) = list_iio(device.root)
    assert (found.kind, found.id, found.channels) == ("iio", "adxl355", 3)
    assert found.rates_hz == (125, 1000, 4000)
    assert found.config_lines == ["  iio1: {kind: iio, device: adxl355, rate_hz: 4000}"]
