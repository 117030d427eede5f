"""Engines: what goes in, what comes out, and what never does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from echo_edge.artifact import MODELS_DIR, ModelPackage, load_package
from echo_edge.engine import create_engine
from echo_edge.engine.base import Engine, check_output
from echo_edge.engine.fake import FakeEngine
from echo_edge.engine.onnx import TOKENS_PER_RUN, OnnxEngine
from echo_edge.errors import ArtifactError, ConfigError, EngineError

NAME = "echo-tiny"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return create_engine("auto", load_package(NAME), threads=1)


def some_bands(n: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, 32, frames)).astype(np.float32), rng.random(n).astype(np.float32)


def with_model(folder: Path, data: bytes) -> ModelPackage:
    """The package, with another model file and a hash that fits."""
    for suffix in (".onnx", ".json"):
        shutil.copy(MODELS_DIR / (NAME + suffix), folder)
    (folder / f"{NAME}.onnx").write_bytes(data)
    manifest = json.loads((folder / f"{NAME}.json").read_text())
    manifest["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / f"{NAME}.json").write_text(json.dumps(manifest))
    return load_package(folder / NAME)


def test_bands_do_not_feel_their_neighbours(engine):
    """Also across the border of a chunk: many bands together equal each one alone."""
    bands, position = some_bands(40, 1008)
    assert TOKENS_PER_RUN < 40 * 64
    together = engine.run(bands, position)
    assert together.shape == (40, 192)
    for index in (0, 19, 20, 39):
        alone = engine.run(bands[index : index + 1], position[index : index + 1])
        assert together[index : index + 1] == pytest.approx(alone, abs=2e-5)


@pytest.mark.parametrize("frames", [16, 208, 2000])
def test_every_length_of_whole_patches_runs(engine, frames):
    assert engine.run(*some_bands(1, frames)).shape == (1, 192)


def test_two_threads_give_the_numbers_of_one(engine):
    bands, position = some_bands(7, 208)
    two = create_engine("onnx", load_package(NAME), threads=2)
    assert two.run(bands, position) == pytest.approx(engine.run(bands, position), abs=2e-5)


@pytest.mark.parametrize("kind", ["onnx", "fake"])
@pytest.mark.parametrize(
    ("bands", "position"), [((3, 32, 20), (3,)), ((3, 31, 16), (3,)), ((3, 32, 16), (2,)), ((3, 32, 2016), (3,))]
)
def test_wrong_shapes_are_refused(engine, kind, bands, position):
    chosen = {"onnx": engine, "fake": FakeEngine()}[kind]
    with pytest.raises(ValueError, match="needs"):
        chosen.run(np.zeros(bands, np.float32), np.zeros(position, np.float32))


def test_numbers_that_are_not_finite_never_leave_an_engine(engine):
    bands, position = some_bands(3, 16)
    bands[1, 0, 0] = np.nan
    with pytest.raises(EngineError, match="engine onnx: 1 of 3 bands came back with numbers that are not finite"):
        engine.run(bands, position)
    with pytest.raises(EngineError, match="engine fake"):
        FakeEngine().run(bands, position)
    with pytest.raises(EngineError):
        check_output(np.array([[0, np.inf]], np.float32), "any")


def test_a_damaged_model_with_a_fitting_hash_is_refused(tmp_path):
    data = (MODELS_DIR / f"{NAME}.onnx").read_bytes()
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot load it"):
        OnnxEngine(with_model(tmp_path, data[: len(data) // 2]))


def test_a_model_of_another_width_is_refused():
    package = dataclasses.replace(load_package(NAME), embed_dim=384)
    with pytest.raises(ArtifactError, match=r"needs .*'cls', 384"):
        OnnxEngine(package)


def test_an_engine_that_is_not_offered_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match="'gpu' is not known; choose one of: auto, onnx"):
        create_engine("gpu", load_package(NAME))


def test_the_fake_engine_tells_loud_from_quiet_and_repeats_itself():
    bands, position = some_bands(2, 16)
    quiet, loud = FakeEngine().run(bands, position), FakeEngine().run(bands + 1, position)
    assert np.array_equal(quiet, FakeEngine().run(bands, position))
    assert np.abs(loud - quiet).max() > 0.1


def test_embedding_needs_no_torch_and_the_fake_engine_no_onnxruntime():
    """In fresh interpreters where those imports fail."""
    onnx = """
import sys; sys.modules["torch"] = None
import numpy as np
from echo_edge.artifact import load_package, verify
from echo_edge.embedder import Embedder
from echo_edge.engine import create_engine
from echo_edge.records import Window
package = load_package("echo-tiny")
engine = create_engine("onnx", package)
verify(package, engine)
window = Window("pump/de", np.random.default_rng(0).standard_normal((1, 8000)).astype(np.float32), 16000, 0)
assert Embedder(package, engine).embed([window])[0].bands.shape == (1, 7, 192)
"""
    fake = """
import sys; sys.modules["torch"] = sys.modules["onnxruntime"] = None
from echo_edge.embedder import Embedder
from echo_edge.engine.fake import FakeEngine, fake_package
Embedder(fake_package(FakeEngine()), FakeEngine())
"""
    for code in (onnx, fake):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
