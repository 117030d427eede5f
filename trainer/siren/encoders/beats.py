"""BEATs, third iteration, pretrained: a transformer on patches of filter banks, whose tokens are averaged.

Ten seconds, 998 frames of 10 ms by 128 mel bands, are 62 columns of 8 patches; all tokens stand in one row, so that
the distance between two is counted along it. Each of 12 layers weighs one bias by distance, stored with the first
layer, by a gate that every query opens for itself.

Shape suffixes: B = pieces, S = samples, T = frames, L = tokens, D = width, H = heads. State-dict keys are those of the
published checkpoints, but for the weight norm's ``weight_g`` and ``weight_v``, which have other names in today's torch.
Source: BEATs, arXiv:2212.09058; github.com/microsoft/unilm@c68101b, ``beats/``, for names, shapes and arithmetic; the
gate is that of WavLM, arXiv:2110.13900, the scale of sums that of DeepNet, arXiv:2203.00555.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from trainer.siren.encoders.base import Mode
from trainer.siren.encoders.fbank import filter_banks, frames_of
from trainer.siren.encoders.pieces import PieceEncoder
from trainer.siren.encoders.weights import Source, Stored, load_strictly, read_weights
from trainer.siren.errors import WeightsError

NAME = "beats"
SOURCE = Source("BEATs_iter3.pt", "github.com/microsoft/unilm/tree/master/beats (OneDrive links in its README)", "MIT")
FULL_SCALE, MEAN, DEVIATION = 2.0**15, 15.41663, 6.55582
GATE_TERMS = 4  # numbers summed up for each of a gate's two values

WRITTEN_FOR = {
    "activation_fn": "gelu",
    "conv_bias": False,
    "layer_norm_first": False,
    "relative_position_embedding": True,
    "finetuned_model": False,
}
"""What a stored configuration may say that this network has no choice about."""

RENAMED = {
    "encoder.pos_conv.0.weight_g": "encoder.pos_conv.0.parametrizations.weight.original0",
    "encoder.pos_conv.0.weight_v": "encoder.pos_conv.0.parametrizations.weight.original1",
}
BIAS = "self_attn.relative_attention_bias.weight"


@dataclass(frozen=True, slots=True)
class BeatsConfig:
    """The shape of an encoder, by the published names. Defaults are those of the third iteration."""

    input_patch_size: int = 16
    embed_dim: int = 512
    """Width of a patch, before it is a token."""

    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    deep_norm: bool = True
    """Weigh what goes past a step by (2 layers)^(1/4)."""

    conv_pos: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    """Half for each direction, of these half for single distances and the rest in logarithmic steps."""

    max_distance: int = 800
    gru_rel_pos: bool = True
    """Gate the bias; False adds it as it is."""


class Attention(nn.Module):
    """Multi-head attention with a bias by distance."""

    def __init__(self, config: BeatsConfig, *, keeps_bias: bool) -> None:
        super().__init__()
        dim, self.heads = config.encoder_embed_dim, config.encoder_attention_heads
        if keeps_bias:
            self.relative_attention_bias = nn.Embedding(config.num_buckets, self.heads)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.gated = config.gru_rel_pos
        if self.gated:
            self.grep_linear = nn.Linear(dim // self.heads, 2 * GATE_TERMS)
            self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return (B, L, D) for x (B, L, D) and biases (H, L, L)."""
        q, k, v = (
            proj(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        weighed = bias.expand(len(x), -1, -1, -1)
        if self.gated:
            opened, reset = self.grep_linear(q).unflatten(3, (2, GATE_TERMS)).sum(dim=4).sigmoid().split(1, dim=3)
            weighed = weighed * (opened * (reset * self.grep_a - 1) + 2)
        heard = functional.scaled_dot_product_attention(q, k, v, attn_mask=weighed)
        mixed: Tensor = self.out_proj(heard.transpose(1, 2).flatten(2))
        return mixed


class Layer(nn.Module):
    """One layer, norm after each of its two sums."""

    def __init__(self, config: BeatsConfig, *, keeps_bias: bool) -> None:
        super().__init__()
        dim, hidden = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.past = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
        self.self_attn = Attention(config, keeps_bias=keeps_bias)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.final_layer_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Return (B, L, D) for x (B, L, D) and biases (H, L, L)."""
        x = self.self_attn_layer_norm(self.past * x + self.self_attn(x, bias))
        y: Tensor = self.final_layer_norm(self.past * x + self.fc2(functional.gelu(self.fc1(x))))
        return y


class Stack(nn.Module):
    """From tokens to tokens; a module of its own only because the published keys begin with ``encoder``."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dim, self.config = config.encoder_embed_dim, config
        place = nn.Conv1d(dim, dim, config.conv_pos, padding=config.conv_pos // 2, groups=config.conv_pos_groups)
        self.pos_conv = nn.Sequential(weight_norm(place, dim=2))
        self.layer_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(Layer(config, keeps_bias=n == 0) for n in range(config.encoder_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, L, D) for x (B, L, D)."""
        length = x.shape[1]
        place = self.pos_conv(x.transpose(1, 2))[..., :length].transpose(1, 2)  # an even kernel gives one too many
        x = self.layer_norm(x + functional.gelu(place))
        by_bucket = cast("Layer", self.layers[0]).self_attn.relative_attention_bias
        bias = by_bucket(buckets(length, self.config).to(x.device)).permute(2, 0, 1)
        for layer in self.layers:
            x = layer(x, bias)
        return x


class Beats(nn.Module):
    """From normalized filter banks to tokens."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        patch, width, dim = config.input_patch_size, config.embed_dim, config.encoder_embed_dim
        self.patch_embedding = nn.Conv2d(1, width, patch, patch, bias=False)
        self.layer_norm = nn.LayerNorm(width)
        self.post_extract_proj = nn.Linear(width, dim) if width != dim else nn.Identity()
        self.encoder = Stack(config)

    def forward(self, banks: Tensor) -> Tensor:
        """Return tokens (B, L, D) of filter banks (B, T, 128), band by band and then column by column."""
        patches = self.patch_embedding(banks[:, None]).flatten(2).transpose(1, 2)
        tokens: Tensor = self.encoder(self.post_extract_proj(self.layer_norm(patches)))
        return tokens


def buckets(length: int, config: BeatsConfig) -> Tensor:
    """Return which bias each query (row) has for each key (column), shape (L, L), 0 to ``num_buckets - 1``.

    Source: T5, arXiv:1910.10683, relative attention in both directions.
    """
    place = torch.arange(length)
    ahead = place[None] - place[:, None]
    side = config.num_buckets // 2
    single = side // 2
    far = torch.log(ahead.abs().float() / single) / math.log(config.max_distance / single) * (side - single)
    apart = torch.where(ahead.abs() < single, ahead.abs(), (single + far.clamp(min=0).long()).clamp(max=side - 1))
    return (ahead > 0).long() * side + apart


class BeatsEncoder(PieceEncoder):
    """Vectors of 768 numbers; see the module."""

    def __init__(self, stored: Stored, device: torch.device, mode: Mode) -> None:
        self.name, self.device, self.mode = NAME, device, mode
        self.config = stored_config(stored)
        with torch.device("meta"):  # no time is spent on drawing weights that are about to be replaced
            self.network = Beats(self.config)
        self.network.to_empty(device="cpu")
        load_strictly(NAME, stored, self.network, own_names(stored))
        self.network.to(device)
        tail = "siren" if mode == "siren" else "clamped"
        decisive = (NAME, stored.sha256, tail, self.config, FULL_SCALE, MEAN, DEVIATION)
        self.digest = hashlib.sha256(repr(decisive).encode()).hexdigest()

    def embed_pieces(self, pieces: Tensor) -> Tensor:
        """Return the mean over tokens, (B, D), of pieces (B, S); see ``PieceEncoder``."""
        if (found := frames_of(pieces.shape[1])) < (patch := self.config.input_patch_size):
            raise ValueError(
                f"{pieces.shape[1]} samples of 16 kHz are too few: {found} frames, one patch needs {patch}"
            )
        banks = filter_banks(FULL_SCALE * pieces, "povey")
        mean: Tensor = self.network((banks - MEAN) / (2 * DEVIATION)).mean(dim=1)
        return mean


def beats(path: Path | None, device: torch.device, mode: Mode, *, allow_pickle: bool = False) -> BeatsEncoder:
    """Load it.

    Args:
        path: its weights; None looks under ``checkpoints/``.
        allow_pickle: see ``read_weights``.
    Raises:
        WeightsError: the weights are missing, or are not this encoder's.
    """
    return BeatsEncoder(read_weights(NAME, SOURCE, path, allow_pickle=allow_pickle), device, mode)


def stored_config(stored: Stored) -> BeatsConfig:
    """Return the shape a checkpoint's configuration tells, the published one where it is silent.

    Raises:
        WeightsError: it tells of a network of another kind.
    """
    for key, value in WRITTEN_FOR.items():
        if (found := stored.config.get(key, value)) != value:
            raise WeightsError(f"{NAME}: {stored.path}: cfg: {key} is {found}, expected {value}")
    own = {field.name for field in fields(BeatsConfig)}
    return BeatsConfig(**{key: value for key, value in stored.config.items() if key in own})


def own_names(stored: Stored) -> dict[str, Tensor]:
    """Return stored weights under the names used here.

    Raises:
        WeightsError: the bias by distance, which every layer's keys repeat, is not the same in all.
    """
    state = {RENAMED.get(key, key): value for key, value in stored.state.items()}
    first = state.get(f"encoder.layers.0.{BIAS}")
    for key in [key for key in state if key.endswith(BIAS) and not key.startswith("encoder.layers.0.")]:
        if first is None or not torch.equal(state.pop(key), first):
            raise WeightsError(f"{NAME}: {stored.path}: {key}: differs from the first layer's, which all layers share")
    return state
