"""The reference firmware: what its portable half says and hears, its drivers against imitated chips, and its images."""

from __future__ import annotations

import binascii
import ctypes
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sensors.ee1 import read_card
from sensors.framing import (
    ACK,
    CLIPPED,
    COMMAND,
    EVENT,
    FORMATS,
    GAP_BEFORE,
    HEADER,
    INFO,
    LAST,
    STATUS,
    VERSION,
    DataFrame,
    Decoder,
    Message,
    _seal,
    encode_data,
    encode_message,
)

FIRMWARE = Path(__file__).parents[2] / "sensors" / "firmware"
SENSORS = {"adxl355": 921_600, "iis3dwb": 3_000_000}
RING = 65_536
WIDTH = {"i16": 2, "i24": 3, "i32": 4, "f32": 4}
MAX_PAYLOAD = 1536

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler: Debian package gcc")

BENCH = """
#include "ee1.h"
static ee1_stream stream;
static ee1_sensor bench = {.name = "bench", .scale_g = "0.5", .range_g = "16"};
bool bench_open(uint8_t channels, uint8_t format, uint16_t frame_samples, uint32_t rate, int32_t limit)
{
    bench.channels = channels;
    bench.format = format;
    bench.frame_samples = frame_samples;
    bench.rate_num = rate;
    bench.rate_den = 1;
    bench.lowest = -limit;
    bench.highest = limit;
    return ee1_open(&stream, &bench, "BENCH-1", "1.0");
}
bool bench_open_as(const ee1_sensor *card) { return ee1_open(&stream, card, "0123456789ABCDEF", "1.0"); }
void bench_count_from(uint32_t index) { stream.index = index; }
void bench_batch(const int32_t *samples, size_t count, uint64_t now_us) { ee1_batch(&stream, samples, count, now_us); }
void bench_missed(uint64_t now_us) { ee1_missed(&stream, now_us); }
void bench_receive(const uint8_t *bytes, size_t length) { while (length--) ee1_receive(&stream, *bytes++); }
void bench_info(void) { ee1_info(&stream); }
void bench_status(void) { ee1_status(&stream); }
void bench_wrong_chip(uint32_t answered) { ee1_wrong_chip(&stream, answered); }
size_t bench_sent(uint8_t *to, size_t room)
{
    const uint8_t *start;
    size_t length = ee1_ring_peek(&stream.ring, &start);
    length = length < room ? length : room;
    for (size_t i = 0; i < length; i++) to[i] = start[i];
    stream.ring.taken += (uint32_t)length;
    return length;
}
"""

# Steps on standard input: a letter (b samples, m a loss, c COBS alone, r from the host), half a length, those bytes.
ABUSE = """
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    uint8_t *bytes = malloc(512), *sent = malloc(4096);  /* from the heap: a step beyond is seen */
    if (!bench_open(3, EE1_I16, 256, 26667, 32767)) return 1;
    for (int what; (what = getchar()) != EOF;) {
        size_t got = fread(bytes, 1, (size_t)getchar() * 2, stdin);
        if (what == 'b') {
            int32_t *samples = malloc(got / 12 * 12 + 1);
            for (size_t i = 0; i < got / 12 * 3; i++) samples[i] = (int32_t)(bytes[4 * i] * 0x01010101u);
            bench_batch(samples, got / 12, (uint64_t)got << 32);
            free(samples);
        } else if (what == 'c') {
            uint8_t *exact = malloc(got + 1);  /* the stream's own buffers lie side by side: there a step goes unseen */
            for (size_t i = 0; i < got; i++) exact[i] = bytes[i];
            exact = realloc(exact, got ? got : 1);
            if (ee1_cobs_decode(exact, got) > got) return 2;
            free(exact);
        } else if (what == 'm') {
            bench_missed((uint64_t)bytes[0] << 56);
        } else {
            bench_receive(bytes, got);
        }
        for (size_t length; what != 'b' && (length = bench_sent(sent, 4096)) > 0;) fwrite(sent, 1, length, stdout);
    }
    free(bytes);
    free(sent);
    return 0;
}
"""

CHIP = """
#include "sensor.h"
#include "rp2040.h"
static void (*chip)(const uint8_t *, size_t, uint8_t *, size_t);
static sensor_batch batch;
void bench_chip(void (*answers)(const uint8_t *, size_t, uint8_t *, size_t)) { chip = answers; }
void spi_exchange(const uint8_t *out, size_t out_length, uint8_t *in, size_t in_length)
{
    chip(out, out_length, in, in_length);
}
void sleep_us(uint32_t us) { (void)us; }
bool bench_read(const int32_t **samples, size_t *count)
{
    sensor_read(&batch);
    *samples = batch.samples;
    *count = batch.count;
    return batch.lost;
}
"""


def compiled(folder: Path, name: str, source: str, *arguments: str) -> Path:
    """Compile a bench for the firmware's portable files on this machine."""
    (folder / f"{name}.c").write_text(source)
    made = folder / name
    command = ["cc", "-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{FIRMWARE}", f"{folder / name}.c"]
    subprocess.run([*command, str(FIRMWARE / "ee1.c"), *arguments, "-o", str(made)], check=True)
    return made


class Bench:
    """The firmware's portable half, loaded into this process; there is one stream, which ``open`` starts anew."""

    def __init__(self, library: Path) -> None:
        self.c = ctypes.CDLL(str(library))
        self.c.bench_sent.restype = ctypes.c_size_t
        self.c.bench_open.restype = self.c.bench_open_as.restype = ctypes.c_bool

    def open(
        self, fmt: str = "i16", channels: int = 3, frame: int = 16, rate: int = 1000, limit: int = 2**31 - 1
    ) -> None:
        assert self.c.bench_open(channels, FORMATS[fmt], frame, rate, limit)
        self.decoder = Decoder()

    def batch(self, samples: NDArray[np.int32], now_us: int = 0) -> None:
        held = np.ascontiguousarray(samples, dtype=np.int32)
        self.c.bench_batch(held.ctypes.data_as(ctypes.c_void_p), ctypes.c_size_t(len(held)), ctypes.c_uint64(now_us))

    def missed(self, now_us: int) -> None:
        self.c.bench_missed(ctypes.c_uint64(now_us))

    def hear(self, data: bytes) -> None:
        self.c.bench_receive(data, ctypes.c_size_t(len(data)))

    def wire(self) -> bytes:
        """Return what the port would have sent by now."""
        sent, room = b"", ctypes.create_string_buffer(4096)
        while length := self.c.bench_sent(room, ctypes.c_size_t(4096)):
            sent += room.raw[:length]
        return sent

    def frames(self) -> list[Any]:
        """Return what the host would make of it; nothing may be broken."""
        frames = self.decoder.push(self.wire())
        assert not self.decoder.counters
        return frames

    def ask(self, body: dict[str, Any], sequence: int = 0) -> list[Any]:
        self.hear(encode_message(COMMAND, body, sequence=sequence))
        return self.frames()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(compiled(tmp_path_factory.mktemp("bench"), "bench.so", BENCH, "-shared", "-fPIC"))


def counted(samples: int, channels: int = 3, start: int = 0) -> NDArray[np.int32]:
    return np.arange(start * channels, (start + samples) * channels, dtype=np.int32).reshape(samples, channels)


LIMITS = {"i16": 2**15, "i24": 2**23, "i32": 2**31}


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(), fmt=st.sampled_from(sorted(FORMATS)), channels=st.integers(1, 8), start=st.integers(0, 2**32 - 1)
)
def test_samples_of_every_format_and_shape_arrive_as_they_were_taken(
    bench: Bench, data: st.DataObject, fmt: str, channels: int, start: int
) -> None:
    frame = data.draw(st.integers(1, MAX_PAYLOAD // channels // WIDTH[fmt]))
    sizes = data.draw(st.lists(st.integers(0, 300), min_size=1, max_size=6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shape = sum(sizes), channels
    if fmt == "f32":
        taken = rng.normal(size=shape).astype(np.float32)
        words = taken.view(np.int32)
    else:
        spread = data.draw(st.integers(1, LIMITS[fmt]))  # small ones are full of zeros, large ones have none
        words = taken = rng.integers(-spread, spread, shape, dtype=np.int64).astype(np.int32)
    bench.open(fmt, channels, frame, rate=1000)
    bench.c.bench_count_from(ctypes.c_uint32(start))
    at, now_us, times, wire = 0, 10**9, [], b""
    for size in sizes:
        now_us += 1000 * size
        bench.batch(words[at : at + size], now_us)
        times += [now_us - 1000 * (size - 1 - i) for i in range(size)]
        at += size
        wire += bench.wire()
    whole = at // frame
    expected = [
        encode_data(
            taken[k * frame : (k + 1) * frame],
            fmt=fmt,
            index=start + k * frame,
            sequence=k,
            time_us=times[k * frame],
            flags=CLIPPED if fmt == "i32" and -(2**31) in taken[k * frame : (k + 1) * frame] else 0,
        )
        for k in range(whole)
    ]
    assert wire == b"".join(expected)
    assert sum(len(frame.samples) for frame in Decoder().push(wire) if isinstance(frame, DataFrame)) == whole * frame


@pytest.mark.parametrize("samples", range(90, 140))
def test_runs_without_a_zero_are_cut_where_cobs_demands(bench: Bench, samples: int) -> None:
    stored = np.full((samples, 1), 0x0101, dtype=np.int32)
    bench.open("i16", channels=1, frame=samples)
    bench.batch(stored, now_us=10**6)
    time_us = 10**6 - 1000 * (samples - 1)
    assert bench.wire() == encode_data(stored, fmt="i16", index=0, time_us=time_us)


def test_a_sample_at_the_end_of_the_range_marks_its_frame_and_no_other(bench: Bench) -> None:
    bench.open(frame=4, limit=100)
    for value in (99, 100, -99, -100):
        bench.batch(np.full((4, 3), value))
    assert [frame.flags for frame in bench.frames()] == [0, CLIPPED, 0, CLIPPED]


def test_a_sensor_whose_frames_would_not_fit_is_refused(bench: Bench) -> None:
    assert bench.c.bench_open(3, FORMATS["i16"], 256, 1000, 1)
    assert not bench.c.bench_open(3, FORMATS["i16"], 257, 1000, 1)
    assert not bench.c.bench_open(3, 5, 1, 1000, 1)
    assert not bench.c.bench_open(9, FORMATS["i16"], 1, 1000, 1)


def test_what_the_sensor_lost_advances_the_index_and_starts_a_new_frame(bench: Bench) -> None:
    bench.open(frame=16, rate=1000)
    bench.batch(counted(20), now_us=20_000)
    bench.missed(now_us=70_000)  # 50 samples later
    bench.batch(counted(16), now_us=86_000)
    frames = bench.frames()
    assert [(frame.index, len(frame.samples), frame.flags) for frame in frames] == [
        (0, 16, 0),
        (16, 4, 0),
        (70, 16, GAP_BEFORE),
    ]
    assert frames[2].time_us == 71_000
    bench.c.bench_status()
    assert bench.frames()[0].body["dropped"] == 50


def test_a_full_ring_drops_whole_frames_and_marks_the_gap(bench: Bench) -> None:
    bench.open(frame=256)
    for start in range(0, 256 * 60, 256):
        bench.batch(counted(256, start=start))
    wire = bench.wire()
    assert RING - 1573 < len(wire) <= RING
    kept = bench.decoder.push(wire)
    assert [frame.index for frame in kept] == list(range(0, 256 * len(kept), 256))
    bench.batch(counted(256, start=256 * 60))
    bench.batch(counted(256, start=256 * 61))
    after = bench.frames()
    assert [(frame.index, frame.flags) for frame in after] == [(256 * 60, GAP_BEFORE), (256 * 61, 0)]
    assert [frame.sequence for frame in after] == [len(kept), len(kept) + 1]
    assert np.array_equal(after[0].samples, counted(256, start=256 * 60).astype(np.int16))
    bench.c.bench_status()
    status = bench.frames()[0]
    assert status.kind == STATUS
    assert status.body["dropped"] == 256 * (60 - len(kept))
    assert status.body["ring_high"] == len(wire)


def test_the_index_counts_on_past_32_bits(bench: Bench) -> None:
    bench.open(frame=16)
    bench.c.bench_count_from(ctypes.c_uint32(2**32 - 16))
    bench.batch(counted(32))
    assert [frame.index for frame in bench.frames()] == [2**32 - 16, 0]


def test_stop_ends_the_stream_with_a_last_frame_and_start_goes_on_after_a_gap(bench: Bench) -> None:
    bench.open(frame=16)
    bench.batch(counted(20))
    stopped = bench.ask({"cmd": "stop"}, sequence=7)
    assert [frame.flags for frame in stopped[:2]] == [0, LAST]
    assert stopped[2] == Message(ACK, {"cmd": "stop", "id": 7, "ok": True}, 2)
    bench.batch(counted(100))
    assert bench.frames() == []
    assert bench.ask({"cmd": "start"}, sequence=8) == [Message(ACK, {"cmd": "start", "id": 8, "ok": True}, 3)]
    bench.batch(counted(16))
    (frame,) = bench.frames()
    assert (frame.index, frame.flags) == (120, GAP_BEFORE)
    bench.c.bench_status()
    assert bench.frames()[0].body["dropped"] == 0  # a pause that was asked for is no loss


def test_the_host_can_read_what_the_firmware_says_of_itself(bench: Bench) -> None:
    bench.open()
    (info,) = bench.ask({"cmd": "info"})
    assert info.kind == INFO
    card, scale = read_card(info.body)
    assert (card.identity, card.rate_hz, card.channels, card.unit) == ("ee1:BENCH-1", 1000, 3, "g")
    assert list(scale) == [0.5, 0.5, 0.5]
    assert info.body["sensor"] == "bench"
    assert info.body["range"] == 16


@pytest.mark.parametrize(
    "text", ["", "{}", '{"cmd": 5}', '{"cmd": "x', '["cmd"]', '{"cmd": "a\\"b"}', '{"x": {"cmd": "stop"}}']
)
def test_a_command_without_a_name_is_answered_as_unknown(bench: Bench, text: str) -> None:
    bench.open()
    bench.hear(frame_of(text.encode()))
    assert bench.frames() == [Message(ACK, {"cmd": "", "id": 0, "ok": False, "error": "unknown command"}, 0)]


def frame_of(payload: bytes, kind: int = COMMAND) -> bytes:
    """Return a good frame with any payload, JSON or not."""
    return _seal(HEADER.pack(kind, VERSION, 0, 0, 0, 0, 0, 0, 0, 0) + payload)


@given(
    before=st.dictionaries(st.text(max_size=5).filter(lambda key: key != "cmd"), st.text(max_size=8), max_size=2),
    nested=st.recursive(st.just("stop"), lambda inner: st.fixed_dictionaries({"cmd": inner}) | st.tuples(inner)),
    name=st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=70),
)
@settings(max_examples=300, deadline=None)
def test_only_the_name_in_the_outermost_object_counts(
    bench: Bench, before: dict[str, str], nested: Any, name: str
) -> None:
    body = {**before, "nested": nested, "cmd": name}
    frame = encode_message(COMMAND, body, sequence=2**32 - 1)
    bench.open()
    bench.hear(frame)
    frames = bench.frames()
    if len(frame) - 2 > 192:
        assert frames == []
    elif name == "info":
        assert frames[0].kind == INFO
    elif len(name) > 32:
        assert frames == [Message(ACK, {"cmd": "", "id": 2**32 - 1, "ok": False, "error": "unknown command"}, 0)]
    else:
        known = {"ok": True} if name in ("start", "stop") else {"ok": False, "error": "unknown command"}
        assert frames == [Message(ACK, {"cmd": name, "id": 2**32 - 1, **known}, 0)]


def test_other_frames_broken_commands_and_noise_are_not_answered(bench: Bench) -> None:
    bench.open()
    good = encode_message(COMMAND, {"cmd": "stop"})
    bench.hear(good[:-2] + bytes([good[-2] ^ 0x40 or 0x41]) + b"\0")
    bench.hear(encode_message(INFO, {"cmd": "stop"}))
    bench.hear(b"noise" * 500 + b"\0" + b"\xff\xff\0\x01\0")
    assert bench.frames() == []
    assert [frame.kind for frame in bench.ask({"cmd": "stop"})] == [ACK]  # and the place is found again


def test_the_longest_texts_still_are_whole_messages(bench: Bench) -> None:
    bench.open("i16", channels=8, frame=1)
    bench.c.bench_info()
    bench.c.bench_wrong_chip(ctypes.c_uint32(2**32 - 1))
    bench.c.bench_status()
    assert [frame.kind for frame in bench.frames()] == [INFO, EVENT, STATUS]
    assert bench.ask({"cmd": "x" * 32}, sequence=2**32 - 1)[0].body["cmd"] == "x" * 32


def test_nothing_that_arrives_makes_it_step_outside_its_buffers(tmp_path: Path) -> None:
    try:
        sanitized = "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
        program = compiled(tmp_path, "abuse", BENCH + ABUSE, *sanitized)
    except subprocess.CalledProcessError:
        pytest.skip("needs the sanitizers of the C compiler: Debian package libasan8 or its like")
    rng = np.random.default_rng(5)
    stretches = []
    for _ in range(6000):
        kind = rng.integers(5)
        letter = b"bmccrrrr"[rng.integers(8)]
        if kind == 0:
            stretch = rng.bytes(rng.integers(0, 510))
        elif kind == 1:  # few different bytes: much that looks like COBS
            stretch = bytes(rng.integers(0, 5, rng.integers(0, 510)).astype(np.uint8))
        else:
            payload = json.dumps({"cmd": ["info", "stop", "start", "?", "?" * 99][rng.integers(5)]}).encode()
            if kind == 2:
                payload = bytes(rng.choice(list(b'{}[]":,\\cmdinfo'), rng.integers(0, 170)).astype(np.uint8))
            damaged = bytearray(frame_of(payload))
            if kind == 3:
                damaged[rng.integers(len(damaged))] = rng.integers(256)
            stretch = bytes(damaged)
        stretch += bytes(len(stretch) % 2)
        stretches.append(bytes([letter, len(stretch) // 2]) + stretch)
    done = subprocess.run([program], input=b"".join(stretches), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[:2000]
    decoder = Decoder()
    kinds = {frame.kind for frame in decoder.push(done.stdout) if isinstance(frame, Message)}
    assert {INFO, ACK} <= kinds
    assert not decoder.counters


# ---- the drivers ----


class Driver(Bench):
    """A driver whose chip answers from a table: register to bytes; what is not in it reads as zeros."""

    def __init__(self, folder: Path, name: str) -> None:
        arguments = str(FIRMWARE / f"{name}.c"), f"-DBAUD={SENSORS[name]}u", "-shared", "-fPIC"
        super().__init__(compiled(folder, f"{name}.so", BENCH + CHIP, *arguments))
        self.c.sensor_start.restype = ctypes.c_uint32
        self.c.bench_read.restype = ctypes.c_bool
        self.shifted = name == "adxl355"
        self.written: list[tuple[int, int]] = []
        self.answers: dict[int, bytes] = {}
        kind = ctypes.CFUNCTYPE(None, *[ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t] * 2)
        self._chip = kind(self._exchange)
        self.c.bench_chip(self._chip)

    def _exchange(self, out: Any, out_length: int, into: Any, in_length: int) -> None:
        if out_length == 2:
            self.written.append((out[0] >> 1 if self.shifted else out[0], out[1]))
            return
        register = out[0] >> 1 if self.shifted else out[0] & 0x7F
        answer = self.answers.get(register, b"")[:in_length].ljust(in_length, b"\0")
        for at, byte in enumerate(answer):
            into[at] = byte

    def read(self) -> tuple[NDArray[np.int32], bool]:
        samples, count = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_size_t()
        lost = self.c.bench_read(ctypes.byref(samples), ctypes.byref(count))
        return np.array(samples[: 3 * count.value], dtype=np.int32).reshape(-1, 3), lost


def adxl355_entries(samples: NDArray[np.int32]) -> bytes:
    """Return 20-bit samples as the chip's FIFO gives them: left-justified, highest byte first, X marked."""
    return b"".join(
        struct.pack(">i", int(value) << 12)[:2] + bytes([(int(value) & 15) << 4 | (axis == 0)])
        for row in samples
        for axis, value in enumerate(row)
    )


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Driver]:
    folder = tmp_path_factory.mktemp("drivers")
    return {name: Driver(folder, name) for name in SENSORS}


@pytest.mark.parametrize("name", SENSORS)
def test_each_sensor_describes_itself_so_that_the_host_can_use_it(drivers: dict[str, Driver], name: str) -> None:
    driver = drivers[name]
    assert driver.c.bench_open_as(ctypes.byref(ctypes.c_uint8.in_dll(driver.c, "sensor")))
    driver.decoder = Decoder()
    (info,) = driver.ask({"cmd": "info"})
    card, scale = read_card(info.body)
    rate, full_scale = {"adxl355": (4000, 2**23), "iis3dwb": (26667, 2**15)}[name]
    assert (card.identity, card.rate_hz, card.channels, card.unit) == ("ee1:0123456789ABCDEF", rate, 3, "g")
    assert scale[0] * full_scale == pytest.approx(info.body["range"], rel=0.03)


@pytest.mark.parametrize(
    ("name", "register", "identity", "measure"),
    [("adxl355", 0, b"\xad\x1d\xed", (0x2D, 0)), ("iis3dwb", 0x0F, b"\x7b", (0x10, 0xA4))],
)
def test_a_driver_knows_its_chip_and_sets_it_measuring_last(
    drivers: dict[str, Driver], name: str, register: int, identity: bytes, measure: tuple[int, int]
) -> None:
    driver = drivers[name]
    driver.answers = {register: identity}
    assert driver.c.sensor_start() == ctypes.c_uint32.in_dll(driver.c, "sensor_identity").value
    assert driver.written[-1] == measure
    driver.answers = {}
    assert driver.c.sensor_start() == 0


def test_the_adxl355s_twenty_bits_keep_their_sign_and_fill_24(drivers: dict[str, Driver]) -> None:
    driver = drivers["adxl355"]
    driver.c.sensor_start()
    samples = np.array([[1, -1, 0], [-(2**19), 2**19 - 1, 77]], dtype=np.int32)
    driver.answers = {4: bytes([0, 6]), 0x11: adxl355_entries(samples)}
    read, lost = driver.read()
    assert not lost
    assert np.array_equal(read, samples * 16)


def test_the_adxl355s_sample_may_come_in_two_reads(drivers: dict[str, Driver]) -> None:
    driver = drivers["adxl355"]
    driver.c.sensor_start()
    entries = adxl355_entries(counted(3))
    driver.answers = {4: bytes([0, 4]), 0x11: entries[:12]}
    first, _ = driver.read()
    driver.answers = {4: bytes([0, 5]), 0x11: entries[12:]}
    second, lost = driver.read()
    assert not lost
    assert np.array_equal(np.concatenate([first, second]), counted(3) * 16)


@pytest.mark.parametrize("missing", range(3))
def test_an_axis_that_the_adxl355_lost_is_noticed(drivers: dict[str, Driver], missing: int) -> None:
    driver = drivers["adxl355"]
    driver.c.sensor_start()
    entries = adxl355_entries(counted(3))
    cut = 9 + 3 * missing
    driver.answers = {4: bytes([0, 8]), 0x11: entries[:cut] + entries[cut + 3 :]}
    assert driver.read()[1]


@pytest.mark.parametrize(("name", "answers"), [("adxl355", {4: b"\x04\x60"}), ("iis3dwb", {0x3A: b"\x00\x48"})])
def test_an_overflow_of_the_sensors_fifo_is_a_loss(
    drivers: dict[str, Driver], name: str, answers: dict[int, bytes]
) -> None:
    drivers[name].answers = answers
    assert drivers[name].read()[1]


def test_the_iis3dwbs_words_of_another_kind_are_no_samples(drivers: dict[str, Driver]) -> None:
    driver = drivers["iis3dwb"]
    words = [
        struct.pack("<B3h", tag << 3, *row) for tag, row in ((2, (1, -2, 3)), (3, (9, 9, 9)), (2, (-32768, 32767, 0)))
    ]
    driver.answers = {0x3A: bytes([3, 0]), 0x78: b"".join(words)}
    read, lost = driver.read()
    assert not lost
    assert read.tolist() == [[1, -2, 3], [-32768, 32767, 0]]


# ---- the images ----


def boot_rom_checksum(block: bytes) -> int:
    """Return the boot ROM's CRC-32, by way of the usual one: bits mirrored in and out, not inverted."""

    def mirrored(value: int, bits: int) -> int:
        return int(f"{value:0{bits}b}"[::-1], 2)

    return mirrored(binascii.crc32(bytes(mirrored(byte, 8) for byte in block)) ^ 0xFFFFFFFF, 32)


def unpacked(uf2: bytes) -> bytes:
    """Return the flash image of a UF2 file, each block checked."""
    image, blocks = b"", len(uf2) // 512
    assert len(uf2) == 512 * blocks
    for number in range(blocks):
        block = uf2[512 * number : 512 * number + 512]
        first, second, flags, address, size, position, count, family = struct.unpack_from("<8I", block)
        assert (first, second, block[-4:]) == (0x0A324655, 0x9E5D5157, struct.pack("<I", 0x0AB16F30))
        assert (flags, size, position, count, family) == (0x2000, 256, number, blocks, 0xE48BFF56)
        assert address == 0x10000000 + 256 * number
        image += block[32:288]
    return image


@pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("arm-none-eabi-gcc", "cmake", "make")),
    reason="needs Debian packages gcc-arm-none-eabi, libnewlib-arm-none-eabi, cmake and make",
)
@pytest.mark.parametrize("name", SENSORS)
def test_a_firmware_is_built_that_the_boot_rom_accepts(tmp_path: Path, name: str) -> None:
    toolchain = f"-DCMAKE_TOOLCHAIN_FILE={FIRMWARE / 'toolchain-rp2040.cmake'}"
    for command in (["-S", FIRMWARE, "-B", tmp_path, toolchain, f"-DSENSOR={name}"], ["--build", tmp_path]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    image = unpacked((tmp_path / f"echo-edge-{name}.uf2").read_bytes())
    assert image == (tmp_path / f"echo-edge-{name}.bin").read_bytes()
    assert len(image) % 4096 == 0
    assert len(image) <= 16_384  # the cache holds it, so the plain read of the flash costs no time
    assert boot_rom_checksum(image[:252]) == struct.unpack_from("<I", image, 252)[0]
    stack, reset, *handlers = struct.unpack_from("<48I", image, 256)
    assert stack == 0x20042000
    assert all(handler % 2 == 1 and 0x10000100 < handler < 0x10000000 + len(image) for handler in (reset, *handlers))
