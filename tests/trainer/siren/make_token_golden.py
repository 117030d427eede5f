"""Writes ``token_golden.json``: what published code says of fixed signals, with weights from the recipe.

    python -m tests.trainer.siren.make_token_golden BEATS KALDI EAT FISHER [EINOPS]

BEATS is ``speechbrain/lobes/models/beats.py`` of SpeechBrain 1.1.2 (an adaptation of Microsoft's code, Apache-2.0),
KALDI ``torchaudio/compliance/kaldi.py`` of torchaudio 2.11.0; EAT the folder with ``eat_model.py`` and
``model_core.py`` of huggingface.co/worstchan/EAT-base_epoch30_pretrain; FISHER a checkout of
github.com/jianganbai/FISHER@165159d with ``models/mae.py``, which it lacks, from github.com/jianganbai/RMIS@4c25015;
EINOPS the wheel of einops where that is not installed. What else they import is stood in for below.
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
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.trainer.siren.recipe import RATE_HZ, recipe_weights, signal

PLACE = Path(__file__).with_name("token_golden.json")
KEPT = 32  # numbers of each embedding that are written down
LENGTHS_S = (3, 10)
FISHER_CASES = {"1000": 3.0, "16000": 3.0, "44100": 10.5}
"""Seconds at each rate: less than one band, whole bands, and more than 1024 frames."""


def drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the recipe's weights, but for places, CLS and the weight norm as strong as they are when trained."""
    weights = recipe_weights(shapes)
    for key, value in weights.items():
        if key.endswith(("positions", "extra_tokens")):
            value *= 0.5 * np.sqrt(np.prod(value.shape[1:]))
        elif key.endswith("weight_g"):
            value += 2
    return {key: torch.from_numpy(value.astype(np.float32)) for key, value in weights.items()}


def native_signal(rate_hz: int, length_s: float) -> NDArray[np.float32]:
    """Return noise that swells twice a second over two tones, shape (S,)."""
    time_s = np.arange(round(length_s * rate_hz)) / rate_hz
    noise = np.random.default_rng(rate_hz).standard_normal(len(time_s))
    tones = sum(np.sin(2 * np.pi * part * rate_hz * time_s) for part in (0.01, 0.2))
    return (0.02 + 0.1 * tones + (0.001 + 0.05 * np.sin(2 * np.pi * time_s) ** 2) * noise).astype(np.float32)


def said(vector: Tensor) -> dict[str, object]:
    return {"norm": float(vector.norm()), "first": [round(float(x), 6) for x in vector[:KEPT]]}


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in nn.Module.state_dict(module).items()}


def eps_of(module: nn.Module) -> list[float]:
    return sorted({part.eps for part in module.modules() if isinstance(part, nn.LayerNorm)})


def stand_in(name: str, **content: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(content)
    sys.modules[name] = module
    return module


def imported(name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Mlp(nn.Module):
    """That of timm, without dropout."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type[nn.Module], drop: float) -> None:
        super().__init__()
        assert drop == 0
        self.fc1, self.fc2 = nn.Linear(in_features, hidden_features), nn.Linear(hidden_features, in_features)
        self.act = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def beats_golden(path: Path) -> dict[str, object]:
    stand_in("speechbrain")
    stand_in("speechbrain.dataio")
    stand_in("speechbrain.dataio.dataio", length_to_mask=lambda _, most, device: torch.ones(1, most, device=device))
    module = imported("published_beats", path)
    published = {"relative_position_embedding": True, "max_distance": 800, "gru_rel_pos": True, "deep_norm": True}
    config = module.BEATsConfig(published)
    vars(module)["BEATsConfig"] = lambda _: config  # only a checkpoint would bring one
    model = module.BEATs().eval()
    norm = "parametrizations.weight.original"
    names = {key: key.replace(f"{norm}0", "weight_g").replace(f"{norm}1", "weight_v") for key in shapes_of(model)}
    shapes = {names[key]: shape for key, shape in shapes_of(model).items()}
    weights = drawn(shapes)
    for key in [key for key in weights if "relative_attention_bias" in key]:
        weights[key] = weights["encoder.layers.0.self_attn.relative_attention_bias.weight"]
    model.load_state_dict({key: weights[name] for key, name in names.items()})
    vectors = {
        str(length_s): said(model(torch.from_numpy(signal(length_s))[None], torch.ones(1))[0][0].mean(0))
        for length_s in LENGTHS_S
    }
    reference = "SpeechBrain 1.1.2, lobes/models/beats.py"
    return {"reference": reference, "shapes": shapes, "eps": eps_of(model), "embeddings": vectors}


def eat_golden(folder: Path, kaldi: types.ModuleType) -> dict[str, object]:
    stand_in("published_eat").__path__ = [str(folder)]
    imported("published_eat.model_core", folder / "model_core.py")
    rates = ("drop_rate", "attn_drop_rate", "activation_dropout", "post_mlp_drop")
    rates = (*rates, "start_drop_path_rate", "end_drop_path_rate")
    config = types.SimpleNamespace(**dict.fromkeys(rates, 0.0), model_variant="pretrain", img_size=(1024, 128))
    vars(config).update(patch_size=16, in_chans=1, embed_dim=768, stride=16, mel_bins=128, max_length=768)
    vars(config).update(fixed_positions=True, norm_eps=1e-6, norm_affine=True, depth=12, num_heads=12, mlp_ratio=4.0)
    vars(config).update(qkv_bias=True, layer_norm_first=False)
    model = imported("published_eat.eat_model", folder / "eat_model.py").EAT(config).eval()
    shapes = {f"model.{key}": shape for key, shape in shapes_of(model).items()}  # as stored
    model.load_state_dict({key.removeprefix("model."): value for key, value in drawn(shapes).items()})
    vectors = {}
    for length_s in LENGTHS_S:
        samples = torch.from_numpy(signal(length_s))[None]
        options = {"htk_compat": True, "sample_frequency": 16000, "use_energy": False, "window_type": "hanning"}
        mel = kaldi.fbank(samples - samples.mean(), num_mel_bins=128, dither=0.0, frame_shift=10, **options)
        mel = nn.ZeroPad2d((0, 0, 0, 1024 - len(mel)))(mel[None])
        vectors[str(length_s)] = said(model.extract_features(((mel + 4.268) / (4.569 * 2))[None])[0, 0])
    reference = "huggingface.co/worstchan/EAT-base_epoch30_pretrain, eat_model.py"
    return {"reference": reference, "shapes": shapes, "eps": eps_of(model), "embeddings": vectors}


def fisher_golden(checkout: Path) -> dict[str, object]:
    sys.path.insert(0, str(checkout))
    from models.fisher import FISHER, Data2VecMultiConfig  # noqa: PLC0415

    config = Data2VecMultiConfig(band_width=50, embed_dim=384, num_heads=6)
    vars(config.modalities.image).update(embed_dim=384, band_width=50, num_alibi_heads=6, model_depth=12)
    model = FISHER(config).eval()
    shapes = shapes_of(model)
    model.load_state_dict(drawn(shapes))
    vectors = {}
    for rate, length_s in FISHER_CASES.items():
        samples = native_signal(int(rate), length_s).astype(np.float64)
        frame, hop = 25 * int(rate) // 1000, 10 * int(rate) // 1000
        frames = np.lib.stride_tricks.sliding_window_view(samples - samples.mean(), frame)[::hop]
        magnitude = np.abs(np.fft.rfft(frames * np.hanning(frame + 1)[:-1], axis=1))
        level = (np.log(magnitude + 1e-10) + 3.017344307886898) / (2 * 2.1531635155379805)
        level = np.pad(level, ((0, 0), (0, max(0, 50 - level.shape[1]))))
        pieces = [level[:1024], level[-1024:]] if len(level) > 1024 else [level]
        vectors[rate] = said(
            torch.stack([model.extract_features(torch.from_numpy(p).float()[None, None])[0] for p in pieces]).mean(0)
        )
    reference = "github.com/jianganbai/FISHER@165159d, models/fisher.py"
    return {"reference": reference, "shapes": shapes, "eps": eps_of(model), "embeddings": vectors}


def fbank_golden(kaldi: types.ModuleType) -> dict[str, object]:
    """Return the levels of two frames of three seconds, under each window."""
    samples = torch.from_numpy(signal(LENGTHS_S[0]))[None]
    options = {"sample_frequency": RATE_HZ, "num_mel_bins": 128, "dither": 0.0}
    levels = {window: kaldi.fbank(samples, window_type=window, **options) for window in ("povey", "hanning")}
    frames = {window: [[round(float(x), 5) for x in level[n]] for n in (0, -1)] for window, level in levels.items()}
    return {"reference": "torchaudio 2.11.0, compliance/kaldi.py", "frames": frames}


def main(beats: str, kaldi: str, eat: str, fisher: str, *wheels: str) -> None:
    sys.path[:0] = wheels
    stand_in("torchaudio")
    stand_in("torchaudio.compliance")
    published = imported("torchaudio.compliance.kaldi", Path(kaldi))
    vars(sys.modules["torchaudio.compliance"])["kaldi"] = published
    vars(sys.modules["torchaudio"])["compliance"] = sys.modules["torchaudio.compliance"]
    stand_in("omegaconf", MISSING="???", II=lambda place: f"${{{place}}}")
    stand_in("timm")
    stand_in("timm.models")
    stand_in("timm.models.layers", to_2tuple=lambda x: x if isinstance(x, tuple) else (x, x))
    vars(sys.modules["timm.models.layers"])["trunc_normal_"] = nn.init.trunc_normal_
    stand_in("timm.models.vision_transformer", DropPath=nn.Identity, Mlp=Mlp)
    with torch.inference_mode():
        golden = {
            "fbank": fbank_golden(published),
            "beats": beats_golden(Path(beats)),
            "eat": eat_golden(Path(eat), published),
            "fisher": fisher_golden(Path(fisher)),
        }
    PLACE.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
