"""How fast each engine is on windows of 10 s at 48 kHz, one by one and of 16 streams at once: the CPU's and the GPU's.

Wall time of a whole call, from numpy to numpy, as the pipeline sees it. Without a GPU it says so and measures the CPU
alone. TensorRT is measured where it is installed, or TensorRT-RTX in its place, and so is ONNX Runtime's CUDA.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from echo_edge import frontend
from echo_edge.artifact import ModelPackage, load_package
from echo_edge.engine import Engine
from echo_edge.engine.cuda import device
from echo_edge.engine.exact import exact_tensorrt
from echo_edge.engine.onnx import OnnxEngine
from echo_edge.engine.profiles import WindowShape
from echo_edge.engine.tensorrt_api import load_tensorrt
from echo_edge.errors import EchoEdgeError, EngineError
from trainer.export import export_package
from trainer.model.echo import PRESETS, Echo

RATE_HZ, LENGTH_S, STREAMS = 48_000, 10, 16
TARGET_MS, TARGET_TIMES = 2.0, 20.0  # echo-small: one window on a data-centre GPU; times the CPU's windows a second


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_engines")
    parser.add_argument("--turns", type=int, default=20, help="calls of the GPU's engines; the CPU's get a tenth")
    turns = parser.parse_args(argv).turns
    console = Console(width=120)
    try:
        gpu = device()
        title = f"{gpu.name}, compute capability {gpu.compute_capability}"
    except EngineError as error:
        console.print(str(error), markup=False, highlight=False)
        title = "no GPU"
    table = Table("model", "engine", "precision", "ready after s", "window ms", f"{STREAMS} windows ms", "times CPU")
    table.title = f"{LENGTH_S} s at 48 kHz; {title}"
    rows = []
    for size in ("tiny", "small"):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            torch.manual_seed(0)
            model = Echo(PRESETS[size]).eval()
            path, _ = export_package(model, Path(folder), size, provenance="bench", licence="none", half=True)
            for row in measured(load_package(path), Path(folder), turns, stack, console, gpu=title != "no GPU"):
                rows.append({"model": size, **row})
                figures = (f"{row[key]:.2f}" for key in ("ready_s", "one_ms", "batch_ms", "times"))
                table.add_row(size, row["engine"], row["precision"], *figures)
    console.print(table)
    if title != "no GPU":
        console.print(f"Targets for small: one window under {TARGET_MS:g} ms, {TARGET_TIMES:g} times the CPU.")
    print(json.dumps({"engines": rows}))
    return 0


def measured(
    package: ModelPackage, folder: Path, turns: int, stack: ExitStack, console: Console, *, gpu: bool
) -> list[dict[str, Any]]:
    """Return a row for every engine that this machine has; the CPU's, on one thread, first."""
    noise = np.random.default_rng(0).standard_normal(RATE_HZ * LENGTH_S).astype(np.float32)
    bands, position = frontend.bands(noise, RATE_HZ)
    shapes = [WindowShape(bands.shape[2], STREAMS * len(bands))]
    many, places = np.tile(bands, (STREAMS, 1, 1)), np.tile(position, STREAMS)
    makers: list[Callable[[], tuple[Engine, str]]] = [lambda: (OnnxEngine(package), "fp32")]
    if gpu:
        makers += [lambda: tensorrt(package, shapes, folder), lambda: onnx_cuda(package)]
        with suppress(EngineError):
            tensorrt(package, shapes, folder)[0].close()  # builds it: measured is what a start finds
    rows: list[dict[str, Any]] = []
    for make in makers:
        begun_s = time.monotonic()
        try:
            engine, precision = make()
        except EchoEdgeError as error:
            console.print(f"{package.name}: {error}", markup=False, highlight=False)
            continue
        ready_s = time.monotonic() - begun_s
        stack.callback(getattr(engine, "close", lambda: None))
        calls = turns if rows else max(2, turns // 10)
        one_ms = median_ms(calls, lambda engine=engine: engine.run(bands, position))
        batch_ms = median_ms(calls, lambda engine=engine: engine.run(many, places))
        row = {"engine": engine.name, "precision": precision, "one_ms": one_ms, "batch_ms": batch_ms}
        cpu_ms = rows[0]["batch_ms"] if rows else batch_ms
        rows.append({**row, "ready_s": ready_s, "times": cpu_ms / batch_ms})
    return rows


def tensorrt(package: ModelPackage, shapes: list[WindowShape], folder: Path) -> tuple[Any, str]:
    try:
        trt = load_tensorrt()
    except EngineError:
        trt = load_tensorrt("tensorrt_rtx")
    made = exact_tensorrt(package, shapes, folder, trt=trt)
    return made.engine, made.precision


def onnx_cuda(package: ModelPackage) -> tuple[Engine, str]:
    from echo_edge.engine.onnx_cuda import OnnxCudaEngine  # noqa: PLC0415  # only where there is a GPU

    return OnnxCudaEngine(package), "fp32"


def median_ms(turns: int, call: Callable[[], object]) -> float:
    """Return the median wall time of a call, in milliseconds; the first ones, which prepare, do not count."""
    times, idle = [], 1 if turns < 5 else 3
    for turn in range(turns + idle):
        begun_s = time.perf_counter()
        call()
        if turn >= idle:
            times.append(1e3 * (time.perf_counter() - begun_s))
    return float(np.median(times))


if __name__ == "__main__":
    sys.exit(main())
