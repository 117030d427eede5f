"""A model package is loaded only when every part of it is what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echo_edge.artifact import MODELS_DIR, load_package, verify
from echo_edge.engine import create_engine
from echo_edge.engine.fake import FakeEngine
from echo_edge.errors import ArtifactError

NAME = "echo-tiny"


@pytest.fixture
def package_dir(tmp_path: Path) -> Path:
    for suffix in (".onnx", ".json"):
        shutil.copy(MODELS_DIR / (NAME + suffix), tmp_path)
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / f"{NAME}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder / NAME


def test_the_model_that_comes_along_loads_by_its_bare_name_and_says_what_it_is():
    package = load_package(NAME)
    assert (package.name, package.embed_dim, package.heads) == (NAME, 192, 3)
    assert package.provenance.startswith("encoder.safetensors, SHA-256 ")
    assert package.weights_licence == "Apache-2.0"


@pytest.mark.parametrize("suffix", ["", ".onnx", ".json"])
def test_a_path_loads_with_or_without_suffix(package_dir, suffix):
    assert load_package(package_dir / (NAME + suffix)).sha256 == load_package(NAME).sha256


def test_its_test_vectors_come_out_of_onnx_runtime():
    package = load_package(NAME)
    cosine, largest = verify(package, create_engine("onnx", package))
    assert cosine > 0.999999
    assert largest < 5e-5


def test_no_file_in_the_folder_that_somebody_is_in_takes_the_place_of_the_model_that_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "echo-tiny.json").write_text("{}")
    (tmp_path / "echo-tiny.onnx").write_bytes(b"planted")
    monkeypatch.chdir(tmp_path)
    assert load_package("echo-tiny").onnx_path.parent == MODELS_DIR


def test_a_missing_model_is_named_with_those_that_exist():
    with pytest.raises(ArtifactError, match=r"no-such-model\.json: no such file.*echo-tiny"):
        load_package("no-such-model")


@pytest.mark.parametrize("name", ["", "."])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ArtifactError, match="names no model"):
        load_package(name)


def test_one_flipped_bit_is_refused_with_both_hashes(package_dir):
    path = package_dir / f"{NAME}.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        ArtifactError, match=r"onnx: damaged or changed: expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}; copy"
    ):
        load_package(package_dir / NAME)


def test_a_file_that_changes_after_loading_never_reaches_the_engine(package_dir):
    package = load_package(package_dir / NAME)
    with package.onnx_path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match="damaged or changed"):
        create_engine("onnx", package)


def test_weights_kept_in_other_files_are_refused(package_dir):
    import hashlib  # noqa: PLC0415

    path = package_dir / f"{NAME}.onnx"
    path.write_bytes(path.read_bytes() + b"\x0a\x08location\x12\x01w")
    name = edit(package_dir, lambda m: m.update(sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    with pytest.raises(ArtifactError, match="keeps weights in other files"):
        load_package(name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.pop("provenance"), "provenance: Field required"),
        (lambda m: m.update(colour="red"), "colour: Extra inputs are not permitted"),
        (lambda m: m.update(schema=2), "schema: Input should be 1"),
        (lambda m: m.pop("schema"), "schema: Field required"),
        (lambda m: m.update(opset=23), "opset: .*less than or equal to 20"),
        (lambda m: m.update(name="other"), "describes 'other'"),
        (lambda m: m["front_end"].update(floor=1e-8), "front_end.floor is 1e-08, this version computes with 1e-09"),
        (lambda m: m["test_vectors"][0].update(cls_base64="AAA"), "test_vectors.0: damaged"),
        (lambda m: m["test_vectors"][1].update(cls_base64="AAAAAAAAAAA="), "test_vectors.1: not 192 finite numbers"),
        (lambda m: m.update(test_vectors=[]), "test_vectors: List should have at least 1 item"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused_by_field(package_dir, change, says):
    with pytest.raises(ArtifactError, match=says):
        load_package(edit(package_dir, change))


def test_a_manifest_that_is_no_json_is_refused(package_dir):
    (package_dir / f"{NAME}.json").write_text("{")
    with pytest.raises(ArtifactError, match="the file: Invalid JSON"):
        load_package(package_dir / NAME)


def test_wrong_test_vectors_are_found_out(package_dir):
    def swap(manifest: dict[str, Any]) -> None:
        manifest["test_vectors"][0]["seed"] = 77

    package = load_package(edit(package_dir, swap))
    with pytest.raises(ArtifactError, match=r"engine onnx does not reproduce the test vectors: cosine"):
        verify(package, create_engine("onnx", package))


def test_an_engine_of_another_model_is_found_out():
    with pytest.raises(ArtifactError, match="does not reproduce"):
        verify(load_package(NAME), FakeEngine(192))


def test_test_inputs_are_the_same_on_every_machine():
    bands, position = load_package(NAME).test_vectors[0].inputs()
    assert bands.shape == (3, 32, 48)
    assert bands.min() >= -1
    assert bands.max() < 1
    assert np.array_equal(bands.ravel()[:2], np.array([0.27392328, -0.4604267], np.float32))
    assert position == pytest.approx([0.1, 0.5, 0.9])
