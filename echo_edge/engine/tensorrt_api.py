"""TensorRT's Python interface, imported only when it is asked for, and what it says while it works."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any, Literal

from echo_edge.errors import EngineError

log = logging.getLogger(__name__)

Flavour = Literal["tensorrt", "tensorrt_rtx"]
MODULES: dict[Flavour, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx_bindings"}
OLDEST = 10
"""JetPack 6.1 has 10.3. Strongly typed networks and the newer calls for memory are in every 10."""

MEMORY_SIGNS = ("out of memory", "outofmemory", "memoryallocation", "not enough free memory", "insufficient memory")


def load_tensorrt(flavour: Flavour = "tensorrt") -> Any:
    """Return TensorRT, from the system (JetPack) or the ``gpu`` extra. ``tensorrt_rtx`` has the same interface.

    Ask CUDA for a device first: without one, TensorRT's runtime ends the process instead of failing.

    Raises:
        EngineError: it is not installed, or too old.
    """
    try:
        trt = import_module(MODULES[flavour])
    except (ImportError, OSError, RuntimeError) as error:
        raise EngineError(
            f"TensorRT cannot be imported: {error}; on a Jetson it comes with JetPack (a virtual environment needs "
            "--system-site-packages to see it), elsewhere install echo-edge[gpu]"
        ) from error
    version = str(trt.__version__)
    if flavour == "tensorrt" and int(version.partition(".")[0]) < OLDEST:
        raise EngineError(f"TensorRT {version} is too old: needs {OLDEST} or newer; on a Jetson that is JetPack 6.1")
    return trt


def flavour_of(trt: Any) -> str:
    """Return which TensorRT this is; engines of one do not load in the other."""
    return str(trt.__name__).partition(".")[0]


def make_log(trt: Any) -> Any:
    """Return a logger for TensorRT; ``errors`` are those since it was last cleared."""

    class Log(trt.ILogger):  # type: ignore[misc]  # known only once TensorRT is loaded
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(" ".join(message.split()))
            elif severity == trt.ILogger.WARNING:
                log.debug("TensorRT: %s", message)

    return Log()


def start(kind: Any, said: Any) -> Any:
    """Return a builder or a runtime of TensorRT's, which speaks to ``said``.

    Raises:
        EngineError: there is none to be had, mostly for want of memory on the GPU.
    """
    try:
        return kind(said)
    except (TypeError, RuntimeError) as error:  # a constructor that gave nothing
        raise failure("TensorRT does not start", [*said.errors, str(error)]) from error


def failure(what: str, errors: list[str]) -> EngineError:
    """Return the error for something that TensorRT refused; its log has the reason."""
    text = "; ".join(dict.fromkeys(errors)) or "TensorRT gave no reason"
    return EngineError(f"{what}: {text}", out_of_memory=any(sign in text.lower() for sign in MEMORY_SIGNS))
