"""Prepare: which GPU engine a machine can have, and how that is made, verified and handed to the standby engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from echo_edge.engine.base import Engine
from echo_edge.engine.cuda import NONE_HERE, device, nvidia_here
from echo_edge.engine.retries import Retries
from echo_edge.engine.standby import GpuEngine, Progress, StandbyEngine, Wanted
from echo_edge.engine_parity import check_parity
from echo_edge.errors import EngineError
from echo_edge.store import StoreError, cache_folder

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage
    from echo_edge.config import Config

log = logging.getLogger(__name__)


def standby_engine(config: Config, package: ModelPackage, cpu: Engine) -> StandbyEngine:
    """Return the daemon's engine: it serves with ``cpu`` until the configured one is ready, and when that fails."""
    kind = config.engine.kind
    if kind == "onnx":
        return StandbyEngine(cpu)
    return StandbyEngine(cpu, partial(find, config, package), kind)


def find(config: Config, package: ModelPackage) -> Wanted | None:
    """Return the engine that is configured; for ``auto`` the best this machine has, None where that is the CPU's.

    A GPU that served before and is gone, or whose driver comes late, is wanted still.
    """
    retries = Retries(_memory(config.gateway.id))
    kind = best() if config.engine.kind == "auto" else config.engine.kind
    if kind == "onnx":
        kind = retries.served or kind
    return None if kind not in PREPARE else Wanted(kind, partial(PREPARE[kind], package, config), retries)


def best() -> str:
    """Return ``tensorrt``, ``cuda`` or ``onnx``."""
    try:
        gpu = device()
    except EngineError as error:
        log.info("the CPU computes: %s", error if nvidia_here() else NONE_HERE)
        return "onnx"
    if find_spec("tensorrt") is not None:
        return "tensorrt"
    from echo_edge.engine.onnx_cuda import provided  # noqa: PLC0415

    if provided():
        return "cuda"
    log.warning(
        "%s is not used: there is neither TensorRT nor an ONNX Runtime with CUDA; see docs/operations.md", gpu.name
    )
    return "onnx"


def prepare_tensorrt(package: ModelPackage, config: Config, progress: Progress) -> GpuEngine:
    """Build an engine for this GPU, or find it in the cache, and load it: in half precision if that is exact enough.

    Raises:
        EngineError: no GPU, no TensorRT, or no engine that computes what the package's test vectors say.
    """
    from echo_edge.engine.exact import exact_tensorrt  # noqa: PLC0415
    from echo_edge.engine.profiles import window_shapes  # noqa: PLC0415

    folder = cache_folder() / "engines"
    made = exact_tensorrt(package, window_shapes(config), folder, lambda _, share: progress(share))
    log.info("engine tensorrt: %s, %s", made.precision, made.parity)
    return made.engine


def prepare_cuda(package: ModelPackage, _: Config, progress: Progress) -> GpuEngine:
    """Load the model into ONNX Runtime on the GPU.

    Raises:
        EngineError: no GPU, no ONNX Runtime with CUDA, or the GPU failed.
        ArtifactError: it does not compute what the package's test vectors say, or gives other verdicts than the CPU.
    """
    from echo_edge.engine.onnx_cuda import OnnxCudaEngine  # noqa: PLC0415

    device()  # says more clearly than the runtime why there is none
    progress(0.0)
    return verified(package, OnnxCudaEngine(package))


PREPARE: dict[str, Callable[[ModelPackage, Config, Progress], GpuEngine]] = {
    "tensorrt": prepare_tensorrt,
    "cuda": prepare_cuda,
}


def verified(package: ModelPackage, engine: GpuEngine) -> GpuEngine:
    """Return an engine that gives the CPU's verdicts; one that does not is closed.

    Raises:
        ArtifactError, EngineError: as ``check_parity``.
    """
    from echo_edge.engine.onnx import OnnxEngine  # noqa: PLC0415 - the pipeline's own is in use

    try:
        log.info("engine %s: %s", engine.name, check_parity(package, engine, OnnxEngine(package)))
    except BaseException:
        engine.close()
        raise
    return engine


def _memory(gateway: str) -> Path | None:
    try:
        return (
            cache_folder() / f"{gateway}.retries.json"
        )  # outside of a service all gateways of a user share the folder
    except StoreError as error:
        log.warning("%s; a restart forgets that a GPU engine failed", error)
        return None
