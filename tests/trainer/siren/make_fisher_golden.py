"""Writes ``fisher_golden.json``: what the published FISHER says of four signals, with weights from the recipe.

    python -m tests.trainer.siren.make_fisher_golden CHECKOUT [EINOPS]

CHECKOUT is github.com/jianganbai/FISHER@165159d; ``models/mae.py``, where it is missing, is the one of
github.com/jianganbai/RMIS@4c25015, ``models/fisher/models/``. EINOPS is the wheel of einops where that is not
installed. Of omegaconf and timm the code uses three small things, which are written out below. The front end is that of
its README in numpy, frame by frame and in double precision; pieces are those of SIREN's ``fisher_extractor.py``.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.trainer.siren.recipe import recipe_weights

PLACE = Path(__file__).with_name("fisher_golden.json")
REFERENCE = "github.com/jianganbai/FISHER@165159d7c03dc353f22a8c7e57e518958e43e80e"
KEPT = 48  # numbers of each vector that are written down, and as many of its last band
CASES = ((16_000, 3), (16_000, 12), (48_000, 3), (1_000, 3))
"""Rate and seconds: whole bands, more than 1024 frames, another rate, and less than one band."""

WIDTH, DEPTH, HEADS, BAND_WIDTH = 384, 12, 6, 50


def patch_weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the recipe's weights, with places and CLS as strong as tokens, so that a wrong place is heard."""
    drawn = {key: torch.from_numpy(value) for key, value in recipe_weights(shapes).items()}
    for key, value in drawn.items():
        if key.endswith(("positions", "extra_tokens")):
            drawn[key] = 0.5 * value.numel() ** 0.5 * value
    return drawn


def native_signal(rate_hz: int, length_s: float) -> NDArray[np.float32]:
    """Return two tones and noise that swells twice a second and is never silent, shape (S,).

    In digital silence the logarithm shows nothing but how a Fourier transform was rounded.
    """
    time_s = np.arange(round(length_s * rate_hz)) / rate_hz
    noise = np.random.default_rng([rate_hz, round(length_s)]).standard_normal(len(time_s))
    tones = np.sin(2 * np.pi * 0.01 * rate_hz * time_s) + np.sin(2 * np.pi * 0.2 * rate_hz * time_s)
    return (0.02 + 0.1 * tones + (0.005 + 0.05 * np.sin(2 * np.pi * time_s) ** 2) * noise).astype(np.float32)


def spectrogram(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """Return the published picture of a signal, shape (T, F), high bins filled up to one band."""
    frame, hop = 25 * rate_hz // 1000, 10 * rate_hz // 1000
    centred = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    frames = [centred[at : at + frame] * window for at in range(0, len(samples) - frame + 1, hop)]
    level = np.log(np.abs(np.fft.rfft(frames, axis=1)) + 1e-10)
    picture = (level + 3.017344307886898) / (2.1531635155379805 * 2)
    return np.pad(picture, ((0, 0), (0, max(0, BAND_WIDTH - picture.shape[1]))))


class Mlp(nn.Module):
    """timm's, of which no dropout is asked."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type[nn.Module], drop: float) -> None:
        super().__init__()
        assert drop == 0
        self.fc1, self.act = nn.Linear(in_features, hidden_features), act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def put(name: str, **content: object) -> None:
    """Make a module importable under a dotted name, with empty ones above it."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        above = ".".join(parts[:end])
        sys.modules.setdefault(above, types.ModuleType(above))
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(content)


def put_timm() -> None:
    put("timm.models.vision_transformer", DropPath=nn.Identity, Mlp=Mlp)
    put("timm.models.layers", to_2tuple=lambda size: (size, size) if isinstance(size, int) else size)
    vars(sys.modules["timm.models.layers"])["trunc_normal_"] = nn.init.trunc_normal_


def published(checkout: Path) -> nn.Module:
    """Return FISHER small of the checkout, as its loader would make it of the published configuration."""
    put_timm()
    put("omegaconf", MISSING="???", II=lambda place: f"${{{place}}}")
    sys.path.insert(0, str(checkout))
    from models.fisher import FISHER, Data2VecMultiConfig  # noqa: PLC0415

    config = Data2VecMultiConfig(depth=DEPTH, band_width=BAND_WIDTH, embed_dim=WIDTH, num_heads=HEADS)
    vars(config.modalities.image).update(embed_dim=WIDTH, band_width=BAND_WIDTH)
    return FISHER(config).eval()


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in nn.Module.state_dict(module).items()}


def eps_of(module: nn.Module) -> list[float]:
    return sorted({part.eps for part in module.modules() if isinstance(part, nn.LayerNorm)})


def said(vector: Tensor) -> dict[str, object]:
    """Return what is written down of a vector: its length, its norm, and both its ends."""
    first, last = ([round(float(x), 7) for x in part] for part in (vector[:KEPT], vector[-KEPT:]))
    return {"length": len(vector), "norm": float(vector.norm()), "first": first, "last": last}


def main(checkout: str, *wheels: str) -> None:
    sys.path[:0] = wheels
    encoder = published(Path(checkout))
    shapes = shapes_of(encoder)
    encoder.load_state_dict(patch_weights(shapes), strict=True)
    found = {}
    for rate_hz, length_s in CASES:
        picture = torch.from_numpy(spectrogram(native_signal(rate_hz, length_s), rate_hz)).float()
        pieces = [*picture.split(1024)[:-1], picture[-1024:]]
        with torch.inference_mode():
            vectors = [encoder.extract_features(piece[None, None])[0] for piece in pieces]
        found[f"{rate_hz} Hz, {length_s} s"] = said(torch.stack(vectors).mean(0))
    about = {"reference": REFERENCE, "size": "small", "eps": eps_of(encoder)}
    PLACE.write_text(json.dumps({**about, "embeddings": found, "shapes": shapes}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
