"""Make a TensorRT engine of a model package, once per GPU and configuration: built, kept in a file, found again.

A file is the line ``echo-edge engine 1 SHA256`` and what TensorRT made. Its name carries everything that the engine
was made from and for, as a key; the SHA-256 is of the key and the content, so that neither a torn nor a renamed file
is ever loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from echo_edge.engine import cuda
from echo_edge.engine.build_progress import make_monitor
from echo_edge.engine.cuda import GpuDevice
from echo_edge.engine.half import to_half
from echo_edge.engine.profiles import Profile, WindowShape, profiles
from echo_edge.engine.tensorrt_api import failure, flavour_of, load_tensorrt, make_log, start
from echo_edge.errors import EngineError
from echo_edge.frontend import SPEC
from echo_edge.store import sweep, write_durably

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

log = logging.getLogger(__name__)

Precision = Literal["fp16", "fp32"]
Progress = Callable[[str, float], None]
"""Phase and how much of all is done, 0 to 1. What it raises ends the build and is raised again."""

RECIPE = 1
"""Counts up when the same inputs are built into something else, so that nobody runs what an older version made."""

MAGIC = b"echo-edge engine 1 "
KEY_LENGTH = 32  # hex digits of the key in the name


def build_engine(
    package: ModelPackage,
    shapes: Sequence[WindowShape],
    folder: Path,
    progress: Progress = lambda *_: None,
    *,
    precision: Precision = "fp16",
    trt: Any = None,
    gpu: GpuDevice | None = None,
) -> Path:
    """Return the file of an engine for this GPU, built if there is none yet (seconds to minutes).

    Files for other keys of the same model and precision are removed then.

    Args:
        folder: where engines are kept; made if need be.
        trt: TensorRT, or what has its interface.
        gpu: what to build for; the machine's own if not given.
    Raises:
        EngineError: no GPU, no TensorRT, not enough memory or room, or TensorRT cannot build this model.
        ArtifactError: the model file was changed.
    """
    gpu = cuda.device() if gpu is None else gpu  # first: TensorRT must not be called without a device
    trt = load_tensorrt() if trt is None else trt
    ranges = profiles(shapes, package.patch_kernel_t)
    key = engine_key(package, trt, gpu, precision, ranges)
    path = folder / f"{package.name}.{precision}.{key}.engine"
    if path.exists():
        try:
            read_engine(path)
        except EngineError as error:
            log.warning("%s; building it again", error)
        else:
            progress("found", 1.0)
            return path
    plan = _build(trt, package, precision, ranges, progress)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(folder)
        write_durably(path, MAGIC + _digest(path, plan).encode() + b"\n" + plan)
        for old in folder.glob(f"{package.name}.{precision}.*.engine"):
            if old != path:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(
            f"{path}: cannot be written: {error.strerror}; needs {len(plan) / 1e6:.0f} MB, or name another folder in "
            "$CACHE_DIRECTORY"
        ) from error
    progress("done", 1.0)
    return path


def engine_key(package: ModelPackage, trt: Any, gpu: GpuDevice, precision: Precision, ranges: Sequence[Profile]) -> str:
    """Return the key of everything that an engine is made from and for; with any other, another one is needed."""
    parts = {
        "recipe": RECIPE,
        "model": package.sha256,
        "tensorrt": str(trt.__version__),
        "flavour": flavour_of(trt),
        "cuda": gpu.runtime,
        "driver": gpu.driver,
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "precision": precision,
        "profiles": [asdict(one) for one in ranges],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def read_engine(path: Path) -> bytes:
    """Return what TensorRT made, whole and as it was written.

    Raises:
        EngineError: the file is missing, damaged, or has another's name.
    """
    try:
        head, _, plan = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror}") from error
    if head != MAGIC + _digest(path, plan).encode():
        raise EngineError(f"{path}: damaged, or not what its name says")
    return plan


def _digest(path: Path, plan: bytes) -> str:
    return hashlib.sha256(path.name.encode() + b"\n" + plan).hexdigest()


def _build(
    trt: Any, package: ModelPackage, precision: Precision, ranges: Sequence[Profile], progress: Progress
) -> bytes:
    model = package.read_onnx()
    progress("reading the model", 0.0)
    said = make_log(trt)
    builder = start(trt.Builder, said)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, said)
    if not parser.parse(model):
        raise EngineError(f"{package.onnx_path}: TensorRT cannot read it: {_parse_errors(parser) or said.errors}")
    if precision == "fp16":
        to_half(trt, network)
    settings = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # TensorRT-RTX: else its work cannot be captured
        settings.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    for one in ranges:
        profile = builder.create_optimization_profile()
        sizes = (one.smallest, one.best, one.largest)
        profile.set_shape("bands", *((n, SPEC.band_width, frames) for n, frames in sizes))
        profile.set_shape("position", *((n,) for n, _ in sizes))
        if settings.add_optimization_profile(profile) < 0:
            raise failure(f"{package.onnx_path}: TensorRT does not take the shapes {one}", said.errors)
    monitor = make_monitor(trt, progress)
    settings.progress_monitor = monitor
    made = builder.build_serialized_network(network, settings)
    if monitor.stopped is not None:
        raise monitor.stopped
    if made is None:
        raise failure(f"{package.onnx_path}: TensorRT cannot build it in {precision}", said.errors)
    return bytes(made)


def _parse_errors(parser: Any) -> str:
    """Name the node behind every error."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(f"node {e.node_name() or e.node()} ({e.node_operator()}): {e.desc()}" for e in errors)
