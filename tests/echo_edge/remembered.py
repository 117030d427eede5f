"""Invented memories of one point: seeded clouds of vectors stand for embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from echo_edge.baseline import Origin
from echo_edge.frontend import band_edges_hz
from echo_edge.history import History
from echo_edge.memory import Circumstances, Memory, shapes_of
from echo_edge.records import Embedding

POINT = "pump/de"
MODEL = "a" * 64
SECOND_NS = 10**9
HOUR_NS = 3600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
START_NS = 1_777_795_200 * SECOND_NS  # 2026-05-03 08:00 UTC
ORIGIN = Origin("fake", MODEL, 16_000, (0,), 5.0, 5.0, "g")
NAMES = ("velocity_rms_mm_s", "kurtosis")
BANDS = len(band_edges_hz(16_000))
SHAPE = (1, BANDS, 16)


def embedding(
    start_ns: int, seed: int, centre: float = 0.0, velocity: float = 1.0, shape: tuple[int, ...] = SHAPE
) -> Embedding:
    noise = np.random.default_rng(seed)
    channels = shape[0]
    return Embedding(
        POINT,
        (centre + noise.standard_normal(shape)).astype(np.float32),
        16_000,
        start_ns,
        start_ns + 5 * SECOND_NS,
        spectrum=(centre + noise.standard_normal((*shape[:2], 8))).astype(np.float32),
        picture=noise.integers(0, 255, (channels, 4, 4)).astype(np.uint8),
        level_db=np.full(channels, -20.0) + noise.normal(0, 0.1, channels),
        indicators=np.array([[velocity * (1 + 0.02 * noise.standard_normal()), 3 + 0.1 * noise.standard_normal()]])
        + np.zeros((channels, 1)),
        indicator_names=NAMES,
    )


def memory(
    start_ns: int = START_NS,
    seed: int = 0,
    *,
    level: str = "normal",
    ratio: float | None = 0.3,
    alert_id: str = "",
    seen: Embedding | None = None,
    **circumstances: Any,
) -> Memory:
    """One window of five seconds; ``circumstances`` replace what it has in common with others."""
    seen = seen or embedding(start_ns, seed)
    common = Circumstances(ORIGIN, "usb:1", {"gain": "12 dB"}, "bl_0001", ("run",), NAMES, shapes_of(seen))
    value = None if ratio is None else 3 * ratio
    return Memory(
        replace(common, **circumstances), start_ns, start_ns + 5 * SECOND_NS, level, value, ratio, "run",
        alert_id=alert_id, embedding=seen,
    )  # fmt: skip


def kept(folder: Path, memories: Sequence[Memory], **limits: float) -> History:
    """A history on disk that holds these windows."""
    history = History(folder, **{"keep_days": 3650.0, **limits})
    for one in memories:
        history.add(POINT, one)
    history.flush()
    return history


def hop(count: int, start_ns: int = START_NS) -> list[int]:
    """Starts of so many windows that follow on each other."""
    return [start_ns + 5 * SECOND_NS * i for i in range(count)]
