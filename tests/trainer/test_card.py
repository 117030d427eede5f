"""The model card: what it says of a miniature run, and whose card it refuses to be."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("torch")

import typer
from click.testing import Result
from typer.testing import CliRunner

from tests.trainer.runs import listed, recorded, run_here
from trainer.card import main
from trainer.checkpoint import load_checkpoint
from trainer.curve import Line, Panel, curve, draw
from trainer.data.manifest import Recording
from trainer.evaluation.cwru import CwruFigures
from trainer.evaluation.detection import Row
from trainer.evaluation.table import Column, Figures, as_json
from trainer.export import export_package

PACKAGE = {
    "package": "drums",
    "version": "1.2-3",
    "parts": [
        {"licence": "CC-BY-3.0", "says": '"Files: kit/*"; A. Drummer | friends'},
        {"licence": "CC0-1.0", "says": "not this one"},
    ],
}


def row(folder: Path, name: str, **changes: object) -> Recording:
    noise = 0.1 * np.random.default_rng(len(name)).standard_normal(14_400)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return recorded(folder, name, noise, 8_000, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two corpora: of a Debian package, and of recordings whose label file tells their source."""
    here = tmp_path_factory.mktemp("card")
    (here / "debian").mkdir()
    listed(here / "debian", [row(here / "debian", "files/drums/kit/snare.wav", licence="CC-BY-3.0")])
    (here / "debian" / "packages.json").write_text(json.dumps([PACKAGE]))
    found = here / "found"
    found.mkdir()
    (found / "labels.csv").write_text("file,source\nfan.wav,example.org/fans\nheld.wav,example.org/fans\n")
    rows = [row(found, "fan.wav", licence="CC-BY-4.0"), row(found, "held.wav", split="val")]
    rows += [row(found, "plain/hum.wav"), replace(row(found, "plain/short.wav"), duration_s=0.3)]
    shutil.move(listed(found, rows).path, here / "found" / "found.csv")
    manifests = "data.manifests=[debian/all.csv, found/found.csv]"
    run_here(here, "run", manifests, "run.steps=3", "objective.eat=0.5", "data.machines_share=0.25")
    model = load_checkpoint(here / "run" / "encoder.safetensors")
    export_package(model, here, "mini", provenance="a test", licence="CC0-1.0", half=True)
    figures = Figures("mini", CwruFigures(0.9, 0.5), 12.0, (Row("pump", None, 0.0, 0.8, 0.6),))
    table = [Column("mini", (figures,)), Column("untrained", (figures, figures))]
    (here / "evaluation.json").write_text(json.dumps(as_json(table)))
    (here / "note.md").write_text("- It was a test.\n")
    return here


def command(folder: Path, *words: str, manifests: tuple[str, ...] = ("debian/all.csv", "found/found.csv")) -> Result:
    app = typer.Typer()
    app.command()(main)
    given = [word for name in manifests for word in ("--manifest", str(folder / name))]
    usual = ["--evaluation", str(folder / "evaluation.json"), "--out", str(folder / "out" / "mini.md")]
    return CliRunner().invoke(app, [str(folder / "run"), str(folder / "mini"), *given, *usual, *words])


def test_a_card_says_what_the_model_learned_from_how_and_what_it_reaches(folder):
    done = command(folder, "--note", str(folder / "note.md"))
    assert done.exit_code == 0, done.output
    text = (folder / "out" / "mini.md").read_text()
    for said in (
        "# mini\n",
        "2 layers of width 32",
        "| licence of the weights | CC0-1.0 |",
        "25 % of the clips are simulated machines",
        "3 recordings, 0.00 h: CC-BY-3.0 0.00 h, CC-BY-4.0 0.00 h, CC0-1.0 0.00 h.",
        '| CC-BY-3.0 | Debian `drums` 1.2-3 | 1 | 0.00 | "Files: kit/*"; A. Drummer \\| friends |',
        "| CC-BY-4.0 | example.org/fans | 1 | 0.00 | fan |",
        "| CC0-1.0 | plain | 1 | 0.00 |  |",  # neither what is held out nor what is too short to be drawn
        "(EAT) (weight 0.5)",
        "| steps | 3, of 4 clips of 0.4 to 0.8 s, 12 bands |",
        "| recordings | every part was drawn ",
        "![Losses and accuracies over the steps of training](mini.svg)",
        "| CWRU, SIREN protocol | 0.900 [",
        "Not a safety function.\n- It was a test.\n",
        "trainer.pretrain configs/train/mini.yaml runs/run\n",
        "docs/models/mini.md \\\n    --manifest debian/all.csv \\\n    --manifest found/found.csv\n",
    ):
        assert said in text
    assert str(folder) not in text


def test_the_picture_shows_every_loss_by_name_and_nothing_from_elsewhere(folder):
    assert command(folder).exit_code == 0
    picture = (folder / "out" / "mini.svg").read_text()
    words = {element.text for element in ElementTree.fromstring(picture).iter() if element.text}
    assert {"loss", "patch loss", "frame loss", "utterance loss", "steps"} <= words
    assert not re.search(r"href|@import|url\(", picture)


def test_other_manifests_than_the_runs_are_refused(folder):
    done = command(folder, manifests=("debian/all.csv",))
    assert done.exit_code == 1
    assert re.match(r"error: .*run: learned from all\.csv \w{64}, found\.csv \w{64}; given: all\.csv ", done.stderr)


def test_the_package_of_another_run_is_refused(folder, tmp_path, toy):
    export_package(toy, tmp_path, "mini", provenance="another", licence="CC0-1.0")
    shutil.copytree(folder, tmp_path / "copy")
    for suffix in ("onnx", "json"):
        shutil.copy(tmp_path / f"mini.{suffix}", tmp_path / "copy" / f"mini.{suffix}")
    done = command(tmp_path / "copy")
    assert (done.exit_code, "is not the encoder of" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[{"title": "other", "members": []}]', "the evaluation is not of mini, but of other"),
        ('[{"name": "mini"}]', "not written by python -m trainer.evaluation --json"),
        ("half a f", "not written by python -m trainer.evaluation --json"),
    ],
)
def test_an_evaluation_of_something_else_is_refused(folder, tmp_path, content, says):
    (tmp_path / "other.json").write_text(content)
    done = command(folder, "--evaluation", str(tmp_path / "other.json"))
    assert (done.exit_code, says in done.stderr) == (1, True), done.stderr


def test_a_run_that_is_not_finished_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "run" / "encoder.safetensors").unlink()
    done = command(tmp_path / "copy")
    assert (done.exit_code, "encoder.safetensors" in done.stderr) == (1, True)


def test_a_line_runs_from_its_first_value_to_its_last_and_a_baseline_is_dashed():
    steps = tuple(range(0, 1001, 10))
    falling = Line("loss", steps, tuple(2 - step / 1000 for step in steps))
    picture = draw([Panel("a < b", (falling, Line("baseline", (0, 1000), (0.5, 0.5), dashed=True)))])
    lines = [element for element in ElementTree.fromstring(picture).iter() if element.tag.endswith("polyline")]
    places = {line.get("stroke-dasharray"): line.get("points", "").split() for line in lines}
    assert (places[None][0], places[None][-1]) == ("0.0,0.0", "320.0,110.0")
    assert places["5 4"] == ["0.0,165.0", "320.0,165.0"]


def test_accuracies_stand_beside_losses_where_they_were_taken():
    lines = [{"step": step, "loss": 1 / step} for step in range(1, 500)]
    assert "CWRU" not in curve(lines)
    with_accuracy = curve([*lines, {"step": 500, "cwru_strict": 0.5, "cwru_strict_mean_log_spectrum": 0.4}])
    assert "leakage-free, mean spectrum" in with_accuracy
    assert with_accuracy == curve([*lines, {"step": 500, "cwru_strict": 0.5, "cwru_strict_mean_log_spectrum": 0.4}])


def test_a_loss_stands_on_a_logarithmic_axis():
    falling = Line("loss", (0, 500, 1000), (10.0, 1.0, 0.1))
    picture = draw([Panel("loss", (falling,), logarithmic=True)])
    assert 'points="0.0,0.0 160.0,110.0 320.0,220.0"' in picture
    assert ">0.2<" in picture
