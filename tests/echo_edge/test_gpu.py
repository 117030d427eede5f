"""What only a GPU can show. Runs with TensorRT, or with TensorRT-RTX on a GPU that it supports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from echo_edge.artifact import load_package
from echo_edge.engine.cuda import Cuda, GpuDevice, device
from echo_edge.engine.exact import Prepared, exact_tensorrt
from echo_edge.engine.onnx import OnnxEngine
from echo_edge.engine.profiles import WindowShape
from echo_edge.engine.tensorrt import TensorRTEngine
from echo_edge.engine.tensorrt_api import load_tensorrt
from echo_edge.errors import EngineError
from tests.test_imports import fresh

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

RTX_SUPPORTS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
SHAPES = [WindowShape(frames=112, bands=28), WindowShape(frames=512, bands=19 * 16)]


@pytest.fixture(scope="module")
def gpu() -> GpuDevice:
    try:
        return device()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def trt(gpu: GpuDevice) -> Any:
    try:
        return load_tensorrt()
    except EngineError as error:
        if gpu.compute_capability not in RTX_SUPPORTS:
            pytest.skip(str(error))
    return load_tensorrt("tensorrt_rtx")


@pytest.fixture(scope="module")
def prepared(trt: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    made = exact_tensorrt(load_package("echo-tiny"), SHAPES, tmp_path_factory.mktemp("engines"), trt=trt)
    yield made
    made.engine.close()


def some(n: int, frames: int) -> tuple[Any, Any]:
    noise = np.random.default_rng(n * frames).uniform(-1, 1, (n, 32, frames)).astype(np.float32)
    return noise, np.linspace(0, 1, n, dtype=np.float32)


def test_the_shipped_model_gives_the_verdicts_of_the_cpu_in_half_precision(prepared: Prepared) -> None:
    print(prepared)
    assert prepared.precision == "fp16", prepared.refused
    assert prepared.parity.cosine >= 0.9999


def test_every_shape_is_what_the_cpu_computes_with_a_graph_and_without(prepared: Prepared) -> None:
    cpu = OnnxEngine(load_package("echo-tiny"))
    for n, frames in ((1, 16), (7, 112), (28, 112), (56, 112), (3, 48), (64, 2000), (19, 512), (304, 512), (305, 512)):
        bands, position = some(n, frames)
        first = prepared.engine.run(bands, position)
        expected = cpu.run(bands, position)
        cosines = (first * expected).sum(axis=1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(expected, axis=1))
        assert cosines.min() >= 0.9999, (n, frames)
        for _ in range(3):  # captured at the second time, launched from then on
            assert np.array_equal(prepared.engine.run(bands, position), first), (n, frames)
    assert prepared.engine.graphs > 0


def test_an_engine_is_found_again_and_loads_at_once(prepared: Prepared, trt: Any) -> None:
    seen: list[str] = []
    again = exact_tensorrt(
        load_package("echo-tiny"), SHAPES, prepared.file.parent, lambda phase, _: seen.append(phase), trt=trt
    )
    again.engine.close()
    assert again.file == prepared.file
    assert seen == ["found"]


def test_too_little_memory_is_told_as_such_and_passes_when_there_is_more(prepared: Prepared, trt: Any) -> None:
    hog = Cuda()
    size = hog.device.memory_bytes
    try:
        while size > 1 << 20:  # all that there is, in ever smaller pieces
            try:
                hog.allocate(size)
            except EngineError:
                size //= 2
        with pytest.raises(EngineError) as raised:
            TensorRTEngine(load_package("echo-tiny"), prepared.file, trt=trt)
        assert raised.value.out_of_memory
        assert not raised.value.lost
    finally:
        hog.close()
    engine = TensorRTEngine(load_package("echo-tiny"), prepared.file, trt=trt)
    assert engine.run(*some(7, 112)).shape == (7, 192)
    engine.close()


def test_copies_and_graphs_of_a_real_device_keep_every_number(gpu: GpuDevice) -> None:
    cuda = Cuda()
    print(gpu)
    sent, back, address = cuda.pinned(1_000_000), cuda.pinned(1_000_000), cuda.allocate(4_000_000)

    def there_and_back() -> None:
        cuda.upload(sent, address)
        cuda.download(address, back)

    graph = cuda.capture(there_and_back)
    for seed in range(3):
        sent[:] = np.random.default_rng(seed).standard_normal(len(sent))
        cuda.launch(graph)
        cuda.wait()
        assert np.array_equal(back, sent)
    cuda.close()


@pytest.mark.usefixtures("gpu")
def test_a_poisoned_context_is_told_as_lost_and_stays_so() -> None:
    """In a process of its own, which has lost the GPU then: by a kernel that traps."""
    told = fresh("""
from cuda.bindings import driver
from echo_edge.engine.cuda import Cuda
from echo_edge.errors import EngineError
cuda = Cuda()
ptx = b".version 6.3\\n.target sm_75\\n.address_size 64\\n.visible .entry bad() { trap; }\\0"
_, module = driver.cuModuleLoadData(ptx)
_, kernel = driver.cuModuleGetFunction(module, b"bad")
driver.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, cuda.stream, 0, 0)
for call in (cuda.wait, lambda: cuda.allocate(16)):
    try:
        call()
        print("fine")
    except EngineError as error:
        print("lost" if error.lost else error)
cuda.close()
""")
    assert told.split() == ["lost", "lost"]
