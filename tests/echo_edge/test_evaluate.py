"""Evaluate: labelled recordings of an invented machine, and the real bearings where they are at hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from echo_edge.errors import RecordingError
from echo_edge.evaluate import evaluate, read_labels
from sensors import Machine
from tests.shared_data import SHARED, needs_shared
from tests.system.daemon import command
from tests.world import make_embedder

RATE_HZ = 16_000
CWRU = SHARED / "data" / "cwru"


def recordings(folder: Path) -> tuple[Path, Path]:
    """A folder of normal recordings and a label file with six of each label in two groups."""
    (folder / "normal").mkdir()
    machine = Machine(1, RATE_HZ, 1)
    for i in range(4):
        soundfile.write(folder / "normal" / f"{i}.wav", machine.samples(5 * RATE_HZ), RATE_HZ, subtype="FLOAT")
    rows = ["path,label,group"]
    for label, fault in (("normal", None), ("anomaly", "inner_race")):
        machine.set_fault(fault)
        machine.samples(RATE_HZ)
        for i in range(6):
            soundfile.write(folder / f"{label}{i}.wav", machine.samples(RATE_HZ), RATE_HZ, subtype="FLOAT")
            rows.append(f"{label}{i}.wav,{label},{'even' if i % 2 == 0 else 'odd'}")
    labels = folder / "labels.csv"
    labels.write_text("\n".join(rows) + "\n")
    return folder / "normal", labels


def test_a_plain_fault_is_told_from_normal_by_both_detectors(tmp_path: Path) -> None:
    normal, labels = recordings(tmp_path)
    result = evaluate(make_embedder(), [normal], labels, 0.5)
    assert result["counts"] == {"learned_windows": 40, "normal": 6, "anomaly": 6}
    for name in ("ours", "mean_log_spectrum"):
        assert result[name]["roc_auc"] == 1
        assert result[name]["pauc"] == 1
        assert {g: f["normal"] for g, f in result[name]["groups"].items()} == {"even": 3, "odd": 3}


def test_labels_that_mean_nothing_give_no_better_than_chance(tmp_path: Path) -> None:
    normal, labels = recordings(tmp_path)
    rows = labels.read_text().splitlines()
    mixed = [rows[0], *(r.replace("normal,", "anomaly,", 1) if i % 2 else r for i, r in enumerate(rows[1:7]))]
    labels.write_text("\n".join(mixed) + "\n")
    assert evaluate(make_embedder(), [normal], labels, 0.5)["ours"]["roc_auc"] < 1


def test_a_file_that_is_learned_and_tested_is_refused(tmp_path: Path) -> None:
    normal, labels = recordings(tmp_path)
    with labels.open("a") as out:
        out.write("normal/0.wav,normal,even\n")
    with pytest.raises(RecordingError, match="is learned as normal and tested as well"):
        evaluate(make_embedder(), [normal], labels, 0.5)


def test_a_scale_on_some_files_only_is_refused_because_it_would_look_like_a_fault(tmp_path: Path) -> None:
    normal, labels = recordings(tmp_path)
    rows = labels.read_text().splitlines()
    scaled = [rows[0] + ",scale", *(row + ("," if ",normal," in row else ",2.5") for row in rows[1:])]
    labels.write_text("\n".join(scaled) + "\n")
    with pytest.raises(RecordingError, match="a difference in scale alone would look like a fault"):
        evaluate(make_embedder(), [normal], labels, 0.5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("file,label\na.wav,normal\n", r"labels.csv:1: the columns are path,label"),
        ("path,label\na.wav,good\n", r"labels.csv:2: label 'good' is neither"),
        ("path,label\nb.wav,normal\n", r"labels.csv:2: no such file: .*b.wav"),
        ("path,label,scale\na.wav,normal,big\n", r"labels.csv:2: scale 'big' is not a number"),
        ("path,label\na.wav,normal\n", r"needs both labels.*1 normal and 0 anomaly"),
        ("", r"labels.csv:1: the columns are"),
    ],
)
def test_a_wrong_label_file_is_refused_by_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.wav").touch()
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(RecordingError, match=problem):
        read_labels(path)


@needs_shared
def test_bearing_faults_are_told_from_held_out_normal_running(tmp_path: Path) -> None:
    with (CWRU / "manifest.csv").open(newline="") as lines:
        rows = [r for r in csv.DictReader(lines) if r["channel"] == "DE" and r["subset"] in {"48k_DE", "normal"}]
    (tmp_path / "learned").mkdir()
    scales, labels = ["file,scale_g_per_lsb"], ["path,label,group,scale"]
    for row in rows:
        if row["subset"] == "48k_DE":
            labels.append(f"{CWRU / row['file']},anomaly,{row['fault']},{row['scale_g_per_lsb']}")
            continue
        data, rate_hz = soundfile.read(CWRU / row["file"], dtype="int16")
        learned, rest = np.split(data, [len(data) * 2 // 3])
        name = Path(row["file"]).stem
        soundfile.write(tmp_path / "learned" / f"{name}.wav", learned, rate_hz)
        scales.append(f"learned/{name}.wav,{row['scale_g_per_lsb']}")
        for i, part in enumerate(np.array_split(rest, len(rest) // (rate_hz // 2))):
            soundfile.write(tmp_path / f"{name}_{i}.wav", part, rate_hz)
            labels.append(f"{name}_{i}.wav,normal,normal,{row['scale_g_per_lsb']}")
    (tmp_path / "manifest.csv").write_text("\n".join(scales) + "\n")
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    done = command(
        "evaluate", "--normal", tmp_path / "learned", "--test", tmp_path / "labels.csv", "--window-s", "0.25", "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    print({k: result[k] for k in ("model", "counts")})
    print({k: (result[k]["roc_auc"], result[k]["pauc"]) for k in ("ours", "mean_log_spectrum")})
    assert result["counts"]["anomaly"] == 13
    assert result["ours"]["roc_auc"] > 0.95
    assert result["mean_log_spectrum"]["roc_auc"] > 0.95
