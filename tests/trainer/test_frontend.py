"""The two front ends are one: the daemon's numpy and the trainer's torch."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from echo_edge import frontend
from trainer import frontend as twin


@pytest.mark.parametrize(
    "rate_hz", [1000, 2000, 2560, 8000, 11_025, 12_800, 16_000, 22_050, 25_600, 44_100, 48_000, 51_200, 96_000, 192_000]
)
def test_numpy_and_torch_give_the_same_bands_at_every_rate(rate_hz):
    samples = np.random.default_rng(rate_hz).standard_normal(rate_hz // 2).astype(np.float32)
    bands, position = frontend.bands(samples, rate_hz)
    bands_t, position_t = twin.bands(torch.from_numpy(samples), rate_hz)
    # Noise has bins a ten-thousandth of their neighbours: there float32 keeps three digits of the magnitude.
    assert bands == pytest.approx(bands_t.numpy(), abs=5e-4)
    assert np.abs(bands - bands_t.numpy()).mean() < 1e-6
    assert np.array_equal(position, position_t.numpy())


def test_torch_takes_many_signals_at_once():
    samples = torch.randn(2, 3, 8000, generator=torch.Generator().manual_seed(0))
    bands, _ = twin.bands(samples, 16_000)
    assert bands.shape == (2, 3, 7, 32, 48)
    assert torch.allclose(bands[1, 2], twin.bands(samples[1, 2], 16_000)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "rate_hz", "says"),
    [
        (torch.zeros(399), 16_000, "one frame needs 400"),
        (torch.full((500,), torch.nan), 16_000, "must be finite"),
        (torch.zeros(20_025), 1000, "2001 frames: at most 2000"),
        (torch.zeros(400), 500, "at least 1000 Hz"),
    ],
)
def test_torch_refuses_what_numpy_refuses(samples, rate_hz, says):
    with pytest.raises(ValueError, match=says):
        twin.bands(samples, rate_hz)
