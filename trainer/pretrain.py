"""Pretrain an ECHO encoder.

    python -m trainer.pretrain configs/train/smoke.yaml runs/smoke                           one process
    torchrun --nproc-per-node 2 -m trainer.pretrain configs/train/smoke.yaml runs/smoke      two on the CPU, or 2 GPUs
    torchrun --nproc-per-node 4 -m trainer.pretrain configs/train/echo-base.yaml runs/base   the paper's four GPUs

The same command continues a run that was interrupted: from its last checkpoint, with the losses it would have had.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from trainer.bands import bands_of
from trainer.checkpoint import CheckpointError, load_checkpoint, save_safetensors
from trainer.config import ConfigError, ModelConfig, OptimiserConfig, PretrainConfig, read_config
from trainer.data.dataset import Batches
from trainer.data.decode import DecodeError
from trainer.data.manifest import ManifestError, read_manifest
from trainer.distributed import World, world
from trainer.evaluation import evaluate_while_training
from trainer.evaluation.recordings import DataError
from trainer.loop import TrainingStopped, train
from trainer.metrics import cut_after
from trainer.model.echo import Echo
from trainer.objective import Objective
from trainer.snapshot import identity, load_snapshot


def optimiser_of(objective: Objective, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Return AdamW; biases, norms and CLS do not decay unless ``decay_all``."""
    named = [(name, value) for name, value in objective.named_parameters() if value.requires_grad]
    free = [value for name, value in named if not config.decay_all and (value.ndim == 1 or name.endswith("cls_token"))]
    spared = {id(value) for value in free}
    groups = [
        {"params": [value for _, value in named if id(value) not in spared], "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, eps=1e-8, fused=True)


def pretrain(config: PretrainConfig, out: Path, here: World) -> None:
    """Run or continue one pretraining; leaves ``encoder.safetensors`` in ``out`` when it is done."""
    if config.data.clips_per_batch < here.size:
        raise ConfigError(f"data.clips_per_batch: {config.data.clips_per_batch} clips for {here.size} processes")
    out.mkdir(parents=True, exist_ok=True)
    manifests = [read_manifest(path) for path in config.data.manifests]
    torch.manual_seed(config.run.seed)
    student = _student(config.model)
    objective = Objective(student, config.objective).to(here.device)
    licences = config.data.licences or None
    used = [manifest.only(split="train", licences=licences) for manifest in manifests]
    optimiser = optimiser_of(objective, config.optimiser)
    snapshot = load_snapshot(out, identity(config, manifests, here.size), objective, optimiser)
    if here.leads:
        cut_after(out / "metrics.jsonl", snapshot.step)
    data = Batches(config.data, used, seed=config.run.seed, rank=here.rank, world=here.size)
    if config.model.start and objective.summary is not None and here.leads and not snapshot.step:
        bands = bands_of(data[0], here.device)  # the other processes get what this one finds when training begins
        with torch.no_grad():
            objective.summary.begin_with(student.eval()(bands.seen, bands.position), bands)
        student.train()
    train(config, objective, data, snapshot, out, here, lambda model: _evaluate(model, config.run.evaluation_data))
    if here.leads:
        save_safetensors(objective.student, out / "encoder.safetensors")


def _student(config: ModelConfig) -> Echo:
    """Return the encoder as it is before the first step.

    Raises:
        CheckpointError: ``start`` is not an encoder, or has another shape.
    """
    student = Echo(config.echo())
    with torch.no_grad():
        weight = student.patch_embed.proj.weight
        weight -= (1 - config.level_gain) * weight.mean((1, 2, 3), keepdim=True)
        weight *= config.patch_gain
    if config.start:
        with torch.random.fork_rng(devices=[]):  # what is drawn after this is what the first run drew
            begun = load_checkpoint(config.start)
        if replace(begun.config, dropout=student.config.dropout) != student.config:
            raise CheckpointError(f"{config.start}: is {begun.config}; model asks for {student.config}")
        student.load_state_dict(begun.state_dict())
    return student


def _evaluate(model: Echo, folder: Path | None) -> dict[str, float]:
    model.eval()
    figures = evaluate_while_training(model, folder)
    model.train()
    return figures


def main(
    config: Annotated[Path, typer.Argument(help="a run's configuration, as in configs/train/")],
    out: Annotated[
        Path, typer.Argument(help="the run's folder: checkpoint, metrics, TensorBoard; continued if it exists")
    ],
    override: Annotated[list[str], typer.Option("--set", help="section.key=value, instead of the file's")] = [],  # noqa: B006
) -> None:
    """Pretrain an ECHO encoder, or continue a run that was interrupted."""
    try:
        with world() as here:
            pretrain(read_config(config, tuple(override)), out, here)
    except (ConfigError, ManifestError, CheckpointError, DataError, DecodeError, TrainingStopped) as error:
        typer.echo(f"error: {_own_words(error)}", err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"error: {out}: {error}; the last checkpoint is as it was", err=True)
        raise typer.Exit(1) from error


def _own_words(error: Exception) -> str:
    """Return an error's message; one raised in a DataLoader's worker arrives behind that process's traceback."""
    return str(error).strip().rpartition(f"{type(error).__name__}: ")[2]


if __name__ == "__main__":
    typer.run(main)
