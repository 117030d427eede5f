"""Inference engines, each imported only when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echo_edge.engine.base import Engine
from echo_edge.errors import ConfigError

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

__all__ = ["KINDS", "Engine", "create_engine"]

KINDS = ("auto", "onnx", "cuda")


def create_engine(kind: str, package: ModelPackage, threads: int = 1) -> Engine:
    """Return an engine for ``package`` that is ready now; ``auto`` is the CPU's.

    So compute commands: they give the same numbers on every machine, and end before an engine for its GPU were built.
    The daemon begins with the CPU's, and ``prepare.standby_engine`` gets it the configured one.

    Raises:
        ConfigError: there is no engine of this kind.
        ArtifactError: the model cannot be loaded.
        EngineError: there is no GPU, or it failed.
    """
    # each is imported here, since others must not need what it needs
    if kind not in KINDS:
        raise ConfigError([f"engine.kind: {kind!r} is not known; choose one of: {', '.join(KINDS)}"])
    if kind == "cuda":
        from echo_edge.engine.onnx_cuda import OnnxCudaEngine  # noqa: PLC0415

        return OnnxCudaEngine(package)
    from echo_edge.engine.onnx import OnnxEngine  # noqa: PLC0415

    return OnnxEngine(package, threads)
