"""A checkpoint is loaded whole or refused with the first key that differs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import save_file

from trainer.checkpoint import CheckpointError, load_checkpoint, save_safetensors
from trainer.model.echo import Echo, EchoConfig

State = dict[str, torch.Tensor]


def state_of(model: Echo) -> State:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def assert_same(model: Echo, other: Echo) -> None:
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())


def test_what_is_saved_comes_back_with_its_configuration(tmp_path):
    model = Echo(EchoConfig(64, 2, heads=4, norm_first=True, patch_kernel_t=32))
    save_safetensors(model, tmp_path / "own.safetensors")
    loaded = load_checkpoint(tmp_path / "own.safetensors")
    assert loaded.config == model.config
    assert not loaded.training
    assert_same(loaded, model)
    assert [path.name for path in tmp_path.iterdir()] == ["own.safetensors"]


def test_a_flat_file_without_configuration_has_one_head_per_64(tmp_path):
    wide = Echo(EchoConfig(128, 1))
    save_file(state_of(wide), tmp_path / "flat.safetensors")
    assert load_checkpoint(tmp_path / "flat.safetensors").config == wide.config
    assert load_checkpoint(tmp_path / "flat.safetensors", heads=4).config.heads == 4


@pytest.mark.parametrize("wrap", [lambda s: {"encoder": s, "model_type": "small"}, lambda s: s])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "student.", "module.student."])
def test_a_pth_loads_with_or_without_its_wrappers(toy, tmp_path, wrap, prefix):
    torch.save(wrap({prefix + key: value for key, value in state_of(toy).items()}), tmp_path / "a.pth")
    assert_same(load_checkpoint(tmp_path / "a.pth"), toy)


def drop(key: str) -> Callable[[State], object]:
    return lambda state: state.pop(key)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop("encoder.layers.1.norm2.bias"), r"encoder.layers.1.norm2.bias: missing, expected shape \(64,\)"),
        (drop("patch_embed.proj.weight"), "patch_embed.proj.weight: missing; no ECHO encoder"),
        (lambda s: s.update({"head.weight": torch.zeros(3)}), r"head.weight: unexpected, shape \(3,\)"),
        (
            lambda s: s.update({"norm.bias": torch.zeros(65)}),
            r"norm.bias: wrong shape: expected \(64,\), found \(65,\)",
        ),
        (lambda s: s["pos_embed"].add_(1e-4), r"pos_embed: differs from the time code by 0.0001"),
        (lambda s: s.update({"model.norm.bias": s.pop("norm.bias")}), "norm.bias: missing"),
        (lambda s: s.update({"pos_embed": torch.zeros(1)}), "pos_embed: wrong shape: expected 3 axes"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_the_first_key_that_differs(toy, tmp_path, change, says):
    state = state_of(toy)
    change(state)
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: " + says):
        load_checkpoint(tmp_path / "odd.safetensors")


def test_a_pth_that_would_run_code_is_refused(toy, tmp_path):
    torch.save({"encoder": state_of(toy), "note": Path("x")}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="would run code"):
        load_checkpoint(tmp_path / "a.pth")
    assert_same(load_checkpoint(tmp_path / "a.pth", allow_pickle=True), toy)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, name):
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(tmp_path / name)
    (tmp_path / name).write_bytes(b"not a checkpoint at all")
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(tmp_path / name)


def test_layers_do_not_begin_alike(toy):
    first, second = toy.encoder.layers
    assert not torch.equal(first.self_attn.in_proj_weight, second.self_attn.in_proj_weight)
