"""CED in its four sizes: audio taggers distilled from an ensemble, here without their classifier.

A patch is 16 mel bands by 16 frames: ten seconds, 1001 frames, are 62 columns of 4, 248 tokens; the embedding is their
mean after the final norm.

Written from the paper's description and the published shapes alone, and never compared with the published numbers.
**Unverified**: the names in the checkpoints. They are taken to be those of Dasheng, by the same authors: ``init_bn``,
``patch_embed.proj``, ``time_pos_embed``, ``freq_pos_embed``, ``blocks.N``, ``norm``; a common prefix ``encoder.`` is
taken off and the classifier, ``outputlayer``, left out. Whatever else a file holds is refused by name.

Source: CED, arXiv:2308.11957. The weights are Apache-2.0 by their Hugging Face cards.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from trainer.siren.encoders.base import Mode
from trainer.siren.encoders.vit import HOP, MelVitEncoder, VitShape
from trainer.siren.encoders.weights import Source

PATCH, COLUMNS, DEPTH = (16, 16), 63, 12
LONGEST = 1012
"""Frames. The published encoder splits what is longer and pads the last part, in a way not known here."""

SHAPES = {
    "tiny": VitShape(192, DEPTH, 3, PATCH, COLUMNS),
    "mini": VitShape(256, DEPTH, 4, PATCH, COLUMNS),
    "small": VitShape(384, DEPTH, 6, PATCH, COLUMNS),
    "base": VitShape(768, DEPTH, 12, PATCH, COLUMNS),
}
SOURCES = {
    size: Source(
        f"ced_{size}.pt",
        f"zenodo.org/records/8275347 or 8275319, or huggingface.co/mispeech/ced-{size} (rename it)",
        "Apache-2.0",
    )
    for size in SHAPES
}


class CedEncoder(MelVitEncoder):
    """Vectors of 192, 256, 384 or 768 numbers; see the module."""

    def embed_pieces(self, pieces: Tensor) -> Tensor:
        """Return the mean over tokens, (B, D), of pieces (B, S) of at most 1012 frames; see ``PieceEncoder``."""
        if pieces.shape[1] // HOP + 1 > LONGEST:
            raise ValueError(f"{pieces.shape[1]} samples are too many: {self.name} hears {LONGEST} frames of {HOP}")
        return super().embed_pieces(pieces)


def ced(size: str, path: Path | None, device: torch.device, mode: Mode, *, allow_pickle: bool = False) -> CedEncoder:
    """Load one size.

    Args:
        size: a key of ``SHAPES``.
        path: its weights; None looks under ``checkpoints/``.
        allow_pickle: see ``read_weights``.
    Raises:
        WeightsError: the weights are missing, or are not this encoder's.
    """
    return CedEncoder(f"ced-{size}", SHAPES[size], SOURCES[size], path, device, mode, allow_pickle=allow_pickle)
