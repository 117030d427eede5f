"""Listening and recording: what a device delivers, through a daemon or alone, and what is kept of it."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from rich.console import Console

from echo_edge.errors import ListenError, RecordingError
from echo_edge.listen import Listener, live
from echo_edge.listen_view import draw, level_text, look_line
from echo_edge.record import Recorder, check_target, record
from echo_edge.tap import WAITING_BLOCKS, Tap, block_message, info_message, read_block, read_info
from sensors import Block, SourceInfo, read_recording
from tests.world import POINT, RATE_HZ, make_config

INFO = SourceInfo(RATE_HZ, 3, "g", "ee1:A7", (16.0,) * 3, (16 / 32768,) * 3, gravity=True, calibration="sensor")


def block(number: int, frames: int = 1600, *, after_gap: bool = False) -> Block:
    noise = np.random.default_rng(number).standard_normal((frames, 3)) * 0.1
    codes = np.rint((noise + np.array([0, 0, 1])) * 2048) / 2048
    return Block(codes.astype(np.float32), number * 100_000_000, after_gap, 0, number * frames, number)


def test_a_device_and_its_blocks_pass_the_socket_unchanged() -> None:
    assert read_info(json.loads(json.dumps(info_message(INFO)))) == INFO
    sent = block(3, after_gap=True)
    got = read_block(json.loads(json.dumps(block_message(sent))))
    assert np.array_equal(got.samples, sent.samples)
    assert [getattr(got, f) for f in ("time_ns", "after_gap", "index", "monotonic_ns")] == [
        getattr(sent, f) for f in ("time_ns", "after_gap", "index", "monotonic_ns")
    ]


def test_a_slow_listener_misses_blocks_and_is_told_by_a_gap() -> None:
    tap = Tap()
    for number in range(WAITING_BLOCKS + 5):
        tap.offer(block(number, 1))
    got = [tap.take(0) for _ in range(WAITING_BLOCKS)]
    assert [b.index for b in got if b is not None] == list(range(WAITING_BLOCKS))
    tap.offer(block(200, 1))
    after = tap.take(0)
    assert after is not None
    assert (after.index, after.after_gap) == (200, True)
    assert tap.take(0) is None


def test_every_second_shows_level_peak_spectrum_and_health() -> None:
    listener = Listener(POINT, [0, 2], INFO)
    tone = np.zeros((2 * RATE_HZ, 3), dtype=np.float32)
    tone[:, 2] = 1 + 0.5 * np.sin(2 * np.pi * 1000 * np.arange(2 * RATE_HZ) / RATE_HZ)
    looks = list(listener.push(Block(tone, 0)))
    assert len(looks) == 2
    assert looks[0].rms == pytest.approx((0, 0.5 / np.sqrt(2)), abs=1e-4)
    assert looks[0].peak == pytest.approx((0, 0.5), abs=1e-4)
    loudest = int(looks[0].bands_rms.argmax())
    assert looks[0].bands_hz[loudest] <= 1000 < looks[0].bands_hz[loudest + 1]
    assert looks[0].bands_rms[loudest] == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert [(f.check, f.text.split(":")[0]) for f in looks[0].findings] == [("silence", "channel 0")]
    assert "silence" in look_line(looks[0], INFO)
    drawn = Console(width=100, file=StringIO())
    drawn.print(draw(POINT, INFO, looks[0], ["1 gaps"]))
    picture = drawn.file.getvalue()  # type: ignore[attr-defined]
    shown = [picture.index(word) for word in ("1 gaps", "silence: channel 0", "of full scale", "of the loudest")]
    assert shown == sorted(shown)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1.0, "Pa", "94.0 dB SPL"), (0.1, "full scale", "-20.0 dBFS"), (0.25, "g", "0.25 g"), (0.0, "Pa", "0 Pa")],
)
def test_levels_are_in_decibels_where_those_are_usual(value: float, unit: str, text: str) -> None:
    assert level_text(value, unit) == text


def test_a_flac_holds_the_sensors_own_steps_and_reads_back_bit_equal(tmp_path: Path) -> None:
    sent = [block(number) for number in range(5)]
    with Recorder(tmp_path / "de.flac", INFO, [0, 2]) as recorder:
        for one in sent:
            recorder.push(one)
    assert recorder.paths == [tmp_path / "de.flac"]
    samples, rate_hz, unit = read_recording(tmp_path / "de.flac")
    assert (rate_hz, unit) == (RATE_HZ, "g")
    assert np.array_equal(samples, np.concatenate([b.samples for b in sent])[:, [0, 2]])


def test_a_wav_holds_floats_and_reads_back_bit_equal(tmp_path: Path) -> None:
    with Recorder(tmp_path / "de.wav", SourceInfo(RATE_HZ, 3, "Pa", "mic"), [1]) as recorder:
        recorder.push(block(1))
    samples, _, unit = read_recording(tmp_path / "de.wav")
    assert unit == "Pa"
    assert np.array_equal(samples[:, 0], block(1).samples[:, 1])


def test_no_file_spans_a_gap(tmp_path: Path) -> None:
    with Recorder(tmp_path / "de.flac", INFO, [0]) as recorder:
        for one in (block(0), block(1), block(5, after_gap=True), block(6)):
            recorder.push(one)
    assert [p.name for p in recorder.paths] == ["de.flac", "de-2.flac"]
    assert [len(read_recording(p)[0]) for p in recorder.paths] == [3200, 3200]


def test_nothing_is_overwritten_and_the_mend_is_named(tmp_path: Path) -> None:
    (tmp_path / "de.flac").write_text("precious")
    with pytest.raises(RecordingError, match="choose another"):
        check_target(tmp_path / "de.flac")
    with Recorder(tmp_path / "de.flac", INFO, [0]) as recorder, pytest.raises(RecordingError, match="choose another"):
        recorder.push(block(0))
    assert (tmp_path / "de.flac").read_text() == "precious"
    with pytest.raises(RecordingError, match=r"name it \.flac or \.wav"):
        check_target(tmp_path / "de.mp3")
    with pytest.raises(RecordingError, match=r"there is no folder .* make it first"):
        check_target(tmp_path / "none/de.flac")
    with pytest.raises(RecordingError, match=r"full scale.*use \.wav"):
        Recorder(tmp_path / "de.flac", SourceInfo(RATE_HZ, 1, "Pa", "mic"), [0])


def test_a_full_disk_ends_the_recording_and_what_was_stored_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recorder(tmp_path / "de.flac", INFO, [0]) as recorder:
        recorder.push(block(0))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(RecordingError, match=r"the disk is full; 0\.1 s are kept in .*de\.flac"):
            recorder.push(block(1))
    assert len(read_recording(tmp_path / "de.flac")[0]) == 1600


def test_a_point_is_recorded_alone_while_no_daemon_runs(
    tmp_path: Path, state_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert state_folder
    shown: list[float] = []
    result = record(make_config(), POINT, tmp_path / "de.wav", 0.5, shown.append)
    assert result["stored_s"] == pytest.approx(0.5)
    assert shown == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert len(read_recording(tmp_path / "de.wav")[0]) == RATE_HZ // 2
    assert f"STORED in {tmp_path / 'de.wav'}" in caplog.text


def test_a_device_that_does_not_open_is_named(state_folder: Path) -> None:
    assert state_folder
    config = make_config(devices={"acc": {"kind": "accelerometer", "port": "/dev/ttyNONE"}})
    with pytest.raises(ListenError, match="acc: no port /dev/ttyNONE"), live(config, POINT):
        pass


@pytest.mark.parametrize("rate_hz", [10, 200, 500])
def test_a_sensor_too_slow_for_a_verdict_can_be_listened_to(rate_hz: int) -> None:
    listener = Listener(POINT, [0], SourceInfo(rate_hz, 1, "g", "slow"))
    noise = np.random.default_rng(0).standard_normal((3 * rate_hz, 1)).astype(np.float32)
    assert [look.findings for look in listener.push(Block(noise, 0))] == [(), (), ()]


def test_no_second_spans_a_gap() -> None:
    listener = Listener(POINT, [0], INFO)
    blocks = [block(number, after_gap=number == 7) for number in range(17)]
    assert len([look for one in blocks for look in listener.push(one)]) == 1


def test_a_channel_that_the_device_lacks_is_named_and_nothing_is_stored(state_folder: Path, tmp_path: Path) -> None:
    assert state_folder
    config = make_config(
        devices={"acc": {"kind": "wavfile", "files": [{"path": str(tone_file(tmp_path))}]}},
        machines={"pump": {"points": {"de": {"device": "acc", "channels": [2]}}}},
    )
    with pytest.raises(ListenError, match="there is no channel 2, acc has 1"):
        record(config, POINT, tmp_path / "out.wav", 1)
    assert not (tmp_path / "out.wav").exists()
    assert not (tmp_path / "manifest.csv").exists()


def tone_file(folder: Path) -> Path:
    path = folder / "tone.wav"
    soundfile.write(path, np.zeros(RATE_HZ), RATE_HZ)
    return path


def test_a_recording_that_is_cut_short_has_its_scale_all_the_same(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "de.flac", INFO, [0])
    recorder.push(block(0))
    assert "de.flac" in (tmp_path / "manifest.csv").read_text()
    recorder.__exit__()


def test_a_tap_ends_with_its_device_and_takes_nothing_of_the_next() -> None:
    tap = Tap()
    tap.offer(block(1, 1))
    tap.ended = True
    tap.offer(block(2, 1))
    first = tap.take(0)
    assert first is not None
    assert first.index == 1
    assert tap.take(0) is None
