"""The encoder rewritten for inference runtimes: the same numbers from fewer and larger operations.

What differs from ``trainer/model/echo.py`` and why (ONNX Runtime, one core): tokens of all bands stand in one matrix,
so that every projection is a Gemm with its bias inside; queries, keys and values are separate Gemms, which spares
splitting their product; the score scale is in the query weights; patches are a reshape and a Gemm. All operators are
standard.

Shape suffixes: N = bands, T = time frames, P = patches, L = tokens, D = width, H = heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.model.echo import Echo, EchoLayer, frequency_code


def round_to_half(model: Echo) -> None:
    """Round every matrix of ``model`` in place to what float16 holds, query weights after their export scale."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim < 2 or name in ("pos_embed", "cls_token"):
                continue
            scale = torch.ones(())
            if name.endswith("in_proj_weight"):
                scale = torch.ones(len(weight), 1)
                scale[: weight.shape[1]] = _score_scale(model)
            weight.copy_((weight * scale).half().float() / scale)


def _score_scale(model: Echo) -> float:
    return float((model.config.embed_dim // model.config.heads) ** -0.5)


class ExportLayer(nn.Module):
    """One layer on tokens as a matrix (N * L, D)."""

    def __init__(self, layer: EchoLayer, scale: float) -> None:
        super().__init__()
        attention = layer.self_attn
        self.layer = layer
        self.heads = attention.heads
        self.projections = nn.ModuleList()
        parts = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), (scale, 1.0, 1.0), strict=True)
        for weight, bias, factor in parts:
            linear = nn.Linear(*weight.shape[::-1])
            linear.weight, linear.bias = nn.Parameter(weight * factor), nn.Parameter(bias * factor)
            self.projections.append(linear)

    def forward(self, x: Tensor, bands: int, cls_only: bool) -> Tensor:
        """Return (N * L, D), or the CLS rows (N, D), for x (N * L, D)."""
        dim, layer = x.shape[1], self.layer
        y = layer.norm1(x) if layer.norm_first else x
        rows, rows_y = (part.reshape(bands, -1, dim)[:, 0] if cls_only else part for part in (x, y))
        q, k, v = (
            linear(tokens).reshape(bands, -1, self.heads, dim // self.heads).transpose(1, 2)
            for linear, tokens in zip(self.projections, (rows_y, y, y), strict=True)
        )
        mixed = (torch.softmax(q @ k.transpose(2, 3), dim=-1) @ v).transpose(1, 2).reshape(-1, dim)
        attended: Tensor = rows + layer.self_attn.out_proj(mixed)
        if layer.norm_first:
            return attended + self._mlp(layer.norm2(attended))
        attended = layer.norm1(attended)
        out: Tensor = layer.norm2(attended + self._mlp(attended))
        return out

    def _mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer.linear2(functional.gelu(self.layer.linear1(x)))
        return y


class ExportEncoder(nn.Module):
    """Bands (N, 32, T) and positions (N,) to CLS vectors (N, D); T must be a multiple of the patch stride."""

    time: Tensor

    def __init__(self, model: Echo) -> None:
        super().__init__()
        config, projection = model.config, model.patch_embed.proj
        self.stride, self.overlap = config.patch_stride_t, config.patch_kernel_t > config.patch_stride_t
        self.patch = nn.Linear(config.band_width * config.patch_kernel_t, config.embed_dim)
        self.patch.weight, self.patch.bias = nn.Parameter(projection.weight.flatten(1)), nn.Parameter(_bias(projection))
        self.cls_token, self.norm = model.cls_token, model.norm
        self.register_buffer("time", model.pos_embed.detach()[:, 1:].clone())
        self.layers = nn.ModuleList(ExportLayer(layer, _score_scale(model)) for layer in _layers(model))
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def forward(self, bands: Tensor, position: Tensor) -> Tensor:
        n, width, _ = bands.shape
        dim = self.patch.out_features
        pieces = bands.reshape(n, width, -1, self.stride)
        if self.overlap:
            pieces = torch.cat((pieces[:, :, :-1], pieces[:, :, 1:]), dim=-1)
        patches = pieces.transpose(1, 2).reshape(-1, self.patch.in_features)
        x = self.patch(patches).reshape(n, -1, dim)
        code = frequency_code(position, dim)[:, None]
        x = torch.cat((self.cls_token + code, x + self.time[:, : x.shape[1]] + code), dim=1).reshape(-1, dim)
        for index, layer in enumerate(self.layers):
            x = layer(x, n, index == len(self.layers) - 1)
        cls: Tensor = self.norm(x)
        return cls


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise ValueError("the patch projection has no bias")
    return layer.bias


def _layers(model: Echo) -> list[EchoLayer]:
    return [layer for layer in model.encoder.layers if isinstance(layer, EchoLayer)]
