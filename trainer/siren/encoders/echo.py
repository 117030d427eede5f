"""ECHO: a package run by ONNX Runtime, a checkpoint run by torch, or the network as it is before its first step.

Shape suffixes: C = channels, S = samples, N = bands, T = frames, D = width; a vector is N * D long, bands low to high.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from echo_edge.artifact import ArtifactError, load_package  # type: ignore[attr-defined]  # load_package raises it
from echo_edge.frontend import positions
from trainer import frontend
from trainer.checkpoint import CheckpointError, load_checkpoint
from trainer.evaluation.contestants import CHECKPOINTS, checkpoint_name, new_network, onnx_encoder
from trainer.evaluation.features import Encoder as BandEncoder
from trainer.evaluation.features import embed
from trainer.model.echo import PRESETS, Echo
from trainer.siren.encoders.base import Encoder, FloatArray, by_length
from trainer.siren.errors import WeightsError

CPU_BATCH_FRAMES = 14_000  # of 32 bins: larger batches leave the cache, and torch is slower with them
GPU_BATCH_FRAMES = 768_000


class OnnxEcho(Encoder):
    """A model package, run by ONNX Runtime on the processor."""

    def __init__(self, name: str, digest: str, width: int, encode: BandEncoder) -> None:
        self.name, self.digest, self._width, self._encode = name, digest, width, encode

    def embed_batch(self, signals: Sequence[FloatArray], rate_hz: int) -> list[FloatArray]:
        """Return one array (C, N * D) for each signal (C, S); see ``Encoder``."""
        vectors = embed(self._encode, [channel for signal in signals for channel in signal], rate_hz)
        rows = iter(vectors.reshape(len(vectors), -1))
        return [np.stack([next(rows) for _ in signal]) for signal in signals]

    def band_edges(self, rate_hz: int) -> tuple[int, ...]:
        """Return the edges of the bands: D apart."""
        return _edges(rate_hz, self._width)


class TorchEcho(Encoder):
    """A network on any device; front end, bands of all signals of one length, and encoder in one go."""

    def __init__(self, name: str, model: Echo, device: torch.device) -> None:
        self.name, self._model, self._device = name, model.to(device).eval(), device
        whole = hashlib.sha256(repr(model.config).encode())
        for key, value in sorted(model.state_dict().items()):
            whole.update(key.encode())
            whole.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.digest = whole.hexdigest()

    def embed_batch(self, signals: Sequence[FloatArray], rate_hz: int) -> list[FloatArray]:
        """Return one array (C, N * D) for each signal (C, S); see ``Encoder``."""
        frames_at_once = CPU_BATCH_FRAMES if self._device.type == "cpu" else GPU_BATCH_FRAMES
        position = frontend.positions(rate_hz, self._device)

        def at_once(length: int) -> int:
            frames = min(frontend.frame_count(length, rate_hz), self._model.config.spec_len)
            return frames_at_once // (frames * len(position))

        def embed_alike(samples: FloatArray) -> FloatArray:
            return self._embed(torch.from_numpy(samples).to(self._device), rate_hz, position)

        return by_length(signals, at_once, embed_alike)

    def _embed(self, samples: torch.Tensor, rate_hz: int, position: torch.Tensor) -> FloatArray:
        with torch.inference_mode():
            spectrogram = frontend.log_spectrogram(samples, rate_hz)
            said = [
                self._model(frontend.split_bands(part).flatten(0, 1), position.repeat(len(samples)))
                for part in self._model.segments(spectrogram)
            ]
            vectors: FloatArray = torch.stack(said).mean(dim=0).reshape(len(samples), -1).float().cpu().numpy()
        return vectors

    def band_edges(self, rate_hz: int) -> tuple[int, ...]:
        """Return the edges of the bands: D apart."""
        return _edges(rate_hz, self._model.config.embed_dim)


def echo(word: str, device: torch.device) -> Encoder:
    """Return the encoder of a package by name or path, or of a checkpoint (.pth, .pt, .safetensors).

    Raises:
        WeightsError: neither, or damaged.
    """
    path = Path(word)
    try:
        if path.suffix in CHECKPOINTS:
            return TorchEcho(checkpoint_name(path), load_checkpoint(path), device)
        package = load_package(word)
    except (CheckpointError, ArtifactError) as error:
        raise WeightsError(str(error)) from error
    digest = hashlib.sha256(package.read_onnx()).hexdigest()
    return OnnxEcho(package.name, digest, package.embed_dim, onnx_encoder(package))


def untrained(size: str, seed: int, device: torch.device) -> Encoder:
    """Return a network as it is before its first step: what the architecture alone is worth.

    Raises:
        WeightsError: no such size.
    """
    if size not in PRESETS:
        raise WeightsError(f"untrained:{size}:{seed}: no size '{size}'; there are {', '.join(PRESETS)}")
    return TorchEcho(f"untrained-{size}-{seed}", new_network(PRESETS[size], seed), device)


def _edges(rate_hz: int, width: int) -> tuple[int, ...]:
    return tuple(range(0, (len(positions(rate_hz)) + 1) * width, width))
