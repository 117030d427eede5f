"""The decoder of pretraining: from the patches the student saw to a guess for those it did not. Thrown away after.

Shape suffixes: M = masked sequences, P = patches, K = patches kept, D = width.
Source: the convolutional decoder of EAT and data2vec 2.0, in one dimension because an ECHO band is one row of patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 16
MASK_NOISE = 0.01  # standard deviation of what stands in for a masked patch, drawn anew each time


class PatchConvolution(nn.Conv1d):
    """A convolution along the patches of features (M, P, D), whose channels are last in memory.

    Torch knows that order in two dimensions only; in one it copies the features there and back, a twentieth of a step.
    """

    def forward(self, x: Tensor) -> Tensor:
        x, weight = x.transpose(1, 2)[:, :, None], self.weight[:, :, None]
        y = functional.conv2d(x, weight, self.bias, padding="same", groups=self.groups)
        return y[:, :, 0].transpose(1, 2)


class Decoder(nn.Module):
    """Six grouped convolutions with residuals, then a linear layer to each target's width."""

    def __init__(self, dim: int, out_dims: dict[str, int], *, layers: int = 6, kernel: int = 3) -> None:
        super().__init__()
        if dim % GROUPS:
            raise ValueError(f"the encoder's width {dim} must be a multiple of {GROUPS}")
        self.layers = nn.ModuleList(PatchConvolution(dim, dim, kernel, groups=GROUPS) for _ in range(layers))
        self.heads = nn.ModuleDict({name: nn.Linear(dim, out) for name, out in out_dims.items()})

    def forward(self, tokens: Tensor, kept: Tensor, n_patches: int) -> Tensor:
        """Return features (M, P, D) for the student's patch tokens (M, K, D), which stood at ``kept`` (M, K)."""
        noise = MASK_NOISE * torch.randn(len(tokens), n_patches, tokens.shape[-1], device=tokens.device)
        x = noise.to(tokens.dtype).scatter(1, kept[:, :, None].expand(-1, -1, tokens.shape[-1]), tokens)
        for layer in self.layers:
            y = layer(x)
            x = x + functional.gelu(functional.layer_norm(y, y.shape[-1:]))
        return x

    def predict(self, head: str, features: Tensor) -> Tensor:
        """Return the guess of one head for features (..., D)."""
        guess: Tensor = self.heads[head](features)
        return guess
