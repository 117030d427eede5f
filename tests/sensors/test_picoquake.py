"""PicoQuake: its frames and messages, what passes without a checksum, what it is told and what it may say."""

from __future__ import annotations

import numpy as np
import pytest
from cobs import cobs  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sensors.picoquake import FILTERS_HZ, RATES_HZ, STEPS, PicoQuake
from sensors.picoquake_frames import (
    COMMAND,
    DEVICE_INFO,
    HANDSHAKE,
    START,
    STATUS,
    STOP,
    Splitter,
    encode_message,
    encode_samples,
    open_cobs,
    read_message,
)
from sensors.protocol import ProtocolError

UNIQUE_ID = bytes(range(0x10, 0x18))
RANGE_G = 16
RATE_HZ = 2000


def values(counts: range) -> NDArray[np.float32]:
    """Six numbers a sample that tell its count: whole steps, as the sensor has them."""
    steps = np.array([[c % 1000, -(c % 777), c % 31, 5, -6, 7] for c in counts], dtype=np.float64)
    steps[:, :3] *= RANGE_G / STEPS
    steps[:, 3:] *= 2000 / STEPS
    return steps.astype(np.float32)


def wire(counts: range) -> bytes:
    return encode_samples(np.array(counts, np.uint64), values(counts))


def info(unique_id: bytes = UNIQUE_ID) -> bytes:
    return encode_message(DEVICE_INFO, {1: unique_id, 2: b"1.2.0"})


def status(state: int, *, missed: int = 0, error: int = 0) -> bytes:
    return encode_message(STATUS, {1: state, 2: 30.0, 3: missed, 4: error})


def introduced() -> PicoQuake:
    protocol = PicoQuake()
    protocol.push(info())
    return protocol


def passed(protocol: PicoQuake, data: bytes) -> list[tuple[int, bool, int]]:
    """Frames, gap and lost frames of each run."""
    return [(len(run.values), run.gap, run.lost_frames) for run in protocol.push(data)]


def test_a_message_on_the_wire_has_the_bytes_of_protobuf() -> None:
    assert (
        encode_message(COMMAND, {1: START, 2: 20, 3: 7, 4: 3, 6: 300})
        == b"\0\x04" + cobs.encode(bytes.fromhex("0801 1014 1807 2003 30ac02")) + b"\0"
    )
    assert encode_message(COMMAND, {1: HANDSHAKE}) == b"\0\x04\x01\0"
    assert read_message(bytes.fromhex("0801 15 0000fc41 18ac02 2001")) == {1: 1, 2: 31.5, 3: 300, 4: 1}


@pytest.mark.parametrize("payload", ["08", "0a05 0102", "15 0000", "08ffffffffffffffffffff01"])
def test_a_message_that_ends_too_early_or_never_is_refused(payload: str) -> None:
    with pytest.raises(ValueError, match=r"ends within|64 bits"):
        read_message(bytes.fromhex(payload))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8))
def test_frames_opened_together_are_what_each_holds(payloads: list[bytes]) -> None:
    sealed = np.frombuffer(b"".join(cobs.encode(p) for p in payloads), np.uint8).reshape(len(payloads), 33)
    opened, good = open_cobs(sealed)
    assert good.all()
    assert [row.tobytes() for row in opened] == payloads


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 255), min_size=33, max_size=33))
def test_a_frame_is_whole_exactly_when_the_library_says_so(sealed: list[int]) -> None:
    opened, good = open_cobs(np.array([sealed], np.uint8))
    try:
        by_library = cobs.decode(bytes(sealed))
    except cobs.DecodeError:
        by_library = b""
    assert good[0] == (len(by_library) == 32)
    assert not good[0] or opened[0].tobytes() == by_library


def test_a_sample_takes_36_bytes_and_arrives_however_the_bytes_are_cut() -> None:
    data = wire(range(5000, 5040))
    assert len(data) == 40 * 36
    for size in (1, 7, 36, 100):
        protocol = introduced()
        runs = [run for at in range(0, len(data), size) for run in protocol.push(data[at : at + size])]
        assert np.array_equal(np.concatenate([run.values for run in runs]), values(range(5000, 5040))[:, :3])
        assert not any(run.gap for run in runs)


def test_zeros_between_frames_may_be_shared_or_doubled() -> None:
    data = wire(range(5000, 5010))
    for joined in (data.replace(b"\0\0", b"\0"), data.replace(b"\0\0", b"\0\0\0")):
        assert passed(introduced(), joined) == [(10, False, 0)]


def test_the_device_info_becomes_the_card() -> None:
    card = introduced().card
    assert card is not None
    assert (card.identity, card.rate_hz, card.channels, card.unit) == ("picoquake:1011121314151617", 2000, 3, "g")
    assert (card.full_scale, card.lsb, card.gravity) == ((16.0,) * 3, (16 / 32768,) * 3, True)
    assert card.settings == (("range", "16 g"), ("filter", "785 Hz"))


def test_starting_stops_first_and_tells_rate_range_and_filter_by_index() -> None:
    protocol = PicoQuake(rate_hz=4000, range_g=2)
    found = Splitter().push(protocol.ask() + protocol.start()).others
    assert [kind for kind, _ in found] == [COMMAND] * 3
    handshake, stop, start = (read_message(payload) for _, payload in found)
    assert (handshake, stop) == ({}, {1: STOP})
    assert start == {1: START, 2: FILTERS_HZ.index(1577), 3: RATES_HZ.index(4000), 5: 7}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate_hz": 3000}, "rate_hz 3000 is none of 12.5, 25, .*4000"), ({"range_g": 3}, "range_g 3 is none of 2, 4, 8")],
)
def test_a_rate_or_range_that_it_lacks_is_refused_with_the_list(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PicoQuake(**options)


def test_a_jump_of_the_count_is_lost_samples() -> None:
    assert passed(introduced(), wire(range(5000, 5010)) + wire(range(5025, 5030))) == [(10, False, 0), (5, True, 15)]


def test_a_count_from_zero_is_a_reset() -> None:
    protocol = introduced()
    assert passed(protocol, wire(range(9000, 9010)) + wire(range(5))) == [(10, False, 0), (5, True, 0)]
    assert protocol.counters["resets"] == 1


def test_a_damaged_count_costs_its_sample_and_no_other() -> None:
    data = bytearray(wire(range(0x01010101, 0x01010101 + 10)))
    data[5 * 36 + 4] ^= 0x10
    protocol = introduced()
    assert passed(protocol, bytes(data)) == [(5, False, 0), (4, True, 1)]
    assert protocol.counters["bad_frames"] == 1


def test_samples_that_come_twice_pass_once() -> None:
    protocol = introduced()
    assert passed(protocol, wire(range(5000, 5010)) + wire(range(5004, 5015))) == [(10, False, 0), (5, False, 0)]
    assert protocol.counters["repeated_frames"] == 6


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, np.nan), (1, np.inf), (2, 16.1), (3, -2001), (0, 1.3 * 16 / 32768), (5, 0.4 * 2000 / 32768)],
)
def test_a_number_that_the_sensor_cannot_have_measured_costs_its_sample(column: int, value: float) -> None:
    numbers = values(range(5000, 5010))
    numbers[4, column] = value
    data = encode_samples(np.arange(5000, 5010, dtype=np.uint64), numbers)
    assert passed(introduced(), data) == [(4, False, 0), (5, True, 1)]


def test_a_signalling_nan_costs_its_sample_and_warns_nobody() -> None:
    numbers = values(range(5000, 5010))
    numbers.view(np.uint32)[4, 1] = 0x7FA00000
    data = encode_samples(np.arange(5000, 5010, dtype=np.uint64), numbers)
    assert passed(introduced(), data) == [(4, False, 0), (5, True, 1)]


def test_a_firmware_that_filters_its_samples_is_heard_after_64_of_them() -> None:
    numbers = (values(range(5000, 5200)) * np.float32(0.37)).astype(np.float32)
    protocol = introduced()
    got = [
        passed(protocol, encode_samples(np.arange(at, at + 20, dtype=np.uint64), numbers[at - 5000 : at - 4980]))
        for at in range(5000, 5200, 20)
    ]
    assert [len(runs) for runs in got] == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_samples_of_an_earlier_start_are_left_out_until_the_count_begins_anew() -> None:
    protocol = PicoQuake()
    protocol.push(wire(range(7000, 7010)) + info())
    protocol.start()
    assert passed(protocol, wire(range(7010, 7050))) == []
    assert passed(protocol, wire(range(7050, 7060)) + wire(range(20))) == [(20, False, 0)]


def test_a_sensor_that_does_not_start_anew_is_an_error() -> None:
    protocol = PicoQuake()
    protocol.push(wire(range(7000, 7010)) + info())
    protocol.start()
    with pytest.raises(ProtocolError, match="another program started it"):
        protocol.push(wire(range(7010, 7010 + 2 * RATE_HZ + 10)))


def test_an_error_that_it_reports_twice_ends_the_stream_by_name() -> None:
    protocol = introduced()
    protocol.push(status(2, error=1))
    protocol.push(status(1))
    protocol.push(status(2, error=1))
    with pytest.raises(ProtocolError, match="reports error 1: it cannot talk to its sensor chip"):
        protocol.push(status(2, error=1))


def test_samples_that_it_missed_itself_are_counted() -> None:
    protocol = introduced()
    protocol.push(status(1, missed=5) + status(1, missed=12))
    assert protocol.counters["missed_samples"] == 7


def test_another_sensor_on_the_same_port_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="became another sensor"):
        introduced().push(info(b"\x77" * 8))


def test_a_flood_without_zeros_takes_no_memory_and_the_next_frame_is_found() -> None:
    protocol = introduced()
    for _ in range(10):
        assert protocol.push(b"\xaa" * 10_000) == []
        assert len(protocol._splitter._rest) <= 256
    assert passed(protocol, wire(range(5000, 5010))) == [(10, False, 0)]
    assert protocol.counters["garbage_bytes"] == 100_000
