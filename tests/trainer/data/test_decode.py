"""Crops are exact, come from inside the file, and a recording that is not as listed fails the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import soundfile

from tests.trainer.data.sounds import RATE_HZ, counting, noise, sound_bytes, write_sound, write_tar, write_zip
from trainer.data.decode import DecodeError, read_crop
from trainer.data.manifest import Recording


def listed(path: str, frames: int = RATE_HZ, channels: int = 1, rate_hz: int = RATE_HZ) -> Recording:
    return Recording(path, rate_hz, channels, frames, 0.0, frames / rate_hz, "train", "CC0-1.0", "0" * 64)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_crop_is_the_samples_asked_for(tmp_path: Path, suffix: str):
    write_sound(tmp_path / f"a.{suffix}", counting(channels=2))
    crop = read_crop(tmp_path, listed(f"a.{suffix}", channels=2), 300, 50, channel=1)
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, counting(channels=2)[300:350, 1])


@pytest.mark.parametrize("suffix", ["ogg", "opus", "mp3"])
def test_a_crop_of_a_lossy_file_is_what_decoding_all_of_it_gives_there(tmp_path: Path, suffix: str):
    path = write_sound(tmp_path / f"a.{suffix}", noise(frames=4 * RATE_HZ))
    whole, _ = soundfile.read(path, dtype="float32")
    for start in (0, 1, 12_345, 4 * RATE_HZ - 800):
        crop = read_crop(tmp_path, listed(path.name, 4 * RATE_HZ), start, 800, 0)
        np.testing.assert_allclose(crop, whole[start : start + 800], atol=1e-6)


@pytest.mark.parametrize("archive", ["s.tar", "s.tar.gz", "s.tar.bz2", "s.tar.xz", "s.zip"])
def test_a_member_is_read_inside_its_archive(tmp_path: Path, archive: str):
    write = write_zip if archive.endswith("zip") else write_tar
    write(tmp_path / archive, {"a.txt": b"words", "d/b.flac": sound_bytes("b.flac", counting())})
    np.testing.assert_array_equal(
        read_crop(tmp_path, listed(f"{archive}#d/b.flac"), 5, 7, 0), counting()[5:12, 0], strict=True
    )


def test_an_archive_that_was_replaced_is_read_anew(tmp_path: Path):
    path = write_tar(tmp_path / "s.tar", {"b.wav": sound_bytes("b.wav", counting())})
    read_crop(tmp_path, listed("s.tar#b.wav"), 0, 9, 0)
    write_tar(path, {"a.wav": sound_bytes("a.wav"), "b.wav": sound_bytes("b.wav", -counting())})
    np.testing.assert_array_equal(read_crop(tmp_path, listed("s.tar#b.wav"), 0, 9, 0), -counting()[:9, 0])


def test_a_variable_of_a_mat_file_is_read_as_stored(tmp_path: Path):
    scipy.io.savemat(tmp_path / "97.mat", {"X097_DE_time": 100.0 * np.arange(500.0)[:, None], "X097RPM": [[1796]]})
    crop = read_crop(tmp_path, listed("97.mat#X097_DE_time", 500), 10, 3, 0)
    np.testing.assert_array_equal(crop, [1000, 1100, 1200])


def test_a_mat_file_in_an_archive_is_read(tmp_path: Path):
    scipy.io.savemat(tmp_path / "a.mat", {"x": np.arange(100.0)})
    write_zip(tmp_path / "s.zip", {"a.mat": (tmp_path / "a.mat").read_bytes()})
    np.testing.assert_array_equal(read_crop(tmp_path, listed("s.zip#a.mat#x", 100), 98, 2, 0), [98, 99])


def test_columns_of_a_table_are_channels_and_time_is_none(tmp_path: Path):
    (tmp_path / "a.csv").write_text("time,x,y\n0.0,1,10\n0.1,2,20\n0.2,3,30\n")
    np.testing.assert_array_equal(read_crop(tmp_path, listed("a.csv", 3, channels=2), 1, 2, 1), [20, 30])


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DecodeError, match=r"gone.wav: cannot be read"):
        read_crop(tmp_path, listed("gone.wav"), 0, 10, 0)


def test_a_missing_member_is_named(tmp_path: Path):
    write_tar(tmp_path / "s.tar", {"a.wav": sound_bytes("a.wav")})
    with pytest.raises(DecodeError, match=r"s.tar#b.wav"):
        read_crop(tmp_path, listed("s.tar#b.wav"), 0, 10, 0)


def test_a_missing_variable_is_named(tmp_path: Path):
    scipy.io.savemat(tmp_path / "a.mat", {"x": np.arange(100.0)})
    with pytest.raises(DecodeError, match=r"a.mat#y: holds no signal"):
        read_crop(tmp_path, listed("a.mat#y", 100), 0, 10, 0)


def test_an_empty_file_fails(tmp_path: Path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(DecodeError, match=r"a.wav: cannot be read"):
        read_crop(tmp_path, listed("a.wav"), 0, 10, 0)


def test_a_file_that_is_no_sound_fails(tmp_path: Path):
    (tmp_path / "a.flac").write_bytes(b"hello, this is text")
    with pytest.raises(DecodeError, match=r"a.flac: cannot be read"):
        read_crop(tmp_path, listed("a.flac"), 0, 10, 0)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_file_cut_short_fails_and_is_never_padded(tmp_path: Path, suffix: str):
    path = write_sound(tmp_path / f"a.{suffix}", noise(frames=4 * RATE_HZ))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DecodeError, match=f"a.{suffix}"):
        read_crop(tmp_path, listed(path.name, 4 * RATE_HZ), 3 * RATE_HZ, RATE_HZ, 0)


def test_a_crop_that_ends_behind_the_file_says_how_much_is_there(tmp_path: Path):
    write_sound(tmp_path / "a.wav", counting(1000))
    with pytest.raises(DecodeError, match="100 of 200 samples from 900 are there"):
        read_crop(tmp_path, listed("a.wav", 2000), 900, 200, 0)


def test_samples_that_are_not_numbers_fail(tmp_path: Path):
    samples = np.zeros(100, np.float32)
    samples[50] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE_HZ, subtype="FLOAT")
    with pytest.raises(DecodeError, match="NaN or infinite"):
        read_crop(tmp_path, listed("a.wav", 100), 0, 100, 0)
    assert not read_crop(tmp_path, listed("a.wav", 100), 0, 50, 0).any(), "the rest of it is as good as before"


def test_another_rate_than_listed_fails(tmp_path: Path):
    write_sound(tmp_path / "a.wav")
    with pytest.raises(DecodeError, match="16000 Hz, its manifest says 48000"):
        read_crop(tmp_path, listed("a.wav", rate_hz=48_000), 0, 10, 0)


def test_other_channels_than_listed_fail(tmp_path: Path):
    write_sound(tmp_path / "a.wav", counting(channels=2))
    with pytest.raises(DecodeError, match="2 channels, its manifest says 1"):
        read_crop(tmp_path, listed("a.wav"), 0, 10, 0)


@pytest.mark.parametrize(("start", "frames", "channel"), [(-1, 10, 0), (0, 0, 0), (0, 10, 1), (0, 10, -1)])
def test_a_crop_that_cannot_be_is_refused(tmp_path: Path, start: int, frames: int, channel: int):
    write_sound(tmp_path / "a.wav")
    with pytest.raises(DecodeError, match="no crop"):
        read_crop(tmp_path, listed("a.wav"), start, frames, channel)


def test_a_name_with_a_hash_sign_is_a_plain_file(tmp_path: Path):
    write_sound(tmp_path / "F#3.wav", counting())
    assert read_crop(tmp_path, replace(listed("F#3.wav")), 0, 1, 0)[0] == counting()[0, 0]
