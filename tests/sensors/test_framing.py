"""EE1 frames, whole and broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensors.ee1 import Ee1
from sensors.framing import (
    COMMAND,
    FORMATS,
    HEADER,
    INFO,
    MAX_FRAME,
    VERSION,
    DataFrame,
    Decoder,
    Message,
    _seal,
    encode_data,
    encode_info,
    encode_message,
)
from sensors.protocol import ProtocolError

SAMPLES = np.array([[1, -2, 0], [300, -400, 5]], dtype=np.int32)


def data_frame(index: int = 7) -> bytes:
    return encode_data(SAMPLES, fmt="i16", index=index, sequence=3, time_us=12, flags=1)


def broken(frame: bytes) -> bytes:
    """Change a byte of the checksum, which lies just before the closing zero."""
    return frame[:-2] + bytes([frame[-2] ^ 0x40 or 0x41]) + frame[-1:]


def same(frame: object, index: int = 7) -> bool:
    return isinstance(frame, DataFrame) and frame.index == index and np.array_equal(frame.samples, SAMPLES)


def test_the_header_has_the_24_bytes_of_the_specification() -> None:
    assert HEADER.size == 24


@pytest.mark.parametrize("fmt", FORMATS)
def test_samples_survive_the_journey_in_every_format(fmt: str) -> None:
    (frame,) = Decoder().push(encode_data(SAMPLES, fmt=fmt, index=2**32 + 5))
    assert same(frame, index=5)


@pytest.mark.parametrize(("fmt", "extremes"), [("i16", 2**15), ("i24", 2**23), ("i32", 2**31)])
def test_the_smallest_and_largest_numbers_survive(fmt: str, extremes: int) -> None:
    samples = np.array([[-extremes, extremes - 1]], dtype=np.int32)
    (frame,) = Decoder().push(encode_data(samples, fmt=fmt, index=0))
    assert isinstance(frame, DataFrame)
    assert np.array_equal(frame.samples, samples)


def test_messages_survive_the_journey() -> None:
    body: dict[str, Any] = {"serial": "A1", "scale": [0.5]}
    assert Decoder().push(encode_info(body) + encode_message(COMMAND, {"cmd": "info"})) == [
        Message(INFO, body),
        Message(COMMAND, {"cmd": "info"}),
    ]


def test_a_block_of_256_samples_of_three_axes_takes_1572_bytes_on_the_wire() -> None:
    random = np.random.default_rng(0).integers(1, 127, (256, 3)).astype(np.int32) * 257  # no zero byte: the worst case
    assert len(encode_data(random, fmt="i16", index=0)) - len(b"\0") == pytest.approx(1572, abs=2)


def test_frames_arrive_whole_however_the_bytes_are_cut() -> None:
    decoder = Decoder()
    frames = [frame for byte in data_frame() + data_frame(9) for frame in decoder.push(bytes([byte]))]
    assert same(frames[0])
    assert same(frames[1], index=9)
    assert not decoder.counters


def test_a_wrong_checksum_costs_one_frame_and_is_counted() -> None:
    decoder = Decoder()
    frames = decoder.push(data_frame() + broken(data_frame()) + data_frame(9))
    assert len(frames) == 2
    assert decoder.counters["bad_crc"] == 1


def test_half_a_frame_and_garbage_cost_nothing_behind_the_next_zero() -> None:
    decoder = Decoder()
    frame = data_frame()
    assert len(decoder.push(frame[: len(frame) // 2] + frame + b"hello\r\n" + frame)) == 2
    assert decoder.counters["bad_crc"] + decoder.counters["bad_frames"] == 2
    assert decoder.counters["garbage_bytes"] == len(frame) // 2 - 1 + len(b"hello\r\n")


def test_a_flood_without_zeros_takes_no_memory_and_the_next_frame_is_found() -> None:
    decoder = Decoder()
    for _ in range(100):
        assert decoder.push(b"\xaa" * 10_000) == []
        assert len(decoder._rest) <= MAX_FRAME
    assert same(decoder.push(data_frame())[0])
    assert decoder.counters["garbage_bytes"] == 1_000_000


def test_samples_that_are_not_numbers_are_refused() -> None:
    decoder = Decoder()
    assert decoder.push(encode_data(np.array([[np.nan]], dtype=np.float32), fmt="f32", index=0)) == []
    assert decoder.counters["bad_frames"] == 1


def test_samples_that_their_scale_makes_infinite_are_an_error() -> None:
    protocol = Ee1()
    protocol.push(encode_info({"serial": "1", "rate_num": 1000, "unit": "g", "scale": [1e38]}))
    with pytest.raises(ProtocolError, match="beyond all measure"):
        protocol.push(encode_data(np.array([[100]], dtype=np.int32), fmt="i16", index=0))


def test_a_frame_that_comes_twice_passes_once_and_what_follows_is_after_a_gap() -> None:
    protocol = Ee1()
    protocol.push(encode_info({"serial": "1", "rate_num": 1000, "unit": "g", "scale": [1.0, 1.0, 1.0]}))
    frames = [encode_data(SAMPLES, fmt="i16", index=i * 2, sequence=i) for i in range(4)]
    runs = protocol.push(frames[1] + frames[2] + frames[1] + frames[2] + frames[3])
    assert [(run.gap, run.lost_frames) for run in runs] == [(False, 0), (False, 0), (True, 0)]
    assert protocol.counters["repeated_frames"] == 2


def test_a_sensor_that_restarts_and_loses_its_first_frame_is_never_spliced_on() -> None:
    protocol = Ee1()
    protocol.push(encode_info({"serial": "1", "rate_num": 1000, "unit": "g", "scale": [1.0, 1.0, 1.0]}))
    before = [encode_data(SAMPLES, fmt="i16", index=i * 2, sequence=i) for i in range(10)]
    again = [encode_data(SAMPLES, fmt="i16", index=i * 2, sequence=i) for i in range(1, 13)]
    runs = protocol.push(b"".join(before + again))
    assert [run.gap for run in runs] == [False] * 10 + [True, False, False]


@pytest.mark.parametrize("word", ["A7\nforged line", "A\x1b[31m"])
def test_a_name_that_cannot_be_printed_is_refused(word: str) -> None:
    with pytest.raises(ProtocolError, match="cannot be printed"):
        Ee1().push(encode_info({"serial": word, "rate_num": 1000, "unit": "g", "scale": [1.0]}))


def test_a_restarted_sensor_counts_from_zero_and_is_heard() -> None:
    protocol = Ee1()
    protocol.push(encode_info({"serial": "1", "rate_num": 1000, "unit": "g", "scale": [1.0, 1.0, 1.0]}))
    old = encode_data(SAMPLES, fmt="i16", index=20, sequence=10)
    runs = protocol.push(old + encode_data(SAMPLES, fmt="i16", index=0, sequence=0))
    assert [run.gap for run in runs] == [False, True]
    assert protocol.counters["resets"] == 1


def test_a_message_nested_beyond_all_reason_costs_one_frame() -> None:
    decoder = Decoder()
    deep = _seal(HEADER.pack(INFO, VERSION, 0, 0, 0, 0, 0, 0, 0, 0) + b"[" * 60_000)
    (frame,) = decoder.push(deep + data_frame())
    assert same(frame)
    assert decoder.counters["bad_frames"] == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_no_bytes_whatever_upset_the_decoder(chunks: list[bytes]) -> None:
    decoder = Decoder()
    for chunk in chunks:
        decoder.push(chunk)
    decoder.push(b"\0")
    assert same(decoder.push(data_frame())[-1])


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=1, max_value=60), st.integers(min_value=1, max_value=255))
def test_a_damaged_byte_never_yields_other_samples(at: int, change: int) -> None:
    frame = bytearray(data_frame())
    frame[at % (len(frame) - 1) or 1] ^= change
    for found in Decoder().push(bytes(frame)):
        assert same(found)
