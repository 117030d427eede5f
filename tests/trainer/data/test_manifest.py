"""A manifest is read as it was written, and says exactly what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from trainer.data.manifest import ManifestError, Recording, read_manifest, split_path, write_manifest

ONE = Recording("a/one.wav", 48_000, 2, 96_000, 0.25, 1.5, "train", "CC0-1.0", "0" * 64)
TWO = replace(ONE, path='b/two, "loud".flac', rate_hz=25_600, frames=51_200, split="val", licence="unknown")


def written(folder: Path, *recordings: Recording) -> Path:
    path = folder / "manifest.csv"
    write_manifest(path, recordings)
    return path


def with_value(folder: Path, column: str, value: str) -> Path:
    """A manifest of one recording, one value of it replaced."""
    path = written(folder, ONE)
    header, row = path.read_text().splitlines()
    values = row.split(",")
    values[header.split(",").index(column)] = value
    path.write_text(f"{header}\n{','.join(values)}\n")
    return path


def test_a_manifest_reads_as_it_was_written(tmp_path: Path):
    path = written(tmp_path, TWO, ONE)
    manifest = read_manifest(path)
    assert manifest.recordings == (ONE, TWO)
    assert manifest.sha256 == sha256(path.read_bytes()).hexdigest()


def test_the_same_recordings_give_the_same_bytes_in_any_order(tmp_path: Path):
    first = written(tmp_path, ONE, TWO).read_bytes()
    assert written(tmp_path, TWO, ONE).read_bytes() == first


def test_recordings_are_chosen_by_split_and_licence(tmp_path: Path):
    manifest = read_manifest(written(tmp_path, ONE, TWO))
    assert manifest.only("val").recordings == (TWO,)
    assert manifest.only(licences={"CC0-1.0"}).recordings == (ONE,)
    assert manifest.only("val", {"CC0-1.0"}).recordings == ()
    assert manifest.only("val").sha256 == manifest.sha256


def test_a_recording_is_located_below_the_manifest(tmp_path: Path):
    member = replace(ONE, path="shard-000.tar#0001.flac")
    manifest = read_manifest(written(tmp_path, ONE, member))
    assert manifest.locate(ONE) == tmp_path / "a/one.wav"
    assert manifest.locate(member) == tmp_path / "shard-000.tar"
    assert manifest.locate(replace(ONE, path="/else/where.wav")) == Path("/else/where.wav")


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a/b.wav", ("a/b.wav", ())),
        ("shard.tar#x/y.flac", ("shard.tar", ("x/y.flac",))),
        ("x.ZIP#y.mp3", ("x.ZIP", ("y.mp3",))),
        ("x.tar.gz#y.mat#DE_time", ("x.tar.gz", ("y.mat", "DE_time"))),
        ("97.mat#X097_DE_time", ("97.mat", ("X097_DE_time",))),
        ("kit/F#3.wav", ("kit/F#3.wav", ())),
    ],
)
def test_a_hash_sign_means_inside_only_behind_an_archive(path: str, parts: tuple[str, tuple[str, ...]]):
    assert split_path(path) == parts


@pytest.mark.parametrize(
    ("column", "value", "mend"),
    [
        ("rate_hz", "fast", "give the sampling rate in Hz"),
        ("rate_hz", "0", "give the sampling rate in Hz"),
        ("channels", "0", "at least 1"),
        ("frames", "-3", "samples per channel"),
        ("frames", "0", "leave an empty recording out"),
        ("offset_s", "-1", "0 or more"),
        ("duration_s", "nan", "above 0"),
        ("split", "test", "say 'train' or 'val'"),
        ("licence", "", "SPDX"),
        ("sha256", "abc", "64 lower-case hex digits"),
        ("path", "", "relative to the manifest's folder"),
    ],
)
def test_a_wrong_value_is_named_with_its_line_column_and_mend(tmp_path: Path, column: str, value: str, mend: str):
    path = with_value(tmp_path, column, value)
    with pytest.raises(ManifestError, match=mend) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:2: {column}: {value!r}")


def test_a_part_beyond_the_end_is_refused(tmp_path: Path):
    with pytest.raises(ManifestError, match="end at frame 108000, the recording has 96000"):
        read_manifest(with_value(tmp_path, "duration_s", "2.0"))


def test_a_missing_column_is_named(tmp_path: Path):
    path = tmp_path / "other.csv"
    path.write_text("path,fs\na.wav,16000\n")
    with pytest.raises(ManifestError, match=r"other.csv:1: no column 'rate_hz'.*trainer.data.build"):
        read_manifest(path)


def test_a_row_that_is_too_short_is_refused_by_its_column(tmp_path: Path):
    path = written(tmp_path, ONE)
    path.write_text(path.read_text() + "b.wav,16000\n")
    with pytest.raises(ManifestError, match=r":3: channels: ''"):
        read_manifest(path)


def test_a_recording_listed_twice_is_refused(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"'a/one.wav' from 0.25 s is listed twice"):
        read_manifest(written(tmp_path, ONE, ONE))


def test_two_parts_of_one_recording_are_two_recordings(tmp_path: Path):
    assert len(read_manifest(written(tmp_path, ONE, replace(ONE, offset_s=0.5))).recordings) == 2


def test_a_missing_manifest_says_how_to_build_one(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"nowhere.csv: No such file.*trainer.data.build"):
        read_manifest(tmp_path / "nowhere.csv")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xff\xfe\x00RIFF")
    with pytest.raises(ManifestError, match="not UTF-8 text"):
        read_manifest(path)
