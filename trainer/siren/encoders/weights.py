"""Weights of other people's encoders: which file, from where, put where, and loaded without running code.

No hub is ever contacted: a person fetches the file, and the benchmark says which.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainer.siren.errors import WeightsError

FOLDER = Path("checkpoints")
LEGACY = b"\x80"  # how a file of torch before 1.6 begins


@dataclass(frozen=True, slots=True)
class Source:
    """One published checkpoint."""

    file: str
    """The name it is looked for under ``checkpoints/``."""

    page: str
    """Where a person finds it."""

    licence: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint file holds."""

    path: Path
    sha256: str
    state: dict[str, Tensor]
    config: dict[str, Any]
    """The configuration stored beside the weights; empty when there is none."""


def read_weights(name: str, source: Source, path: Path | None, *, allow_pickle: bool = False) -> Stored:
    """Read ``path``, else ``checkpoints/<source.file>``.

    Args:
        name: the encoder, for messages.
        allow_pickle: let the file run code while it loads. Only for files you trust as much as a program.
    Raises:
        WeightsError: it is not there (the message says what to fetch and where to put it), or cannot be read.
    """
    path = path or FOLDER / source.file
    if not path.is_file():
        raise WeightsError(
            f"{name}: {path}: no such file. Fetch '{source.file}' ({source.licence}) from {source.page} and put it at "
            f"{FOLDER / source.file}, or name its place: --encoder {name}:PATH"
        )
    if path.suffix != ".safetensors" and not zipfile.is_zipfile(path) and path.read_bytes()[:1] != LEGACY:
        raise WeightsError(f"{name}: {path}: not a file of weights that torch wrote: damaged, or something else")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{name}: {path}: holds more than weights, so that loading it would run code; if you trust it as much as a "
            "program, say --allow-pickle"
        ) from error
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise WeightsError(f"{name}: {path}: not a file of weights: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{name}: {path}: holds a {type(content).__name__}, expected a dictionary")
    weights = content.get("model", content)
    state = {key: value for key, value in weights.items() if isinstance(value, Tensor)}
    if not state:
        raise WeightsError(f"{name}: {path}: holds no tensors at the top or under 'model'")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())
    return Stored(path, digest.hexdigest(), state, _plain(content.get("cfg", content.get("config", {}))))


def load_strictly(name: str, stored: Stored, model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fill ``model`` with ``state``: every key, of the right shape, and none besides.

    Raises:
        WeightsError: naming the file and the first key that differs.
    """
    expected = model.state_dict()
    for key, value in expected.items():
        if key not in state:
            raise WeightsError(f"{name}: {stored.path}: {key}: missing, expected shape {tuple(value.shape)}")
        if state[key].shape != value.shape:
            shapes = f"expected {tuple(value.shape)}, found {tuple(state[key].shape)}"
            raise WeightsError(f"{name}: {stored.path}: {key}: wrong shape: {shapes}")
    if extra := next((key for key in state if key not in expected), None):
        raise WeightsError(f"{name}: {stored.path}: {extra}: unexpected, shape {tuple(state[extra].shape)}")
    model.load_state_dict(dict(state), strict=True)
    model.eval()


def _plain(config: Any) -> dict[str, Any]:
    """Return a stored configuration as a dictionary, whether it was one or an object with attributes."""
    found = config if isinstance(config, dict) else getattr(config, "__dict__", {})
    return {str(key): value for key, value in found.items()}
