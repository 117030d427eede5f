"""The encoder rewritten for inference runtimes: the same numbers from fewer and larger operations.

What differs from ``trainer/model/echo.py`` and why (ONNX Runtime, one core): tokens of all bands stand in one matrix,
so that every projection is a Gemm with its bias inside; queries, keys and values are separate Gemms, which spares
splitting their product; the score scale is in the query weights; patches are a reshape and a Gemm. All operators are
standard.

A residual sum is the Gemm's own C operand. The bias that C would have held is carried by the norm before: that norm
adds it, and the Gemms that read the norm take it out of their biases. The feed-forward runs in blocks of 384 hidden
units: ONNX Runtime's Gemm was seen at 260 GFLOP/s with an inner dimension of 384 and at 170 with 1536. Both together
save 6 to 12 % of the whole.

Shape suffixes: N = bands, T = time frames, P = patches, L = tokens, D = width, H = heads.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.model.echo import Echo, EchoLayer, frequency_code

HIDDEN_BLOCK = 384


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

    entry_bias: Tensor
    middle_bias: Tensor

    def __init__(self, layer: EchoLayer, scale: float) -> None:
        super().__init__()
        attention = layer.self_attn
        self.heads, self.norm_first = attention.heads, layer.norm_first
        self.norm1, self.norm2 = deepcopy(layer.norm1), deepcopy(layer.norm2)
        parts = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), (scale, 1.0, 1.0), strict=True)
        self.projections = nn.ModuleList(_linear(weight * factor, bias * factor) for weight, bias, factor in parts)
        self.out = nn.Parameter(attention.out_proj.weight.t().contiguous())
        blocks = max(1, layer.linear1.out_features // HIDDEN_BLOCK)
        rows = zip(layer.linear1.weight.chunk(blocks), layer.linear1.bias.chunk(blocks), strict=True)
        self.expand = nn.ModuleList(_linear(weight, bias) for weight, bias in rows)
        self.shrink = nn.ParameterList(part.t().contiguous() for part in layer.linear2.weight.chunk(blocks, dim=1))
        self.register_buffer("entry_bias", attention.out_proj.bias.detach().clone())
        self.register_buffer("middle_bias", layer.linear2.bias.detach().clone())
        if not self.norm_first:
            _carry(self.norm1, self.middle_bias, self.expand)

    def carry_entry_bias(self) -> Tensor:
        """Expect ``entry_bias`` to be in the input already, and return it for whoever makes that input."""
        _carry(None, self.entry_bias, self.projections)
        return self.entry_bias

    def forward(self, x: Tensor, bands: int, cls_only: bool) -> Tensor:
        """Return (N * L, D), or the CLS rows (N, D), for x (N * L, D)."""
        dim = x.shape[1]
        y = self.norm1(x) if self.norm_first else x
        rows, rows_y = (part.reshape(bands, -1, dim)[:, 0] if cls_only else part for part in (x, y))
        q, k, v = (
            linear(tokens).reshape(bands, -1, self.heads, dim // self.heads).transpose(1, 2)
            for linear, tokens in zip(self.projections, (rows_y, y, y), strict=True)
        )
        mixed = (torch.softmax(q @ k.transpose(2, 3), dim=-1) @ v).transpose(1, 2).reshape(-1, dim)
        if self.norm_first:
            attended = torch.addmm(rows + self.entry_bias, mixed, self.out)
            return self._mlp(attended + self.middle_bias, self.norm2(attended))
        attended = self.norm1(torch.addmm(rows, mixed, self.out))
        out: Tensor = self.norm2(self._mlp(attended, attended))
        return out

    def _mlp(self, residual: Tensor, x: Tensor) -> Tensor:
        for expand, shrink in zip(self.expand, self.shrink, strict=True):
            residual = torch.addmm(residual, functional.gelu(expand(x)), shrink)
        return residual


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(*weight.shape[::-1])
    linear.weight, linear.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return linear


def _carry(norm: nn.LayerNorm | None, bias: Tensor, readers: nn.ModuleList) -> None:
    """Let ``norm`` add ``bias`` to its output, and its linear readers take it out again in their own biases."""
    with torch.no_grad():
        if norm is not None:
            norm.bias.add_(bias)
        for reader in readers:
            assert isinstance(reader, nn.Linear)
            reader.bias.sub_((reader.weight.double() @ bias.double()).float())


class ExportEncoder(nn.Module):
    """Bands (N, 32, T) and positions (N,) to CLS vectors (N, D); T must be a multiple of the patch stride."""

    time: Tensor

    def __init__(self, model: Echo) -> None:
        super().__init__()
        config, projection = model.config, model.patch_embed.proj
        self.stride, self.overlap = config.patch_stride_t, config.patch_kernel_t > config.patch_stride_t
        self.patch = nn.Linear(config.band_width * config.patch_kernel_t, config.embed_dim)
        self.patch.weight, self.patch.bias = nn.Parameter(projection.weight.flatten(1)), nn.Parameter(_bias(projection))
        self.cls_token, self.norm = nn.Parameter(model.cls_token.detach().clone()), model.norm
        self.register_buffer("time", model.pos_embed.detach()[:, 1:].clone())
        self.layers = nn.ModuleList(ExportLayer(layer, _score_scale(model)) for layer in _layers(model))
        if not config.norm_first:
            self._carry_entry_biases()
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def _carry_entry_biases(self) -> None:
        before: nn.LayerNorm | None = None
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, ExportLayer)
                bias = layer.carry_entry_bias()
                if before is None:
                    self.cls_token.add_(bias)
                    self.time.add_(bias)
                else:
                    before.bias.add_(bias)
                before = layer.norm2

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
