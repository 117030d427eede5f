"""AudioSet and MTG-Jamendo as their owners lay them out, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.trainer.data.sounds import RATE_HZ, noise, sound_bytes, write_sound, write_tar
from trainer.data.build import EXIT_FAILED, app
from trainer.data.manifest import Recording, read_manifest

SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids={count}, num_segs={count}, num_unique_labels=527, num_positive_labels={count}
# YTID, start_seconds, end_seconds, positive_labels
"""
TRACKS = """TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS
track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock
track_0000215\tartist_000014\talbum_000031\t15/215.mp3\t151.4\tgenre---metal\tgenre---rock\tinstrument---bass
track_1376256\tartist_490499\talbum_161779\t56/1376256.mp3\t166.0\tmood/theme---corporate
"""
TRACK_LICENCES = """14/214.mp3
Lie To Me by Someone from Jamendo: http://www.jamendo.com/track/214
Available under a Creative Commons Attribution license: http://creativecommons.org/licenses/by/3.0/

15/215.mp3
Another by Someone from Jamendo: http://www.jamendo.com/track/215
Available under a Creative Commons Attribution-Noncommercial-Share Alike license: http://creativecommons.org/licenses/by-nc-sa/2.0/fr/

"""


def build(root: Path, layout: str, *options: str) -> Result:
    words = [str(root.parent / "out.csv"), str(root), "--layout", layout, "--min-s", "0.1", *options]
    return CliRunner().invoke(app, [*words, "--report", str(root.parent / "out.json")])


def listed(root: Path, layout: str, *options: str) -> dict[str, Recording]:
    result = build(root, layout, *options)
    assert result.exit_code == 0, result.output
    recordings = read_manifest(root.parent / "out.csv").recordings
    return {recording.path.removeprefix("tree/"): recording for recording in recordings}


def report(root: Path) -> dict[str, list[str]]:
    stored: dict[str, list[str]] = json.loads((root.parent / "out.json").read_text())
    return stored


def segments(path: Path, *rows: tuple[str, float, float]) -> None:
    lines = [f'{clip}, {start_s:.3f}, {end_s:.3f}, "/m/03v3yw,/m/0k4j"' for clip, start_s, end_s in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SEGMENTS.format(count=len(rows)) + "\n".join(lines) + "\n")


@pytest.fixture
def audioset(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    segments(root / "unbalanced_train_segments.csv", ("-0RWZT-miFs", 420, 430), ("--aE2O5G5WE", 0, 10))
    segments(root / "balanced_train_segments.csv", ("Y0123456789", 30, 40), ("not_there_1", 30, 40))
    segments(root / "eval_segments.csv", ("_eval_clip_", 30, 40))
    return root


@pytest.fixture
def jamendo(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "data").mkdir(parents=True)
    (root / "data/raw_30s.tsv").write_text(TRACKS)
    (root / "audio_licenses.txt").write_text(TRACK_LICENCES)
    return root


def test_audioset_clips_are_found_under_every_usual_name(audioset: Path):
    names = {
        "unbalanced/part00/Y-0RWZT-miFs.flac": "train",  # the prefix keeps shells from taking it for an option
        "unbalanced/part00/--aE2O5G5WE_0_10.wav": "train",
        "balanced/Y0123456789_30000_40000.wav": "train",
        "eval/Y_eval_clip__30.0-40.0.wav": "val",
    }
    for name in names:
        write_sound(audioset / name)
    assert {path: recording.split for path, recording in listed(audioset, "audioset").items()} == names


def test_audioset_s_audio_has_no_licence_we_know(audioset: Path):
    write_sound(audioset / "-0RWZT-miFs.wav")
    assert listed(audioset, "audioset", "--licence", "CC-BY-4.0")["-0RWZT-miFs.wav"].licence == "unknown"
    assert any("that of the audio is 'unknown'" in note for note in report(audioset)["notes"])


def test_a_whole_video_is_used_in_its_segment_and_a_cut_clip_as_it_is(audioset: Path):
    write_sound(audioset / "Y0123456789.wav", noise(1, 45 * RATE_HZ))
    write_sound(audioset / "-0RWZT-miFs.wav", noise(2, 10 * RATE_HZ))
    found = {path: (r.offset_s, r.duration_s) for path, r in listed(audioset, "audioset").items()}
    assert found == {"-0RWZT-miFs.wav": (0.0, 10.0), "Y0123456789.wav": (30.0, 10.0)}


def test_audioset_without_its_evaluation_list_holds_out_a_share(audioset: Path):
    (audioset / "eval_segments.csv").unlink()
    write_sound(audioset / "-0RWZT-miFs.wav")
    assert listed(audioset, "audioset", "--val-share", "1")["-0RWZT-miFs.wav"].split == "val"
    assert "AudioSet: no eval_segments.csv" in report(audioset)["notes"]


def test_what_audioset_lists_and_the_tree_has_not_is_reported(audioset: Path):
    write_sound(audioset / "-0RWZT-miFs.wav")
    write_sound(audioset / "some_other_recording.wav")
    assert set(listed(audioset, "audioset")) == {"-0RWZT-miFs.wav"}
    assert sorted(report(audioset)["missing"]) == ["--aE2O5G5WE", "Y0123456789", "_eval_clip_", "not_there_1"]
    assert [item["name"] for item in report(audioset)["left_out"]["not in the lists"]] == [  # type: ignore[call-overload,index]
        "some_other_recording.wav"
    ]


def test_audioset_in_shards_is_found_by_its_members(audioset: Path):
    write_tar(audioset / "000.tar", {"Y-0RWZT-miFs.flac": sound_bytes("a.flac"), "other.flac": sound_bytes("o.flac")})
    assert set(listed(audioset, "audioset")) == {"000.tar#Y-0RWZT-miFs.flac"}


def test_a_folder_without_lists_is_no_audioset(tmp_path: Path):
    write_sound(tmp_path / "tree/Y-0RWZT-miFs.wav")
    result = build(tmp_path / "tree", "audioset")
    assert result.exit_code == EXIT_FAILED
    assert "no unbalanced_train_segments.csv" in result.output


def test_a_broken_segment_list_is_named_with_its_line(audioset: Path):
    with (audioset / "eval_segments.csv").open("a") as file:
        file.write("abc, then, later\n")
    result = build(audioset, "audioset")
    assert result.exit_code == EXIT_FAILED
    assert "eval_segments.csv:5:" in result.output


def test_jamendo_tracks_carry_their_own_licences(jamendo: Path):
    write_sound(jamendo / "audio/14/214.low.mp3")
    write_sound(jamendo / "audio/15/215.low.mp3")
    write_sound(jamendo / "audio/56/1376256.low.mp3")
    found = {path: recording.licence for path, recording in listed(jamendo, "jamendo").items()}
    assert found == {
        "audio/14/214.low.mp3": "CC-BY-3.0",
        "audio/15/215.low.mp3": "CC-BY-NC-SA-2.0",
        "audio/56/1376256.low.mp3": "unknown",
    }
    assert any("1 tracks without a licence" in note for note in report(jamendo)["notes"])


def test_jamendo_can_be_held_to_permissive_tracks(jamendo: Path):
    write_sound(jamendo / "14/214.mp3")
    write_sound(jamendo / "15/215.mp3")
    assert set(listed(jamendo, "jamendo", "--licences", "permissive")) == {"14/214.mp3"}


def test_an_artist_of_jamendo_is_in_one_split(jamendo: Path):
    tracks = [f"track_{n:07}\tartist_{n % 5}\talbum_1\t{n % 100:02}/{n}.mp3\t60.0\tgenre---rock" for n in range(40)]
    (jamendo / "data/raw_30s.tsv").write_text("\n".join([TRACKS.splitlines()[0], *tracks]) + "\n")
    for number in range(40):
        write_sound(jamendo / f"{number % 100:02}/{number}.mp3", noise(number, RATE_HZ // 4))
    splits: dict[int, set[str]] = {}
    for path, recording in listed(jamendo, "jamendo", "--val-share", "0.5").items():
        splits.setdefault(int(Path(path).stem) % 5, set()).add(recording.split)
    assert len(splits) == 5
    assert all(len(found) == 1 for found in splits.values())


def test_jamendo_without_its_licences_says_so(jamendo: Path):
    (jamendo / "audio_licenses.txt").unlink()
    write_sound(jamendo / "14/214.mp3")
    assert listed(jamendo, "jamendo")["14/214.mp3"].licence == "unknown"
    assert "MTG-Jamendo: no audio_licenses.txt: the licence of every track is 'unknown'" in report(jamendo)["notes"]


def test_tracks_that_jamendo_s_tree_lacks_are_reported(jamendo: Path):
    write_sound(jamendo / "14/214.mp3")
    write_sound(jamendo / "99/999.mp3")
    listed(jamendo, "jamendo")
    assert sorted(report(jamendo)["missing"]) == ["15/215", "56/1376256"]


def test_jamendo_in_its_archives_is_found_by_its_members(jamendo: Path):
    write_tar(jamendo / "raw_30s_audio-14.tar", {"14/214.mp3": sound_bytes("a.mp3")})
    assert {path: r.licence for path, r in listed(jamendo, "jamendo").items()} == {
        "raw_30s_audio-14.tar#14/214.mp3": "CC-BY-3.0"
    }


def test_another_table_is_no_track_list(jamendo: Path):
    (jamendo / "data/raw_30s.tsv").write_text("id\tname\n1\ta\n")
    result = build(jamendo, "jamendo")
    assert result.exit_code == EXIT_FAILED
    assert "raw_30s.tsv:1: expected the columns TRACK_ID" in result.output
