"""Faults named by their neighbours: who may vote, who wins a tie, and what the yardsticks reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.shared_data import SHARED, needs_shared
from trainer.evaluation.cwru import CwruRecording, accuracy, load_cwru, score_cwru
from trainer.evaluation.features import mean_and_deviation, mean_log_spectrum
from trainer.evaluation.recordings import DataError

CWRU = SHARED / "data" / "cwru"


def recordings(*kinds: tuple[str, float]) -> list[CwruRecording]:
    return [CwruRecording(f"{i}", np.zeros(1, np.float32), label, size, 0) for i, (label, size) in enumerate(kinds)]


def on_a_line(*places: float) -> np.ndarray:
    return np.array(places)[:, None]


def test_siren_lets_the_same_bearing_at_another_load_vote_and_the_strict_protocol_does_not() -> None:
    # each query's nearest are its own fault and diameter; the same fault in the other diameter lies far away
    kinds = recordings(*[("ball", 0.007)] * 6, *[("inner", 0.014)] * 6, *[("ball", 0.014)] * 6, *[("inner", 0.007)] * 6)
    features = on_a_line(*range(6), *range(10, 16), *range(100, 106), *range(110, 116))
    figures = score_cwru(features, kinds)
    assert figures.siren == 1.0
    assert figures.strict == 0.0


def test_a_recording_never_votes_on_itself() -> None:
    kinds = recordings(("ball", 0.007), *[("inner", 0.014)] * 6)
    assert score_cwru(on_a_line(0, 1, 2, 3, 4, 5, 6), kinds).siren == 1.0  # of the six that another could name


def test_a_fault_that_exists_in_one_diameter_alone_is_not_asked_of_others() -> None:
    kinds = recordings(("outer", 0.007), ("ball", 0.007), ("ball", 0.014))
    assert score_cwru(on_a_line(0, 1, 2), kinds).strict == 1.0


def test_of_two_faults_with_equal_votes_the_one_with_the_nearest_neighbour_wins() -> None:
    labels = ["ball", "ball", "inner", "inner", "ball", "outer"]
    asked_of_the_first = np.ones((6, 6), dtype=bool)
    asked_of_the_first[0, 1:] = False
    assert accuracy(on_a_line(0, 1, 2, 3, 4, 5), labels, asked_of_the_first) == 1.0
    assert accuracy(on_a_line(0, 3, 1, 2, 4, 5), labels, asked_of_the_first) == 0.0


def test_only_the_five_nearest_vote() -> None:
    labels = ["ball", "inner", "inner", "inner", "ball", "ball", "ball", "ball"]
    barred = np.ones((8, 8), dtype=bool)
    barred[0, 1:] = False
    assert accuracy(on_a_line(0, 1, 2, 3, 4, 5, 6, 7), labels, barred) == 0.0


def test_a_missing_folder_is_an_error_that_names_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cwru/manifest\.csv: cannot be read: No such file.*holds cwru/"):
        load_cwru(tmp_path / "cwru")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    row = "gone.flac,12k_DE,1,12000,ball,DE,0.007,0,,0.001\n"
    columns = (
        "file,subset,siren_reads_this,sampling_rate_hz,fault,fault_end,size_in,load_hp,or_position,scale_g_per_lsb\n"
    )
    (tmp_path / "manifest.csv").write_text(columns + row * 105)
    with pytest.raises(DataError, match=r"gone\.flac: cannot be read"):
        load_cwru(tmp_path)
    (tmp_path / "manifest.csv").write_text(columns + "\n" + row * 104)
    with pytest.raises(DataError, match="lists 104 of SIREN's 105"):
        load_cwru(tmp_path)


@needs_shared
def test_the_trivial_features_reach_what_the_published_encoders_reach_and_lose_most_of_it_without_the_leak() -> None:
    found = load_cwru(CWRU)
    assert max(np.abs(r.samples).max() for r in found) < 20  # g, not steps of a converter
    for feature in (mean_log_spectrum, mean_and_deviation):
        figures = score_cwru(np.stack([feature(r.samples, 12_000) for r in found]), found)
        print(f"{feature.__name__}: {figures.siren:.3f}, leakage-free {figures.strict:.3f}")
        assert figures.siren == pytest.approx(96 / 105)
        assert figures.strict == pytest.approx(40 / 101)
