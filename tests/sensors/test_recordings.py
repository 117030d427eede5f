"""Recordings: their scale, their faults, and how they play as a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from sensors import SensorEnded, SensorUnavailable, read_recording
from sensors.block import Block
from sensors.wavfile import Recording, WavFile

RATE_HZ = 8000


def ramp(path: Path, frames: int = RATE_HZ, start: int = 0, **options: Any) -> Path:
    """Write 16-bit samples that carry their own number."""
    soundfile.write(path, np.arange(start, start + frames, dtype=np.int16), RATE_HZ, **options)
    return path


def played(files: list[Any], **options: Any) -> list[Block]:
    source = WavFile("w", files=files, realtime=False, **{"loop": False, **options})
    source.open()
    blocks = []
    try:
        while True:
            blocks.append(source.read())
    except SensorEnded:
        return blocks
    finally:
        source.close()


def numbers(blocks: list[Block]) -> list[tuple[int, int, bool]]:
    """Return first sample, length and seam of every block."""
    return [(round(float(b.samples[0, 0])), len(b.samples), b.after_gap) for b in blocks]


def test_without_a_scale_samples_are_parts_of_full_scale(tmp_path: Path) -> None:
    samples, rate_hz, unit = read_recording(ramp(tmp_path / "a.wav"))
    assert samples.shape == (RATE_HZ, 1)
    assert samples.dtype == np.float32
    assert (rate_hz, unit) == (RATE_HZ, "full scale")
    assert samples[100, 0] == 100 / 2**15


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32"])
def test_a_scale_is_physical_units_per_stored_integer(tmp_path: Path, subtype: str) -> None:
    bits = int(subtype[4:])
    stored = np.array([[-(2 ** (bits - 1))], [1], [2 ** (bits - 1) - 1]] * 100, dtype=np.int64)
    soundfile.write(tmp_path / "a.wav", (stored << (32 - bits)).astype(np.int32), RATE_HZ, subtype=subtype)
    samples, _, unit = read_recording(tmp_path / "a.wav", scale=0.001, unit="g")
    assert np.array_equal(samples, (stored * 0.001).astype(np.float32))
    assert unit == "g"


def test_a_scale_of_a_file_of_floats_is_per_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(800, 0.5), RATE_HZ, subtype="FLOAT")
    assert read_recording(tmp_path / "a.wav", scale=3.0, unit="Pa")[0][0, 0] == 1.5


@pytest.mark.parametrize("name", ["a.flac", "deep/a.flac", "deep/er/a.flac"])
@pytest.mark.parametrize(
    ("header", "row", "unit"),
    [
        ("file,scale_g_per_lsb", "0.25", "g"),
        ("file,unit,scale_per_lsb", "mm/s,0.25", "mm/s"),
        ("file,scale,unit", "0.25,Pa", "Pa"),
    ],
)
def test_a_manifest_up_to_two_folders_above_gives_the_scale(
    tmp_path: Path, name: str, header: str, row: str, unit: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    ramp(tmp_path / name)
    (tmp_path / "manifest.csv").write_text(f"{header}\nother.flac,{row}\n{name},{row}\n")
    samples, _, found = read_recording(tmp_path / name)
    assert (samples[8, 0], found) == (2.0, unit)


def test_a_manifest_with_a_scale_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,scale\na.wav,loud\n")
    with pytest.raises(SensorUnavailable, match="'loud', which is no scale"):
        read_recording(ramp(tmp_path / "a.wav"))


def test_a_manifest_saved_by_a_spreadsheet_gives_its_scale_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,scale,unit\na.wav,0.25,g\n", encoding="utf-8-sig")
    samples, _, unit = read_recording(ramp(tmp_path / "a.wav"))
    assert (samples[8, 0], unit) == (2.0, "g")


@pytest.mark.parametrize("content", ["file,scale,unit\na.wav,1,\xb5m\n".encode("latin-1"), b'"' + b"x" * 200_000])
def test_a_manifest_that_cannot_be_read_is_refused_rather_than_ignored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(SensorUnavailable, match=r"manifest\.csv, which cannot be read"):
        read_recording(ramp(tmp_path / "a.wav"))


def test_bare_samples_without_a_header_are_no_recording(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(16_000))
    with pytest.raises(SensorUnavailable, match="not audio"):
        read_recording(tmp_path / "a.raw")


def test_an_excerpt_is_cut_to_the_sample(tmp_path: Path) -> None:
    samples, _, _ = read_recording(ramp(tmp_path / "a.wav"), 0.25, 0.5, scale=1.0)
    assert np.array_equal(samples[:, 0], np.arange(2000, 4000))


def nothing(path: Path) -> None:
    path.unlink(missing_ok=True)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("this is no sound\n" * 100)


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE_HZ)


def cut_off(path: Path) -> None:
    path.write_bytes(ramp(path).read_bytes()[:-1000])


def cut_in_header(path: Path) -> None:
    path.write_bytes(ramp(path).read_bytes()[:30])


def not_a_number(path: Path) -> None:
    samples: NDArray[np.float32] = np.zeros(RATE_HZ, dtype=np.float32)
    samples[77] = np.nan
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")


def too_short(path: Path) -> None:
    ramp(path, frames=199)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (nothing, "No such file"),
        (empty, r"empty file \(0 bytes\)"),
        (text, "not audio"),
        (no_samples, "zero length"),
        (cut_off, r"truncated: 1000 bytes missing"),
        (cut_in_header, "not audio"),
        (not_a_number, "not numbers"),
        (too_short, r"24.9 ms is too short: at least 25 ms"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_recording_says_exactly_what_is_wrong(tmp_path: Path, spoil: Any, reason: str) -> None:
    spoil(tmp_path / "a.wav")
    with pytest.raises(SensorUnavailable, match=reason):
        read_recording(tmp_path / "a.wav")
    with pytest.raises(SensorUnavailable, match=reason) as caught:
        WavFile("w", files=[Recording(tmp_path / "a.wav")]).open()
    assert caught.value.device == "w"


def test_a_flac_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-9999, 9999, RATE_HZ).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", noise, RATE_HZ)
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SensorUnavailable, match=r"truncated|damaged"):
        read_recording(tmp_path / "a.flac")


def test_an_excerpt_beyond_the_end_says_how_long_the_recording_is(tmp_path: Path) -> None:
    with pytest.raises(SensorUnavailable, match=r"no excerpt from 0.5 s to 3 s: it lasts 1.000 s"):
        read_recording(ramp(tmp_path / "a.wav"), 0.5, 3)


def test_files_play_in_turn_with_a_seam_between_them(tmp_path: Path) -> None:
    one, two = ramp(tmp_path / "1.wav", 1200), ramp(tmp_path / "2.wav", 800, start=5000)
    blocks = played([{"path": one, "scale": 1.0}, {"path": two, "scale": 1.0}])
    assert numbers(blocks) == [(0, 800, False), (800, 400, False), (5000, 800, True)]
    assert blocks[2].monotonic_ns - blocks[0].monotonic_ns == 150_000_000


def test_an_excerpt_is_looped_until_its_time_is_over(tmp_path: Path) -> None:
    path = ramp(tmp_path / "1.wav")
    blocks = played([{"path": path, "start_s": 0.5, "end_s": 0.6, "play_s": 0.25, "scale": 1.0}])
    assert numbers(blocks) == [(4000, 800, False), (4000, 800, True), (4000, 400, True)]


def test_a_looped_list_starts_again_after_a_seam(tmp_path: Path) -> None:
    source = WavFile("w", files=[{"path": ramp(tmp_path / "1.wav", 800), "scale": 1.0}], realtime=False)
    source.open()
    assert numbers([source.read() for _ in range(3)]) == [(0, 800, False), (0, 800, True), (0, 800, True)]
    assert source.counters["gaps"] == 2


def test_files_of_different_rates_are_refused_and_both_are_named(tmp_path: Path) -> None:
    one = ramp(tmp_path / "1.wav")
    soundfile.write(tmp_path / "2.wav", np.zeros(16_000), 16_000)
    with pytest.raises(SensorUnavailable, match=r"1\.wav has 8000 Hz .*2\.wav has 16000 Hz"):
        WavFile("w", files=[{"path": one}, {"path": tmp_path / "2.wav"}]).open()
