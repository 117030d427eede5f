"""The build command lists what can be used and says, for everything else, why not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import soundfile
from typer.testing import CliRunner, Result

from tests.trainer.data.sounds import RATE_HZ, noise, sound_bytes, write_sound, write_tar, write_zip
from trainer.data.build import EXIT_FAILED, EXIT_NO_DATA, EXIT_USAGE, app
from trainer.data.decode import read_crop
from trainer.data.manifest import Recording, read_manifest

HDF5 = b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(100)


def build(root: Path, *options: str | Path) -> Result:
    """Run the command on ``root``; the manifest goes to ``out.csv`` beside it, the report to ``out.json``."""
    out = root.parent / "out"
    return CliRunner().invoke(
        app, [str(word) for word in (f"{out}.csv", root, "--report", f"{out}.json", "--min-s", "0.1", *options)]
    )


def listed(root: Path, *options: str | Path) -> dict[str, Recording]:
    """What the manifest lists, by path below ``root``, after checking that all of it can be read."""
    result = build(root, *options)
    assert result.exit_code == 0, result.output
    manifest = read_manifest(root.parent / "out.csv")
    for recording in manifest.recordings:
        read_crop(manifest.path.parent, recording, 0, recording.frames, recording.channels - 1)
    return {recording.path.removeprefix(f"{root.name}/"): recording for recording in manifest.recordings}


def left_out(root: Path) -> dict[str, dict[str, str]]:
    """What the last report says was left out: names and details by reason."""
    report = json.loads((root.parent / "out.json").read_text())
    return {
        reason: {item["name"].removeprefix(f"{root.name}/"): item["detail"] for item in items}
        for reason, items in report["left_out"].items()
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one good recording in it."""
    write_sound(tmp_path / "tree" / "good.wav", rate_hz=48_000)
    return tmp_path / "tree"


def test_every_format_is_listed_at_its_native_rate(root: Path):
    for number, suffix in enumerate(("flac", "ogg", "opus", "mp3", "aiff")):
        write_sound(root / f"a.{suffix}", noise(number, channels=2), (44_100, 22_050, 48_000, 32_000, 25_600)[number])
    rates = {path: (recording.rate_hz, recording.channels) for path, recording in listed(root).items()}
    assert rates == {
        "a.flac": (44_100, 2),
        "a.ogg": (22_050, 2),
        "a.opus": (48_000, 2),
        "a.mp3": (32_000, 2),
        "a.aiff": (25_600, 2),
        "good.wav": (48_000, 1),
    }


def test_a_recording_carries_its_length_and_digest(root: Path):
    good = listed(root)["good.wav"]
    assert (good.frames, good.offset_s, good.duration_s) == (16_000, 0.0, 16_000 / 48_000)
    assert good.sha256 == sha256((root / "good.wav").read_bytes()).hexdigest()


def test_sound_is_found_by_content_when_its_name_says_nothing(root: Path):
    (root / "explosion").write_bytes(sound_bytes("x.wav", noise(5)))
    assert set(listed(root)) == {"good.wav", "explosion"}


def test_members_of_archives_are_listed_and_hashed_as_themselves(root: Path):
    flac = sound_bytes("b.flac")
    write_tar(root / "a.tar.gz", {"d/b.flac": flac, "notes.txt": b"words"})
    write_zip(root / "c.zip", {"e.mp3": sound_bytes("e.mp3")})
    found = listed(root)
    assert set(found) == {"good.wav", "a.tar.gz#d/b.flac", "c.zip#e.mp3"}
    assert found["a.tar.gz#d/b.flac"].sha256 == sha256(flac).hexdigest()
    assert left_out(root) == {"not a recording": {"a.tar.gz#notes.txt": ".txt"}}


def test_a_shard_s_sidecars_give_licence_and_rate_to_their_sample(root: Path):
    write_tar(
        root / "shard-000.tar",
        {
            "0001.flac": sound_bytes("0001.flac"),
            "0001.json": json.dumps({"license": "CC BY 4.0", "caption": "a pump"}).encode(),
            "0001.txt": b"a pump",
            "0002.csv": "\n".join(map(str, range(30_000))).encode(),
            "0002.json": b'{"sr": 25600}',
            "0003.flac": sound_bytes("0003.flac"),
            "0003.json": b"not JSON",
        },
    )
    found = {path: (r.licence, r.rate_hz) for path, r in listed(root, "--licence", "CC0-1.0").items()}
    assert found == {
        "good.wav": ("CC0-1.0", 48_000),
        "shard-000.tar#0001.flac": ("CC-BY-4.0", 16_000),
        "shard-000.tar#0002.csv": ("CC0-1.0", 25_600),
        "shard-000.tar#0003.flac": ("CC0-1.0", 16_000),
    }


def test_signals_of_a_mat_file_are_listed_and_parameters_are_not(root: Path):
    scipy.io.savemat(
        root / "97.mat", {"DE_time": noise(1), "FE_time": noise(2).T, "RPM": [[1796.0]], "name": ["inner race"]}
    )
    found = listed(root, "--rate", "12000")
    assert set(found) == {"97.mat#DE_time", "97.mat#FE_time", "good.wav"}
    assert found["97.mat#DE_time"].rate_hz == 12_000
    assert found["good.wav"].rate_hz == 48_000, "a rate of its own is not overruled"


def test_a_table_without_a_rate_is_left_out_and_none_is_guessed(root: Path):
    scipy.io.savemat(root / "97.mat", {"DE_time": noise(1)})
    (root / "a.csv").write_text("time,x\n" + "\n".join(f"{n / 1000},{n}" for n in range(1000)))
    assert set(listed(root)) == {"good.wav"}
    assert set(left_out(root)["no sampling rate"]) == {"97.mat#DE_time", "a.csv"}
    assert "--rate" in left_out(root)["no sampling rate"]["a.csv"]


def test_a_label_file_gives_rate_licence_split_and_group(root: Path):
    write_sound(root / "rig/b.wav")
    scipy.io.savemat(root / "rig/97.mat", {"DE_time": noise(1)})
    write_sound(root / "rig/c.wav")
    (root / "rig/manifest.csv").write_text(
        "file,sampling_rate_hz,licence,split,group\n"
        "97.mat,12000,CC BY 4.0 (authors),test,\n"
        "b.wav,,public domain,train,pump\n"
        "c.wav,,own,,pump\n"
    )
    found = {path: (r.rate_hz, r.licence, r.split) for path, r in listed(root, "--val-share", "0").items()}
    assert found == {
        "good.wav": (48_000, "unknown", "train"),
        "rig/97.mat#DE_time": (12_000, "CC-BY-4.0", "val"),
        "rig/b.wav": (16_000, "LicenseRef-public-domain", "train"),
        "rig/c.wav": (16_000, "unknown", "train"),
    }
    assert "licence 'own' has no SPDX identifier" in " ".join(
        json.loads((root.parent / "out.json").read_text())["notes"]
    )


def test_a_label_file_above_counts_and_the_nearest_wins(root: Path):
    write_sound(root / "d/a.wav")
    write_sound(root / "d/e/b.wav")
    (root / "labels.csv").write_text("path,licence\nd/a.wav,MIT\nd/e/b.wav,MIT\n")
    (root / "d/e/labels.csv").write_text("path,licence\nb.wav,CC0\n")
    found = {path: r.licence for path, r in listed(root).items()}
    assert found == {"d/a.wav": "MIT", "d/e/b.wav": "CC0-1.0", "good.wav": "unknown"}


def test_what_a_label_file_lists_and_the_folder_has_not_is_reported(root: Path):
    (root / "labels.csv").write_text("path,licence\ngood.wav,MIT\ngone.wav,MIT\n")
    result = build(root)
    assert "listed but not there: 1, such as gone.wav" in result.output


def test_a_broken_label_file_stops_the_build(root: Path):
    (root / "labels.csv").write_text("path,rate_hz\ngood.wav,fast\n")
    result = build(root)
    assert result.exit_code == EXIT_FAILED
    assert "labels.csv:2: sampling rate 'fast'; give a whole number of Hz" in result.output
    assert not (root.parent / "out.csv").exists()


def test_only_allowed_licences_are_used_and_the_others_are_reported(root: Path):
    for name in ("by", "nc", "sa", "none"):
        write_sound(root / f"{name}.wav")
    (root / "labels.csv").write_text(
        "path,licence\nby.wav,CC BY 3.0\nnc.wav,CC BY-NC 4.0\nsa.wav,CC BY-SA 3.0\ngood.wav,MIT\n"
    )
    assert set(listed(root, "--licences", "permissive")) == {"by.wav", "good.wav"}
    assert left_out(root) == {"licence": {"nc.wav": "CC-BY-NC-4.0", "sa.wav": "CC-BY-SA-3.0", "none.wav": "unknown"}}
    assert set(listed(root, "--licences", "CC-BY-SA-3.0,unknown")) == {"sa.wav", "none.wav"}


def test_a_licence_that_does_not_exist_is_no_option(root: Path):
    result = build(root, "--licences", "free")
    assert result.exit_code == EXIT_USAGE
    assert "free" in result.output


def test_globs_hold_out_and_nothing_else_is(root: Path):
    for fold in "12345":
        write_sound(root / f"esc/{fold}-a.wav")
    split = {path: recording.split for path, recording in listed(root, "--val", "esc/5-*").items()}
    assert split.pop("esc/5-a.wav") == "val"
    assert set(split.values()) == {"train"}


def test_a_share_is_held_out_by_name_whatever_the_order_and_the_place(root: Path):
    for number in range(60):
        write_sound(root / f"{number:02}.wav", noise(number))
    options = ("--val-share", "0.3")
    first = {path: recording.split for path, recording in listed(root, *options).items()}
    elsewhere = root.parent / "elsewhere" / "tree"
    elsewhere.mkdir(parents=True)
    for path in sorted(root.iterdir(), reverse=True):
        shutil.copy(path, elsewhere / path.name)
    assert {path: recording.split for path, recording in listed(elsewhere, *options).items()} == first
    assert 8 <= list(first.values()).count("val") <= 30


def test_channels_of_one_machine_are_in_one_split(root: Path):
    for number in range(20):
        scipy.io.savemat(root / f"{number}.mat", {"DE": noise(number), "FE": noise(100 + number)})
    splits: dict[str, set[str]] = {}
    for path, recording in listed(root, "--rate", "12000", "--val-share", "0.5").items():
        splits.setdefault(path.split("#")[0], set()).add(recording.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {"train", "val"} <= {split for found in splits.values() for split in found}


def test_a_duplicate_is_left_out_and_the_held_out_copy_is_kept(root: Path):
    for name in ("a.wav", "held/b.wav", "c.wav"):
        write_sound(root / name, noise(7))
    found = listed(root, "--val", "held/*")
    assert {path: r.split for path, r in found.items()} == {"held/b.wav": "val", "good.wav": "train"}
    assert left_out(root) == {"duplicate": {"a.wav": "same as tree/held/b.wav", "c.wav": "same as tree/held/b.wav"}}


def test_an_empty_file_is_listed_as_such(root: Path):
    (root / "empty.wav").touch()
    soundfile.write(root / "no_samples.wav", np.zeros(0, np.float32), RATE_HZ)
    listed(root)
    assert left_out(root) == {"empty file": {"empty.wav": "", "no_samples.wav": "holds no samples"}}


def test_an_unreadable_file_is_listed_as_such(root: Path):
    (root / "text.flac").write_text("hello")
    write_tar(root / "cut.tar.gz", {"a.wav": sound_bytes("a.wav"), "b.wav": sound_bytes("b.wav")})
    (root / "cut.tar.gz").write_bytes((root / "cut.tar.gz").read_bytes()[:9000])
    (root / "bad.zip").write_bytes(b"PK\x03\x04 nothing more")
    (root / "bad.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(2000))
    (root / "words.csv").write_text("name,age\nann,thirty\n")
    listed(root)
    assert {name.split("#")[0] for name in left_out(root)["unreadable"]} == {
        "text.flac",
        "cut.tar.gz",
        "bad.zip",
        "bad.mat",
        "words.csv",
    }


def test_a_damaged_member_does_not_cost_the_others(root: Path):
    path = write_zip(root / "a.zip", {"a.flac": sound_bytes("a.flac"), "b.flac": sound_bytes("b.flac")})
    data = bytearray(path.read_bytes())
    data[200:220] = bytes(20)
    path.write_bytes(bytes(data))
    assert set(listed(root)) == {"good.wav", "a.zip#b.flac"}
    assert set(left_out(root)["unreadable"]) == {"a.zip#a.flac"}


def test_a_truncated_flac_is_left_out(root: Path):
    path = write_sound(root / "cut.flac", noise(frames=8 * RATE_HZ))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    listed(root)
    assert [name for names in left_out(root).values() for name in names] == ["cut.flac"]


def test_a_mat_file_with_bytes_changed_never_ends_the_build(root: Path):
    scipy.io.savemat(root / "a.mat", {"x": noise(1, 200), "s": {"a": 1}})
    whole, random = (root / "a.mat").read_bytes(), np.random.default_rng(0)
    for number in range(200):
        data = bytearray(whole)
        for at in random.integers(0, len(whole), 5):
            data[at] = random.integers(256)
        (root / f"{number}.mat").write_bytes(data)
    assert "good.wav" in listed(root, "--rate", "1000")


def test_a_member_whose_name_is_not_utf8_is_left_out(root: Path):
    write_tar(root / "a.tar", {"caf\udce9.wav": sound_bytes("a.wav"), "b.wav": sound_bytes("b.wav")})
    assert set(listed(root)) == {"a.tar#b.wav", "good.wav"}
    assert list(left_out(root)) == ["name is not UTF-8"]


def test_a_table_of_names_alone_is_unreadable(root: Path):
    (root / "a.csv").write_text("time,x\n\n")
    listed(root, "--rate", "1000")
    assert left_out(root) == {"unreadable": {"a.csv": "holds names of columns and nothing below"}}


def test_a_matlab_7_3_file_says_what_it_needs(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (root / "new.mat").write_bytes(HDF5)
    listed(root)
    assert "needs h5py" in left_out(root)["unreadable"]["new.mat"]


def test_a_silent_file_is_left_out(root: Path):
    write_sound(root / "silent.wav", np.zeros((RATE_HZ, 2), np.float32))
    write_sound(root / "silent.ogg", np.zeros((RATE_HZ, 1), np.float32))
    write_sound(root / "constant.wav", np.full((RATE_HZ, 1), 0.25, np.float32))
    listed(root)
    assert set(left_out(root)["silent"]) == {"silent.wav", "silent.ogg", "constant.wav"}


def test_samples_that_are_not_numbers_are_left_out(root: Path):
    samples = noise()
    samples[100] = np.inf
    soundfile.write(root / "inf.wav", samples, RATE_HZ, subtype="FLOAT")
    scipy.io.savemat(root / "nan.mat", {"good": noise(3), "bad": np.full(100, np.nan)})
    assert set(listed(root, "--rate", "12000")) == {"good.wav", "nan.mat#good"}
    assert set(left_out(root)["not finite"]) == {"inf.wav", "nan.mat#bad"}


def test_what_is_too_short_is_left_out(root: Path):
    write_sound(root / "blip.wav", noise(frames=800))
    listed(root)
    assert left_out(root) == {"shorter than 0.1 s": {"blip.wav": "0.050 s"}}


def test_excluded_files_are_not_opened(root: Path):
    write_sound(root / "private/a.wav")
    assert set(listed(root, "--exclude", "private/*")) == {"good.wav"}
    assert left_out(root) == {"excluded": {"private/a.wav": ""}}


def test_links_are_followed_once_and_loops_end(root: Path, tmp_path: Path):
    write_sound(tmp_path / "elsewhere/far.wav")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "broken.wav").symlink_to(root / "nowhere.wav")
    assert set(listed(root)) == {"good.wav", "link/far.wav"}
    assert list(left_out(root)) == ["folder seen before", "unreadable"]


def test_a_pipe_does_not_hang_the_build(root: Path):
    os.mkfifo(root / "pipe.wav")
    assert set(listed(root)) == {"good.wav"}
    assert [Path(name).name for name in left_out(root)["not a regular file"]] == ["pipe.wav"]


def test_a_name_that_is_not_utf8_is_left_out(root: Path):
    shutil.copy(os.fsencode(root / "good.wav"), os.fsencode(root) + b"/caf\xe9.wav")
    assert set(listed(root)) == {"good.wav"}
    assert "rename it" in next(iter(left_out(root)["name is not UTF-8"].values()))


def test_recordings_outside_the_manifest_s_folder_are_absolute(root: Path, tmp_path: Path):
    out = tmp_path / "lists" / "m.csv"
    result = CliRunner().invoke(app, [str(out), str(root), "--min-s", "0.1"])
    assert result.exit_code == 0, result.output
    assert [recording.path for recording in read_manifest(out).recordings] == [str(root / "good.wav")]


def test_building_again_gives_the_same_manifest(root: Path):
    out = root / "manifest.csv"
    runs = []
    for _ in range(2):
        assert CliRunner().invoke(app, [str(out), str(root), "--min-s", "0.1", "--val-share", "1"]).exit_code == 0
        runs.append(out.read_bytes())
    assert runs[0] == runs[1]


def test_a_single_file_is_a_root(root: Path):
    assert CliRunner().invoke(app, [str(root.parent / "m.csv"), str(root / "good.wav"), "--min-s", "0"]).exit_code == 0
    assert [recording.path for recording in read_manifest(root.parent / "m.csv").recordings] == ["tree/good.wav"]


def test_a_root_that_is_not_there_is_a_usage_error(tmp_path: Path):
    result = build(tmp_path / "nowhere")
    assert result.exit_code == EXIT_USAGE
    assert f"not there: {tmp_path / 'nowhere'}" in result.output


def test_nothing_usable_writes_no_manifest(tmp_path: Path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/a.wav").touch()
    result = build(tmp_path / "tree")
    assert result.exit_code == EXIT_NO_DATA
    assert "no manifest written" in result.output
    assert not (tmp_path / "out.csv").exists()


def test_the_report_counts_hours_by_split_licence_and_rate(root: Path):
    write_sound(root / "b.wav", noise(frames=36 * RATE_HZ))
    result = build(root, "--licence", "MIT", "--val", "b.wav")
    report = json.loads((root.parent / "out.json").read_text())
    assert {"split": "val", "licence": "MIT", "rate_hz": 16_000, "recordings": 1, "hours": 0.01} in report["kept"]
    assert report["recordings"] == 2
    assert "0.010" in result.output
