"""The ECHO encoder: every band of 32 bins is one sequence of patches, and bands never see each other.

Shape suffixes: N = bands (of any signals), T = time frames, P = patches, L = tokens (P + 1, the first is CLS),
D = width, H = heads. State-dict keys are those of the published checkpoints.
Source: ECHO, arXiv:2508.14689, and its released code where the two differ: post-norm, no patch overlap, a norm of a
norm at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer import frontend

FREQUENCY_SCALE = 25.0  # stretches the relative position 0..1 before it is coded
CODE_BASE = 10000.0


@dataclass(frozen=True, slots=True)
class EchoConfig:
    """The shape of an encoder. Defaults are the published ones; ``PRESETS`` has the sizes."""

    embed_dim: int
    depth: int
    heads: int = 0
    """0 means ``embed_dim // 64``; no tensor's shape tells the number of heads."""

    mlp_ratio: float = 4.0
    band_width: int = 32
    patch_kernel_t: int = 16
    """Frames per patch: 16 is the released model, 32 the paper's half-overlapping variant."""

    patch_stride_t: int = 16
    spec_len: int = 2000
    """Frames the time table covers: 125 patches of 16."""

    norm_first: bool = False
    dropout: float = 0.1
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.heads == 0:
            object.__setattr__(self, "heads", max(1, self.embed_dim // 64))
        if self.embed_dim % self.heads or self.embed_dim % 2:
            raise ValueError(f"embed_dim {self.embed_dim} must be even and a multiple of {self.heads} heads")
        if self.patch_kernel_t not in (self.patch_stride_t, 2 * self.patch_stride_t):
            raise ValueError(
                f"patch_kernel_t {self.patch_kernel_t} must be one or two strides of {self.patch_stride_t}"
            )
        if self.spec_len % self.patch_stride_t:
            raise ValueError(f"spec_len {self.spec_len} must be a multiple of {self.patch_stride_t}")


PRESETS = {
    "tiny": EchoConfig(192, 12, 3),
    "small": EchoConfig(384, 12, 6),
    "base": EchoConfig(768, 12, 12),
}


def frequency_code(position: Tensor, dim: int) -> Tensor:
    """Code positions of shape (N,), 0..1, as (N, dim): sine and cosine interleaved."""
    rate = torch.exp(torch.arange(0, dim, 2, device=position.device) * (-math.log(CODE_BASE) / dim))
    angle = FREQUENCY_SCALE * position.float()[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).reshape(-1, dim)


def time_table(patches: int, dim: int) -> Tensor:
    """Return the time code, shape (1, 1 + patches, dim): all sines, then all cosines; row 0 (CLS) is zero.

    The layout differs from ``frequency_code`` in the published weights too.
    """
    rate = CODE_BASE ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angle = torch.arange(patches, dtype=torch.float64)[:, None] * rate
    table = torch.cat((angle.sin(), angle.cos()), dim=1)
    return functional.pad(table, (0, 0, 1, 0))[None].float()


class SelfAttention(nn.Module):
    """Multi-head attention; outside training as plain matrix products, so that every runtime can read its export."""

    def __init__(self, config: EchoConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.heads = config.heads
        self.dropout = config.dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, queries: int | None = None) -> Tensor:
        """Attend from the first ``queries`` tokens (None: all) of x (N, L, D) to all of them; (N, queries, D)."""
        dim = x.shape[-1]
        if queries is None:
            q, k, v = functional.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            q = functional.linear(x[:, :queries], self.in_proj_weight[:dim], self.in_proj_bias[:dim])
            k, v = functional.linear(x, self.in_proj_weight[dim:], self.in_proj_bias[dim:]).chunk(2, dim=-1)
        q, k, v = (part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (q, k, v))
        if self.training:  # the same in one operation, which stores no weights for the way back
            heard = functional.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)
        else:
            heard = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(2, 3), dim=-1) @ v
        mixed: Tensor = self.out_proj(heard.transpose(1, 2).flatten(2))
        return mixed


class EchoLayer(nn.Module):
    """One transformer layer, norm after the residual sum as published (or before it: ``norm_first``)."""

    def __init__(self, config: EchoConfig) -> None:
        super().__init__()
        dim, hidden = config.embed_dim, round(config.embed_dim * config.mlp_ratio)
        self.self_attn = SelfAttention(config)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim, eps=config.eps)
        self.norm2 = nn.LayerNorm(dim, eps=config.eps)
        self.drop = nn.Dropout(config.dropout)
        self.norm_first = config.norm_first

    def forward(self, x: Tensor, queries: int | None = None, feed: list[Tensor] | None = None) -> Tensor:
        """Return (N, queries, D) for x (N, L, D); ``queries=1`` computes the CLS row only, with the same result.

        ``feed``, when given, also receives the feed-forward's output.
        """
        x_q: Tensor
        if self.norm_first:
            x_q = x[:, :queries] + self.drop(self.self_attn(self.norm1(x), queries))
            said = self._mlp(self.norm2(x_q))
            y: Tensor = x_q + said
        else:
            x_q = self.norm1(x[:, :queries] + self.drop(self.self_attn(x, queries)))
            said = self._mlp(x_q)
            y = self.norm2(x_q + said)
        if feed is not None:
            feed.append(said)
        return y

    def _mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.drop(self.linear2(self.drop(functional.gelu(self.linear1(x)))))
        return y


class PatchEmbed(nn.Module):
    """Bands (N, 32, T) to patch vectors (N, P, D); T is padded with zeros on the right to whole patches."""

    def __init__(self, config: EchoConfig) -> None:
        super().__init__()
        self.kernel, self.stride = config.patch_kernel_t, config.patch_stride_t
        self.proj = nn.Conv2d(1, config.embed_dim, (config.band_width, self.kernel), (config.band_width, self.stride))

    def forward(self, bands: Tensor) -> Tensor:
        patches = -(-max(bands.shape[-1] - self.kernel, 0) // self.stride) + 1
        missing = (patches - 1) * self.stride + self.kernel - bands.shape[-1]
        x: Tensor = self.proj(functional.pad(bands, (0, missing))[:, None])
        return x.flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """The stack of layers; a module of its own only because the published keys begin with ``encoder.layers``."""

    def __init__(self, config: EchoConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EchoLayer(config) for _ in range(config.depth))


class Echo(nn.Module):
    """The encoder. Construct it with ``config`` or load one with ``trainer.checkpoint``; call ``eval()`` before use."""

    def __init__(self, config: EchoConfig) -> None:
        super().__init__()
        self.config = config
        dim, patches = config.embed_dim, config.spec_len // config.patch_stride_t
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(time_table(patches, dim), requires_grad=False)
        self.patch_embed = PatchEmbed(config)
        self.encoder = Encoder(config)
        self.norm = nn.LayerNorm(dim, eps=config.eps)
        self._init_weights()

    def _init_weights(self) -> None:
        """Draw every layer independently: a deep-copied first layer would leave all attention alike at step 0."""
        nn.init.normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, SelfAttention):
                nn.init.xavier_uniform_(module.in_proj_weight)

    def patch_tokens(self, bands: Tensor, position: Tensor, first: int = 0) -> Tensor:
        """Return patch vectors with time and frequency code added, shape (N, P, D).

        Args:
            bands: shape (N, 32, T), normalized log magnitude, T at most 2000.
            position: shape (N,), centre of each band as a fraction of half its sampling rate.
            first: place of the first patch in time; only training starts elsewhere than at 0.
        Raises:
            ValueError: more frames than the time table covers.
        """
        if bands.shape[-1] > self.config.spec_len:
            raise ValueError(f"{bands.shape[-1]} frames: the time table covers {self.config.spec_len}")
        x: Tensor = self.patch_embed(bands)
        return x + self.pos_embed[:, first + 1 : first + x.shape[1] + 1] + self._frequency(position)

    def encode(self, patches: Tensor, position: Tensor, *, cls_only: bool = False) -> Tensor:
        """Return tokens (N, L, D), CLS first, of patch vectors (N, P, D); ``cls_only`` computes just that row."""
        cls = self.cls_token + self._frequency(position)
        x = torch.cat((cls, patches), dim=1)
        for index, layer in enumerate(self.encoder.layers):
            # Nobody reads the other rows of the last layer: leaving them out saves 7 % of the whole.
            x = layer(x, 1 if cls_only and index == self.config.depth - 1 else None)
        tokens: Tensor = self.norm(x)
        return tokens

    def taps(self, patches: Tensor, position: Tensor, tap: str) -> list[Tensor]:
        """Return what every layer says of patch vectors (N, P, D), CLS left out: the targets of pretraining.

        Args:
            patches: as ``patch_tokens`` returns them.
            position: shape (N,).
            tap: ``ffn``, the feed-forward's output before the second residual sum (EAT), or ``block``, the layer's.
        """
        x = torch.cat((self.cls_token + self._frequency(position), patches), dim=1)
        said: list[Tensor] = []
        for layer in self.encoder.layers:
            feed: list[Tensor] = []
            x = layer(x, feed=feed)
            said.append((feed[0] if tap == "ffn" else x)[:, 1:])
        return said

    def tokens(self, bands: Tensor, position: Tensor) -> Tensor:
        """Return all tokens of bands (N, 32, T), shape (N, 1 + P, D), CLS first."""
        return self.encode(self.patch_tokens(bands, position), position)

    def forward(self, bands: Tensor, position: Tensor) -> Tensor:
        """Return the CLS vector of every band, shape (N, D), for bands (N, 32, T) and positions (N,)."""
        return self.encode(self.patch_tokens(bands, position), position, cls_only=True)[:, 0]

    def embed(self, signal: Tensor, rate_hz: int) -> tuple[Tensor, Tensor]:
        """Return what the published model says of a signal (S,) of any length.

        Longer than 2000 frames, it is cut into segments of 2000, and a last one that overlaps its predecessor when the
        length does not divide; time starts at 0 in each.

        Returns:
            The utterance vector (N * D,), bands low to high, mean over the segments; and patch vectors (P, N * D) of
            all segments in turn, so that frames of the overlap appear twice.
        """
        spectrogram = frontend.log_spectrogram(signal, rate_hz)
        position = frontend.positions(rate_hz, signal.device)
        segments = [self.tokens(frontend.split_bands(part), position) for part in self.segments(spectrogram)]
        utterance = torch.stack([tokens[:, 0].flatten() for tokens in segments]).mean(dim=0)
        return utterance, torch.cat([tokens[:, 1:].transpose(0, 1).flatten(1) for tokens in segments])

    def segments(self, spectrogram: Tensor) -> list[Tensor]:
        """Cut spectrograms (..., F, T) into segments of 2000 frames, and one of the last 2000 when any are left."""
        length, frames = self.config.spec_len, spectrogram.shape[-1]
        parts = [spectrogram[..., at : at + length] for at in range(0, frames - length + 1, length)]
        return parts if frames % length == 0 else [*parts, spectrogram[..., -length:]]

    def _frequency(self, position: Tensor) -> Tensor:
        return frequency_code(position, self.config.embed_dim)[:, None]


def random_mask(noise: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Choose which patches stay, from noise of shape (N, P).

    Returns:
        ``keep`` (N, P - removed): indices of the smallest noise, in the order of the noise; ``restore`` (N, P): undoes
        the shuffle; ``mask`` (N, P): 1 where removed. A ratio of 0 keeps everything in order.
    """
    n_bands, n_patches = noise.shape
    order = noise.argsort(dim=1) if ratio > 0 else torch.arange(n_patches, device=noise.device).expand(n_bands, -1)
    restore = order.argsort(dim=1)
    n_keep = int(n_patches * (1 - ratio))
    return order[:, :n_keep], restore, (restore >= n_keep).to(noise.dtype)
