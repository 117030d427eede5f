"""From files to figures: all ten data sets in miniature through engine and scoring, in both modes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from echo_edge.frontend import log_spectrogram
from tests.trainer.siren import trees
from trainer.data.matfile import read_arrays
from trainer.evaluation.contestants import onnx_encoder
from trainer.evaluation.features import mean_log_spectrum
from trainer.siren import anomalies, faults
from trainer.siren.encoders.base import Encoder, FloatArray, Mode
from trainer.siren.encoders.spectra import Feature
from trainer.siren.engine import MAKE_VECTORS, Features, embed_clips
from trainer.siren.errors import ScoringError
from trainer.siren.neighbours import HEARD_CHANNELS
from trainer.siren.reading import decode
from trainer.siren.results import NEIGHBOURS, Result
from trainer.siren.tasks import TASKS
from trainer.siren.tasks.base import AnomalyClip, FaultClip, FaultTask

YEARS = range(2020, 2026)
MODES: tuple[Mode, ...] = ("siren", "strict")


def spectrum() -> Encoder:
    return Feature("mean-log-spectrum", mean_log_spectrum, by_bin=True)


def fault_results(name: str, root: Path, cache: Path, mode: Mode, *, every: int = 1) -> list[Result]:
    """Return the figures with k = 5, of all clips or of one in so many."""
    task = TASKS[name]
    assert isinstance(task, FaultTask)
    clips = [clip for clip in task.find(root).clips if isinstance(clip, FaultClip)][::every]
    encoder = spectrum()
    features = embed_clips(encoder, clips, cache)
    return faults.evaluate(task, clips, features, encoder.name, mode, (5,), encoder.band_edges(task.rate_hz))


def plain(results: Sequence[Result], protocol: str, part: str = "") -> Result:
    (found,) = [r for r in results if (r.method, r.protocol, r.part) == (NEIGHBOURS, protocol, part)]
    return found


def test_tones_are_named_by_their_neighbours_as_published(tmp_path: Path) -> None:
    result = plain(fault_results("cwru", trees.cwru(tmp_path / "data"), tmp_path, "siren"), "loocv")
    assert result.count == 105
    assert result.value > 0.95


def test_iica_is_judged_in_five_folds_and_strictly_in_five_that_keep_sessions_together(tmp_path: Path) -> None:
    root = trees.iica(tmp_path / "data")
    assert plain(fault_results("iica", root, tmp_path, "siren", every=7), "kfold").count == 513
    strict = fault_results("iica", root, tmp_path, "strict", every=7)
    assert {r.protocol for r in strict} == {"kfold", "leakage-free"}
    assert plain(strict, "leakage-free").count == 513


def test_mafaulda_has_a_figure_of_vibration_and_one_of_sound(tmp_path: Path) -> None:
    task = TASKS["mafaulda"]
    assert isinstance(task, FaultTask)
    found = task.find(trees.mafaulda(tmp_path / "data")).clips
    clips = [clip for clip in found if isinstance(clip, FaultClip) and clip.path.stat().st_size > 1000]
    encoder = spectrum()
    features = embed_clips(encoder, clips, tmp_path)
    assert {v.shape[0] for v in features.vectors.values()} == {8}
    for mode in MODES:
        results = faults.evaluate(task, clips, features, encoder.name, mode, (1,))
        assert {r.part for r in results} == {"vibration", "sound"}
        assert plain(results, "loocv", "vibration").value > 0.95


def test_vibration_is_of_seven_channels_as_published_and_of_six_accelerometers_strictly() -> None:
    task = TASKS["mafaulda"]
    assert isinstance(task, FaultTask)
    random = np.random.default_rng(0)
    clips = [
        FaultClip(name=str(i), path=Path(), rate_hz=50_000, label=("normal", "imbalance")[i % 2], group=str(i))
        for i in range(40)
    ]
    noise = random.standard_normal((40, 8, 6)).astype(np.float32)
    noise[:, 0] += 50 * np.arange(40)[:, None] % 100  # the tachometer alone tells
    features = Features({clip.name: vector for clip, vector in zip(clips, noise, strict=True)})
    siren = plain(faults.evaluate(task, clips, features, "x", "siren", (5,)), "loocv", "vibration")
    strict = plain(faults.evaluate(task, clips, features, "x", "strict", (5,)), "loocv", "vibration")
    assert HEARD_CHANNELS == 7
    assert siren.value > 0.7 > strict.value


def test_what_shares_a_severity_has_no_vote_without_the_leak() -> None:
    task = TASKS["cwru"]
    assert isinstance(task, FaultTask)
    places = {("DE_B", "007"): 0, ("DE_IR", "014"): 10, ("DE_B", "014"): 100, ("DE_IR", "007"): 110}
    clips, vectors = [], {}
    for (label, group), place in places.items():
        for i in range(6):
            name = f"{label} {group} {i}"
            clips.append(FaultClip(name=name, path=Path(), rate_hz=12_000, label=label, group=group))
            vectors[name] = np.full((1, 1), place + i, np.float32)
    results = faults.evaluate(task, clips, Features(vectors), "x", "strict", (5,))
    assert plain(results, "loocv").value == 1.0
    assert plain(results, "leakage-free").value == 0.0


def test_a_class_of_one_severity_is_not_asked_without_the_leak(tmp_path: Path) -> None:
    results = fault_results("cwru", trees.cwru(tmp_path / "data"), tmp_path, "strict")
    assert plain(results, "loocv").count == 105
    assert plain(results, "leakage-free").count == 101  # FE_OC@12 has the diameter 007 alone
    assert "FE_OC@12" not in plain(results, "leakage-free").details["classes"]


@pytest.mark.parametrize("name", ["cwru", "mafaulda", "iica", "iiee"])
def test_no_clip_votes_on_itself_and_without_the_leak_none_of_its_group_does(name: str) -> None:
    task = TASKS[name]
    assert isinstance(task, FaultTask)
    clips = [
        FaultClip(
            name=str(i),
            path=Path(),
            rate_hz=task.rate_hz,
            label=task.classes[i % 3],
            group=str(i // 6),
            side=("train", "test")[i % 2] if name == "iiee" else "",  # type: ignore[arg-type]
        )
        for i in range(60)
    ]
    found = dict(faults.protocols(task, clips))
    assert "leakage-free" in found
    groups = np.array([clip.group for clip in clips])
    for protocol, barred in found.items():
        assert barred.diagonal().all()
        assert not barred.all(axis=1).any()
        if protocol == "leakage-free" and name != "iiee":
            assert barred[groups[:, None] == groups[None]].all()


def test_iiee_is_learned_and_tested_as_it_comes_split_and_its_conditions_are_told_apart(tmp_path: Path) -> None:
    root = trees.iiee(tmp_path / "data")
    for mode, protocol in zip(MODES, ("split", "leakage-free"), strict=True):
        result = plain(fault_results("iiee", root, tmp_path, mode, every=4), protocol)
        assert result.count in {505, 506}
        assert result.value > 0.9
        assert sum(of for _, of in result.details["conditions"].values()) == result.count
        assert set(result.details["conditions"]) >= {"talking", "stresstest"}


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("mode", MODES)
def test_a_year_of_dcase_is_scored_by_machine_section_and_domain(tmp_path: Path, year: int, mode: Mode) -> None:
    task = trees.small_year(year)
    trees.dcase(tmp_path, year)
    clips = [clip for clip in task.find(tmp_path).clips if isinstance(clip, AnomalyClip)]
    encoder = spectrum()
    features = embed_clips(encoder, clips, tmp_path / "cache")
    results, remarks, scores = anomalies.evaluate(task, clips, features, encoder.name, mode)
    assert remarks == []
    assert set(scores) == {clip.name for clip in clips if clip.anomalous is not None}
    near = {r.part: r for r in results if r.method == NEIGHBOURS}
    assert set(near) == {"dev", "eval", "overall"}
    sections = sum(len(names) for names in task.dev_sections.values())
    domains = 1 if year == 2020 else 2
    assert len(near["dev"].details["auc"]) == sections * domains
    assert len(near["dev"].details["pauc"]) == sections * (2 if year == 2021 else 1)
    assert near["overall"].value > 0.9
    assert near["overall"].low <= near["overall"].value <= near["overall"].high


def one_machine(tmp_path: Path) -> tuple[trees.Dcase, list[AnomalyClip], Features]:
    task = trees.small_year(2022)
    trees.dcase(tmp_path, 2022, ["fan"])
    clips = [clip for clip in task.find(tmp_path).clips if isinstance(clip, AnomalyClip)]
    return task, clips, embed_clips(spectrum(), clips, tmp_path / "cache")


def test_what_a_section_never_learned_is_perfectly_normal_as_published_and_an_error_strictly(tmp_path: Path) -> None:
    task, clips, features = one_machine(tmp_path)
    cut = [c for c in clips if not (c.anomalous is None and c.section == "section_01")]
    _, remarks, scores = anomalies.evaluate(task, cut, features, "x", "siren")
    assert remarks == ["dev fan: nothing normal was learned of section_01: scored 0, as published"]
    assert {scores[c.name] for c in cut if c.section == "section_01" and c.anomalous is not None} == {0.0}
    with pytest.raises(ScoringError, match="dev fan: nothing normal was learned of section_01"):
        anomalies.evaluate(task, cut, features, "x", "strict")


def test_when_no_tested_section_was_learned_the_published_code_takes_the_whole_machine(tmp_path: Path) -> None:
    task, clips, features = one_machine(tmp_path)
    moved = [replace(c, section="section_09") if c.anomalous is None and c.part == "dev" else c for c in clips]
    _, remarks, scores = anomalies.evaluate(task, moved, features, "x", "siren")
    assert remarks == ["dev fan: no tested section was learned: the whole machine is the bank, as published"]
    assert all(scores[c.name] > 0 for c in moved if c.part == "dev" and c.anomalous is not None)


def test_a_group_with_one_class_is_an_error_strictly_and_a_zero_as_published(tmp_path: Path) -> None:
    task, clips, features = one_machine(tmp_path)
    cut = [c for c in clips if not (c.anomalous and c.section == "section_02")]
    results, remarks, _ = anomalies.evaluate(task, cut, features, "x", "siren")
    assert any("dev fan_section_02_source: 2 test clips, none anomalous" in r for r in remarks)
    assert {r.part: r for r in results}["dev"].value < 1e-12
    with pytest.raises(ScoringError, match="groups with one class: dev fan_section_02"):
        anomalies.evaluate(task, cut, features, "x", "strict")


def test_scores_are_written_as_sirens_evaluator_reads_them(tmp_path: Path) -> None:
    task, clips, features = one_machine(tmp_path)
    _, _, scores = anomalies.evaluate(task, clips, features, "x", "siren")
    anomalies.write_scores(task, clips, scores, tmp_path / "scores")
    lines = (tmp_path / "scores" / "dcase2022_t2" / "dev" / "score_fan_dev.csv").read_text().splitlines()
    assert len(lines) == 24
    name, score = lines[0].split(",")
    assert name.startswith("section_00_source_test_")
    assert float(score) == scores[f"development/fan/test/{name}"]


class Refusing(Feature):
    """Refuses every signal louder than 1, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__("refusing", self._one)
        self.asked = 0

    def _one(self, samples: FloatArray, rate_hz: int) -> FloatArray:  # noqa: ARG002
        self.asked += 1
        if np.abs(samples).max() > 1:
            raise ValueError("too loud")
        return np.array([samples.std(), 1.0], np.float32)


def few_clips(tmp_path: Path) -> list[FaultClip]:
    root = trees.cwru(tmp_path / "data")
    return [clip for clip in TASKS["cwru"].find(root).clips if isinstance(clip, FaultClip)]


def test_vectors_are_kept_and_a_second_run_asks_the_encoder_nothing(tmp_path: Path) -> None:
    clips, encoder = few_clips(tmp_path), Refusing()
    first = embed_clips(encoder, clips, tmp_path / "cache")
    assert encoder.asked == 105
    again = embed_clips(encoder, clips, tmp_path / "cache")
    assert encoder.asked == 105
    assert all((again.vectors[name] == vector).all() for name, vector in first.vectors.items())


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    clips, encoder = few_clips(tmp_path), Refusing()
    embed_clips(encoder, clips[:40], tmp_path / "cache")
    embed_clips(encoder, clips, tmp_path / "cache")
    assert encoder.asked == 105


def test_a_changed_file_and_a_changed_encoder_are_embedded_anew(tmp_path: Path) -> None:
    clips, encoder = few_clips(tmp_path), Refusing()
    embed_clips(encoder, clips, tmp_path / "cache")
    shutil.copy(clips[1].path, clips[0].path)
    embed_clips(encoder, clips, tmp_path / "cache")
    assert encoder.asked == 105  # the same bytes elsewhere are the same signal
    data = clips[0].path.read_bytes()
    clips[0].path.write_bytes(data[:-8] + bytes(8))
    embed_clips(encoder, clips, tmp_path / "cache")
    assert encoder.asked == 106
    encoder.digest = "another"
    embed_clips(encoder, clips, tmp_path / "cache")
    assert encoder.asked == 106 + 105


def test_two_encoders_with_one_digest_never_share_a_vector(tmp_path: Path) -> None:
    clips = few_clips(tmp_path)[:3]
    first, second = Refusing(), spectrum()
    second.digest = first.digest
    embed_clips(first, clips, tmp_path / "cache")
    found = embed_clips(second, clips, tmp_path / "cache")
    assert {vector.shape for vector in found.vectors.values()} == {(1, 151)}


def test_every_function_that_makes_a_vector_is_hashed_into_the_key_of_the_cache() -> None:
    hashed = {str(path) for path in MAKE_VECTORS}
    for function in (mean_log_spectrum, decode, read_arrays, onnx_encoder, log_spectrogram):
        assert function.__code__.co_filename in hashed


def test_a_kept_vector_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    clips, encoder = few_clips(tmp_path), Refusing()
    first = embed_clips(encoder, clips, tmp_path / "cache")
    for place in sorted((tmp_path / "cache").rglob("*.npz"))[:10]:
        data = bytearray(place.read_bytes())
        data[len(data) // 3] ^= 0xFF
        place.write_bytes(bytes(data))
    again = embed_clips(encoder, clips, tmp_path / "cache")
    assert all((again.vectors[name] == vector).all() for name, vector in first.vectors.items())


def test_a_clip_the_encoder_refuses_takes_no_other_along_and_is_named(tmp_path: Path) -> None:
    clips, encoder = few_clips(tmp_path), Refusing()
    trees.write_mat(clips[3].path, 103, 9 * trees.tone(0, 12_000, 2400))
    features = embed_clips(encoder, clips, tmp_path / "cache")
    assert features.failures == {clips[3].name: f"{clips[3].path}: refusing: too loud"}
    assert len(features.vectors) == 104


def test_a_clip_that_failed_is_all_zeros_as_published_and_an_error_strictly(tmp_path: Path) -> None:
    task = TASKS["cwru"]
    assert isinstance(task, FaultTask)
    clips = few_clips(tmp_path)
    clips[7].path.write_bytes(b"no MAT file")
    features = embed_clips(spectrum(), clips, tmp_path / "cache")
    assert "damaged, or no MAT file" in features.failures[clips[7].name]
    assert not faults.stack(clips, features, "siren")[7].any()
    with pytest.raises(ScoringError, match=rf"1 of 105 clips have no vector; the first: {clips[7].path}"):
        faults.evaluate(task, clips, features, "x", "strict", (5,))
