"""The bearing recordings as a yardstick while training: what the trivial features reach, and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tests.shared_data import SHARED, needs_shared
from trainer.evaluation.cwru import load_cwru, score_cwru
from trainer.evaluation.features import mean_and_deviation, mean_log_spectrum
from trainer.evaluation.recordings import DataError


def test_a_missing_folder_is_an_error_that_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cwru: no such folder; it holds"):
        load_cwru(tmp_path / "cwru")


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    columns = "file,subset,siren_reads_this,fault,fault_end,size_in,or_position,scale_g_per_lsb\n"
    (tmp_path / "manifest.csv").write_text(columns + "gone.flac,12k_DE,1,ball,DE,0.007,,0.001\n")
    with pytest.raises(DataError, match=r"gone\.flac: is in manifest\.csv:2 and not there"):
        load_cwru(tmp_path)


@needs_shared
def test_the_trivial_features_reach_what_the_published_encoders_reach_and_lose_most_of_it_without_the_leak() -> None:
    found = load_cwru(SHARED / "data" / "cwru")
    assert max(np.abs(r.samples).max() for r in found) < 20  # g, not steps of a converter
    for feature in (mean_log_spectrum, mean_and_deviation):
        figures = score_cwru(np.stack([feature(r.samples, 12_000) for r in found]), found)
        print(f"{feature.__name__}: {figures.siren:.3f}, leakage-free {figures.strict:.3f}")
        assert figures.siren == pytest.approx(96 / 105)
        assert figures.strict == pytest.approx(40 / 101)
