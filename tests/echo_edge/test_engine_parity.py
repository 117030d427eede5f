"""Whether another engine gives the CPU's verdicts."""

from __future__ import annotations

import pytest

from echo_edge.artifact import load_package
from echo_edge.engine.base import FloatArray
from echo_edge.engine.onnx import OnnxEngine
from echo_edge.engine_parity import check_parity
from echo_edge.errors import ArtifactError

PACKAGE = load_package("echo-tiny")


class Off:
    """The CPU's engine, off by a factor for shapes that no test vector has."""

    name = "off"

    def __init__(self, factor: float) -> None:
        self._cpu, self._factor = OnnxEngine(PACKAGE), factor
        self.embed_dim = PACKAGE.embed_dim

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        known = len(bands) <= max(len(vector.position) for vector in PACKAGE.test_vectors)
        out: FloatArray = self._cpu.run(bands, position) * (1.0 if known else self._factor)
        return out.astype("float32")


def test_an_engine_that_knows_only_the_test_vectors_is_found_out_by_its_verdicts() -> None:
    with pytest.raises(ArtifactError, match=r"echo-tiny\.onnx: engine off gives \d+ of 30 other verdicts than onnx"):
        check_parity(PACKAGE, Off(1.1), OnnxEngine(PACKAGE))
