"""The measurement of detection, end to end on minutes of one machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.torture import detection_report
from tests.torture.detection import NAME
from tests.torture.features import MODEL, Growth, Piece
from tests.torture.growing import OURS, RIVALS, Found, Plan, earlier, measure, summary
from tests.torture.options import write


@pytest.mark.timeout(240)  # 20 s alone on two cores
def test_a_growing_fault_is_found_and_the_report_names_every_way_to_judge(tmp_path: Path) -> None:
    plan = Plan((0,), enrolled_h=0.25, growing_h=0.1, healthy_h=0.1, faults=("outer_race", "imbalance"), jobs=2)
    result = measure(plan, tmp_path / MODEL)
    found = [Found(**one) for one in result["found"]]
    for fault in plan.faults:
        median, count, of = summary(found, OURS, fault)
        assert (count, of) == (1, 1)
        assert 0 < median < plan.top
    assert result["false_alarms"].keys() == {one.way for one in found}
    text = write(NAME, {"growing": result}, tmp_path, detection_report.draw, detection_report.markdown)
    assert json.loads((tmp_path / "detection.json").read_text())["growing"]["found"]
    for way in (OURS, *RIVALS, "echo alone", "without spectrum", "not per band", "without density", "always 1 of 1"):
        assert f"| {way} |" in text


def test_a_fault_grows_evenly_within_its_piece_and_other_pieces_have_other_files(tmp_path: Path) -> None:
    growing, healthy = Piece(0, 100, 110, Growth("imbalance", 0.5)), Piece(0, 100, 110)
    np.testing.assert_allclose(growing.severity_w, np.arange(1, 11) / 20)
    assert not healthy.severity_w.any()
    assert growing.file(tmp_path) != healthy.file(tmp_path) != Piece(0, 100, 111).file(tmp_path)


def test_what_was_not_found_counts_as_later_than_anything() -> None:
    found = [
        Found(machine, "g", "imbalance", way, severity)
        for machine, way, severity in [(0, OURS, 0.1), (0, "kurtosis", None), (1, OURS, None), (1, "kurtosis", 0.3)]
    ]
    assert earlier(found, "kurtosis") == (1, 0, 1)
    assert summary(found, OURS, "imbalance") == (np.inf, 1, 2)
