"""A checkpoint belongs to one run, loads without running code, and is an encoder that everything else can read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.shared_data import GOLDEN, needs_shared
from tests.trainer.runs import configured, metrics, noises, run_here
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.data.manifest import read_manifest, write_manifest
from trainer.distributed import World
from trainer.model.echo import Echo
from trainer.pretrain import pretrain

BASE = ("data.manifests=[all.csv]", "objective.eat=1", "run.steps=4")


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on recordings that has come to its end."""
    folder = tmp_path_factory.mktemp("run")
    noises(folder, [0.6] * 4)
    run_here(folder, "out", *BASE)
    return folder


@pytest.fixture
def run(a_run: Path, tmp_path: Path) -> Path:
    """The same in a folder of the test's own."""
    return shutil.copytree(a_run, tmp_path / "run")


def test_the_checkpoint_and_the_safetensors_are_the_same_encoder(run):
    content = torch.load(run / "out" / "checkpoint.pth", weights_only=True)
    one, other = load_checkpoint(run / "out" / "checkpoint.pth"), load_checkpoint(run / "out" / "encoder.safetensors")
    assert one.config == other.config == configured(run, *BASE).model.echo()
    for key, value in content["encoder"].items():
        assert torch.equal(one.state_dict()[key], value)
        assert torch.equal(other.state_dict()[key], value)


def test_the_encoders_keys_are_those_of_the_inference_model(run):
    content = torch.load(run / "out" / "checkpoint.pth", weights_only=True)
    assert set(content["encoder"]) == set(Echo(configured(run, *BASE).model.echo()).state_dict())
    assert content["config"]["model_type"] == "echo"


@needs_shared
def test_the_encoders_keys_are_those_of_a_released_checkpoint(run):
    released = load_checkpoint(GOLDEN / "weights_A_d64_l2_h4.safetensors", heads=4)  # two layers, as ours
    assert set(torch.load(run / "out" / "checkpoint.pth", weights_only=True)["encoder"]) == set(released.state_dict())


def test_a_run_that_is_done_stays_as_it_is(run):
    before = (run / "out" / "checkpoint.pth").read_bytes(), metrics(run / "out")
    run_here(run, "out", *BASE)
    assert ((run / "out" / "checkpoint.pth").read_bytes(), metrics(run / "out")) == before


def test_how_often_to_look_may_change(run):
    run_here(run, "out", *BASE, "run.log_every=3", "run.save_every=1", "data.workers=0", "run.collapse_below=0")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["run.steps=5"], r"run\.steps: 4 there, 5 here"),
        (["run.seed=5"], r"run\.seed: 0 there, 5 here"),
        (["optimiser.accumulate=2"], r"optimiser\.accumulate: 1 there, 2 here"),
        (["objective.eat=0"], r"objective\.eat: 1\.0 there, 0\.0 here"),
        (["model.depth=3"], r"model\.depth: 2 there, 3 here"),
        (
            ["data.augment.gain_db=3", "data.crop_s=[0.4, 0.7]"],
            r"data\.augment\.gain_db: 0\.0 there, 3\.0 here; data\.crop_s: \[0\.4, 0\.8\] there, \[0\.4, 0\.7\] here",
        ),
        (["data.manifests=[]"], r"data\.manifests: \['all\.csv [0-9a-f]{64}'\] there, \[\] here"),
    ],
)
def test_another_configuration_is_refused_with_the_keys_that_differ(run, changes, says):
    before = (run / "out" / "checkpoint.pth").read_bytes()
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth: belongs to another run: " + says) as refusal:
        run_here(run, "out", *BASE, *changes)
    assert "\n" not in str(refusal.value)
    assert (run / "out" / "checkpoint.pth").read_bytes() == before


def test_another_number_of_processes_is_refused(run):
    with pytest.raises(CheckpointError, match="processes: 1 there, 2 here"):
        pretrain(configured(run, *BASE), run / "out", World(0, 2))


def test_a_manifest_that_changed_is_refused(run):
    manifest = read_manifest(run / "all.csv")
    write_manifest(run / "all.csv", manifest.recordings[:-1])
    with pytest.raises(
        CheckpointError, match=rf"data\.manifests: \['all\.csv {manifest.sha256}'\] there, \['all\.csv "
    ):
        run_here(run, "out", *BASE)


def test_the_same_manifest_elsewhere_is_the_same(run):
    other = shutil.copytree(run, run.parent / "moved")
    run_here(other, "out", *BASE)


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(share * len(data))]


def flip(share: float) -> Callable[[bytes], bytes]:
    def flipped(data: bytes) -> bytes:
        at = int(share * len(data))
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]

    return flipped


@pytest.mark.parametrize(
    "damage",
    [
        cut(0),
        cut(0.001),
        cut(0.5),
        cut(0.99),
        flip(0.3),
        flip(0.7),
        lambda _: b"some text",
        lambda data: bytes(len(data)),
    ],
    ids=["empty", "first bytes", "half", "all but the end", "a flipped byte", "another", "text", "zeros"],
)
def test_a_damaged_checkpoint_is_refused_by_name(run, damage):
    path = run / "out" / "checkpoint.pth"
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth: not a checkpoint of a run: .") as refusal:
        run_here(run, "out", *BASE)
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("encoder"), "does not fit this run: no 'encoder'"),
        (lambda c: c["encoder"].pop("norm.bias"), r"does not fit this run: .*student\.norm\.bias"),
        (lambda c: c["rest"].clear(), r"does not fit this run: .*teacher\.cls_token"),
        (lambda c: c["optimiser"]["param_groups"].pop(), "does not fit this run: "),
        (lambda c: c.pop("run"), "not a checkpoint of a run: no 'run'"),
        (lambda c: c.update(run=3), "not a checkpoint of a run: "),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_by_name(run, change, says):
    path = run / "out" / "checkpoint.pth"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth: " + says) as refusal:
        run_here(run, "out", *BASE)
    assert "\n" not in str(refusal.value)
