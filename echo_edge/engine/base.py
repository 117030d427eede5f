"""What the daemon asks of an inference engine.

Shape suffixes: N = bands (of any windows), T = time frames, D = embedding width.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from echo_edge.errors import EngineError
from echo_edge.frontend import SPEC

FloatArray = NDArray[np.float32]


class Engine(Protocol):
    """Turns bands into vectors. Owned by one thread; made and used there."""

    @property
    def name(self) -> str:
        """For logs and the health report, such as ``onnx``."""

    @property
    def embed_dim(self) -> int: ...

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        """Return one vector per band, shape (N, D), float32 and finite.

        Args:
            bands: shape (N, 32, T), normalized log magnitude; T a multiple of 16, at most 2000. The N bands are
                independent: they may come from windows of any sampling rate.
            position: shape (N,), centre of each band as a fraction of half its rate.
        Raises:
            ValueError: the shapes are not those above.
            EngineError: inference failed or returned numbers that are not finite.
        """


def check_input(bands: FloatArray, position: FloatArray) -> None:
    """Raise ValueError unless the arrays have the shapes ``Engine.run`` asks for."""
    n_frames = bands.shape[-1]
    if bands.ndim != 3 or bands.shape[1] != SPEC.band_width or position.shape != bands.shape[:1]:
        raise ValueError(f"bands {bands.shape} and position {position.shape}: needs (N, {SPEC.band_width}, T) and (N,)")
    if n_frames == 0 or n_frames % SPEC.patch_frames or n_frames > SPEC.max_frames:
        raise ValueError(f"{n_frames} frames: needs a multiple of {SPEC.patch_frames}, at most {SPEC.max_frames}")


def check_output(cls: FloatArray, engine: str) -> FloatArray:
    """Return ``cls``, shape (N, D), if all of it is finite.

    Raises:
        EngineError: some number is not; it must never become a score.
    """
    if not np.isfinite(cls).all():
        bad = int((~np.isfinite(cls).all(axis=1)).sum())
        raise EngineError(f"engine {engine}: {bad} of {len(cls)} bands came back with numbers that are not finite")
    return cls
