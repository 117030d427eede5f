"""What the encoder would gain from other CPU options: int8 weights, and OpenVINO where it is installed.

None of them is the default: with untrained weights nobody can say what a lower precision costs in verdicts. OpenVINO is
not among this project's dependencies; ``pip install openvino`` adds its columns. One thread, turn by turn, least
processor time per window, against our single-precision engine in the same run; 1 - cosine is of the band vectors.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from rich.console import Console
from rich.table import Table

from echo_edge import frontend
from echo_edge.artifact import load_package
from echo_edge.engine import create_engine
from tests.bench.bench_encoder import LENGTHS_S, RATES_HZ, fastest_ms
from trainer.export import export_package
from trainer.model.echo import PRESETS, Echo

FloatArray = NDArray[np.float32]
Run = Callable[[FloatArray, FloatArray], FloatArray]


def int8(path: Path) -> Run:
    """ONNX Runtime, weights per channel and activations dynamic, matrix products only."""
    logging.getLogger().setLevel(logging.ERROR)  # the quantizer advises shape inference, which changes nothing here
    made = path.with_suffix(".int8.onnx")
    quantize_dynamic(path, made, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
    return lambda bands, position: session.run(None, {"bands": bands, "position": position})[0]  # type: ignore[no-any-return]


def openvino(path: Path, precision: str) -> Run:
    """OpenVINO at a given inference precision (``f32`` or ``bf16``)."""
    import openvino as ov  # noqa: PLC0415  optional

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    compiled = ov.Core().compile_model(str(path), "CPU", settings)
    return lambda bands, position: compiled({"bands": bands, "position": position})[0]  # type: ignore[no-any-return]


def main() -> None:
    table = Table("model", "window", "option", "ms", "times fp32", "1 - cosine", title="CPU options, one thread")
    rows = []
    for size in ("tiny", "small"):
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            model = Echo(PRESETS[size]).eval()
            path, _ = export_package(model, Path(folder), size, provenance="bench", licence="none")
            package = load_package(path)
            path = package.onnx_path
            runs: dict[str, Run] = {"fp32": create_engine("onnx", package, threads=1).run, "int8": int8(path)}
            if importlib.util.find_spec("openvino") is not None:
                runs |= {f"OpenVINO {p}": openvino(path, p) for p in ("f32", "bf16")}
            for rate_hz in RATES_HZ:
                for length_s in LENGTHS_S:
                    noise = np.random.default_rng(0).standard_normal(rate_hz * length_s).astype(np.float32)
                    bands, position = frontend.bands(noise, rate_hz)
                    exact = runs["fp32"](bands, position)
                    ms = fastest_ms(5, **{name: partial(run, bands, position) for name, run in runs.items()})
                    for name, run in runs.items():
                        found = run(bands, position)
                        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1)
                        off = float(1 - ((found * exact).sum(axis=1) / lengths).min())
                        times = ms["fp32"] / ms[name]
                        window = f"{rate_hz // 1000} kHz {length_s} s"
                        rows.append({"size": size, "window": window, "option": name, "ms": ms[name], "times": times})
                        table.add_row(size, window, name, f"{ms[name]:.1f}", f"{times:.2f}", f"{max(off, 0):.1e}")
    Console(width=100).print(table)
    print(json.dumps({"options": rows}))


if __name__ == "__main__":
    main()
