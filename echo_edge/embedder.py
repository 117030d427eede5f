"""Windows -> embeddings: front end, then as few engine calls as the window lengths allow.

Shape suffixes: C = channels, N = bands, T = time frames, D = embedding width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from echo_edge import frontend
from echo_edge.engine.base import Engine, FloatArray
from echo_edge.errors import ArtifactError
from echo_edge.records import Embedding, Window

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage


class Embedder:
    """One model on one engine; knows no machine, queue or clock."""

    def __init__(self, package: ModelPackage, engine: Engine) -> None:
        if engine.embed_dim != package.embed_dim:
            raise ArtifactError(
                f"{package.name}: {package.embed_dim} wide, engine {engine.name} gives {engine.embed_dim}"
            )
        self._engine = engine
        self.model_name = package.name
        self.model_sha256 = package.sha256
        self.engine_name = engine.name

    def embed(self, windows: Sequence[Window]) -> list[Embedding]:
        """Return one embedding per window, in order.

        Windows of the same length share one engine call at any sampling rate: an encoder sees bands, not windows.

        Raises:
            ValueError: a window is shorter than a frame, longer than 20 s, or has samples that are not finite.
            EngineError: inference failed.
        """
        channels = [_channel_bands(window) for window in windows]
        by_frames: dict[int, list[int]] = defaultdict(list)
        for index, (bands, _) in enumerate(channels):
            by_frames[bands.shape[-1]].append(index)
        vectors: dict[int, FloatArray] = {}
        for members in by_frames.values():
            cls = self._engine.run(
                np.concatenate([channels[index][0] for index in members]),
                np.concatenate([channels[index][1] for index in members]),
            )
            ends = np.cumsum([len(channels[index][1]) for index in members])
            for index, part in zip(members, np.split(cls, ends[:-1]), strict=True):
                n_channels = windows[index].samples.shape[0]
                vectors[index] = part.reshape(n_channels, -1, self._engine.embed_dim)
        return [
            Embedding(window.point, vectors[index], window.rate_hz, window.time_ns, window.end_ns)
            for index, window in enumerate(windows)
        ]


def _channel_bands(window: Window) -> tuple[FloatArray, FloatArray]:
    """Return the bands of all channels in turn, (C * N, 32, T), and their positions, (C * N,)."""
    try:
        parts = [frontend.bands(channel, window.rate_hz) for channel in window.samples]
    except ValueError as error:
        raise ValueError(f"{window.point}: {error}") from error
    return np.concatenate([bands for bands, _ in parts]), np.concatenate([position for _, position in parts])
