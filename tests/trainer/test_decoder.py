"""The decoder of pretraining: what its convolutions compute, and what stands in for patches that were not seen."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional

from trainer.model.decoder import GROUPS, MASK_NOISE, Decoder, PatchConvolution


@torch.no_grad()
@pytest.mark.parametrize("patches", [1, 2, 50])
def test_a_convolution_over_patches_is_torchs_own_in_one_dimension(patches):
    torch.manual_seed(0)
    layer, x = PatchConvolution(64, 64, 3, groups=GROUPS), torch.randn(5, patches, 64)
    expected = functional.conv1d(x.transpose(1, 2), layer.weight, layer.bias, padding="same", groups=GROUPS)
    torch.testing.assert_close(layer(x), expected.transpose(1, 2), atol=1e-5, rtol=0)


@torch.no_grad()
def test_patches_that_were_seen_stand_in_their_places_and_noise_in_the_others():
    decoder = Decoder(32, {"patch": 8}, layers=0)
    kept = torch.tensor([[3, 0]])
    tokens = torch.stack((torch.full((32,), 3.0), torch.full((32,), 10.0)))[None]
    features = decoder(tokens, kept, 5)
    assert features[0, [0, 3], 0].tolist() == [10.0, 3.0]
    assert features[0, [1, 2, 4]].std().item() == pytest.approx(MASK_NOISE, rel=0.3)
