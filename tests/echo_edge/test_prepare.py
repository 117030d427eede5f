"""Engines for a GPU: which one is wanted, what is refused, and that verdicts stay when one takes over."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echo_edge.artifact import ModelPackage, load_package
from echo_edge.embedder import Embedder
from echo_edge.engine import create_engine
from echo_edge.engine.base import FloatArray
from echo_edge.engine.onnx import OnnxEngine
from echo_edge.engine.onnx_cuda import (
    MAX_SHAPES,
    PROVIDER,
    BoundSession,
    OnnxCudaEngine,
    gpu_error,
    insist_on,
    provided,
)
from echo_edge.engine.prepare import find, standby_engine, verified
from echo_edge.engine.retries import Retries
from echo_edge.engine.standby import Progress, StandbyEngine, Wanted
from echo_edge.errors import EngineError
from echo_edge.pipeline import Pipeline
from tests.baselines import learned
from tests.echo_edge.test_tensorrt import Bench
from tests.world import POINT, machine_windows, make_config

PATIENCE_S = 20.0
NO_CUDA_HERE = pytest.mark.skipif(provided(), reason="this ONNX Runtime has CUDA")


class HalfPrecise(OnnxEngine):
    """The CPU's numbers as a GPU would have them: in half precision, and off by ``error``."""

    name = "gpu"
    closed = False

    def __init__(self, package: ModelPackage, error: float = 0.0) -> None:
        super().__init__(package)
        self.error = error

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        half = super().run(bands.astype(np.float16).astype(np.float32), position).astype(np.float16)
        return half.astype(np.float32) + np.float32(self.error)

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return load_package("echo-tiny")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Also on a machine that has one; returns the cache folder."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "cache"))
    return tmp_path / "cache"


def some_bands(n: int, frames: int = 48) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, 32, frames)).astype(np.float32), rng.random(n).astype(np.float32)


def until(holds: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_no_verdict_flips_when_the_gpu_takes_over(package: ModelPackage) -> None:
    """Fault C8: at most one verdict of a thousand, and no score moves by more than a hundredth of its threshold."""
    cpu = OnnxEngine(package)
    baseline = learned(Pipeline(make_config(), Embedder(package, cpu)))
    windows = machine_windows(24, skip_s=20) + machine_windows(16, skip_s=20, fault="outer_race", severity=0.5)

    def judged(engine: OnnxEngine | StandbyEngine) -> list[tuple[str, float, float]]:
        pipeline = Pipeline(make_config(), Embedder(package, engine))
        pipeline.points[POINT].adopt(baseline)
        verdicts = [verdict for window in windows for verdict in pipeline.step([window])]
        assert all(verdict.score is not None for verdict in verdicts)
        return [(v.level, v.score.value, v.score.threshold) for v in verdicts if v.score is not None]

    standby = StandbyEngine(cpu, lambda: Wanted("gpu", lambda _: HalfPrecise(package), Retries()))
    standby.start()
    until(lambda: standby.name == "gpu")
    exact, half = judged(cpu), judged(standby)
    standby.close()
    assert exact != half, "the GPU was never asked"
    assert {level for level, _, _ in exact} > {"normal"}, "the fault must be heard"
    assert [level for level, _, _ in exact] == [level for level, _, _ in half]
    moved = [abs(a - b) / threshold for (_, a, threshold), (_, b, _) in zip(exact, half, strict=True)]
    assert max(moved) < 0.01


def test_a_gpu_that_served_and_is_gone_is_wanted_still(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    config = make_config()
    if find(config, package) is not None:
        pytest.skip("this machine has a GPU")
    Retries(tmp_path / f"{config.gateway.id}.retries.json").serves("tensorrt")
    wanted = find(config, package)
    assert wanted is not None
    assert wanted.name == "tensorrt"
    with pytest.raises(EngineError, match="no GPU"):
        wanted.prepare(lambda _: None)


def test_an_engine_that_computes_something_else_never_serves(package: ModelPackage) -> None:
    made: list[HalfPrecise] = []

    def prepare(_: Progress) -> HalfPrecise:
        made.append(HalfPrecise(package, error=0.05))
        verified(package, made[-1])
        return made[-1]

    engine = StandbyEngine(OnnxEngine(package), lambda: Wanted("gpu", prepare, Retries()), "auto")
    engine.start()
    until(lambda: engine.status.problem)
    status = engine.status
    assert "does not reproduce the test vectors" in str(status.problem)
    assert (status.serving, made[0].closed, engine.run(*some_bands(2)).shape) == ("onnx", True, (2, 192))
    engine.close()


def test_a_tensorrt_engine_whose_device_is_lost_is_replaced_within_the_call(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    cpu = OnnxEngine(bench.package)
    engine = StandbyEngine(cpu, lambda: Wanted("tensorrt", lambda _: bench.engine, Retries()))
    engine.start()
    until(lambda: engine.name == "tensorrt")
    for failing in ({}, {"cudaStreamSynchronize": 719}):  # cudaErrorLaunchFailure
        bench.cudart.failing = failing
        assert np.array_equal(engine.run(*some_bands(3)), cpu.run(*some_bands(3)))
    status = engine.status
    assert (status.serving, status.fallbacks) == ("onnx", 1)
    assert "cudaErrorLaunchFailure (719)" in str(status.problem)
    engine.close()


@pytest.mark.parametrize("kind", ["tensorrt", "cuda"])
def test_an_engine_that_this_machine_cannot_have_is_told_and_the_cpu_serves(
    package: ModelPackage, no_gpu: Path, kind: str
) -> None:
    engine = standby_engine(make_config(engine={"kind": kind}), package, OnnxEngine(package))
    engine.start()
    assert engine.run(*some_bands(2)).shape == (2, 192)
    until(lambda: engine.status.problem)
    status = engine.status
    engine.close()
    assert (status.serving, status.wanted, status.needs_new_process) == ("onnx", kind, False)
    assert str(status.problem).startswith("the CPU serves instead of the GPU: no GPU: ")
    assert Retries(no_gpu / "gw.retries.json").why is not None


def test_without_a_gpu_auto_is_the_cpu_and_leaves_no_file(package: ModelPackage, no_gpu: Path) -> None:
    engine = standby_engine(make_config(), package, OnnxEngine(package))
    engine.start()
    until(lambda: engine.status.wanted != "auto")
    engine.close()
    status = engine.status
    assert (status.serving, status.wanted, status.problem) == ("onnx", "onnx", None)
    assert not list(no_gpu.rglob("*"))


@NO_CUDA_HERE
def test_an_onnxruntime_without_cuda_is_named_with_its_mend(package: ModelPackage) -> None:
    with pytest.raises(EngineError, match="has no CUDA; install onnxruntime-gpu in place of onnxruntime"):
        create_engine("cuda", package)


def test_a_session_that_went_to_the_cpu_silently_is_refused(package: ModelPackage) -> None:
    with pytest.raises(EngineError, match="would compute with CPUExecutionProvider only, not with CUDA"):
        insist_on(OnnxEngine(package)._session, PROVIDER)


def test_bound_buffers_give_what_a_plain_run_gives_for_every_shape_that_comes_again(package: ModelPackage) -> None:
    plain = OnnxEngine(package)
    bound = BoundSession(plain._session, package.embed_dim, "cpu")
    for n in [3, 5, 3, *range(1, MAX_SHAPES + 3), 3]:
        for seed in (n, n + 100):  # other numbers in the same buffers
            bands, position = some_bands(n)
            bands = bands * np.float32(1 + seed / 100)
            assert bound.run(bands, position) == pytest.approx(plain.run(bands, position), abs=1e-5)
    assert len(bound._kept) == MAX_SHAPES


@pytest.mark.parametrize(
    ("text", "lost", "out_of_memory"),
    [
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", True, False),
        ("CUDA failure 2: out of memory ; GPU=0", False, True),
        (
            "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 8589934592",
            False,
            True,
        ),
        ("CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED", False, False),
        ("Non-zero status code returned while running Add node", False, False),
    ],
)
def test_what_the_providers_errors_mean(text: str, lost: bool, out_of_memory: bool) -> None:
    error = gpu_error(text)
    assert (error.lost, error.out_of_memory) == (lost, out_of_memory)


@pytest.mark.gpu
@pytest.mark.skipif(not provided(), reason="this ONNX Runtime has no CUDA")
def test_the_gpu_computes_the_test_vectors(package: ModelPackage) -> None:
    engine = OnnxCudaEngine(package)
    verified(package, engine)
    engine.close()
