"""EAT in its two sizes: a transformer on patches of filter banks, whose first token sums up ten seconds.

A picture is 1024 frames of 10 ms by 128 mel bands, 64 columns of 8 patches; what is shorter is filled with zeros. The
network is that of FISHER too, which was developed from EAT.

Shape suffixes: B = pieces, N = pictures, S = samples, T = frames, M = mel bands, P = patches, L = tokens (P + 1, CLS
first), D = width. State-dict keys are those of the Hugging Face checkpoints without their prefix ``model.``.
Source: EAT, arXiv:2401.03497; github.com/cwx-worst-one/EAT@c662215 and the code beside the Hugging Face checkpoints
for names, shapes and order; data2vec 2.0 for the blocks: norms after the sums, one more on the input, none at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.siren.encoders import vit
from trainer.siren.encoders.base import Mode
from trainer.siren.encoders.fbank import filter_banks
from trainer.siren.encoders.pieces import PieceEncoder
from trainer.siren.encoders.vit import EPS, PatchEmbed
from trainer.siren.encoders.weights import Source, Stored, load_strictly, read_weights
from trainer.siren.errors import WeightsError

PATCH = 16
FRAMES, CELLS = 1024, 512
MEAN, DEVIATION = -4.268, 4.569

SIZES = {"base": (768, 12, 12), "large": (1024, 24, 16)}
"""Width, depth and heads."""

SOURCES = {
    size: Source(f"{name}.safetensors", f"huggingface.co/worstchan/{name} (there it is model.safetensors)", "MIT")
    for size, name in {"base": "EAT-base_epoch30_pretrain", "large": "EAT-large_epoch20_pretrain"}.items()
}

FAIRSEQ = "modality_encoders.IMAGE."
TRAINED_WITH = (f"{FAIRSEQ}decoder.", "recon_proj.")
"""What pretraining needed and nobody else does."""


class Block(vit.Block):
    """One layer, norm after each of its two sums."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, L, D) for x (N, L, D)."""
        x = self.norm1(x + self.attn(x))
        y: Tensor = self.norm2(x + self.mlp(x))
        return y


class Positions(nn.Module):
    """A module of its own only because the published keys end with ``fixed_positional_encoder.positions``."""

    def __init__(self, cells: int, dim: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, cells, dim), requires_grad=False)


class PatchTransformer(nn.Module):
    """From pictures to CLS vectors."""

    def __init__(self, dim: int, depth: int, heads: int, cells: int) -> None:
        super().__init__()
        self.local_encoder = PatchEmbed(dim, (PATCH, PATCH))
        self.extra_tokens = nn.Parameter(torch.zeros(1, 1, dim))
        self.fixed_positional_encoder = Positions(cells, dim)
        self.pre_norm = nn.LayerNorm(dim, eps=EPS)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the CLS vectors (N, D) of pictures (N, frames, bins), both whole patches or the rest is left out.

        Patches go bin by bin, then column by column; the n-th gets the n-th place of the table.
        """
        patches = self.local_encoder.proj(pictures[:, None]).flatten(2).transpose(1, 2)
        placed = patches + self.fixed_positional_encoder.positions[:, : patches.shape[1]]
        tokens = torch.cat((self.extra_tokens.expand(len(placed), -1, -1), placed), dim=1)
        cls: Tensor = self.blocks(self.pre_norm(tokens))[:, 0]
        return cls


class EatEncoder(PieceEncoder):
    """Vectors of 768 or 1024 numbers; see the module."""

    clamps_tail = True

    def __init__(
        self, name: str, shape: tuple[int, int, int], stored: Stored, device: torch.device, mode: Mode
    ) -> None:
        self.name, self.device, self.mode = name, device, mode
        dim, depth, heads = shape
        check_config(self.name, stored, {"embed_dim": dim, "depth": depth, "num_heads": heads})
        state = own_names(stored.state)
        table = "fixed_positional_encoder.positions"
        if table in state:  # the Hugging Face checkpoints store two minutes of it
            state[table] = state[table][:, :CELLS]
        self.network = loaded(self.name, stored, state, (*shape, CELLS)).to(device)
        decisive = (self.name, stored.sha256, "clamped", shape, FRAMES, MEAN, DEVIATION, EPS)
        self.digest = hashlib.sha256(repr(decisive).encode()).hexdigest()

    def embed_pieces(self, pieces: Tensor) -> Tensor:
        """Return CLS, (B, D), of pieces (B, S): 1024 frames of them, or as many and zeros; see ``PieceEncoder``.

        The published code takes the mean off the whole signal; a piece's own is taken off in each frame.
        """
        banks = filter_banks(pieces, "hanning")[:, :FRAMES]
        banks = functional.pad(banks, (0, 0, 0, FRAMES - banks.shape[1]))
        cls: Tensor = self.network((banks - MEAN) / (2 * DEVIATION))
        return cls


def eat(size: str, path: Path | None, device: torch.device, mode: Mode, *, allow_pickle: bool = False) -> EatEncoder:
    """Load one size.

    Args:
        size: a key of ``SIZES``.
        path: its weights, in the form of Hugging Face or of fairseq; None looks under ``checkpoints/``.
        allow_pickle: see ``read_weights``.
    Raises:
        WeightsError: the weights are missing, or are not this encoder's.
    """
    stored = read_weights(f"eat-{size}", SOURCES[size], path, allow_pickle=allow_pickle)
    return EatEncoder(f"eat-{size}", SIZES[size], stored, device, mode)


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return stored weights under the names used here, without what only pretraining needed."""
    found = {key: value for key, value in state.items() if not key.startswith(TRAINED_WITH)}
    if all(key.startswith("model.") for key in found):
        return {key.removeprefix("model."): value for key, value in found.items()}
    short = {key.removeprefix(FAIRSEQ): value for key, value in found.items()}
    return {key.replace("context_encoder.norm.", "pre_norm.", 1): value for key, value in short.items()}


def check_config(name: str, stored: Stored, wanted: Mapping[str, object]) -> None:
    """Check what a stored configuration, if there is one, says that no tensor's shape tells.

    Raises:
        WeightsError: naming the first value that this network is not written for.
    """
    found = fairseq_config(stored)
    for key, value in {**wanted, "norm_eps": EPS, "layer_norm_first": False, "mlp_ratio": 4.0}.items():
        if found.get(key, value) != value:
            raise WeightsError(f"{name}: {stored.path}: cfg: {key} is {found[key]}, expected {value}")


def fairseq_config(stored: Stored, *path: str) -> dict[str, object]:
    """Return the part of a stored configuration under ``model`` and then ``path``; empty when there is none."""
    found: object = stored.config
    for key in ("model", *path):
        within = found if isinstance(found, Mapping) else getattr(found, "__dict__", {})
        found = within.get(key, {})
    return dict(found if isinstance(found, Mapping) else getattr(found, "__dict__", {}))


def loaded(
    name: str, stored: Stored, state: Mapping[str, Tensor], shape: tuple[int, int, int, int]
) -> PatchTransformer:
    """Return a network of a shape (width, depth, heads, places) with ``state`` in it; see ``load_strictly``."""
    with torch.device("meta"):  # no time is spent on drawing weights that are about to be replaced
        network = PatchTransformer(*shape)
    network.to_empty(device="cpu")
    load_strictly(name, stored, network, state)
    return network
