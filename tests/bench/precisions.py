"""One package in every arithmetic this machine can do: the engines that the precision benchmarks compare."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.onnx_model import ONNXModel

from echo_edge.artifact import ModelPackage, sha256_hex
from echo_edge.engine import Engine, create_engine

FloatArray = NDArray[np.float32]
Inputs = tuple[FloatArray, FloatArray]
"""Bands (N, 32, T) and positions (N,)."""


class OpenVinoEngine:
    """A model file on OpenVINO, one thread."""

    def __init__(self, path: Path, precision: str, embed_dim: int) -> None:
        import openvino  # noqa: PLC0415 - optional

        settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
        self.name, self.embed_dim = f"OpenVINO {precision}", embed_dim
        self._compiled = openvino.Core().compile_model(str(path), "CPU", settings)

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        found: FloatArray = self._compiled({"bands": bands, "position": position})[0]
        return found


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """What the static quantizer hears to choose its ranges."""

    def __init__(self, heard: Sequence[Inputs]) -> None:
        self._left = iter(heard)

    def get_next(self) -> dict[str, FloatArray] | None:
        inputs = next(self._left, None)
        return None if inputs is None else {"bands": inputs[0], "position": inputs[1]}


@contextmanager
def _quietly() -> Iterator[None]:
    """Hold back the quantizer's advice to infer shapes first, which changes nothing here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def engines(package: ModelPackage, folder: Path, heard: Sequence[Inputs]) -> dict[str, Callable[[], Engine]]:
    """Return how to make an engine of each precision, ``fp32`` first; OpenVINO's only where it is installed.

    Args:
        folder: for the files in between.
        heard: bands that stand for what will be judged; only the static quantizer (OpenVINO int8) looks at them.
    """
    plain = folder / "plain.onnx"
    onnx.save(plain_matrices(onnx.load_from_string(package.read_onnx())), plain)
    dynamic = folder / "int8.onnx"
    with _quietly():
        quantize_dynamic(plain, dynamic, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    int8 = replace(package, onnx_path=dynamic, sha256=sha256_hex(dynamic.read_bytes()))
    made: dict[str, Callable[[], Engine]] = {
        "fp32": partial(create_engine, "onnx", package),
        "int8": partial(create_engine, "onnx", int8),
    }
    if importlib.util.find_spec("openvino") is not None:
        fixed = folder / "static.onnx"
        with _quietly():
            quantize_static(
                plain,
                fixed,
                _Calibration(heard),
                per_channel=True,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=_products(onnx.load(plain)),
            )
        dim = package.embed_dim
        made["OpenVINO fp32"] = partial(OpenVinoEngine, package.onnx_path, "f32", dim)
        made["OpenVINO bf16"] = partial(OpenVinoEngine, package.onnx_path, "bf16", dim)
        made["OpenVINO int8"] = partial(OpenVinoEngine, fixed, "f32", dim)
    return made


def plain_matrices(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph as the quantizers need it: every product with weights a MatMul, its weights float32.

    They skip, without a word, weights that come from a Cast (those stored as float16) or a Transpose.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    model = onnx.ModelProto.FromString(model.SerializeToString())
    folded = [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in weights]
    _fold(model, {n.output[0]: weights[n.input[0]].astype(np.float32) for n in folded}, folded)
    rewritten = ONNXModel(model)
    rewritten.replace_gemm_with_matmul()
    model = rewritten.model
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    folded = [n for n in model.graph.node if n.op_type == "Transpose" and n.input[0] in weights]
    _fold(model, {n.output[0]: np.ascontiguousarray(weights[n.input[0]].T) for n in folded}, folded)
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"node{index}"
    return model


def _fold(model: onnx.ModelProto, values: dict[str, NDArray[np.float32]], nodes: Sequence[onnx.NodeProto]) -> None:
    """Replace nodes that only rearrange weights by their results."""
    for node in nodes:
        model.graph.node.remove(node)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _products(model: onnx.ModelProto) -> list[str]:
    """Return the names of the products with weights; those of activations with each other are 3 to 6 % of the work."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
