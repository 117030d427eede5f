"""What is exported computes what torch computes, or is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

import torch

from echo_edge.artifact import load_package, verify
from echo_edge.engine import create_engine
from trainer import export
from trainer.checkpoint import save_safetensors
from trainer.data.manifest import Recording, write_manifest
from trainer.export import ExportError, check_parity, export_package, main
from trainer.export_graph import ExportEncoder, round_to_half
from trainer.model.echo import Echo, EchoConfig


def some_bands(n: int, frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 32, frames, generator=generator), torch.rand(n, generator=generator)


@pytest.mark.parametrize(
    "config", [EchoConfig(64, 2, 4), EchoConfig(64, 2, norm_first=True), EchoConfig(64, 1, patch_kernel_t=32)]
)
@pytest.mark.parametrize("frames", [32, 208])
def test_the_graph_for_export_is_the_model(config, frames):
    model = Echo(config).eval()
    bands, position = some_bands(3, frames)
    with torch.no_grad():
        cls, found = model(bands, position), ExportEncoder(model)(bands, position)
        assert torch.allclose(found, cls, atol=2e-6)
        assert torch.allclose(model.tokens(bands, position)[:, 0], cls, atol=2e-6)


def test_a_package_tells_the_hours_it_learned_from_by_licence(toy, tmp_path):
    save_safetensors(toy, tmp_path / "toy.safetensors")
    rows = [
        Recording(f"{name}.wav", 16_000, 1, 16_000 * s, 0.0, float(s), split, licence, "0" * 64)
        for name, s, split, licence in (
            ("a", 1800, "train", "CC0-1.0"), ("b", 900, "train", "MIT"), ("c", 900, "train", "MIT"),
            ("d", 900, "val", "MIT"),
        )
    ]  # fmt: skip
    write_manifest(tmp_path / "free.csv", rows)
    command = [str(tmp_path / "toy.safetensors"), str(tmp_path / "out"), "--manifest", str(tmp_path / "free.csv")]
    assert main(command) == 0
    content = json.loads((tmp_path / "out" / "toy.json").read_text())
    assert content["training_hours"] == {"CC0-1.0": 0.5, "MIT": 0.5}


@pytest.mark.parametrize("half", [False, True])
def test_a_package_from_a_checkpoint_loads_and_verifies(toy, tmp_path, capsys, half):
    save_safetensors(toy, tmp_path / "toy.safetensors")
    arguments = [str(tmp_path / "toy.safetensors"), str(tmp_path / "out"), "--licence", "MIT", "--half"]
    assert main(arguments if half else arguments[:-1]) == 0
    assert "differs from torch by" in capsys.readouterr().out
    package = load_package(tmp_path / "out" / "toy")
    assert (package.embed_dim, package.weights_licence) == (64, "MIT")
    assert package.provenance.startswith("toy.safetensors, SHA-256 ")
    assert verify(package, create_engine("onnx", package))[1] < 5e-5
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["toy.json", "toy.onnx"]

    graph = onnx.load(package.onnx_path).graph
    floats = sum(np.prod(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT)
    halves = sum(np.prod(t.dims) for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT16)
    assert (halves > 5 * floats) if half else halves == 0
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    assert not {node.op_type for node in graph.node} & {"Attention", "RotaryEmbedding"}


def test_a_package_says_everything_one_needs_to_build_the_same_network_again(tmp_path):
    for config in (EchoConfig(64, 2, 4, norm_first=True), EchoConfig(64, 1, 2, patch_kernel_t=32)):
        path, difference = export_package(Echo(config).eval(), tmp_path, "some", provenance="", licence="", half=True)
        package = load_package(path)
        heads, kernel = package.heads, package.patch_kernel_t
        told = EchoConfig(package.embed_dim, package.depth, heads, patch_kernel_t=kernel, norm_first=package.norm_first)
        assert told == config
        assert difference < 5e-6
        assert verify(package, create_engine("onnx", package))[1] < 5e-6


def test_rounding_to_half_keeps_the_export_exact():
    model = Echo(EchoConfig(192, 1)).eval()
    round_to_half(model)
    for name, weight in ExportEncoder(model).named_parameters():
        if weight.ndim == 2:
            assert torch.equal(weight.half().float(), weight), name


def test_a_model_that_computes_something_else_is_never_written(toy, tmp_path, monkeypatch):
    wrong = export.to_onnx(Echo(toy.config).eval())
    with pytest.raises(ExportError, match="differs from torch by"):
        check_parity(toy, wrong)
    monkeypatch.setattr(export, "to_onnx", lambda *_, **__: wrong)
    with pytest.raises(ExportError):
        export_package(toy, tmp_path / "out", "toy", provenance="", licence="")
    assert not (tmp_path / "out").exists()


def test_a_name_that_no_package_can_have_is_refused_before_any_work(toy, tmp_path, capsys):
    save_safetensors(toy, tmp_path / "best (1).safetensors")
    assert main([str(tmp_path / "best (1).safetensors"), str(tmp_path / "out")]) == 1
    assert "'best (1)' names no package" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_engine_refuses_less_signal_than_one_patch_of_its_model(tmp_path):
    overlapping = Echo(EchoConfig(64, 1, patch_kernel_t=32)).eval()
    path, _ = export_package(overlapping, tmp_path, "overlap", provenance="", licence="")
    engine = create_engine("onnx", load_package(path))
    with pytest.raises(ValueError, match="16 frames: this model needs at least 32"):
        engine.run(*(part.numpy() for part in some_bands(2, 16)))
    assert engine.run(*(part.numpy() for part in some_bands(2, 32))).shape == (2, 64)


def test_a_checkpoint_that_does_not_fit_ends_with_code_1_and_one_line(tmp_path, capsys):
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    assert main([str(tmp_path / "bad.pth"), str(tmp_path / "out")]) == 1
    assert "bad.pth: not a torch file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_says_what_to_do_with_the_files():
    done = subprocess.run(
        [sys.executable, "-m", "trainer.export", "--help"], capture_output=True, text=True, check=True
    )
    assert "copy both files to the gateway" in done.stdout


def test_the_model_that_comes_along_says_how_it_was_made():
    path = Path(__file__).resolve().parents[2] / "echo_edge" / "models" / "echo-tiny.json"
    content = json.loads(path.read_text())
    encoder = {"embed_dim": 192, "depth": 12, "heads": 3, "patch_kernel_t": 16, "norm_first": True}
    assert content["encoder"] == {**encoder, "weights": "float16"}
    assert content["training_hours"]
    assert content["opset"] <= 20
