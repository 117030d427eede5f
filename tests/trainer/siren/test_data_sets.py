"""Ten data sets in miniature, in their true layouts: what is found in them, and what is said of broken trees."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tests.shared_data import SHARED, needs_shared
from tests.trainer.siren import trees
from trainer.siren.errors import TreeError
from trainer.siren.tasks import TASKS
from trainer.siren.tasks.base import AnomalyClip, FaultClip, Listing
from trainer.siren.tasks.cwru import SIZES
from trainer.siren.tasks.dcase import Dcase, read_labels

YEARS = range(2020, 2026)
LABELS = SHARED / "data" / "dcase_labels"


def faults(listing: Listing) -> list[FaultClip]:
    return [clip for clip in listing.clips if isinstance(clip, FaultClip)]


def anomalies(listing: Listing) -> list[AnomalyClip]:
    return [clip for clip in listing.clips if isinstance(clip, AnomalyClip)]


def test_there_are_the_ten_data_sets_of_the_paper() -> None:
    assert list(TASKS) == [*(f"dcase{year}" for year in YEARS), "iiee", "iica", "cwru", "mafaulda"]


def test_cwru_is_105_faults_in_ten_places_without_normal_and_48_khz(tmp_path: Path) -> None:
    listing = TASKS["cwru"].find(trees.cwru(tmp_path))
    assert listing.problems == []
    assert Counter(clip.label for clip in faults(listing)) == SIZES
    assert {clip.group for clip in faults(listing)} <= {"007", "014", "021", "028"}
    assert all(count.complete for count in listing.counts)


def test_an_outer_race_fault_without_a_position_sits_at_six_o_clock(tmp_path: Path) -> None:
    trees.cwru(tmp_path)
    folder = tmp_path / "12k_Drive_End_Bearing_Fault_Data" / "OR" / "007"
    next(folder.glob("*@6_0.mat")).rename(folder / "999_0.mat")
    assert Counter(clip.label for clip in faults(TASKS["cwru"].find(tmp_path))) == SIZES


def test_a_root_named_like_a_fault_changes_no_label(tmp_path: Path) -> None:
    listing = TASKS["cwru"].find(trees.cwru(tmp_path / "B" / "@12"))
    assert Counter(clip.label for clip in faults(listing)) == SIZES


def test_a_missing_cwru_recording_is_a_problem_of_its_class(tmp_path: Path) -> None:
    trees.cwru(tmp_path)
    next((tmp_path / "12k_Fan_End_Bearing_Fault_Data" / "IR").rglob("*.mat")).unlink()
    (problem,) = [p for p in TASKS["cwru"].find(tmp_path).problems if "FE_IR" in p]
    assert "11 recordings of FE_IR, 12 are published" in problem


@needs_shared
def test_the_flac_repack_with_its_manifest_is_the_same_105() -> None:
    listing = TASKS["cwru"].find(SHARED / "data" / "cwru")
    assert listing.problems == []
    assert Counter(clip.label for clip in faults(listing)) == SIZES
    assert all(clip.scale for clip in faults(listing))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.flac,12k_DE,1,,ball,DE,0.007,,12000", "scale_g_per_lsb: ''; expected g for each step"),
        ("a.flac,12k_DE,1,-5,ball,DE,0.007,,12000", "scale_g_per_lsb: '-5'; expected g for each step"),
        ("a.flac,12k_DE,1,1,bal,DE,0.007,,12000", "fault: 'bal'; expected one of ball, inner, outer"),
        ("a.flac,12k_DE,1,1,ball,DE,0.5,,12000", "size_in: '0.5'; expected 0.007"),
        ("a.flac,12k_DE,1,1,ball,DE,0.007,,48000", "sampling_rate_hz: '48000'; expected 12000"),
        ("a.flac,12k_DE,1,1,outer,DE,0.007,9,12000", "DE_OC@9: no such class"),
    ],
)
def test_a_manifest_row_that_cannot_be_right_names_line_column_and_value(tmp_path: Path, row: str, said: str) -> None:
    columns = "file,subset,siren_reads_this,scale_g_per_lsb,fault,fault_end,size_in,or_position,sampling_rate_hz"
    (tmp_path / "manifest.csv").write_text(f"{columns}\n{row}\n")
    with pytest.raises(TreeError) as raised:
        TASKS["cwru"].find(tmp_path)
    assert f"manifest.csv:2: {said}" in str(raised.value)


def test_mafaulda_is_1951_files_of_ten_states_and_a_severity_is_a_group(tmp_path: Path) -> None:
    listing = TASKS["mafaulda"].find(trees.mafaulda(tmp_path))
    assert listing.problems == []
    assert len(listing.clips) == 1951
    groups = {clip.group for clip in faults(listing) if clip.label == "overhang-cage_fault"}
    assert groups == {f"overhang/cage_fault/{g}g" for g in (0, 6, 20, 35)}


def test_a_csv_outside_the_ten_states_is_named(tmp_path: Path) -> None:
    trees.mafaulda(tmp_path)
    stray = tmp_path / "overhang" / "readme" / "1.csv"
    stray.parent.mkdir()
    stray.write_text("0\n")
    assert TASKS["mafaulda"].find(tmp_path).problems == [f"{stray}: in no folder of one of the ten states"]


def test_iiee_learns_357_clean_clips_and_tests_2021_under_conditions_told_by_their_names(tmp_path: Path) -> None:
    listing = TASKS["iiee"].find(trees.iiee(tmp_path))
    assert listing.problems == []
    assert Counter(clip.side for clip in faults(listing)) == {"train": 357, "test": 2021}
    conditions = {clip.condition for clip in faults(listing) if clip.side == "test"}
    assert conditions == {"talking", "atmo_low", "atmo_medium", "atmo_high", "whitenoise_low", "stresstest"}


def test_iiee_without_test_cut_falls_back_to_the_long_files_and_says_so(tmp_path: Path) -> None:
    trees.iiee(tmp_path)
    (tmp_path / "test_cut").rename(tmp_path / "test")
    assert any("no test_cut/" in problem for problem in TASKS["iiee"].find(tmp_path).problems)


def test_iica_tells_a_leak_by_the_file_and_its_kind_by_the_folder(tmp_path: Path) -> None:
    listing = TASKS["iica"].find(trees.iica(tmp_path))
    assert listing.problems == []
    for clip in faults(listing):
        assert clip.label == ("no_leak" if "_iO_" in clip.name else clip.name.split("/")[1])
    assert not any("ventlow" in clip.name for clip in listing.clips)


def test_microphones_and_states_of_one_session_at_one_setting_are_one_group_in_iica(tmp_path: Path) -> None:
    clips = faults(TASKS["iica"].find(trees.iica(tmp_path)))
    folder = "raw/tubeleak/lab/1/1"
    of_one = [c for c in clips if c.name.startswith((f"{folder}_niO_3_", f"{folder}_iO_3_"))]
    assert len(of_one) == 8
    assert len({clip.group for clip in of_one}) == 1


@pytest.mark.parametrize("year", YEARS)
def test_a_year_of_dcase_is_found_whole(tmp_path: Path, year: int) -> None:
    task = trees.small_year(year)
    trees.dcase(tmp_path, year)
    listing = task.find(tmp_path)
    assert listing.problems == []
    clips = anomalies(listing)
    for part, sections in (("dev", task.dev_sections), ("eval", task.eval_sections)):
        tests = [clip for clip in clips if clip.part == part and clip.anomalous is not None]
        assert {(c.machine, c.section) for c in tests} == {(m, s) for m, names in sections.items() for s in names}
        assert Counter(c.anomalous for c in tests) == {False: len(tests) // 2, True: len(tests) // 2}
        assert {c.domain for c in clips if c.part == part} == ({""} if year == 2020 else {"source", "target"})


@pytest.mark.parametrize("year", YEARS)
@needs_shared
def test_the_published_lists_of_labels_name_the_machines_and_counts_we_expect(year: int) -> None:
    task = TASKS[f"dcase{year}"]
    assert isinstance(task, Dcase)
    labels = read_labels(LABELS / f"eval_data_list_{year}_converted.csv")
    assert {machine: len(rows) for machine, rows in labels.items()} == dict(task.evaluation)


@needs_shared
def test_the_published_list_of_a_year_is_known_by_its_hash(tmp_path: Path) -> None:
    home = trees.dcase(tmp_path, 2023)
    task = replace(trees.small_year(2023), list_sha256=TASKS["dcase2023"].list_sha256)  # type: ignore[attr-defined]
    (problem,) = [p for p in task.find(tmp_path).problems if "published list" in p]
    assert "eval_data_list_2023_converted.csv: not the published list" in problem
    shutil.copy(LABELS / "eval_data_list_2023_converted.csv", home / "evaluation")
    assert not [p for p in task.find(tmp_path).problems if "published list" in p]


def test_a_machine_that_is_missing_and_one_that_is_too_many_are_named(tmp_path: Path) -> None:
    home = trees.dcase(tmp_path, 2024)
    shutil.move(home / "evaluation" / "Scanner", home / "evaluation" / "Scaner")
    problems = trees.small_year(2024).find(tmp_path).problems
    assert f"{home}/evaluation/Scanner: no such folder" in problems
    assert any(
        p.startswith(f"{home}/evaluation/Scaner: the year has no such machine; there are 3DPr") for p in problems
    )


def test_a_label_without_a_clip_and_a_clip_without_a_label_are_named(tmp_path: Path) -> None:
    home = trees.dcase(tmp_path, 2022)
    (home / "evaluation" / "fan" / "test" / "section_03_0000.wav").rename(
        home / "evaluation" / "fan" / "test" / "section_03_0999.wav"
    )
    problems = trees.small_year(2022).find(tmp_path).problems
    assert any("fan: section_03_0000.wav: no such clip" in p for p in problems)
    assert any("section_03_0999.wav: eval_data_list_2022_converted.csv has no label for it" in p for p in problems)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("fan\na.wav,b.wav,2\n", ":2: a.wav,b.wav,2: expected test file, reference file, 0 or 1"),
        ("a.wav,b.wav,1\n", ":1: a.wav,b.wav,1: no machine's name stands before it"),
        ("fan\na.wav,b.wav,1\na.wav,c.wav,0\n", ":3: a.wav: listed twice for one machine"),
    ],
)
def test_a_list_of_labels_that_makes_no_sense_names_line_and_row(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(row)
    with pytest.raises(TreeError) as raised:
        read_labels(path)
    assert said in str(raised.value)


def test_without_a_list_nobody_knows_which_evaluation_clips_are_normal(tmp_path: Path) -> None:
    home = trees.dcase(tmp_path, 2025)
    (home / "evaluation" / "eval_data_list_2025_converted.csv").unlink()
    listing = trees.small_year(2025).find(tmp_path)
    assert any("fetch it from github.com/yucongzh/SIREN, supplements/eval_lists" in p for p in listing.problems)
    assert not [clip for clip in anomalies(listing) if clip.part == "eval" and clip.anomalous is not None]


def test_a_bank_with_a_third_of_its_clips_missing_is_a_problem_though_its_number_is_only_about(tmp_path: Path) -> None:
    home = trees.dcase(tmp_path, 2023, ["fan"])
    for path in sorted((home / "development" / "fan" / "train").glob("*.wav"))[:2]:
        path.unlink()
    problems = trees.small_year(2023).find(tmp_path).problems
    assert "development/fan: 4 clips to learn, expected about 6" in problems


def test_a_section_without_clips_to_learn_is_named(tmp_path: Path) -> None:
    home = trees.dcase(tmp_path, 2022, ["valve"])
    for path in (home / "development" / "valve" / "train").glob("section_01*"):
        path.unlink()
    problems = trees.small_year(2022).find(tmp_path).problems
    assert "dev valve: sections to learn: section_01 missing" in problems


@pytest.mark.parametrize("name", list(TASKS))
def test_a_folder_that_is_not_there_and_one_that_is_empty_say_what_is_expected(tmp_path: Path, name: str) -> None:
    with pytest.raises(TreeError, match="no such folder; it holds"):
        TASKS[name].find(tmp_path / "gone")
    with pytest.raises(TreeError, match=f"{tmp_path}.*it holds"):
        TASKS[name].find(tmp_path)
