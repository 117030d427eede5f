"""The WTVB01: what its registers say, and that nothing but a good answer ever becomes a reading."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from sensors import Block, SensorFault, SensorUnavailable
from sensors.pty_vibration_meter import PtyVibrationMeter, crc16
from sensors.vibration_meter import VibrationMeter


@pytest.fixture
def meter() -> Iterator[PtyVibrationMeter]:
    with PtyVibrationMeter() as made:
        yield made


def driver(meter: PtyVibrationMeter, **options: object) -> VibrationMeter:
    given = {"velocity_scale_mm_s": 0.001, "rate_hz": 10, **options}
    return VibrationMeter("d", port=meter.port, **given)  # type: ignore[arg-type]


def unavailable(source: VibrationMeter) -> str:
    with pytest.raises(SensorUnavailable) as caught:
        source.open()
    assert "\n" not in caught.value.message
    return caught.value.message


def next_block(source: VibrationMeter) -> Block:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if (block := source.read()) is not None:
            return block
    raise AssertionError("no reading came")


def read_until_fault(source: VibrationMeter) -> str:
    with pytest.raises(SensorFault) as caught:
        _read_for(source, 8)
    return caught.value.message


def _read_for(source: VibrationMeter, seconds: float) -> list[Block]:
    deadline, blocks = time.monotonic() + seconds, []
    while time.monotonic() < deadline:
        if (block := source.read()) is not None:
            blocks.append(block)
    return blocks


def test_the_checksum_is_that_of_modbus() -> None:
    # the example of the specification's appendix B, slave 2 function 7, and the check value of CRC-16/MODBUS
    assert crc16(bytes([0x02, 0x07])) == bytes([0x41, 0x12])
    assert crc16(b"123456789") == bytes([0x37, 0x4B])


def test_each_channel_is_named_with_its_unit(meter: PtyVibrationMeter) -> None:
    source = driver(meter)
    info = source.open()
    source.close()
    assert info.indicators == (
        "acceleration_x_g",
        "acceleration_y_g",
        "acceleration_z_g",
        "velocity_x_mm_s",
        "velocity_y_mm_s",
        "velocity_z_mm_s",
        "temperature_c",
        "displacement_x_um",
        "displacement_y_um",
        "displacement_z_um",
    )
    assert (info.calibration, info.rate_hz) == ("unverified", 10)


def test_registers_become_units_by_the_scales(meter: PtyVibrationMeter) -> None:
    source = driver(meter, velocity_scale_mm_s=1.0)
    source.open()
    reading = next_block(source).samples
    source.close()
    assert reading.shape == (1, 10)
    step_g = 16 / 32768
    assert reading[0, :3] == pytest.approx([120 * step_g, -85 * step_g, 1.0], abs=3 * step_g)
    assert reading[0, 3:6] == pytest.approx([1200, 900, 700], abs=3)
    assert reading[0, 6] == pytest.approx(26.5, abs=0.03)
    assert reading[0, 7:] == pytest.approx([12, 9, 7], abs=3)


def test_only_what_was_asked_for_is_read_and_needs_a_scale(meter: PtyVibrationMeter) -> None:
    source = driver(meter, quantities=["temperature"], velocity_scale_mm_s=None)
    assert source.open().indicators == ("temperature_c",)
    assert next_block(source).samples.shape == (1, 1)
    source.close()


def test_a_velocity_without_a_scale_is_refused_with_both_readings_that_exist() -> None:
    with pytest.raises(ValueError, match=r"as 1 mm/s and as 0\.001 mm/s"):
        VibrationMeter("d", port="/dev/ttyUSB0")


@pytest.mark.parametrize(
    "options", [{"quantities": []}, {"quantities": ["frequency"]}, {"rate_hz": 11}, {"address": 0}]
)
def test_an_option_that_makes_no_sense_is_refused_at_once(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"quantities are|rate_hz is 1 to 10"):
        VibrationMeter("d", port="/dev/ttyUSB0", velocity_scale_mm_s=1.0, **options)  # type: ignore[arg-type]


def test_a_meter_that_is_silent_says_what_to_check(meter: PtyVibrationMeter) -> None:
    meter.silent.set()
    message = unavailable(driver(meter))
    assert message == (
        f"nothing answers at address 0x50 on {meter.port}, 9600 baud: "
        "check power, address, baud, and that A and B are not swapped"
    )


def test_a_wrong_address_is_silent_too(meter: PtyVibrationMeter) -> None:
    assert "nothing answers at address 0x51" in unavailable(driver(meter, address=0x51))


def test_another_slave_that_answers_is_named(meter: PtyVibrationMeter) -> None:
    meter.spoil = foreign
    assert unavailable(driver(meter)).endswith("9600 baud, and address 0x07 answered")


def test_a_refusal_is_told_as_the_other_side_put_it(meter: PtyVibrationMeter) -> None:
    meter.refuse_with = 2
    assert unavailable(driver(meter)).endswith("is no WTVB01, or is busy: Slave reported illegal data address")


def test_a_damaged_answer_fails_its_checksum(meter: PtyVibrationMeter) -> None:
    meter.spoil = damaged
    assert "fails its checksum: check baud" in unavailable(driver(meter))


@pytest.mark.parametrize("length", [1, 3, 20])
def test_a_short_answer_is_no_reading(meter: PtyVibrationMeter, length: int) -> None:
    meter.spoil = lambda answer: answer[:length]
    assert f"what came from address 0x50 on {meter.port}" in unavailable(driver(meter))


def test_an_answer_of_another_length_is_no_reading(meter: PtyVibrationMeter) -> None:
    meter.spoil = lambda answer: (body := answer[:2] + b"\x02\x00\x01") + crc16(body)
    assert "is no answer of a WTVB01" in unavailable(driver(meter))


def test_a_sensor_of_another_kind_on_the_port_is_no_meter(meter: PtyVibrationMeter) -> None:
    meter.spoil = lambda _: b"\x55\x61" * 30
    assert "fails its checksum: check baud, wiring" in unavailable(driver(meter))


def test_a_meter_whose_registers_are_all_zero_is_refused(meter: PtyVibrationMeter) -> None:
    meter.zeros.set()
    assert "every register of the meter" in unavailable(driver(meter))


def test_accelerations_that_are_exactly_zero_are_refused_and_can_be_left_out(meter: PtyVibrationMeter) -> None:
    meter.registers.update({0x34: 0, 0x35: 0, 0x36: 0})
    assert "leave acceleration out of quantities" in unavailable(driver(meter))
    source = driver(meter, quantities=["velocity", "temperature"])
    source.open()
    assert next_block(source).samples.all()
    source.close()


def test_a_machine_at_rest_may_have_no_velocity(meter: PtyVibrationMeter) -> None:
    meter.registers.update({0x3A: 0, 0x3B: 0, 0x3C: 0})
    source = driver(meter)
    source.open()
    assert next_block(source).samples[0, 3:6].tolist() == [0, 0, 0]
    source.close()


def test_one_bad_answer_at_opening_is_asked_again(meter: PtyVibrationMeter) -> None:
    meter.skip(1)
    source = driver(meter)
    source.open()
    source.close()
    assert source.counters["no_answer"] == 1


def damaged(answer: bytes) -> bytes:
    return answer[:-1] + bytes([answer[-1] ^ 1])


def foreign(answer: bytes) -> bytes:
    return (body := b"\x07" + answer[1:-2]) + crc16(body)


TROUBLES: dict[str, Callable[[PtyVibrationMeter], object]] = {
    "no_answer": lambda meter: meter.skip(1),
    "bad_crc": lambda meter: setattr(meter, "spoil", damaged),
    "bad_answers": lambda meter: setattr(meter, "spoil", foreign),
    "refusals": lambda meter: setattr(meter, "refuse_with", 6),
    "zeros": lambda meter: meter.zeros.set(),
}


@pytest.mark.parametrize("counter", TROUBLES)
def test_what_is_no_reading_is_counted_and_leaves_a_gap(meter: PtyVibrationMeter, counter: str) -> None:
    source = driver(meter)
    source.open()
    first = next_block(source)
    TROUBLES[counter](meter)
    assert source.read() is None
    meter.zeros.clear()
    meter.refuse_with, meter.spoil = None, None
    block = next_block(source)
    source.close()
    assert source.counters[counter] == 1
    assert block.after_gap
    assert (block.index - first.index, block.lost_frames) == (2, 1)
    assert (source.counters["gaps"], source.counters["lost_frames"]) == (1, 1)


def test_readings_that_were_due_while_nobody_asked_are_lost_and_counted(meter: PtyVibrationMeter) -> None:
    source = driver(meter)
    source.open()
    first = next_block(source)
    time.sleep(1.3)
    block = next_block(source)
    source.close()
    assert block.after_gap
    assert block.lost_frames == block.index - first.index - 1 >= 10


def test_a_meter_that_falls_silent_is_a_fault_within_five_seconds(meter: PtyVibrationMeter) -> None:
    source = driver(meter)
    source.open()
    next_block(source)
    meter.silent.set()
    start = time.monotonic()
    assert read_until_fault(source).startswith("no reading for 4 s: nothing answers at address 0x50")
    assert time.monotonic() - start < 5.5
    source.close()


def test_a_meter_that_reads_zero_on_and_on_is_a_fault_too(meter: PtyVibrationMeter) -> None:
    source = driver(meter, rate_hz=2)
    source.open()
    next_block(source)
    meter.zeros.set()
    assert "every register of the meter" in read_until_fault(source)
    source.close()


def test_a_port_that_is_taken_says_so(meter: PtyVibrationMeter) -> None:
    first, second = driver(meter), driver(meter)
    first.open()
    assert unavailable(second) == f"{meter.port} is in use by another program: stop it, or choose another port"
    first.close()


def test_between_two_readings_a_second_nobody_waits_long(meter: PtyVibrationMeter) -> None:
    source = driver(meter, rate_hz=1)
    source.open()
    next_block(source)
    assert source.read() is None
    block = next_block(source)
    source.close()
    assert (block.index, block.after_gap) == (1, False)


def test_the_stand_in_takes_a_written_register(meter: PtyVibrationMeter) -> None:
    request = bytes.fromhex("50 06 0065 000a")
    request += crc16(request)
    assert meter.answer(request) == request
    assert meter.registers[0x65] == 10
