"""From a model package to a TensorRT engine that was seen to give the CPU's verdicts: half precision if it can be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echo_edge.engine import cuda
from echo_edge.engine.build import Precision, Progress, build_engine
from echo_edge.engine.onnx import OnnxEngine
from echo_edge.engine.profiles import WindowShape
from echo_edge.engine.tensorrt import TensorRTEngine
from echo_edge.engine_parity import Parity, check_parity
from echo_edge.errors import ArtifactError, EngineError

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

PRECISIONS: tuple[Precision, ...] = ("fp16", "fp32")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An engine that is ready, and how that came about."""

    engine: TensorRTEngine
    file: Path
    precision: Precision
    parity: Parity
    seconds: float
    """To build or find it, load it and check it."""

    refused: str | None
    """Why it is not half precision; None where it is."""


def exact_tensorrt(
    package: ModelPackage,
    shapes: Sequence[WindowShape],
    folder: Path,
    progress: Progress = lambda *_: None,
    *,
    trt: Any = None,
    cudart: Any = None,
) -> Prepared:
    """Build or find, load and check an engine; float32 where half precision does not give the CPU's verdicts.

    Args:
        folder: of the cache.
        trt, cudart: TensorRT and CUDA, or what has their interfaces.
    Raises:
        EngineError: there is no GPU or no TensorRT, or no engine that computes what the package says.
    """
    gpu = cuda.device(cudart)  # first: TensorRT must not be called without a device
    begun_s, refused, cpu = time.monotonic(), None, OnnxEngine(package)
    for precision in PRECISIONS:
        file = build_engine(package, shapes, folder, progress, precision=precision, trt=trt, gpu=gpu)
        engine = _load(package, file, trt, cudart)
        try:
            parity = check_parity(package, engine, cpu)
        except ArtifactError as error:
            engine.close()
            refused = str(error)
        except BaseException:
            engine.close()
            raise
        else:
            return Prepared(engine, file, precision, parity, time.monotonic() - begun_s, refused)
    raise EngineError(f"neither precision will do; float32: {refused}")


def _load(package: ModelPackage, file: Path, trt: Any, cudart: Any) -> TensorRTEngine:
    try:
        return TensorRTEngine(package, file, trt=trt, cuda=cuda.Cuda(cudart))
    except EngineError as error:
        if not (error.lost or error.out_of_memory):
            file.unlink(missing_ok=True)  # the next try builds it anew
        raise
