"""Who is compared: models of any form, the same network untrained, and features that anyone can write in a line.

Shape suffixes: R = signals, N = bands, D = width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from echo_edge.artifact import ModelPackage, load_package
from echo_edge.frontend import SPEC, split_bands
from trainer.checkpoint import load_checkpoint
from trainer.evaluation.detection import Detector
from trainer.evaluation.features import Encoder, FloatArray, embed, mean_and_deviation, mean_log_spectrum, torch_encoder
from trainer.model.echo import PRESETS, Echo, EchoConfig

CHECKPOINTS = (".safetensors", ".pth", ".pt")
UNTRAINED = re.compile(r"untrained:(?P<size>\w+):(?P<seed>\d+)")
UNTRAINED_SEEDS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that turns signals into vectors (R, N, D)."""

    name: str
    vectors: Detector
    config: EchoConfig | None = None
    """The network's shape; None for a feature."""


def contestant(word: str) -> Contestant:
    """Return what a word of the command line names: a checkpoint, a model package, or ``untrained:SIZE:SEED``.

    Raises:
        CheckpointError, ArtifactError: the file or package cannot be used.
        ValueError: no such size.
    """
    if match := UNTRAINED.fullmatch(word):
        if match["size"] not in PRESETS:
            raise ValueError(f"{word}: no size '{match['size']}'; there are {', '.join(PRESETS)}")
        return untrained(PRESETS[match["size"]], int(match["seed"]), word)
    path = Path(word)
    if path.suffix in CHECKPOINTS:
        model = load_checkpoint(path)
        return Contestant(checkpoint_name(path), _banded(torch_encoder(model)), model.config)
    package = load_package(word)
    kernel, norm_first = package.patch_kernel_t, package.norm_first
    config = EchoConfig(package.embed_dim, package.depth, package.heads, patch_kernel_t=kernel, norm_first=norm_first)
    return Contestant(package.name, _banded(onnx_encoder(package)), config)


def checkpoint_name(path: Path) -> str:
    """Return what a checkpoint is called: its file, or the run's folder, which says more than ``checkpoint``."""
    return (path.parent.name if path.stem == "checkpoint" else "") or path.stem


def untrained(config: EchoConfig, seed: int, name: str = "") -> Contestant:
    """Return a network as it is before its first step."""
    model = new_network(config, seed)
    return Contestant(name or f"untrained, seed {seed}", _banded(torch_encoder(model)), config)


def new_network(config: EchoConfig, seed: int) -> Echo:
    """Return a network's weights before its first step; no random number is drawn that others would miss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Echo(config)


def baselines() -> list[Contestant]:
    """Return what has to be beaten. The last differs from the first only where distances are taken band by band."""
    return [
        Contestant("mean log spectrum", _whole(mean_log_spectrum)),
        Contestant("mean + deviation", _whole(mean_and_deviation)),
        Contestant("mean log spectrum, by band", spectrum_by_band),
    ]


def _banded(encode: Encoder) -> Detector:
    return lambda signals, rate_hz: embed(encode, signals, rate_hz)


def _whole(feature: Callable[[FloatArray, int], FloatArray]) -> Detector:
    return lambda signals, rate_hz: np.stack([feature(samples, rate_hz) for samples in signals])[:, None]


def spectrum_by_band(signals: Sequence[FloatArray], rate_hz: int) -> FloatArray:
    """Return the mean log spectrum cut into the encoder's bands, shape (R, N, 32); the last one is padded in front."""
    spectra = [mean_log_spectrum(samples, rate_hz)[:, None] for samples in signals]
    return np.stack([split_bands(np.repeat(s, SPEC.patch_frames, axis=1))[:, :, 0] for s in spectra])


def onnx_encoder(package: ModelPackage) -> Encoder:
    """Return a package's encoder as ONNX Runtime runs it on the processor."""
    session = ort.InferenceSession(package.read_onnx(), providers=["CPUExecutionProvider"])

    def encode(bands: FloatArray, position: FloatArray) -> FloatArray:
        (cls,) = session.run(["cls"], {"bands": bands, "position": position})
        return np.asarray(cls, np.float32)

    return encode
