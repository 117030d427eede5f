"""A finished run, read back for those who report on it: configuration, steps, metrics, encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.config import PretrainConfig
from trainer.model.echo import Echo
from trainer.snapshot import NAME


@dataclass(frozen=True, slots=True)
class Run:
    """What a run's folder tells."""

    folder: Path
    config: PretrainConfig
    """Without its manifests, and without what changes no weight."""

    manifests: tuple[str, ...]
    """Name and digest of each."""

    processes: int
    step: int
    lines: tuple[dict[str, float], ...]
    """Of ``metrics.jsonl``."""

    encoder: Echo


def read_run(folder: Path) -> Run:
    """Read a run that has reached its last step.

    Raises:
        CheckpointError: it has not, its checkpoint is damaged or of another version of the trainer.
        OSError: a file is missing.
    """
    encoder = load_checkpoint(folder / "encoder.safetensors")
    path = folder / NAME
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        flat, step = dict(content["run"]), int(content["step"])
        manifests, processes = tuple(flat.pop("data.manifests")), int(flat.pop("processes"))
        config = PretrainConfig.model_validate(_nested(flat))
    except (RuntimeError, KeyError, TypeError, ValidationError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of a run, or of another version of the trainer") from error
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return Run(folder, config, manifests, processes, step, tuple(map(json.loads, lines)), encoder)


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return sections of keys for ``section.key``, as ``trainer.snapshot.identity`` wrote them."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, key = name.split(".")
        section = nested
        for part in sections:
            section = section.setdefault(part, {})
        section[key] = value
    return nested
