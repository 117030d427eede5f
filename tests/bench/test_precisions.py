"""What the precision benchmark compares is what it says."""

# ruff: noqa: E402 - without torch the module skips by name before it imports more

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from echo_edge.artifact import load_package
from tests.bench.bench_verdicts import Judged, figures
from tests.bench.precisions import engines
from trainer.export import export_package
from trainer.model.echo import Echo, EchoConfig


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # onnxruntime's quantizer uses onnx's older helpers
@pytest.mark.parametrize("half", [False, True])
def test_every_product_with_weights_is_int8_however_they_are_stored(tmp_path, half):
    config = EchoConfig(64, 2, 2, norm_first=True)
    path, _ = export_package(Echo(config).eval(), tmp_path, "toy", provenance="", licence="", half=half)
    noise = np.random.default_rng(0)
    bands, position = noise.standard_normal((3, 32, 48)).astype(np.float32), np.array([0.1, 0.5, 0.9], np.float32)
    made = engines(load_package(path), tmp_path, [(bands, position)])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node)
    assert kinds["Gemm"] == 0
    assert kinds["MatMulInteger"] == 1 + 2 * (4 + 2)  # patches; queries, keys, values, out, expand, shrink
    assert kinds["MatMul"] == 2 * 2  # activations with each other
    exact, found = (made[name]().run(bands, position) for name in ("fp32", "int8"))
    assert 1e-5 < np.abs(found - exact).max() < 0.1


def test_agreement_is_of_sides_of_the_threshold_and_of_new_and_ended_alerts():
    exact = Judged([0.5, 0.9, 1.1, 3.0], ["normal"] * 3 + ["warning"], {(3, "open")})
    found = Judged([0.6, 1.1, 1.1, 3.0], ["normal"] * 3 + ["warning"], {(3, "open"), (2, "clear")})
    kinds = [("one", "normal"), ("one", "normal"), ("two", "weak fault"), ("two", "strong fault")]
    row = figures("some", exact, found, kinds)
    assert row["agree"] == 0.75
    assert row["agree_by_kind"] == {"normal": 0.5, "weak fault": 1, "strong fault": 1}
    assert row["agree_by_world"] == {"one": 0.5, "two": 1}
    assert (row["near"], row["agree_near"]) == (0.5, 0.5)
    assert (row["levels_agree"], row["events_agree"]) == (1, 0.5)
    assert row["above_by_kind"]["normal"] == 0.5
