"""Dasheng in its three sizes: masked autoencoders of general audio, one token for 40 ms.

A patch is all 64 mel bands of 4 frames, so that ten seconds, 1001 frames, are 250 tokens; the embedding is their mean
after the final norm.

Up to 1008 frames (10.08 s) every published version agrees. Above that this follows PyPI 0.0.9: columns of patches are
split after each 252, the last part is as short as it is. GitHub's 0.0.4 pads the last part with zeros and trims its
tokens, which gives other numbers. Pieces of ten seconds never get there.

Source: Dasheng, arXiv:2406.06992; PyPI ``dasheng`` 0.0.9 for names, shapes and arithmetic, Apache-2.0. Two forms are
read: the published dictionary of ``model`` and ``config``, and the Hugging Face one, which is the same under the prefix
``encoder.`` without the mel filters (github.com/jimbozhang/hf_transformers_custom_model_dasheng@5af488c, ``utils/``).
"""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.siren.encoders.base import Mode
from trainer.siren.encoders.vit import MelVitEncoder, VitShape
from trainer.siren.encoders.weights import Source

PATCH, COLUMNS = (64, 4), 252
PAGE, LICENCE = "zenodo.org/records/11511780", "Apache-2.0"

SHAPES = {
    "base": VitShape(768, 12, 12, PATCH, COLUMNS),
    "0.6b": VitShape(1280, 32, 16, PATCH, COLUMNS),
    "1.2b": VitShape(1536, 40, 24, PATCH, COLUMNS),
}
SOURCES = {
    "base": Source("dasheng_base.pt", PAGE, LICENCE),
    "0.6b": Source("dasheng_06b.pt", PAGE, LICENCE),
    "1.2b": Source("dasheng_12b.pt", PAGE, LICENCE),
}


class DashengEncoder(MelVitEncoder):
    """Vectors of 768, 1280 or 1536 numbers; see the module."""


def dasheng(
    size: str, path: Path | None, device: torch.device, mode: Mode, *, allow_pickle: bool = False
) -> DashengEncoder:
    """Load one size.

    Args:
        size: a key of ``SHAPES``.
        path: its weights; None looks under ``checkpoints/``.
        allow_pickle: see ``read_weights``.
    Raises:
        WeightsError: the weights are missing, or are not this encoder's.
    """
    return DashengEncoder(f"dasheng-{size}", SHAPES[size], SOURCES[size], path, device, mode, allow_pickle=allow_pickle)
