"""Kaldi's filter banks in torch: silence, offsets and frames (that the levels are torchaudio's: ``test_beats``)."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from trainer.siren.encoders.fbank import filter_banks, frames_of

LEAST = 2**-23  # of a power, as Kaldi has it


def test_digital_silence_has_the_least_level() -> None:
    assert torch.allclose(filter_banks(torch.zeros(1, 800), "povey"), torch.tensor(math.log(LEAST)))


def test_an_offset_of_a_piece_is_not_heard() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 8000)).astype(np.float32))
    assert torch.allclose(filter_banks(noise + 0.5, "hanning"), filter_banks(noise, "hanning"), atol=0.02)


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (400, 1), (559, 1), (560, 2), (160_000, 998)])
def test_only_whole_frames_count(samples: int, frames: int) -> None:
    assert frames_of(samples) == frames
    if frames:
        assert filter_banks(torch.zeros(1, samples), "povey").shape == (1, frames, 128)


def test_a_tone_is_loudest_in_its_band_and_ten_times_the_amplitude_is_twenty_decibels() -> None:
    t = torch.arange(16_000) / 16_000
    tone = torch.sin(2 * math.pi * 1000 * t)[None]
    soft, loud = filter_banks(tone, "hanning"), filter_banks(10 * tone, "hanning")
    mel = 1127 * math.log(1 + 1000 / 700)
    low, high = (1127 * math.log(1 + hz / 700) for hz in (20, 8000))
    band = round((mel - low) / (high - low) * 129) - 1
    assert abs(int(soft[0].mean(dim=0).argmax()) - band) <= 1
    assert float((loud - soft)[0, :, band].mean()) == pytest.approx(math.log(100), abs=1e-3)
