"""Windows -> embeddings: front end, then as few engine calls as the window lengths allow.

Shape suffixes: C = channels, N = bands, T = time frames, D = embedding width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echo_edge import frontend
from echo_edge.engine.base import Engine, FloatArray
from echo_edge.errors import ArtifactError
from echo_edge.records import Embedding, Window

if TYPE_CHECKING:
    from echo_edge.artifact import ModelPackage

PICTURE = 64  # rows and columns of a coarse spectrogram, at most
PICTURE_FLOOR, PICTURE_STEPS = -1.45, 96.0  # the front end's silence is -1.42, and 96 steps are 0.94 dB each
TINY = 1e-30  # power below which a level is not told apart


class Embedder:
    """One model on one engine; knows no machine, queue or clock."""

    def __init__(self, package: ModelPackage, engine: Engine) -> None:
        if engine.embed_dim != package.embed_dim:
            raise ArtifactError(
                f"{package.name}: {package.embed_dim} wide, engine {engine.name} gives {engine.embed_dim}"
            )
        self.model_name = package.name
        self.model_sha256 = package.sha256
        self._engine = engine

    @property
    def engine_name(self) -> str:
        """Of the engine that serves now."""
        return self._engine.name

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
            Embedding(
                window.point,
                vectors[index],
                window.rate_hz,
                window.time_ns,
                window.end_ns,
                *_without_encoder(window, channels[index][0]),
            )
            for index, window in enumerate(windows)
        ]


def _without_encoder(window: Window, bands: FloatArray) -> tuple[FloatArray, NDArray[np.uint8], NDArray[np.float64]]:
    """Return spectrum, picture and level of ``Embedding``; ``bands`` are those of all channels, (C * N, 32, T)."""
    n_channels = len(window.samples)
    by_channel = bands.reshape(n_channels, -1, *bands.shape[1:])
    frames = frontend.frame_count(window.samples.shape[1], window.rate_hz)
    spectrum = by_channel[..., :frames].mean(axis=-1)
    rows_hz = frontend.band_bins(window.rate_hz)[-1][1]
    rows = [_joined(channel.reshape(-1, channel.shape[-1])[:, :frames], rows_hz) for channel in by_channel]
    return spectrum, np.stack([coarse(channel) for channel in rows]), level_db(window)


def level_db(window: Window) -> NDArray[np.float64]:
    """Shape (C,), as ``Embedding.level_db``."""
    power = np.var(window.samples, axis=1, dtype=np.float64)
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, TINY))
    return levels


def _joined(rows: FloatArray, n_bins: int) -> FloatArray:
    """Put the bands together again, (N * 32, T) -> (F, T): the partial last one has its padding in front."""
    partial = n_bins % frontend.SPEC.band_width
    whole = n_bins - partial
    return np.concatenate([rows[:whole], rows[len(rows) - partial :]]) if partial else rows


def coarse(spectrogram: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Average a log spectrogram of the front end down to at most 64 x 64 and 8 bit. (F, T) -> (R, Q)."""
    for axis in (0, 1):
        size = spectrogram.shape[axis]
        edges = np.linspace(0, size, min(PICTURE, size) + 1).astype(np.int64)[:-1]
        counts = np.diff(np.append(edges, size))
        summed = np.add.reduceat(spectrogram, edges, axis=axis)
        spectrogram = summed / (counts[:, None] if axis == 0 else counts[None, :])
    picture: NDArray[np.uint8] = np.clip((spectrogram - PICTURE_FLOOR) * PICTURE_STEPS, 0, 255).astype(np.uint8)
    return picture


def _channel_bands(window: Window) -> tuple[FloatArray, FloatArray]:
    """Return the bands of all channels in turn, (C * N, 32, T), and their positions, (C * N,)."""
    try:
        parts = [frontend.bands(channel, window.rate_hz) for channel in window.samples]
    except ValueError as error:
        raise ValueError(f"{window.point}: {error}") from error
    return np.concatenate([bands for bands, _ in parts]), np.concatenate([position for _, position in parts])
