"""Golden data that lies beside the checkout; tests that need it skip, by name, where it is absent."""

from __future__ import annotations

import json
import os
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

SHARED = Path(os.environ.get("ECHO_EDGE_SHARED", Path(__file__).resolve().parents[1] / ".." / "shared")).resolve()
GOLDEN = SHARED / "golden"
needs_shared = pytest.mark.skipif(not (GOLDEN / "golden.json").is_file(), reason="needs ../shared")

CONFIGS = {"A": "A_d64_l2_h4", "B": "B_small_d384_l12_h6"}


@cache
def golden() -> dict[str, Any]:
    """Return ``golden.json``, or nothing where it is absent."""
    path = GOLDEN / "golden.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {"signals": {}, "cases": {}}


@cache
def arrays(name: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def signal_names() -> list[str]:
    return list(golden()["signals"])


def signal(name: str) -> tuple[NDArray[np.float32], int]:
    """Return samples, shape (S,), and the rate of one golden signal."""
    about = golden()["signals"][name]
    stored = arrays("signals")
    raw = stored[name] if name in stored else stored["s06_am_16k_23s"][: about["samples"]]
    return raw.astype(np.float32) / np.float32(32768) * np.float32(about["gain"]), about["fs"]


def recipe_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Return the golden random weights of every key but ``pos_embed``, which is no random number."""
    weights = {}
    for key, shape in shapes.items():
        if key == "pos_embed":
            continue
        z = np.random.default_rng([golden()["weight_recipe"]["root_seed"], zlib.crc32(key.encode())])
        value = z.standard_normal(shape)
        if key.endswith("bias"):
            value *= 0.05
        elif "norm" in key:
            value = 1 + 0.1 * value
        elif key == "cls_token":
            value *= 0.5
        else:
            value /= np.sqrt(np.prod(shape[1:]))
        weights[key] = value.astype(np.float32)
    return weights
