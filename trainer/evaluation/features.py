"""Signals -> vectors: by an encoder, or by the averages of a log spectrogram that it has to beat.

Shape suffixes: S = samples, T = time frames, F = frequency bins, N = bands, D = embedding width, R = signals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from echo_edge.frontend import SPEC, log_spectrogram, positions, split_bands
from trainer.model.echo import Echo

BATCH_FRAMES = 48_000  # of 32 bins: larger batches are no faster on a CPU, and this one holds any model

FloatArray = NDArray[np.float32]
Encoder = Callable[[FloatArray, FloatArray], FloatArray]
"""Bands (N, 32, T) and positions (N,) to vectors (N, D)."""


def torch_encoder(model: Echo) -> Encoder:
    """Return the encoder a model is; it is in eval mode while it runs, and afterwards as it was."""

    def encode(bands: FloatArray, position: FloatArray) -> FloatArray:
        training, device = model.training, model.cls_token.device
        model.eval()
        try:
            with torch.inference_mode():
                cls = model(torch.from_numpy(bands).to(device), torch.from_numpy(position).to(device))
        finally:
            model.train(training)
        vectors: FloatArray = cls.float().cpu().numpy()
        return vectors

    return encode


def embed(encode: Encoder, signals: Sequence[FloatArray], rate_hz: int) -> FloatArray:
    """Return the band vectors of signals of any lengths and one rate, shape (R, N, D).

    As ``Echo.embed``: the mean over segments of 2000 frames. Bands of equal length go through the encoder together.
    """
    position = positions(rate_hz)
    pieces: dict[int, list[tuple[int, FloatArray]]] = defaultdict(list)
    for index, samples in enumerate(signals):
        for part_ft in _segments(log_spectrogram(samples, rate_hz)):
            bands = split_bands(part_ft)
            pieces[bands.shape[-1]].append((index, bands))
    count = np.zeros(len(signals))
    total: NDArray[np.float64] | None = None
    for frames, same_length in pieces.items():
        at_once = max(1, BATCH_FRAMES // (frames * len(position)))
        for first in range(0, len(same_length), at_once):
            batch = same_length[first : first + at_once]
            cls = encode(np.concatenate([bands for _, bands in batch]), np.tile(position, len(batch)))
            if total is None:
                total = np.zeros((len(signals), len(position), cls.shape[-1]))
            for (index, _), vectors in zip(batch, cls.reshape(len(batch), len(position), -1), strict=True):
                total[index] += vectors
                count[index] += 1
    if total is None:
        raise ValueError("no signals to embed")
    return (total / count[:, None, None]).astype(np.float32)


def mean_log_spectrum(samples: FloatArray, rate_hz: int) -> FloatArray:
    """Return the encoder's own input averaged over time, shape (F,)."""
    mean: FloatArray = log_spectrogram(samples, rate_hz).mean(axis=1)
    return mean


def mean_and_deviation(samples: FloatArray, rate_hz: int) -> FloatArray:
    """Return the mean over time of every bin and then the standard deviation of every bin, shape (2 F,)."""
    spectrogram_ft = log_spectrogram(samples, rate_hz)
    return np.concatenate([spectrogram_ft.mean(axis=1), spectrogram_ft.std(axis=1)])


def _segments(spectrogram_ft: FloatArray) -> list[FloatArray]:
    length, frames = SPEC.max_frames, spectrogram_ft.shape[-1]
    parts = [spectrogram_ft[:, at : at + length] for at in range(0, frames - length + 1, length)]
    return parts if frames % length == 0 else [*parts, spectrogram_ft[:, -length:]]
