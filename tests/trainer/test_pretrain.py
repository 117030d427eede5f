"""Runs: what an interruption does not change, what stops them, and what they say then."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
import typer
from typer.testing import CliRunner

from tests.trainer.runs import KILLED, configured, metrics, noises, run_apart, run_here
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.config import ConfigError, PretrainConfig
from trainer.data.dataset import Batch, Batches
from trainer.distributed import World
from trainer.loop import TrainingStopped, train
from trainer.model.echo import Echo
from trainer.objective import Objective
from trainer.pretrain import main, optimiser_of, pretrain
from trainer.snapshot import Snapshot, identity

FULL = 100_000  # bytes that fit on the disk: metrics do, a checkpoint does not


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Sums are taken in another order by another number of threads; the processes apart have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ended(process: subprocess.Popen[str], returns: int | None = 0) -> str:
    """Wait for a process and return what it said on its second stream."""
    out, err = process.communicate(timeout=170)
    assert returns is None or process.returncode == returns, out + err
    return err


def told(err: str) -> str:
    """Return the one line that says what went wrong."""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def commanded(folder: Path, *changes: str) -> str:
    """Give the command in this process, see it fail, and return what it said."""
    configured(folder)
    app = typer.Typer()
    app.command()(main)
    sets = [word for change in changes for word in ("--set", change)]
    result = CliRunner().invoke(app, [str(folder / "tiny.yaml"), str(folder / "out"), *sets])
    assert result.exit_code == 1, result.output
    return result.stderr


# Interruption --------------------------------------------------------------------------------------------------------

EAT = ("objective.eat=1",)
RECORDED = ("data.manifests=[all.csv]", "data.machines_share=0.25")  # 3 of 4 clips, from 10 recordings: epochs of 4


SHIPPED = (
    "objective.summary=1",
    "model.width=64",
    "data.states=2",
    "data.views=2",
    "data.augment.background_share=0.5",
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "changes",
    [(), ("optimiser.accumulate=2", *EAT), (*EAT, "run.precision=bf16"), (*RECORDED, "data.workers=2"), SHIPPED],
    ids=["machines", "accumulated, with a teacher", "bf16", "in the middle of an epoch", "as the shipped model"],
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path, changes):
    noises(tmp_path, [0.5, 0.9, 0.7, 0.6, 0.8, 0.5, 0.5, 0.6, 0.7, 1.0])
    killed = run_apart(tmp_path, "killed", *changes, "run.evaluate_every=3", befalls=KILLED)
    whole = run_here(tmp_path, "whole", *changes)
    ended(killed, returns=-9)
    assert [line["step"] for line in metrics(tmp_path / "killed")] == [1, 2, 3]  # saved at 2, killed at 3
    assert not (tmp_path / "killed" / "encoder.safetensors").exists()
    resumed = run_here(tmp_path, "killed", *changes)
    assert metrics(resumed) == metrics(whole)
    assert [line["step"] for line in metrics(whole)] == [1, 2, 3, 4, 5, 6]
    assert (resumed / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()


@pytest.mark.timeout(180)
def test_two_processes_that_were_killed_go_on_as_if_they_had_not_been(tmp_path):
    noises(tmp_path, [0.5, 0.9, 0.7, 0.6, 0.8])
    changes = (*RECORDED, *EAT, "optimiser.accumulate=2")
    killed = run_apart(tmp_path, "killed", *changes, "run.evaluate_every=3", befalls=KILLED, processes=2)
    whole = run_apart(tmp_path, "whole", *changes, processes=2)
    ended(killed, returns=1)
    assert [line["step"] for line in metrics(tmp_path / "killed")] == [1, 2, 3]
    resumed = run_apart(tmp_path, "killed", *changes, processes=2)
    ended(whole)
    ended(resumed)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    one, other = ((tmp_path / name / "encoder.safetensors").read_bytes() for name in ("killed", "whole"))
    assert one == other


def test_the_last_step_is_saved_even_between_intervals(tmp_path):
    run_here(tmp_path, "out", "run.steps=3", "run.save_every=2")
    assert torch.load(tmp_path / "out" / "checkpoint.pth", weights_only=True)["step"] == 3


def test_how_often_to_log_save_and_evaluate_changes_no_weight(tmp_path):
    often = run_here(tmp_path, "often", "run.evaluate_every=2", "run.save_every=1", *EAT)
    seldom = run_here(tmp_path, "seldom", "run.log_every=5", "run.save_every=100", *EAT)
    assert (often / "encoder.safetensors").read_bytes() == (seldom / "encoder.safetensors").read_bytes()
    losses = {line["step"]: line["loss"] for line in metrics(often) if "loss" in line}
    assert {line["step"]: line["loss"] for line in metrics(seldom)} == {step: losses[step] for step in (5, 6)}


# What is logged ------------------------------------------------------------------------------------------------------


def test_a_run_logs_losses_collapse_indicators_and_its_speed(tmp_path):
    out = run_here(tmp_path, "out", *EAT, "run.evaluate_every=6")
    text = (out / "metrics.jsonl").read_text()
    for key in ("loss", "patch_loss", "frame_loss", "utterance_loss", "cls_deviation", "target_deviation", "lr",
                "grad_norm", "bands_per_s", "flop_utilisation", "data_wait_share", "effective_rank"):  # fmt: skip
        assert f'"{key}": ' in text
    for line in text.splitlines():
        values = json.loads(line)
        assert 0 <= values.get("data_wait_share", 0) <= 1
        assert 0 < values.get("flop_utilisation", 0.1) < 1.5
        assert values.get("bands_per_s", 1) > 0
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))


def test_what_is_learned_is_learned(tmp_path):
    out = run_here(tmp_path, "out", "run.steps=40", "optimiser.base_lr=0.5", "run.save_every=40")
    losses = [line["loss"] for line in metrics(out)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_the_scale_of_a_half_precision_run_is_kept_in_its_checkpoint(tmp_path):
    out = run_here(tmp_path, "out", "run.precision=fp16", "run.steps=2")
    assert torch.load(out / "checkpoint.pth", weights_only=True)["scaler"]["scale"] > 0
    run_here(tmp_path, "out", "run.precision=fp16", "run.steps=2")


# Where it begins -----------------------------------------------------------------------------------------------------

SUMMARY = ("objective.summary=1", "objective.reconstruction=0", "model.width=64")


def test_a_run_begins_where_an_earlier_one_ended_and_says_so_when_that_is_another_encoder(tmp_path):
    first = run_here(tmp_path, "first", *SUMMARY, "objective.rhythm=0.5", "run.steps=40", "run.save_every=40")
    start = "model.start=first/encoder.safetensors"
    second = metrics(run_here(tmp_path, "second", *SUMMARY, start))
    assert second[0]["mean_unexplained"] < 0.6 * metrics(run_here(tmp_path, "anew", *SUMMARY))[0]["mean_unexplained"]
    assert second[0]["mean_unexplained"] < 1.5 * metrics(first)[-1]["mean_unexplained"]
    run_here(tmp_path, "first", *SUMMARY, "objective.rhythm=0.5", "run.steps=40", "run.save_every=40")
    assert metrics(run_here(tmp_path, "second", *SUMMARY, start)) == second
    (first / "encoder.safetensors").write_bytes((tmp_path / "second" / "encoder.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"model\.start: encoder\.safetensors \w{64} there, encoder"):
        run_here(tmp_path, "second", *SUMMARY, start)


def test_an_encoder_of_another_shape_is_no_beginning(tmp_path):
    run_here(tmp_path, "first", "run.steps=1")
    with pytest.raises(CheckpointError, match=r"first/encoder\.safetensors: is EchoConfig\(embed_dim=32"):
        run_here(tmp_path, "second", "model.width=64", "model.start=first/encoder.safetensors")


def test_an_encoder_can_begin_almost_deaf_to_gain(tmp_path):
    weight = {
        gain: load_checkpoint(
            run_here(tmp_path, f"out{gain}", "run.steps=1", f"model.level_gain={gain}") / "encoder.safetensors"
        ).patch_embed.proj.weight.detach()
        for gain in (1, 0)
    }
    assert float(weight[0].mean((1, 2, 3)).abs().max()) < 0.1 * float(weight[1].mean((1, 2, 3)).abs().max())


# What decays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay_all", [False, True])
def test_matrices_decay_and_the_rest_only_when_asked(tmp_path, decay_all):
    config = configured(tmp_path, "objective.eat=1", f"optimiser.decay_all={decay_all}")
    objective = Objective(Echo(config.model.echo()), config.objective)
    decays = {
        id(value): group["weight_decay"]
        for group in optimiser_of(objective, config.optimiser).param_groups
        for value in group["params"]
    }
    for name, value in objective.named_parameters():
        if name.startswith("teacher.") or name.endswith("pos_embed"):
            assert id(value) not in decays
        elif value.ndim == 1 or name == "student.cls_token":
            assert decays[id(value)] == (0.05 if decay_all else 0)
        else:
            assert decays[id(value)] == 0.05


# What stops a run ----------------------------------------------------------------------------------------------------


class Spoiled(Batches):
    """Batches of which one holds infinite samples."""

    spoiled = 0

    def __getitem__(self, index: int) -> Batch:
        batch = super().__getitem__(index)
        return replace(batch, samples=batch.samples * torch.inf) if index == self.spoiled else batch


@contextmanager
def stopped(config: PretrainConfig, out: Path, data: Batches, disturb: Callable[[Objective], Any]) -> Iterator[Any]:
    """Train until the run stops, and check that the weights are those from before the step."""
    torch.manual_seed(0)
    out.mkdir()
    objective = Objective(Echo(config.model.echo()), config.objective)
    disturb(objective)
    optimiser = optimiser_of(objective, config.optimiser)
    before = {key: value.clone() for key, value in objective.state_dict().items()}
    with pytest.raises(TrainingStopped) as stop:
        train(config, objective, data, Snapshot(0, optimiser, identity(config, [], 1)), out, World(), lambda _: {})
    yield stop.value
    assert all(torch.equal(value, before[key]) for key, value in objective.state_dict().items())
    assert not (out / "checkpoint.pth").exists()


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_files(tmp_path):
    manifest = noises(tmp_path, [0.6] * 4)
    config = configured(tmp_path, "data.machines_share=0.25", "optimiser.accumulate=2", *EAT)
    data = Spoiled(config.data, [manifest], seed=0)
    data.spoiled = 1  # the second part of the first step
    with stopped(config, tmp_path / "out", data, lambda _: None) as error:
        assert "step 1: the loss is nan; the weights are as before. The batch: " in str(error)
        assert all(clip in str(error) for clip in data[1].clips)
        assert ".wav from 0." in str(error)
        assert "a simulated machine" in str(error)


def test_gradients_that_are_not_finite_three_times_in_a_row_stop_too_and_name_the_files_of_all_parts(tmp_path):
    manifest = noises(tmp_path, [0.6] * 8)
    config = configured(tmp_path, "data.machines_share=0", "optimiser.accumulate=2", "run.save_every=100")
    data = Batches(config.data, [manifest], seed=0)

    def explode(objective: Objective) -> None:
        objective.student.cls_token.register_hook(lambda gradient: gradient * torch.inf)

    with stopped(config, tmp_path / "out", data, explode) as error:
        assert "step 3: the norm of the gradient is " in str(error)
        assert all(clip in str(error) for clip in (*data[4].clips, *data[5].clips))


def test_a_single_gradient_that_is_not_finite_leaves_its_step_out_and_the_log_says_so(tmp_path):
    config = configured(tmp_path, "run.steps=4")
    torch.manual_seed(0)
    objective, calls = Objective(Echo(config.model.echo()), config.objective), [0]

    def spoil_the_second(gradient: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return gradient * torch.inf if calls[0] == 2 else gradient

    objective.student.cls_token.register_hook(spoil_the_second)
    optimiser, data = optimiser_of(objective, config.optimiser), Batches(config.data, [], seed=0)
    (tmp_path / "out").mkdir()
    train(
        config,
        objective,
        data,
        Snapshot(0, optimiser, identity(config, [], 1)),
        tmp_path / "out",
        World(),
        lambda _: {},
    )
    assert [line["steps_left_out"] for line in metrics(tmp_path / "out")] == [0, 1, 0, 0]
    assert all(bool(torch.isfinite(value).all()) for value in objective.state_dict().values())


def test_a_run_whose_weights_explode_stops_and_keeps_its_last_good_checkpoint(tmp_path):
    with pytest.raises(TrainingStopped, match="step 2: the loss is"):
        run_here(tmp_path, "out", "optimiser.base_lr=1.0e+30", "run.save_every=1")
    assert [line["step"] for line in metrics(tmp_path / "out")] == [1]
    assert torch.load(tmp_path / "out" / "checkpoint.pth", weights_only=True)["step"] == 1


def test_targets_that_collapse_stop_the_run_once_it_had_its_time(tmp_path):
    changes = ("objective.eat=1", "run.collapse_below=50", "run.collapse_after=3")
    with pytest.raises(TrainingStopped, match=r"step 3: collapse: \w+_deviation 0\.\d+ is below run\.collapse"):
        run_here(tmp_path, "out", *changes)
    assert metrics(tmp_path / "out")[-1]["step"] == 3  # the figures that show it are there
    assert torch.load(tmp_path / "out" / "checkpoint.pth", weights_only=True)["step"] == 2


def test_without_a_teacher_it_is_cls_that_must_not_collapse(tmp_path):
    with pytest.raises(TrainingStopped, match=r"step 1: collapse: cls_deviation"):
        run_here(tmp_path, "out", "run.collapse_below=50", "run.collapse_after=0", "run.steps=2")


@pytest.mark.timeout(180)
def test_a_full_disk_while_saving_keeps_the_checkpoint_before_it(tmp_path):
    full = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({FULL}, {FULL}))"
    err = ended(run_apart(tmp_path, "out", "run.evaluate_every=3", befalls=full), returns=1)
    assert told(err).startswith(f"error: {tmp_path}/out")
    assert "File too large" in told(err)
    assert "the last checkpoint is as it was" in told(err)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint.pth", "metrics.jsonl", "tensorboard"]
    assert load_checkpoint(out / "checkpoint.pth").config.embed_dim == 32
    resumed, whole = run_here(tmp_path, "out"), run_here(tmp_path, "whole")
    assert metrics(resumed) == metrics(whole)


@pytest.mark.timeout(180)
def test_a_recording_that_vanished_ends_the_run_with_its_name_whichever_process_draws_it(tmp_path):
    noises(tmp_path, [0.6] * 4)
    (tmp_path / "2.wav").unlink()
    changes = ("data.manifests=[all.csv]", "data.machines_share=0")
    in_a_worker = run_apart(tmp_path, "out", *changes, "data.workers=1")
    here = commanded(tmp_path, *changes)
    assert told(here).startswith(f"error: {tmp_path}/2.wav: cannot be read: ")
    assert told(ended(in_a_worker, returns=1)) == told(here)


@pytest.mark.timeout(180)
def test_a_recording_that_vanished_ends_all_processes(tmp_path):
    noises(tmp_path, [0.6] * 4)
    (tmp_path / "2.wav").unlink()
    changes = ("data.manifests=[all.csv]", "data.machines_share=0", "data.workers=1")
    err = ended(run_apart(tmp_path, "out", *changes, processes=2), returns=1)
    assert f"error: {tmp_path}/2.wav: cannot be read: " in err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["run.sleeps=3"], r"tiny\.yaml: run\.sleeps: unknown key, found 3"),
        (["data.manifests=[none.csv]"], r"none\.csv: No such file"),
        (["run.evaluation_data=/nowhere", "run.evaluate_every=1"], "/nowhere/cwru"),
    ],
)
def test_a_command_that_cannot_be_done_says_why_on_one_line(tmp_path, changes, says):
    assert re.match(rf"error: .*{says}", told(commanded(tmp_path, *changes)))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    assert told(commanded(tmp_path)).startswith(f"error: {tmp_path}/out: ")


def test_more_processes_than_clips_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.clips_per_batch: 4 clips for 5 processes"):
        pretrain(configured(tmp_path), tmp_path / "out", World(0, 5))
