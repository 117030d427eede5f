"""Writes ``beats_golden.json``: what another BEATs says of two signals, with weights from the recipe.

    python -m tests.trainer.siren.make_beats_golden SPEECHBRAIN TORCHAUDIO

Both are folders a wheel was unpacked into: of speechbrain, whose ``lobes/models/beats.py`` is the reference, and of
torchaudio, whose ``compliance/kaldi.py`` is the front end it calls. Each of the two files is loaded by itself, with
empty modules in place of what else it imports, so that neither package need be installed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.trainer.siren.recipe import LENGTHS_S, recipe_weights, signal

PLACE = Path(__file__).with_name("beats_golden.json")
KEPT = 48  # numbers of each vector that are written down
FRAMES = (40, 110, 150)  # of three seconds: noise over the hum, digital silence, loudest noise
PUBLISHED = {
    "input_patch_size": 16,
    "embed_dim": 512,
    "conv_bias": False,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": True,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "relative_position_embedding": True,
    "num_buckets": 320,
    "max_distance": 800,
    "gru_rel_pos": True,
}
"""The configuration of BEATs iter3; the reference's own defaults are others."""


def beats_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the recipe's weights, made to matter: near places and far ones, and one table for all layers."""
    drawn = {key: torch.from_numpy(value) for key, value in recipe_weights(shapes).items()}
    table = 4 * drawn["encoder.layers.0.self_attn.relative_attention_bias.weight"]
    for key, value in drawn.items():
        if key.endswith("weight_g"):
            drawn[key] = 2 + value
        if key.endswith("grep_a"):
            drawn[key] = 1 + value
        if key.endswith("relative_attention_bias.weight"):
            drawn[key] = table
    return drawn


def reference(speechbrain: Path, kaldi: types.ModuleType) -> types.ModuleType:
    """Load the reference; it asks for a mask of what is padding, and here nothing is."""
    put("torchaudio.compliance.kaldi", kaldi)
    data = put("speechbrain.dataio.dataio", types.ModuleType("dataio"))
    vars(data)["length_to_mask"] = lambda lengths, most, device: torch.ones(len(lengths), most, device=device)
    return loaded(speechbrain / "speechbrain/lobes/models/beats.py")


def loaded(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put(name: str, module: types.ModuleType) -> types.ModuleType:
    """Make a module importable under a dotted name, with empty ones above it."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        above = ".".join(parts[:end])
        sys.modules.setdefault(above, types.ModuleType(above))
    sys.modules[name] = module
    return module


def version(folder: Path, package: str) -> str:
    return next(folder.glob(f"{package}-*.dist-info")).stem.removeprefix(f"{package}-")


def some(numbers: Tensor) -> list[float]:
    return [round(float(x), 7) for x in numbers]


def main(speechbrain: str, torchaudio: str) -> None:
    put("torchaudio", types.ModuleType("torchaudio"))
    kaldi = loaded(Path(torchaudio) / "torchaudio/compliance/kaldi.py")
    module = reference(Path(speechbrain), kaldi)
    unset = module.BEATsConfig
    module.BEATsConfig = lambda _: unset(PUBLISHED)
    encoder = module.BEATs().eval()
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    encoder.load_state_dict(beats_weights(shapes))

    said = {}
    with torch.inference_mode():
        for length_s in LENGTHS_S:
            tokens = encoder(torch.from_numpy(signal(length_s))[None], torch.ones(1))[0][0]
            mean = tokens.mean(0)
            said[str(length_s)] = {
                "tokens": len(tokens),
                "norm": float(mean.norm()),
                "first": some(mean[:KEPT]),
                "last_token": some(tokens[-1, :KEPT]),
            }
    heard = {}
    for window in ("povey", "hanning"):
        samples = torch.from_numpy(signal(3) * np.float32(2**15))[None]
        bands = kaldi.fbank(samples, num_mel_bins=128, sample_frequency=16000, window_type=window)
        heard[window] = {"shape": list(bands.shape), "frames": {str(at): some(bands[at]) for at in FRAMES}}
    about = {
        "speechbrain": version(Path(speechbrain), "speechbrain"),
        "torchaudio": version(Path(torchaudio), "torchaudio"),
        "cfg": PUBLISHED,
    }
    PLACE.write_text(json.dumps({**about, "embeddings": said, "bands": heard, "shapes": shapes}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
