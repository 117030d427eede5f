"""Which patches the student may see. Draws come from torch's global generator, which the loop seeds at every step.

Shape suffixes: M = masked sequences (bands times clones), P = patches, K = patches kept.
Sources: random masking as in ECHO's released code; the inverse block mask of EAT, in one dimension, after the values
of its published configuration (keep 0.2, adjust 0.07, blocks of 5).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Mask = Literal["random", "inverse_block"]
BLOCK, ADJUST = 5, 0.07


def kept_patches(
    n_sequences: int, n_patches: int, ratio: float, kind: Mask, device: torch.device | str | None = None
) -> Tensor:
    """Return the indices of the patches that stay, ascending, shape (M, K) with K = max(1, int(P * (1 - ratio))).

    Every sequence keeps the same number, so that batches stay rectangular.
    """
    keep = max(1, int(n_patches * (1 - ratio)))
    noise = torch.rand(n_sequences, n_patches, device=device)
    if kind == "inverse_block":
        noise -= _blocks(n_sequences, n_patches, 1 - ratio, noise.device).float()  # patches in a block come first
    return noise.argsort(dim=1)[:, :keep].sort(dim=1).values


def is_masked(kept: Tensor, n_patches: int) -> Tensor:
    """Return a boolean mask (M, P), true where a patch was taken away."""
    mask = torch.ones(len(kept), n_patches, dtype=torch.bool, device=kept.device)
    return mask.scatter_(1, kept, False)


def clones_within(budget: int, bands_per_clip: float) -> int:
    """Return how many masks each band gets so that a clip costs about the same at every sampling rate: 1 to 16.

    Source: FISHER's rule (budget // bands), with the bounds of this project's specification.
    """
    return min(max(1, int(budget // max(bands_per_clip, 1))), 16)


def _blocks(n_sequences: int, n_patches: int, keep: float, device: torch.device) -> Tensor:
    """Mark blocks of five around random centres, shape (M, P); about ``keep + 0.07`` of all, before overlaps."""
    centres = max(1, round(n_patches * (keep + ADJUST) / BLOCK))
    middle = torch.randint(n_patches, (n_sequences, centres), device=device)
    spread = middle[:, :, None] + torch.arange(BLOCK, device=device) - BLOCK // 2
    marked = torch.zeros(n_sequences, n_patches, dtype=torch.bool, device=device)
    return marked.scatter_(1, spread.clamp(0, n_patches - 1).flatten(1), True)
