"""What the teacher's layers say: the two tap points; training and inference, which attend by other operations."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch

from trainer.model.echo import Echo, EchoConfig

BANDS = torch.randn(3, 32, 160, generator=torch.Generator().manual_seed(1))
POSITION = torch.tensor([0.1, 0.5, 0.9])


@pytest.fixture(params=[False, True], ids=["post-norm", "pre-norm"])
def encoder(request) -> Echo:
    torch.manual_seed(0)
    return Echo(EchoConfig(64, 3, norm_first=request.param)).eval()


@torch.no_grad()
def taps(encoder: Echo, tap: str) -> list[torch.Tensor]:
    return encoder.taps(encoder.patch_tokens(BANDS, POSITION), POSITION, tap)


@pytest.mark.parametrize("tap", ["ffn", "block"])
def test_every_layer_is_tapped_at_every_patch_without_cls(encoder, tap):
    assert [tuple(said.shape) for said in taps(encoder, tap)] == [(3, 10, 64)] * 3


@torch.no_grad()
def test_the_last_block_is_what_the_final_norm_takes(encoder):
    assert torch.equal(encoder.norm(taps(encoder, "block")[-1]), encoder.tokens(BANDS, POSITION)[:, 1:])


@torch.no_grad()
def test_the_feed_forward_is_tapped_before_the_second_residual_sum(encoder):
    inputs = []
    encoder.encoder.layers[1].linear2.register_forward_hook(lambda _layer, _args, said: inputs.append(said[:, 1:]))
    assert torch.equal(taps(encoder, "ffn")[1], inputs[0])


@torch.no_grad()
def test_bands_never_see_each_other(encoder):
    alone = encoder.taps(encoder.patch_tokens(BANDS[1:2], POSITION[1:2]), POSITION[1:2], "block")
    assert torch.allclose(alone[-1], taps(encoder, "block")[-1][1:2], atol=1e-5)


@torch.no_grad()
def test_training_computes_what_inference_does_where_nothing_is_dropped(encoder):
    encoder = Echo(replace(encoder.config, dropout=0.0))
    told = encoder.eval().tokens(BANDS, POSITION)
    torch.testing.assert_close(encoder.train().tokens(BANDS, POSITION), told, atol=1e-5, rtol=0)


@torch.no_grad()
def test_training_drops_attention_too(encoder):
    attention = encoder.encoder.layers[0].self_attn.train()
    x = torch.randn(2, 9, 64)
    assert not torch.equal(attention(x), attention(x))
