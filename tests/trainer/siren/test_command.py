"""The command: what it says of a data set, what it writes, how it refuses, and that many processes say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch")

from typer.testing import CliRunner

from tests.shared_data import SHARED, needs_shared
from tests.trainer.siren import trees
from trainer.siren.__main__ import app
from trainer.siren.encoders.base import Encoder, FloatArray
from trainer.siren.published import EARLY, FAULTS, LATER, ROWS, YEARS
from trainer.siren.results import NEIGHBOURS, Result, Run, load, merged
from trainer.siren.tasks import TASKS

ROOT = Path(__file__).resolve().parents[3]
QUICK = ("--encoder", "mean-log-spectrum", "--encoder", "log-mel")


class Loudness(Encoder):
    """One number a channel."""

    name = "loudness"
    digest = "1"

    def embed_batch(self, signals: Sequence[FloatArray], rate_hz: int) -> list[FloatArray]:  # noqa: ARG002
        return [signal.std(axis=1, keepdims=True) for signal in signals]


def siren(*words: str | Path) -> tuple[int, str, str]:
    """Run the command; return exit code, standard output, and standard error with its lines joined."""
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


def values(path: Path) -> dict[tuple[object, ...], float]:
    return {(r.encoder, r.mode, r.protocol, r.part, r.method, r.k): r.value for r in load(path).results}


def test_check_counts_what_is_there_beside_what_is_published(tmp_path: Path) -> None:
    code, said, _ = siren("check", "cwru", trees.cwru(tmp_path))
    assert code == 0
    assert "FE_OC@12" in said
    assert "complete: every file is there" in said


def test_check_names_what_is_missing_and_fails(tmp_path: Path) -> None:
    trees.cwru(tmp_path)
    next((tmp_path / "12k_Fan_End_Bearing_Fault_Data" / "B").rglob("*.mat")).unlink()
    code, said, error = siren("check", "cwru", tmp_path)
    assert code == 1
    assert "2 problems" in said
    assert "11 recordings of FE_B, 12 are published" in error


def test_check_of_a_year_says_which_machines_and_labels_are_missing(tmp_path: Path) -> None:
    trees.dcase(tmp_path, 2023, ["fan", "bandsaw"])
    code, _, error = siren("check", "dcase2023", tmp_path)
    assert code == 1
    assert "development/gearbox: no such folder" in error
    assert "evaluation/bandsaw: 8 clips to test, expected 200" in error


def test_a_run_writes_json_csv_picture_and_a_report_with_the_published_rows_beside_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, _ = siren("run", "cwru", trees.cwru(tmp_path / "data"), "--out", out, *QUICK)
    assert code == 0
    assert {path.name for path in out.iterdir()} >= {"cwru.json", "cwru.csv", "report.md", "report.png"}
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.md").read_text()
    assert report.strip() in said
    assert "| mean-log-spectrum, siren |" in report
    assert f"| *ECHO small, published {LATER}* | 90.5 |" in report
    assert f"| *ECHO small, published {EARLY}* | 90.5 |" in report
    lines = (out / "cwru.csv").read_text().splitlines()
    assert len(lines) == 1 + len(load(out / "cwru.json").results)
    found = values(out / "cwru.json")
    assert {key[5] for key in found} == {1, 3, 5}
    assert {key[2] for key in found if key[1] == "strict"} == {"loocv", "leakage-free"}


def test_a_later_run_of_another_encoder_adds_to_the_report(tmp_path: Path) -> None:
    data, out = trees.cwru(tmp_path / "data"), tmp_path / "out"
    siren("run", "cwru", data, "--out", out, "--encoder", "log-mel", "--k", 5)
    before = values(out / "cwru.json")
    siren("run", "cwru", data, "--out", out, "--encoder", "mean-log-spectrum", "--k", 5)
    after = values(out / "cwru.json")
    assert {key: after[key] for key in before} == before
    assert len(after) > len(before)


def test_a_later_run_with_another_k_keeps_what_there_was_and_the_report_still_shows_k_5(tmp_path: Path) -> None:
    data, quick = trees.cwru(tmp_path / "data"), ("--out", tmp_path / "out", "--encoder", "mean-log-spectrum")
    siren("run", "cwru", data, *quick)
    before = values(tmp_path / "out" / "cwru.json")
    code, said, _ = siren("run", "cwru", data, *quick, "--k", 7)
    after = values(tmp_path / "out" / "cwru.json")
    assert code == 0
    assert {key: after[key] for key in before} == before
    assert {key[5] for key in after} == {1, 3, 5, 7}
    assert "## In one table" in said
    assert "Over classes, k = 5" in said


def test_results_of_an_encoder_that_has_changed_since_do_not_stay() -> None:
    def run(digest: str, k: int) -> Run:
        result = Result("cwru", "x", "siren", "loocv", "", NEIGHBOURS, k, "accuracy", 0.5, 0.4, 0.6, 10, 5)
        return Run("cwru", "clips", digests={"x, siren": digest}, results=[result])

    assert [r.k for r in merged(run("a", 1), run("a", 5)).results] == [1, 5]
    assert [r.k for r in merged(run("a", 1), run("b", 5)).results] == [5]
    assert [r.k for r in merged(run("a", 1), run("a", 1)).results] == [1]


def test_an_encoder_of_ones_own_is_named_by_module_and_class(tmp_path: Path) -> None:
    code, said, _ = siren(
        "run", "cwru", trees.cwru(tmp_path / "data"), "--out", tmp_path / "out", "--encoder", f"{__name__}:Loudness"
    )
    assert code == 0
    assert "| loudness, siren |" in said


def test_the_methods_table_never_mixes_numbers_of_neighbours(tmp_path: Path) -> None:
    data, quick = trees.cwru(tmp_path / "data"), ("--out", tmp_path / "out", "--encoder", "mean-log-spectrum")
    _, before, _ = siren("run", "cwru", data, *quick)
    _, after, _ = siren("run", "cwru", data, *quick, "--k", 1)

    def beyond(report: str) -> str:
        return report.partition("Beyond plain")[2].partition("Over classes")[0]

    assert "local density" in beyond(before)
    assert beyond(after) == beyond(before)


def test_one_encoder_that_fails_does_not_take_the_others_results_along(tmp_path: Path) -> None:
    words = ("--encoder", "vibration", "--encoder", "mean-log-spectrum")  # clips of 0.2 s are too short for the first
    code, _, error = siren("run", "cwru", trees.cwru(tmp_path / "data"), "--out", tmp_path / "out", *words)
    assert code == 1
    assert "vibration, strict: 105 of 105 clips have no vector" in error
    assert {key[0] for key in values(tmp_path / "out" / "cwru.json")} == {"mean-log-spectrum"}
    assert "| mean-log-spectrum, siren |" in (tmp_path / "out" / "report.md").read_text()


def test_two_encoders_of_one_name_are_refused(tmp_path: Path) -> None:
    words = ("--encoder", "log-mel", "--encoder", "log-mel")
    code, _, error = siren("run", "cwru", trees.cwru(tmp_path / "data"), "--out", tmp_path / "out", *words)
    assert code == 1
    assert "log-mel: two encoders have this name" in error


def test_more_neighbours_than_clips_are_refused(tmp_path: Path) -> None:
    quick = ("--out", tmp_path / "out", "--encoder", "mean-log-spectrum")
    code, _, error = siren("run", "cwru", trees.cwru(tmp_path / "data"), *quick, "--k", 105)
    assert code == 1
    assert "k = 105: there are 105 clips, one of which asks" in error


def test_a_run_of_another_data_set_adds_its_column(tmp_path: Path) -> None:
    out = tmp_path / "out"
    siren("run", "cwru", trees.cwru(tmp_path / "cwru"), "--out", out, "--encoder", "mean-log-spectrum")
    trees.dcase(tmp_path, 2025)
    code, said, _ = siren(
        "run", "dcase2025", tmp_path, "--out", out, "--encoder", "mean-log-spectrum", "--mode", "siren"
    )
    assert code == 0
    assert "|  | 2025 (incomplete) | CWRU |" in said
    assert "not the published list" in said  # mode siren passes over it, and says so
    assert (out / "scores" / "mean-log-spectrum" / "siren" / "dcase2025_t2" / "eval").is_dir()


def test_strict_refuses_a_tree_with_problems_and_names_them(tmp_path: Path) -> None:
    trees.dcase(tmp_path, 2024, ["fan"])
    code, _, error = siren("run", "dcase2024", tmp_path, "--out", tmp_path / "out", *QUICK)
    assert code == 1
    assert "no such folder" in error
    assert "Mend them, or say --mode siren" in error
    assert not (tmp_path / "out").exists()


def test_a_wav_of_another_rate_is_refused_strictly_and_resampled_and_reported_as_published(tmp_path: Path) -> None:
    data = trees.iiee(tmp_path / "data")
    odd = next((data / "test_cut").rglob("*.wav"))
    trees.write_wav(odd, trees.tone(0, 48_000, 2400), 48_000)
    quick = ("--out", tmp_path / "out", "--encoder", "mean-log-spectrum", "--k", 1)
    code, _, error = siren("run", "iiee", data, *quick, "--mode", "strict")
    assert code == 1
    assert f"{odd}: 48000 Hz, the data set is of 44100 Hz" in error
    code, said, _ = siren("run", "iiee", data, *quick, "--mode", "siren")
    assert code == 0
    assert f"- {odd}: 48000 Hz, the data set is of 44100 Hz: resampled" in said


def test_a_broken_mat_file_is_refused_strictly_and_zero_and_reported_as_published(tmp_path: Path) -> None:
    data = trees.cwru(tmp_path / "data")
    broken = sorted(data.rglob("*.mat"))[0]
    broken.write_bytes(broken.read_bytes()[:300])
    quick = ("--out", tmp_path / "out", "--encoder", "mean-log-spectrum", "--k", 1)
    code, _, error = siren("run", "cwru", data, *quick, "--mode", "strict")
    assert code == 1
    assert f"1 of 105 clips have no vector; the first: {broken}: damaged" in error
    code, said, _ = siren("run", "cwru", data, *quick, "--mode", "siren")
    assert code == 0
    assert "counted as all zeros" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "cwrv", "."], "cwrv: no such data set; there are dcase2020"),
        (["run", "cwru", "."], "no CWRU recordings at 12 kHz; it holds 12k_Drive_End"),
        (["run", "cwru", "DATA", "--encoder", "fisher-small"], "checkpoints/FISHER-small-0723.pt: no such file. Fetch"),
        (["run", "cwru", "DATA", "--encoder", "untrained:huge:0"], "no size 'huge'; there are tiny, small, base"),
        (["run", "cwru", "DATA", "--encoder", "runs/none.pth"], "runs/none.pth"),
        (["run", "cwru", "DATA", "--encoder", "fisher-smal"], "no such encoder; did you mean fisher-small?"),
        (["run", "cwru", "DATA", "--encoder", "no.such:Encoder"], "no.such:Encoder: cannot be made: No module"),
        (["run", "cwru", "DATA", "--encoder", "pathlib:Path"], "pathlib:Path: no Encoder with a name and a digest"),
        (["run", "cwru", "DATA", "--out", "data/Normal/97_0.mat"], "97_0.mat: no folder for results can be made there"),
    ],
)
def test_a_word_that_names_nothing_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = trees.cwru(tmp_path / "data") if "DATA" in words else tmp_path
    code, _, error = siren(*(str(data) if word == "DATA" else word for word in words))
    assert code == 1
    assert said in error
    assert not (tmp_path / "runs").exists()


def test_the_encoders_are_listed_with_the_file_each_needs() -> None:
    code, said, _ = siren("encoders")
    assert code == 0
    for name in ("mean-log-spectrum", "beats", "ced-base", "dasheng-1.2b", "eat-large", "fisher-mini"):
        assert name in said
    assert "dasheng_base.pt" in said


def test_two_processes_under_torchrun_say_what_one_says(tmp_path: Path) -> None:
    data = trees.cwru(tmp_path / "data")
    quick = ("--k", "5", "--encoder", "mean-log-spectrum", "--workers", "0")
    siren("run", "cwru", data, "--out", tmp_path / "one", *quick)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "trainer.siren", "run", "cwru", str(data), "--out", str(tmp_path / "two"), *quick]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [*torchrun, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr
    assert values(tmp_path / "two" / "cwru.json") == values(tmp_path / "one" / "cwru.json")


def test_the_published_tables_average_to_what_is_printed_under_them() -> None:
    printed = {"BEATs base": (61.86, 81.86), "ECHO small": (62.11, 93.19), "FISHER small": (61.00, 92.73)}
    for row in ROWS:
        assert len(row.years) == len(YEARS)
        assert len(row.faults) == len(FAULTS)
        if row.table == LATER and row.model in printed:
            assert sum(row.years) / 6 == pytest.approx(printed[row.model][0], abs=0.006)
            assert sum(row.faults) / 5 == pytest.approx(printed[row.model][1], abs=0.006)


@needs_shared
def test_the_mean_log_spectrum_of_real_bearings_is_right_96_times_of_105_and_40_of_101_without_the_leak(
    tmp_path: Path,
) -> None:
    data = SHARED / "data" / "cwru"
    code, said, _ = siren("run", "cwru", data, "--out", tmp_path, "--encoder", "mean-log-spectrum")
    assert code == 0
    found = json.loads((tmp_path / "cwru.json").read_text())["results"]
    right = {
        (r["mode"], r["protocol"]): (r["right"], r["count"])
        for r in found
        if r["k"] == 5 and r["method"] == "neighbours"
    }
    assert right == {
        ("siren", "loocv"): (96, 105),
        ("strict", "loocv"): (96, 105),
        ("strict", "leakage-free"): (40, 101),
    }
    assert "0.914" in said


def test_every_data_set_has_its_own_name_and_title() -> None:
    assert len({task.title for task in TASKS.values()}) == len(TASKS)
