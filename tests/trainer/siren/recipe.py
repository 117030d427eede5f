"""Random weights that two programs can draw alike: each key's numbers depend on its name and its shape alone."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LENGTHS_S = (3, 12)
RATE_HZ = 16_000


def recipe_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Return weights as wide as trained ones; the statistics of the batch norm are those of decibels."""
    return {key: _drawn(key, shape) for key, shape in shapes.items() if not key.endswith("num_batches_tracked")}


def _drawn(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    z = np.random.default_rng([2024, zlib.crc32(key.encode())]).standard_normal(shape, np.float32)
    if key.endswith("running_mean"):
        return 5 * z - 10
    if key.endswith("running_var"):
        return 400 * (1 + 0.1 * z) ** 2
    if key.endswith("bias"):
        return 0.05 * z
    if "pos_embed" in key:
        return 0.3 * z
    if len(shape) == 1:
        return 1 + 0.1 * z
    return z / np.float32(np.sqrt(np.prod(shape[1:])))


def signal(length_s: int) -> NDArray[np.float32]:
    """Return noise that swells once a second over a hum, shape (S,), 16 kHz, with some digital silence inside."""
    time_s = np.arange(length_s * RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(length_s).standard_normal(len(time_s))
    samples = 0.1 * np.sin(2 * np.pi * 100 * time_s) + 0.05 * np.sin(np.pi * time_s) ** 2 * noise
    samples[RATE_HZ : RATE_HZ + 4000] = 0
    return samples.astype(np.float32)
