"""The little of CUDA that an engine needs: a device, buffers, one stream, graphs; every error becomes an EngineError.

It speaks to ``cuda.bindings.runtime`` or to whatever is passed in its place and has the same functions.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from echo_edge.engine.base import FloatArray
from echo_edge.errors import EngineError

log = logging.getLogger(__name__)

OUT_OF_MEMORY = 2
NO_DRIVER, NO_DEVICE = 35, 100
WHY_NONE = {
    NO_DRIVER: "there is no NVIDIA driver, or it is older than this CUDA; nvidia-smi says which",
    NO_DEVICE: "the driver sees no device; nvidia-smi and dmesg may say why",
}
NONE_HERE = "no NVIDIA GPU here"
# After these every further call of this process fails as well, until it ends: the context is poisoned, or the device
# fell off the bus. 999 (unknown) is what drivers answer when they cannot say more, and was never seen to pass.
LOST = frozenset(
    [53, NO_DEVICE, 101, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 807, 810, 911, 999]
)


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """What makes one GPU unlike another to an engine built for it. Versions as CUDA counts: 12060 is 12.6."""

    name: str
    compute_capability: str
    """Such as ``8.7``, an Orin's."""

    driver: int
    """The newest CUDA that the driver serves."""

    runtime: int
    memory_bytes: int


class Cuda:
    """The first GPU and what was taken from it; owned by one thread. ``close`` gives all of it back."""

    def __init__(self, cudart: Any = None) -> None:
        """Ask for the device.

        Raises:
            EngineError: there is none, and why.
        """
        self._cudart = load_cudart() if cudart is None else cudart
        self.device = device(self._cudart)
        self._given: list[Callable[[], object]] = []
        # Not the default stream: work of others on that one would end a capture.
        self._stream = self._call("cudaStreamCreateWithFlags", self._cudart.cudaStreamNonBlocking)
        self._given.append(lambda: self._call("cudaStreamDestroy", self._stream))

    @property
    def stream(self) -> int:
        """The address of the stream that everything runs in, for the calls of TensorRT."""
        return int(self._stream)

    def pinned(self, count: int) -> FloatArray:
        """Return page-locked host memory of so many float32, which the device copies from and to by itself."""
        size = count * ctypes.sizeof(ctypes.c_float)
        address = int(self._call("cudaHostAlloc", size, self._cudart.cudaHostAllocDefault))
        self._given.append(lambda: self._call("cudaFreeHost", address))
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))

    def allocate(self, size: int) -> int:
        """Return the address of so many bytes on the device."""
        address = int(self._call("cudaMalloc", size))
        self._given.append(lambda: self._call("cudaFree", address))
        return address

    def upload(self, source: FloatArray, address: int) -> None:
        """Have ``source``, pinned and contiguous, copied to the device; returns at once."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self._stream)

    def download(self, address: int, target: FloatArray) -> None:
        """Have ``target``, pinned and contiguous, filled from the device; returns at once."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self._stream)

    def wait(self) -> None:
        """Wait until the stream is empty. What failed in it shows here."""
        self._call("cudaStreamSynchronize", self._stream)

    def capture(self, work: Callable[[], None]) -> Any:
        """Return as a graph what ``work`` puts into the stream; nothing of it is done yet.

        Raises:
            EngineError: something in it cannot be captured; the stream is as before.
        """
        mode = self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        except BaseException:
            with suppressed():  # it may say once more what ``work`` said
                self._call("cudaGraphDestroy", self._call("cudaStreamEndCapture", self._stream))
            raise
        graph = self._call("cudaStreamEndCapture", self._stream)
        try:
            ready = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        self._given.append(lambda: self._call("cudaGraphExecDestroy", ready))
        return ready

    def launch(self, graph: Any) -> None:
        """Do what was captured; returns at once."""
        self._call("cudaGraphLaunch", graph, self._stream)

    def close(self) -> None:
        """Give everything back, newest first. A lost device takes nothing back, which is no error any more."""
        while self._given:
            with suppressed():
                self._given.pop()()

    def _call(self, name: str, *arguments: Any) -> Any:
        return call(self._cudart, name, *arguments)


def load_cudart() -> Any:
    """Return ``cuda.bindings.runtime``.

    Raises:
        EngineError: it is not installed, or does not fit this machine.
    """
    try:
        return import_module("cuda.bindings.runtime")
    except (ImportError, OSError, RuntimeError) as error:  # a library that does not load is told in any of these
        raise EngineError(f"no GPU: cuda-bindings cannot be imported: {error}; install echo-edge[gpu]") from error


def nvidia_here(root: Path = Path("/")) -> bool:
    """Whether the kernel shows anything of NVIDIA's; where not, nobody needs to hear what CUDA lacks."""
    nodes = (node for pattern in ("nvidia*", "nvhost*") for node in (root / "dev").glob(pattern))
    return any(nodes) or (root / "proc/driver/nvidia").exists()


def device(cudart: Any = None) -> GpuDevice:
    """Return the GPU that engines are built for and run on; only looks, takes nothing.

    Raises:
        EngineError: there is none, and why.
    """
    cudart = load_cudart() if cudart is None else cudart
    if call(cudart, "cudaGetDeviceCount") < 1:
        raise EngineError("no GPU: CUDA counts none")
    properties = call(cudart, "cudaGetDeviceProperties", 0)
    return GpuDevice(
        name=properties.name.decode(errors="replace").rstrip("\0"),
        compute_capability=f"{properties.major}.{properties.minor}",
        driver=int(call(cudart, "cudaDriverGetVersion")),
        runtime=int(call(cudart, "cudaRuntimeGetVersion")),
        memory_bytes=int(properties.totalGlobalMem),
    )


def call(cudart: Any, name: str, *arguments: Any) -> Any:
    """Return what a function of CUDA returns behind its error code.

    Raises:
        EngineError: the code is one; names function and code.
    """
    status, *values = getattr(cudart, name)(*arguments)
    code = int(status)
    if code == 0:
        return values[0] if values else None
    what = f"{name}: {getattr(status, 'name', 'error')} ({code})"
    if name == "cudaGetDeviceCount":
        raise EngineError(f"no GPU: {what}: {WHY_NONE.get(code, 'nvidia-smi and dmesg may say why')}")
    if code == OUT_OF_MEMORY:
        raise EngineError(f"{what}: the GPU's memory is used up", out_of_memory=True)
    raise EngineError(what, lost=code in LOST)


@contextmanager
def suppressed() -> Iterator[None]:
    """For what is given back: note an error, go on."""
    try:
        yield
    except EngineError as error:
        log.debug("while freeing: %s", error)
