"""Building engines: with TensorRT-RTX, which has TensorRT's interface and builds without a GPU."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from echo_edge.artifact import ModelPackage, load_package
from echo_edge.engine.build import build_engine, engine_key, read_engine
from echo_edge.engine.cuda import device
from echo_edge.engine.half import to_half
from echo_edge.engine.profiles import WindowShape, profiles, window_shapes
from echo_edge.engine.tensorrt_api import make_log
from echo_edge.errors import ArtifactError, EngineError
from tests.engines import GPU, FakeCudart, small_package
from tests.world import make_config

SHAPES = [WindowShape(frames=48, bands=14)]


def build(package: ModelPackage, folder: Path, **options: Any) -> tuple[Path, list[tuple[str, float]]]:
    seen: list[tuple[str, float]] = []
    rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx: for x86-64 alone")
    given = {"trt": rtx, "gpu": GPU, **options}
    path = build_engine(package, given.pop("shapes", SHAPES), folder, lambda *step: seen.append(step), **given)
    return path, seen


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelPackage, Path]:
    """A small model and its engine, to be copied."""
    folder = tmp_path_factory.mktemp("mini")
    package = small_package(folder)
    return package, build(package, folder)[0]


def test_the_shipped_model_builds_in_half_precision_with_progress_that_only_grows(tmp_path: Path) -> None:
    path, seen = build(load_package("echo-tiny"), tmp_path / "new" / "engines", shapes=[])
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert 10 < len(fractions) < 250
    assert len(read_engine(path)) > 8e6
    assert path.stat().st_mode & 0o777 == 0o600


def test_half_precision_is_that_of_matrices_and_of_what_flows_from_them() -> None:
    rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx: for x86-64 alone")
    said = make_log(rtx)
    builder = rtx.Builder(said)
    network = builder.create_network(1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = rtx.OnnxParser(network, said)
    assert parser.parse(load_package("echo-tiny").read_onnx())
    to_half(rtx, network)
    types: dict[str, set[Any]] = defaultdict(set)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        types[layer.type.name].add(layer.get_output(0).dtype)
    for kind in ("MATRIX_MULTIPLY", "NORMALIZATION", "SOFTMAX", "ACTIVATION"):
        assert types[kind] == {rtx.float16}, kind
    assert types["UNARY"] == {rtx.float32}  # sine and cosine of the positions
    assert [(network.get_input(i).name, network.get_input(i).dtype) for i in (0, 1)] == [
        ("bands", rtx.float32),
        ("position", rtx.float32),
    ]
    assert [(network.get_output(i).name, network.get_output(i).dtype) for i in range(network.num_outputs)] == [
        ("cls", rtx.float32)
    ]
    assert said.errors == []


def test_an_engine_that_is_there_is_not_built_again(mini: tuple[ModelPackage, Path]) -> None:
    package, path = mini
    before = path.stat()
    again, seen = build(package, path.parent)
    assert again == path
    assert seen == [("found", 1.0)]
    assert path.stat().st_ino == before.st_ino


def test_a_damaged_engine_is_refused_and_built_again(mini: tuple[ModelPackage, Path], tmp_path: Path) -> None:
    package, built = mini
    whole, path = built.read_bytes(), tmp_path / built.name
    for damaged in (b"", whole[:-1], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], b"echo-edge engine 1\n"):
        path.write_bytes(damaged)
        with pytest.raises(EngineError, match=r"mini\.fp16\..*: damaged"):
            read_engine(path)
    again, seen = build(package, tmp_path)
    assert again == path
    assert len(seen) > 1
    read_engine(path)


def test_an_engine_with_the_name_of_another_is_refused(mini: tuple[ModelPackage, Path], tmp_path: Path) -> None:
    _, built = mini
    other = tmp_path / built.name.replace("fp16", "fp32")
    other.write_bytes(built.read_bytes())
    with pytest.raises(EngineError, match="not what its name says"):
        read_engine(other)


def test_every_part_of_what_an_engine_depends_on_changes_its_key(tmp_path: Path) -> None:
    package = small_package(tmp_path)
    ranges = profiles(SHAPES, 16)

    def rtx(version: str, name: str = "tensorrt_rtx_bindings") -> Any:
        return SimpleNamespace(__version__=version, __name__=name)

    base = engine_key(package, rtx("10.3"), GPU, "fp16", ranges)
    assert base == engine_key(package, rtx("10.3"), GPU, "fp16", profiles(SHAPES, 16))
    others = [
        engine_key(dataclasses.replace(package, sha256="1" * 64), rtx("10.3"), GPU, "fp16", ranges),
        engine_key(package, rtx("10.4"), GPU, "fp16", ranges),
        engine_key(package, rtx("10.3", "tensorrt"), GPU, "fp16", ranges),
        engine_key(package, rtx("10.3"), GPU, "fp32", ranges),
        engine_key(package, rtx("10.3"), GPU, "fp16", profiles([WindowShape(48, 15)], 16)),
    ]
    changes: dict[str, Any] = {"name": "B", "compute_capability": "8.6", "driver": 12_080, "runtime": 12_080}
    others += [
        engine_key(package, rtx("10.3"), dataclasses.replace(GPU, **{part: value}), "fp16", ranges)
        for part, value in changes.items()
    ]
    assert len({base, *others}) == 1 + len(others)


def test_engines_of_other_keys_of_the_same_model_and_precision_are_removed(tmp_path: Path) -> None:
    package = small_package(tmp_path)
    kept = [tmp_path / f"mini.fp32.{'0' * 32}.engine", tmp_path / f"mini.fp16-2.fp16.{'0' * 32}.engine"]
    old = tmp_path / f"mini.fp16.{'0' * 32}.engine"
    for path in (*kept, old):
        path.touch()
    new, _ = build(package, tmp_path)
    assert sorted(tmp_path.glob("*.engine")) == sorted([*kept, new])


def test_a_model_that_tensorrt_cannot_read_is_told_with_file_and_node(tmp_path: Path) -> None:
    package = small_package(tmp_path, operator="NoSuchOperator")
    with pytest.raises(EngineError, match=r"mini\.onnx: TensorRT cannot read it: .*unknown.*NoSuchOperator"):
        build(package, tmp_path)
    package.onnx_path.write_bytes(package.onnx_path.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=r"mini\.onnx: damaged or changed"):
        build(package, tmp_path)
    assert not list(tmp_path.glob("*.engine"))


def test_a_folder_that_cannot_be_written_is_told_with_the_room_that_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"file/.*\.engine: cannot be written: .*; needs \d+ MB"):
        build(small_package(tmp_path), tmp_path / "file")


def test_a_build_ends_when_its_progress_raises(tmp_path: Path) -> None:
    def stop(_: str, fraction: float) -> None:
        if fraction > 0.2:
            raise EngineError("the daemon ends")

    rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx: for x86-64 alone")
    with pytest.raises(EngineError, match="the daemon ends"):
        build_engine(small_package(tmp_path), SHAPES, tmp_path, stop, trt=rtx, gpu=GPU)
    assert not list(tmp_path.glob("*.engine"))


class Refusing:
    """A TensorRT that makes no builder, and says why."""

    ILogger = type("ILogger", (), {"INTERNAL_ERROR": 0, "ERROR": 1, "WARNING": 2})
    __version__, __name__ = "10.3", "tensorrt"

    def __init__(self, why: str) -> None:
        self.why = why

    def Builder(self, said: Any) -> None:  # noqa: N802  TensorRT's name
        said.log(1, self.why)
        raise TypeError("pybind11::init(): factory function returned nullptr")


def test_a_tensorrt_that_does_not_start_says_why_and_full_memory_is_told_apart(tmp_path: Path) -> None:
    package = small_package(tmp_path)
    for why, out_of_memory in (("CUDA initialization failure with error:\n 2 (out of memory)", True), ("bad", False)):
        with pytest.raises(EngineError, match=rf"TensorRT does not start: {why[:4]}") as raised:
            build_engine(package, SHAPES, tmp_path, trt=Refusing(why), gpu=GPU)
        assert raised.value.out_of_memory == out_of_memory
        assert "\n" not in str(raised.value)


def test_every_call_of_the_runtime_is_there_in_the_interface_we_are_written_against() -> None:
    rtx = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx: for x86-64 alone")
    calls = {
        rtx.Runtime: ["deserialize_cuda_engine"],
        rtx.ICudaEngine: [
            "create_execution_context", "device_memory_size_v2", "get_tensor_name", "get_tensor_profile_shape",
            "get_tensor_shape", "num_io_tensors", "num_optimization_profiles",
        ],
        rtx.IExecutionContext: [
            "active_optimization_profile", "execute_async_v3", "set_device_memory", "set_input_shape",
            "set_optimization_profile_async", "set_tensor_address",
        ],
        rtx.ExecutionContextAllocationStrategy: ["USER_MANAGED"],
    }  # fmt: skip
    assert [(kind, name) for kind, names in calls.items() for name in names if not hasattr(kind, name)] == []


def test_every_function_of_cuda_is_there_in_the_bindings() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings: the gpu extra")
    names = [name for name in dir(FakeCudart) if name.startswith("cuda")]
    assert len(names) > 15
    assert [name for name in names if not hasattr(runtime, name)] == []


def test_without_a_device_tensorrt_is_not_called_at_all(tmp_path: Path) -> None:
    cudart = FakeCudart()
    cudart.failing["cudaGetDeviceCount"] = 35
    with pytest.raises(EngineError, match=r"no GPU: cudaGetDeviceCount: .*35.*driver"):
        build_engine(small_package(tmp_path), SHAPES, tmp_path, trt=object(), gpu=device(cudart))
    assert cudart.calls == ["cudaGetDeviceCount"]


def test_profiles_follow_from_the_configured_windows() -> None:
    points = {
        "de": {"device": "acc", "channels": [0, 1, 2], "window": {"length_s": 1, "hop_s": 1}},
        "nde": {"device": "acc", "window": {"length_s": 1, "hop_s": 1}},
        "mic": {"device": "mic", "window": {"length_s": 5, "hop_s": 5}},
    }
    devices = {
        "acc": {"kind": "simulator", "rate_hz": 16_000, "channels": 3},
        "mic": {"kind": "microphone", "device": "any"},  # the rate is the device's: taken to be 48 kHz
    }
    config = make_config(devices=devices, machines={"pump": {"points": points}})
    shapes = window_shapes(config)
    # 16 kHz has 201 bins in 7 bands, 48 kHz has 601 in 19; 1 s are 98 frames and 5 s are 498, padded to 16
    assert shapes == [WindowShape(frames=112, bands=4 * 7), WindowShape(frames=512, bands=19)]
    own = profiles(shapes, 32)
    assert [(one.smallest, one.largest) for one in own[:-1]] == [((1, 112), (28, 112)), ((1, 512), (19, 512))]
    assert own[-1].fits(32)
    assert own[-1].fits(2000)
