"""WitMotion's frames and registers: what is found, what is believed, what a card needs."""

from __future__ import annotations

import numpy as np
import pytest

from sensors.protocol import ProtocolError
from sensors.witmotion import ACCELERATION, FRAME, RANGE_REGISTER, RATE_REGISTER, REGISTERS, WitMotion, encode

RATE_200_HZ, RATE_HALF_HZ, RATE_ONCE = 11, 2, 12
READ_RATE, READ_RANGE = bytes.fromhex("ffaa270300"), bytes.fromhex("ffaa272100")


def sample(number: int) -> bytes:
    """An acceleration frame that tells its number, and a rotation frame."""
    axes = np.array([number, -number, 2048, 2500], "<i2").tobytes()
    return encode(ACCELERATION, axes) + encode(0x52, axes)


def samples(numbers: range) -> bytes:
    return b"".join(map(sample, numbers))


def registers(*values: int) -> bytes:
    return encode(REGISTERS, np.array(values, "<u2").tobytes())


def introduced() -> WitMotion:
    protocol = WitMotion()
    protocol.ask()
    protocol.push(samples(range(3)) + registers(RATE_200_HZ, 6, 0, 0))
    protocol.ask()
    protocol.push(registers(3, 0, 0, 0) + sample(0))
    return protocol


def passed(protocol: WitMotion, data: bytes) -> list[tuple[list[int], bool]]:
    """Numbers and gap of each run."""
    return [(np.rint(run.values[:, 0] * 2048).astype(int).tolist(), run.gap) for run in protocol.push(data)]


def test_a_frame_on_the_wire_has_the_bytes_of_the_datasheet() -> None:
    assert encode(0x51, bytes.fromhex("0100 ffff 0008 c409")).hex() == "55510100ffff0008c4097a"


def test_one_register_is_read_at_a_time_and_the_answers_become_the_card() -> None:
    protocol = WitMotion()
    assert protocol.ask() == READ_RATE
    protocol.push(samples(range(3)) + registers(RATE_200_HZ, 6, 0, 0))
    assert protocol.ask() == READ_RANGE
    assert protocol.card is None
    protocol.push(registers(3, 0, 0, 0))
    assert protocol.card is not None
    assert (protocol.card.rate_hz, protocol.card.channels, protocol.card.unit) == (200, 3, "g")
    assert (protocol.card.full_scale, protocol.card.lsb, protocol.card.gravity) == ((16,) * 3, (16 / 32768,) * 3, True)
    assert protocol.card.settings == (("range register", "3"),)
    assert (RATE_REGISTER, RANGE_REGISTER) == (0x03, 0x21)


def test_a_second_answer_about_the_rate_is_not_taken_for_the_range() -> None:
    protocol = WitMotion()
    protocol.push(samples(range(3)) + registers(RATE_200_HZ, 6, 0, 0) + registers(RATE_200_HZ, 6, 0, 0))
    assert protocol.card is None


def test_a_unit_that_does_not_tell_its_range_opens_all_the_same() -> None:
    protocol = WitMotion()
    protocol.push(samples(range(3)) + registers(RATE_200_HZ, 6, 0, 0))
    for _ in range(3):
        protocol.ask()
    protocol.push(sample(3))
    assert protocol.card is not None


def test_a_silent_unit_needs_its_rate_from_the_configuration() -> None:
    protocol, told = WitMotion(), WitMotion(rate_hz=100)
    for each in (protocol, told):
        for _ in range(3):
            each.ask()
        each.push(samples(range(30)))
    assert protocol.card is None
    assert protocol.why_unknown().endswith("give rate_hz")
    assert told.card is not None
    assert told.card.rate_hz == 100


def test_a_unit_that_sends_no_acceleration_says_so() -> None:
    protocol = WitMotion()
    protocol.push(encode(0x53, bytes(8)) * 9 + registers(RATE_200_HZ, 6, 0, 0))
    assert protocol.card is None
    assert "sends no acceleration" in protocol.why_unknown()


@pytest.mark.parametrize(("code", "message"), [(RATE_HALF_HZ, "is 0.5: set one"), (RATE_ONCE, "is none: set one")])
def test_a_unit_that_returns_too_little_is_an_error(code: int, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        WitMotion().push(samples(range(3)) + registers(code, 6, 0, 0))


def test_a_rate_that_contradicts_the_configuration_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="returns 200 samples per second, rate_hz says 100"):
        WitMotion(rate_hz=100).push(samples(range(3)) + registers(RATE_200_HZ, 6, 0, 0))


def test_samples_arrive_however_the_bytes_are_cut() -> None:
    data = samples(range(50))
    for size in (1, 7, 11, 100, 2000):
        protocol = introduced()
        got = [run for at in range(0, len(data), size) for run in passed(protocol, data[at : at + size])]
        assert [number for numbers, _ in got for number in numbers] == list(range(50))
        assert not any(gap for _, gap in got)


def test_a_wrong_byte_costs_its_frame_and_marks_the_next_sample() -> None:
    data = bytearray(samples(range(10)))
    data[5 * 2 * FRAME + 3] ^= 1
    protocol = introduced()
    assert passed(protocol, bytes(data)) == [([0, 1, 2, 3, 4], False), ([6, 7, 8, 9], True)]
    assert protocol.counters["bad_frames"] == 1
    assert protocol.counters["garbage_bytes"] == FRAME


def test_a_frame_alone_amid_noise_is_not_believed() -> None:
    protocol = introduced()
    data = b"noise noise" + sample(77)[:FRAME] + b"noise noise noise" + samples(range(5))
    assert passed(protocol, data) == [([0, 1, 2, 3, 4], True)]


def test_a_flood_without_a_frame_takes_no_memory_and_the_next_one_is_found() -> None:
    protocol = introduced()
    for _ in range(20):
        protocol.push(b"\x55\x51" * 5_000)
        assert len(protocol._rest) < 2 * FRAME
    assert passed(protocol, samples(range(5)))[-1][0][-4:] == [1, 2, 3, 4]
