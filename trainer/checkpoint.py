"""Published and own weights, loaded strictly: a file that does not fit is refused with the first key that differs.

Formats: ``.safetensors`` (flat), and ``.pth`` with the weights under ``encoder`` or at the top. What no shape tells
(heads, norm order) comes from the file's own configuration when it has one, else it is the published value.
"""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trainer.files import publish
from trainer.model.echo import Echo, EchoConfig, time_table

PREFIXES = ("module.", "model.", "student.")
POSITION_TOLERANCE = 1e-6
CONFIG_KEY = "echo_config"


class CheckpointError(Exception):
    """A file holds no weights we can use; the message names the file and the first key that differs."""


def load_checkpoint(path: str | Path, *, heads: int | None = None, allow_pickle: bool = False) -> Echo:
    """Return the encoder stored in ``path``, in eval mode.

    Args:
        path: a ``.safetensors`` or ``.pth`` file.
        heads: overrides the file's configuration; None means that, else width / 64.
        allow_pickle: let a ``.pth`` run code while it loads. Only for files you trust as much as a program.
    Raises:
        CheckpointError: the file cannot be read or a key is missing, unexpected or of another shape.
    """
    path = Path(path)
    raw, stored = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path, allow_pickle)
    state = _strip_prefix(raw)
    config = _infer_config(path, state, stored, heads)
    model = Echo(config)
    _check_keys(path, state, model.state_dict())
    table = time_table(config.spec_len // config.patch_stride_t, config.embed_dim)
    if (off := float((state["pos_embed"].float() - table).abs().max())) > POSITION_TOLERANCE:
        raise CheckpointError(f"{path}: pos_embed: differs from the time code by {off:.2g}, expected at most 1e-6")
    model.load_state_dict(state, strict=True)
    return model.eval()


def save_safetensors(model: Echo, path: str | Path) -> None:
    """Write weights and configuration; the file appears whole or not at all."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    publish(Path(path), save(state, {CONFIG_KEY: json.dumps(asdict(model.config))}))


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            metadata = file.metadata() or {}
        return state, json.loads(metadata.get(CONFIG_KEY, "{}"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not a safetensors file: {error}") from error


def _read_pth(path: Path, allow_pickle: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=not allow_pickle)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not a torch file, or not of weights alone: loading it would run code"
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path}: not a torch file: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors")
    state, stored = content.get("encoder", content), content.get("config", {})
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: expected a dictionary of tensors at the top or under 'encoder'")
    return state, stored if isinstance(stored, dict) else {}


def _strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove wrappers' prefixes where all keys carry them. ``encoder.`` is never one: real keys begin with it."""
    for _ in PREFIXES:
        for prefix in PREFIXES:
            if state and all(key.startswith(prefix) for key in state):
                state = {key[len(prefix) :]: value for key, value in state.items()}
    return state


def _infer_config(path: Path, state: dict[str, Tensor], stored: dict[str, Any], heads: int | None) -> EchoConfig:
    patch = _shape(path, state, "patch_embed.proj.weight", 4)
    table = _shape(path, state, "pos_embed", 3)
    hidden = _shape(path, state, "encoder.layers.0.linear1.weight", 2)
    depth = 1 + max(int(match[1]) for key in state if (match := re.match(r"encoder\.layers\.(\d+)\.", key)))
    stride = EchoConfig(64, 1).patch_stride_t
    values: dict[str, Any] = {key: stored[key] for key in ("heads", "norm_first", "dropout", "eps") if key in stored}
    if heads is not None:
        values["heads"] = heads
    shapes: dict[str, Any] = {
        "embed_dim": patch[0],
        "depth": depth,
        "mlp_ratio": hidden[0] / hidden[1],
        "band_width": patch[2],
        "patch_kernel_t": patch[3],
        "spec_len": (table[1] - 1) * stride,
    }
    for field in fields(EchoConfig):
        if field.name in stored and field.name in shapes and stored[field.name] != shapes[field.name]:
            raise CheckpointError(
                f"{path}: its configuration says {field.name} {stored[field.name]}, its tensors {shapes[field.name]}"
            )
    try:
        return EchoConfig(**{**shapes, **values})
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _shape(path: Path, state: dict[str, Tensor], key: str, dims: int) -> tuple[int, ...]:
    if key not in state:
        first = next(iter(state), "nothing")
        raise CheckpointError(f"{path}: {key}: missing; no ECHO encoder? The file begins with {first}")
    shape = tuple(state[key].shape)
    if len(shape) != dims:
        raise CheckpointError(f"{path}: {key}: wrong shape: expected {dims} axes, found {shape}")
    return shape


def _check_keys(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for key, value in expected.items():
        if key not in state:
            raise CheckpointError(f"{path}: {key}: missing, expected shape {tuple(value.shape)}")
        if state[key].shape != value.shape:
            raise CheckpointError(
                f"{path}: {key}: wrong shape: expected {tuple(value.shape)}, found {tuple(state[key].shape)}"
            )
    for key, value in state.items():
        if key not in expected:
            raise CheckpointError(f"{path}: {key}: unexpected, shape {tuple(value.shape)}")
