"""Writes ``eat_golden.json``: what the published EAT says of two signals, with weights from the recipe.

    python -m tests.trainer.siren.make_eat_golden MODEL TORCHAUDIO

MODEL is the folder with ``eat_model.py`` and ``model_core.py`` that lie beside the weights at
huggingface.co/worstchan/EAT-base_epoch30_pretrain (their SHA-256 are written down), TORCHAUDIO the folder the wheel of
torchaudio was unpacked into, whose ``compliance/kaldi.py`` is the front end. What the network asks of timm is stood in
for; pieces, padding and scale are those of SIREN's ``eat_extractor.py``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.trainer.siren.make_fisher_golden import eps_of, patch_weights, put, put_timm, said, shapes_of
from tests.trainer.siren.recipe import LENGTHS_S, RATE_HZ, signal

PLACE = Path(__file__).with_name("eat_golden.json")
FILES = ("model_core.py", "eat_model.py")
CONFIG = {
    "model_variant": "pretrain",
    "img_size": (1024, 128),
    "patch_size": 16,
    "stride": 16,
    "in_chans": 1,
    "mel_bins": 128,
    "max_length": 768,
    "fixed_positions": True,
    "embed_dim": 768,
    "depth": 12,
    "num_heads": 12,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "norm_eps": 1e-6,
    "norm_affine": True,
    "layer_norm_first": False,
    "drop_rate": 0.0,
    "attn_drop_rate": 0.0,
    "activation_dropout": 0.0,
    "post_mlp_drop": 0.0,
    "start_drop_path_rate": 0.0,
    "end_drop_path_rate": 0.0,
}
"""The base size; a rate of dropout decides nothing once training is over."""


def loaded(name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def picture(kaldi: types.ModuleType, samples: Tensor) -> Tensor:
    """Return the published picture (1, 1, 1024, 128) of a piece (S,): what is missing is silence of level 0."""
    fixed = {"htk_compat": True, "use_energy": False, "window_type": "hanning", "dither": 0.0, "frame_shift": 10}
    banks = kaldi.fbank(samples[None], sample_frequency=RATE_HZ, num_mel_bins=128, **fixed)
    padded = nn.ZeroPad2d((0, 0, 0, 1024 - len(banks)))(banks[None])
    return ((padded + 4.268) / (4.569 * 2))[None]


def main(model: str, torchaudio: str) -> None:
    put_timm()
    put("torchaudio")
    kaldi = loaded("published_kaldi", Path(torchaudio) / "torchaudio/compliance/kaldi.py")
    put("published_eat", __path__=[model])
    files = [loaded(f"published_eat.{name.removesuffix('.py')}", Path(model) / name) for name in FILES]
    encoder = files[-1].EAT(types.SimpleNamespace(**CONFIG)).eval()
    shapes = {f"model.{key}": shape for key, shape in shapes_of(encoder).items()}  # as they are stored
    encoder.load_state_dict({key.removeprefix("model."): value for key, value in patch_weights(shapes).items()})
    found = {}
    for length_s in LENGTHS_S:
        samples = torch.from_numpy(signal(length_s))
        samples -= samples.mean()
        pieces = [samples[: 10 * RATE_HZ], samples[-10 * RATE_HZ :]] if length_s > 10 else [samples]
        with torch.inference_mode():
            vectors = [encoder.extract_features(picture(kaldi, piece))[0, 0] for piece in pieces]
        found[str(length_s)] = said(torch.stack(vectors).mean(0))
    digests = {name: hashlib.sha256((Path(model) / name).read_bytes()).hexdigest() for name in FILES}
    about = {"reference": "huggingface.co/worstchan/EAT-base_epoch30_pretrain", "sha256": digests, "size": "base"}
    PLACE.write_text(json.dumps({**about, "eps": eps_of(encoder), "embeddings": found, "shapes": shapes}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
