"""Inference engines, each imported only when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echo_edge.engine.base import Engine
from echo_edge.errors import ConfigError

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

__all__ = ["KINDS", "Engine", "create_engine"]

KINDS = ("auto", "onnx")


def create_engine(kind: str, package: ModelPackage, threads: int = 1) -> Engine:
    """Return a warm engine for ``package``; ``auto`` is the best one this machine has.

    Raises:
        ConfigError: there is no engine of this kind.
        ArtifactError: the model cannot be loaded.
    """
    if kind not in KINDS:
        raise ConfigError([f"engine.kind: {kind!r} is not known; choose one of: {', '.join(KINDS)}"])
    from echo_edge.engine.onnx import OnnxEngine  # noqa: PLC0415 - other kinds must not need onnxruntime

    return OnnxEngine(package, threads)
