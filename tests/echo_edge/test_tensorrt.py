"""The TensorRT engine, with CUDA and TensorRT's runtime stood in for: their memory is the host's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from echo_edge.engine.base import FloatArray
from echo_edge.engine.build import MAGIC
from echo_edge.engine.cuda import Cuda
from echo_edge.engine.exact import exact_tensorrt
from echo_edge.engine.profiles import Profile, WindowShape, profiles
from echo_edge.engine.tensorrt import TensorRTEngine
from echo_edge.engine.tensorrt_api import load_tensorrt
from echo_edge.errors import EngineError
from tests.engines import FakeCudart, FakeTensorRT, small_package

RANGES = profiles([WindowShape(frames=48, bands=14)], 16)


class Bench:
    """An engine on a machine that is stood in for."""

    def __init__(self, folder: Path, ranges: list[Profile] = RANGES) -> None:
        self.package = small_package(folder)
        self.cudart = FakeCudart()
        self.trt = FakeTensorRT(self.package, self.cudart, ranges)
        self.file = folder / "mini.fp16.0.engine"
        digest = hashlib.sha256(self.file.name.encode() + b"\nplan").hexdigest()
        self.file.write_bytes(MAGIC + digest.encode() + b"\nplan")
        self.engine = TensorRTEngine(self.package, self.file, trt=self.trt, cuda=Cuda(self.cudart))

    def same_as_the_cpu(self, n: int, frames: int) -> bool:
        bands, position = some(n, frames)
        found = self.engine.run(bands, position)
        return np.array_equal(found, self.trt.model.run(bands, position)) and found.shape == (n, 16)


def some(n: int, frames: int) -> tuple[FloatArray, FloatArray]:
    noise = np.random.default_rng(n * frames).standard_normal((n, 32, frames)).astype(np.float32)
    return noise, np.linspace(0, 1, n, dtype=np.float32)


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    made.engine.close()
    assert not made.cudart.taken


def test_every_shape_gives_what_the_model_gives(bench: Bench) -> None:
    for n, frames in ((1, 48), (14, 48), (3, 48), (1, 16), (64, 2000), (7, 304), (14, 48)):
        assert bench.same_as_the_cpu(n, frames), (n, frames)


def test_a_shape_that_comes_again_is_captured_once_and_launched_from_then_on(bench: Bench) -> None:
    for _ in range(5):
        assert bench.same_as_the_cpu(7, 48)
        assert bench.same_as_the_cpu(3, 304)
    assert bench.cudart.calls.count("cudaStreamBeginCapture") == 2
    assert bench.cudart.calls.count("cudaGraphLaunch") == 2 * 3
    assert bench.trt.executed == 2 * 3  # twice by itself, once into the graph
    assert len(bench.trt.contexts) == 1 + 2  # a graph keeps its own


def test_shapes_beyond_the_last_graph_are_computed_all_the_same(bench: Bench) -> None:
    for _ in range(3):
        for n in range(1, 21):
            assert bench.same_as_the_cpu(n, 304)
    assert bench.cudart.calls.count("cudaStreamBeginCapture") == 16


def test_a_batch_beyond_the_profile_is_cut_in_equal_parts(bench: Bench) -> None:
    assert bench.same_as_the_cpu(42, 48)  # three times 14
    assert bench.trt.executed == 3
    assert bench.same_as_the_cpu(30, 48)  # three times 10


def test_where_nothing_can_be_captured_it_goes_on_without(bench: Bench) -> None:
    bench.cudart.failing["cudaGraphInstantiate"] = 801
    for _ in range(4):
        assert bench.same_as_the_cpu(7, 48)
        assert bench.same_as_the_cpu(9, 48)
    assert bench.cudart.calls.count("cudaStreamBeginCapture") == 1


def test_nothing_is_taken_after_the_start_but_graphs(bench: Bench) -> None:
    taken = ("cudaMalloc", "cudaHostAlloc")
    before = [bench.cudart.calls.count(name) for name in taken]
    for n in (1, 14, 42):
        bench.engine.run(*some(n, 48))
    assert [bench.cudart.calls.count(name) for name in taken] == before


def test_numbers_that_are_not_finite_are_an_error(bench: Bench) -> None:
    bands, position = some(3, 48)
    bands[1] = np.nan
    with pytest.raises(EngineError, match="engine tensorrt: 1 of 3 bands"):
        bench.engine.run(bands, position)


def test_frames_that_the_model_does_not_take_are_a_value_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path, profiles([], 32))
    with pytest.raises(ValueError, match="16 frames: this model needs at least 32"):
        bench.engine.run(*some(3, 16))
    bench.engine.close()


def test_a_lost_device_is_told_apart_whether_cuda_or_tensorrt_sees_it_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.trt.refuses = "Cask Error"
    with pytest.raises(EngineError, match="engine tensorrt: 3 bands of 48 frames") as raised:
        bench.engine.run(*some(3, 48))
    assert not raised.value.lost
    bench.cudart.failing["cudaStreamSynchronize"] = 719
    with pytest.raises(EngineError, match="cudaStreamSynchronize: cudaErrorLaunchFailure") as raised:
        bench.engine.run(*some(3, 48))
    assert raised.value.lost
    bench.trt.refuses = None
    with pytest.raises(EngineError, match="cudaStreamSynchronize") as raised:
        bench.engine.run(*some(3, 48))
    assert raised.value.lost
    taken, calls = len(bench.cudart.taken), len(bench.cudart.calls)
    bench.engine.close()  # touches nothing: a process may end of it
    assert (len(bench.cudart.taken), len(bench.cudart.calls)) == (taken, calls)


def test_too_little_memory_at_the_start_gives_back_what_was_taken(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.engine.close()
    bench.cudart.failing["cudaMalloc"] = 2
    with pytest.raises(EngineError, match="memory is used up") as raised:
        TensorRTEngine(bench.package, bench.file, trt=bench.trt, cuda=Cuda(bench.cudart))
    assert raised.value.out_of_memory
    assert not bench.cudart.taken


def test_a_damaged_file_and_one_that_tensorrt_refuses_give_back_what_was_taken(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.engine.close()
    bench.trt.Runtime = lambda _: SimpleNamespace(deserialize_cuda_engine=lambda _: None)
    with pytest.raises(EngineError, match=r"mini\.fp16\.0\.engine: TensorRT does not load it"):
        TensorRTEngine(bench.package, bench.file, trt=bench.trt, cuda=Cuda(bench.cudart))
    bench.file.write_bytes(b"")
    with pytest.raises(EngineError, match="damaged"):
        TensorRTEngine(bench.package, bench.file, trt=bench.trt, cuda=Cuda(bench.cudart))
    assert not bench.cudart.taken


def test_tensorrt_is_looked_for_only_by_the_name_that_was_asked_for() -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx: for x86-64 alone")
    assert load_tensorrt("tensorrt_rtx").__name__ == "tensorrt_rtx_bindings"
    try:
        import tensorrt  # type: ignore[import-not-found]  # noqa: F401, PLC0415
    except ImportError:
        with pytest.raises(EngineError, match=r"TensorRT cannot be imported: .*JetPack.*echo-edge\[gpu\]"):
            load_tensorrt()


def prepared(folder: Path, off: list[float]) -> Any:
    rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx: for x86-64 alone")
    package, cudart = small_package(folder), FakeCudart()
    trt = FakeTensorRT(package, cudart, RANGES, rtx)
    phases: list[str] = []

    def progress(phase: str, fraction: float) -> None:
        if fraction == 1:  # built: what is loaded next computes so far off
            trt.off = off.pop(0)
        phases.append(phase)

    made = exact_tensorrt(package, [WindowShape(48, 14)], folder, progress, trt=trt, cudart=cudart)
    return made, cudart


def test_half_precision_that_gives_the_verdicts_of_the_cpu_is_taken(tmp_path: Path) -> None:
    made, cudart = prepared(tmp_path, [1e-4])
    assert (made.precision, made.refused) == ("fp16", None)
    assert made.parity.cosine > 0.9999
    assert made.parity.windows == 30
    assert made.engine.run(*some(7, 48)).shape == (7, 16)
    made.engine.close()
    assert not cudart.taken


def test_half_precision_that_does_not_is_replaced_by_single(tmp_path: Path) -> None:
    made, cudart = prepared(tmp_path, [0.1, 0.0])
    assert made.precision == "fp32"
    assert "does not reproduce the test vectors" in made.refused
    assert len(list(tmp_path.glob("*.engine"))) == 2  # so that the next start builds nothing
    made.engine.close()
    assert not cudart.taken


def test_an_engine_that_never_computes_what_the_package_says_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="neither precision"):
        prepared(tmp_path, [0.1, 0.1])
