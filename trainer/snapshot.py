"""Where a run stands, on disk: whole or absent, refused when it belongs to another run.

``checkpoint.pth`` holds tensors and plain values only and loads without running code. Its ``encoder`` and ``config``
are those of a released checkpoint: ``trainer.checkpoint.load_checkpoint`` and ``trainer.export`` read it as it is.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.checkpoint import CheckpointError
from trainer.config import PretrainConfig
from trainer.data.manifest import Manifest
from trainer.files import publish
from trainer.objective import Objective

NAME = "checkpoint.pth"
MAY_CHANGE = (  # keys that change no number of the weights
    "run.log_every", "run.save_every", "run.evaluate_every", "run.evaluation_data", "run.compile", "data.workers",
    "run.collapse_below", "run.collapse_after",
)  # fmt: skip


@dataclass
class Snapshot:
    """Everything besides weights that the next step depends on."""

    step: int
    optimiser: torch.optim.Optimizer
    run: dict[str, Any]
    """What makes it this run and no other: see ``identity``."""

    scaler: dict[str, Any] = field(default_factory=dict)


def save_snapshot(out: Path, objective: Objective, snapshot: Snapshot) -> None:
    """Write ``checkpoint.pth``; on a full disk the former one stays.

    Raises:
        OSError: it could not be written.
    """
    content: dict[str, Any] = {
        "encoder": objective.student.state_dict(),
        "config": {**asdict(objective.student.config), "model_type": "echo"},
        "rest": {key: value for key, value in objective.state_dict().items() if not key.startswith("student.")},
        "optimiser": snapshot.optimiser.state_dict(),
        "scaler": snapshot.scaler,
        "step": snapshot.step,
        "run": snapshot.run,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    publish(out / NAME, buffer.getvalue())


def load_snapshot(out: Path, run: dict[str, Any], objective: Objective, optimiser: torch.optim.Optimizer) -> Snapshot:
    """Continue where ``out`` left off; a folder without a checkpoint is step 0.

    Raises:
        CheckpointError: it is damaged, or of a run with another configuration or manifest: the message lists the keys.
    """
    path = out / NAME
    if not path.exists():
        return Snapshot(0, optimiser, run)
    try:
        with zipfile.ZipFile(path) as file:
            if damaged := file.testzip():  # torch does not look at the checksums it wrote
                raise CheckpointError(f"{path}: not a checkpoint of a run: {damaged} is damaged")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        theirs: dict[str, Any] = dict(content["run"])
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: not a checkpoint of a run: {_first_line(error)}") from error
    differing = [key for key in sorted(run.keys() | theirs.keys()) if run.get(key) != theirs.get(key)]
    if listed := "; ".join(f"{key}: {theirs.get(key)} there, {run.get(key)} here" for key in differing):
        raise CheckpointError(f"{path}: belongs to another run: {listed}. Take that back, or use another folder")
    try:
        state: dict[str, Tensor] = {f"student.{key}": value for key, value in content["encoder"].items()}
        objective.load_state_dict(state | content["rest"], strict=True)
        optimiser.load_state_dict(content["optimiser"])
        return Snapshot(content["step"], optimiser, run, content["scaler"])
    except (RuntimeError, KeyError, ValueError) as error:  # written by another version of this program
        raise CheckpointError(f"{path}: does not fit this run: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Return what torch says, less its C++ stack; a key alone says nothing without its kind."""
    lines = [line.strip(" :.") for line in str(error).splitlines() if line.strip()]
    said = ": ".join(lines[: 2 if isinstance(error, RuntimeError) else 1])
    return f"no {said}" if isinstance(error, KeyError) else said or type(error).__name__


def identity(config: PretrainConfig, manifests: Sequence[Manifest], processes: int) -> dict[str, Any]:
    """Return what the numbers of a run depend on, as ``section.key`` to plain values; files by their digests."""
    found: dict[str, Any] = {"processes": processes}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}{key}.", inner)
        elif prefix[:-1] not in MAY_CHANGE:
            found[prefix[:-1]] = value

    walk("", config.model_dump(mode="json"))
    if start := config.model.start:
        found["model.start"] = f"{start.name} {sha256(start.read_bytes()).hexdigest()}"
    found["data.manifests"] = [f"{manifest.path.name} {manifest.sha256}" for manifest in manifests]
    return found
