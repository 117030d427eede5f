"""A machine with a GPU, for tests on one without: CUDA whose device memory is the host's, and small model packages."""

from __future__ import annotations

import base64
import ctypes
import dataclasses
from collections.abc import Callable, Sequence
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from echo_edge.artifact import ModelPackage, TestVector, sha256_hex
from echo_edge.engine.cuda import GpuDevice, device
from echo_edge.engine.fake import FakeEngine, fake_package
from echo_edge.engine.onnx import OnnxEngine
from echo_edge.engine.profiles import Profile
from echo_edge.errors import EngineError

GPU = GpuDevice("Fake GPU", "8.9", driver=13_000, runtime=13_000, memory_bytes=1 << 34)
CudaError = IntEnum("CudaError", {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2, "cudaErrorLaunchFailure": 719})


def has_gpu() -> bool:
    try:
        device()
    except EngineError:
        return False
    return True


class FakeCudart:
    """The functions of ``cuda.bindings.runtime`` that we call, with memory that is real and a stream that is eager."""

    cudaStreamNonBlocking = 1  # noqa: N815  names are CUDA's
    cudaHostAllocDefault = 0  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815

    def __init__(self) -> None:
        self.failing: dict[str, int] = {}
        """Function -> the code that it answers from now on."""

        self.calls: list[str] = []
        self.taken: dict[int, Any] = {}
        """What was given out and not given back, by address."""

        self.recording: list[Callable[[], object]] | None = None
        self._next = 0x1000

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not name.startswith("cuda") or not callable(found) or isinstance(found, type):
            return found

        def called(*arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.failing:
                code = self.failing[name]
                return (CudaError(code) if code in set(CudaError) else code, None)
            return (CudaError.cudaSuccess, *found(*arguments))

        return called

    def do(self, work: Callable[[], object]) -> None:
        """Put something into the stream: done at once, or kept while a graph is being captured."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def _take(self, thing: Any, address: int | None = None) -> int:
        self._next += 1
        address = self._next if address is None else address
        self.taken[address] = thing
        return address

    def cudaGetDeviceCount(self) -> tuple[int]:  # noqa: N802
        return (1,)

    def cudaGetDeviceProperties(self, _: int) -> tuple[Any]:  # noqa: N802
        return (SimpleNamespace(name=b"Fake GPU\0", major=8, minor=9, totalGlobalMem=1 << 34),)

    def cudaDriverGetVersion(self) -> tuple[int]:  # noqa: N802
        return (13_000,)

    def cudaRuntimeGetVersion(self) -> tuple[int]:  # noqa: N802
        return (13_000,)

    def cudaStreamCreateWithFlags(self, _: int) -> tuple[int]:  # noqa: N802
        return (self._take("stream"),)

    def cudaStreamDestroy(self, address: int) -> tuple[()]:  # noqa: N802
        del self.taken[address]
        return ()

    def cudaMalloc(self, size: int) -> tuple[int]:  # noqa: N802
        memory = ctypes.create_string_buffer(size)
        return (self._take(memory, ctypes.addressof(memory)),)

    def cudaHostAlloc(self, size: int, _: int) -> tuple[int]:  # noqa: N802
        memory = ctypes.create_string_buffer(size)
        return (self._take(memory, ctypes.addressof(memory)),)

    cudaFree = cudaFreeHost = cudaGraphDestroy = cudaGraphExecDestroy = cudaStreamDestroy  # noqa: N815

    def cudaMemcpyAsync(self, target: int, source: int, size: int, *_: Any) -> tuple[()]:  # noqa: N802
        self.do(lambda: ctypes.memmove(target, source, size))
        return ()

    def cudaStreamSynchronize(self, _: int) -> tuple[()]:  # noqa: N802
        return ()

    def cudaStreamBeginCapture(self, *_: Any) -> tuple[()]:  # noqa: N802
        self.recording = []
        return ()

    def cudaStreamEndCapture(self, _: int) -> tuple[int]:  # noqa: N802
        work, self.recording = self.recording, None
        return (self._take(work),)

    def cudaGraphInstantiate(self, graph: int, _: int) -> tuple[int]:  # noqa: N802
        return (self._take(self.taken[graph]),)

    def cudaGraphLaunch(self, graph: int, _: int) -> tuple[()]:  # noqa: N802
        for work in self.taken[graph]:
            work()
        return ()


def small_package(folder: Path, name: str = "mini", width: int = 16, **nodes: Any) -> ModelPackage:
    """Return a package whose model is a linear layer on every band's time average: what ``FakeEngine`` does, nearly.

    ``operator`` puts another, without inputs of its own, in front of the output.
    """
    onnx = pytest.importorskip("onnx", reason="onnx: the small model is made with it")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    directions = np.random.default_rng(0).standard_normal((32, width)).astype(np.float32)
    last = nodes.get("operator")
    made = [
        helper.make_node("ReduceMean", ["bands", "time"], ["average"], "average", keepdims=0),
        helper.make_node("MatMul", ["average", "directions"], ["vectors"], "project"),
        helper.make_node("Unsqueeze", ["position", "last"], ["place"], "place"),
        helper.make_node("Add", ["vectors", "place"], ["sum" if last else "cls"], "sum"),
        *([helper.make_node(last, ["sum"], ["cls"], "unknown")] if last else []),
    ]
    constants = {"directions": directions, "time": np.array([2]), "last": np.array([1])}
    graph = helper.make_graph(
        made,
        "mini",
        [
            helper.make_tensor_value_info("bands", onnx.TensorProto.FLOAT, ["N", 32, "T"]),
            helper.make_tensor_value_info("position", onnx.TensorProto.FLOAT, ["N"]),
        ],
        [helper.make_tensor_value_info("cls", onnx.TensorProto.FLOAT, ["N", width])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    path = folder / f"{name}.onnx"
    path.write_bytes(data)
    package = dataclasses.replace(fake_package(FakeEngine(width)), name=name, onnx_path=path, sha256=sha256_hex(data))
    if last is not None:
        return package
    vector = TestVector(seed=0, frames=48, position=[0.2, 0.8], cls_base64="")
    cls = base64.b64encode(OnnxEngine(package).run(*vector.inputs()).tobytes()).decode()
    return dataclasses.replace(package, test_vectors=(vector.model_copy(update={"cls_base64": cls}),))


class FakeTensorRT:
    """TensorRT-RTX for building, with a runtime that computes on the host what the package's model says."""

    def __init__(self, package: ModelPackage, cudart: FakeCudart, ranges: Sequence[Profile], real: Any = None) -> None:
        self.Runtime = lambda _: SimpleNamespace(deserialize_cuda_engine=self._engine)
        self.ranges = ranges
        self.loaded = 0
        self.contexts: list[FakeContext] = []
        self.executed = 0
        """Calls, not launches of graphs."""

        self.refuses: str | None = None
        """What the log says of an execution that fails."""

        self.off = 0.0
        """Added to all numbers by the engines that are loaded from now on."""

        if real is None:
            real = SimpleNamespace(
                ILogger=type("ILogger", (), {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2}),
                ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED=2),
            )
        self.package, self.cudart, self._real = package, cudart, real
        self.model = OnnxEngine(package)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _engine(self, _: bytes) -> Any:
        self.loaded += 1
        off = self.off

        def context(_: int) -> FakeContext:
            self.contexts.append(FakeContext(self, off))
            return self.contexts[-1]

        names = ("bands", "position", "cls")
        return SimpleNamespace(
            num_io_tensors=3,
            get_tensor_name=lambda index: names[index],
            get_tensor_shape=lambda _: (-1, self.package.embed_dim),
            num_optimization_profiles=len(self.ranges),
            get_tensor_profile_shape=lambda _, n: [
                (size[0], 32, size[1]) for size in dataclasses.astuple(self.ranges[n])
            ],
            device_memory_size_v2=1024,
            create_execution_context=context,
        )


class FakeContext:
    """Insists on what TensorRT insists on: memory, a profile, shapes within it, and addresses."""

    def __init__(self, trt: FakeTensorRT, off: float) -> None:
        self._trt, self._off = trt, off
        self.active_optimization_profile = -1
        self._memory, self._shapes, self._addresses = 0, dict[str, tuple[int, ...]](), dict[str, int]()

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= 1024
        self._memory = address

    def set_optimization_profile_async(self, number: int, _: int) -> bool:
        self.active_optimization_profile = number
        self._shapes.clear()
        self._addresses.clear()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        one = self._trt.ranges[self.active_optimization_profile]
        self._shapes[name] = shape
        fits = one.smallest[0] <= shape[0] <= one.largest[0]
        return fits and (name == "position" or one.smallest[1] <= shape[2] <= one.largest[1])

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address in self._trt.cudart.taken
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert self._memory in self._trt.cudart.taken
        assert self._trt.cudart.taken[stream] == "stream"
        self._trt.executed += 1
        if self._trt.refuses is not None:
            return False
        shapes, addresses, off = dict(self._shapes), dict(self._addresses), self._off

        def compute() -> None:
            bands, position = (
                np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shapes[name]))).from_address(addresses[name]))
                for name in ("bands", "position")
            )
            given = {"bands": bands.reshape(shapes["bands"]), "position": position}
            cls = self._trt.model._session.run(["cls"], given)[0] + np.float32(off)  # as it is, finite or not
            ctypes.memmove(addresses["cls"], cls.ctypes.data, cls.nbytes)

        self._trt.cudart.do(compute)
        return True
