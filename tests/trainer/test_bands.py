"""From clips to bands: where they lie, what gain and background do to them, which clip each is a view of."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from tests.trainer.runs import configured, listed, noises, recorded
from trainer import frontend
from trainer.bands import Bands, bands_of
from trainer.data.augment import LEVEL_PER_DB
from trainer.data.dataset import Batch, Batches

RATE_HZ, FRAMES = 16_000, 48


def tone(freq_hz: float, level: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    time_s = np.arange(rate_hz) / rate_hz
    return (level * np.sin(2 * np.pi * freq_hz * time_s)).astype(np.float32)


def batch(*clips: tuple[np.ndarray, int], **row: float) -> Batch:
    """Return one view of bins 64 to 95 (2.56 to 3.8 kHz) of the first clip."""
    default = {"clip": 0, "start": 64, "empty": 0, "first": 10, "noise": -1, "noise_first": 0}
    whole = {key: torch.tensor([row.get(key, value)]) for key, value in default.items()}
    real = {key: torch.tensor([float(row.get(key, 0))]) for key in ("position", "gain_db", "snr_db")}
    samples = torch.from_numpy(np.concatenate([clip for clip, _ in clips]))
    rows = {**whole, **real, "transfer": torch.zeros(1, 32)}
    rates = tuple(rate_hz for _, rate_hz in clips)
    return Batch(samples, tuple(len(clip) for clip, _ in clips), rates, FRAMES, 1, 1, rows, ("here",))


def power(bands: torch.Tensor) -> torch.Tensor:
    """Return the power of each bin, over time, of bands (1, 32, T)."""
    return torch.exp(2 * (bands[0] * 10.446348 - 5.874158)).mean(1)


def test_a_view_is_a_crop_of_the_clips_own_spectrogram():
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    bands = bands_of(batch((noise, RATE_HZ)))
    level = frontend.log_spectrogram(torch.from_numpy(noise), RATE_HZ)
    assert torch.allclose(bands.seen[0], level[64:96, 10 : 10 + FRAMES], atol=1e-5)
    assert torch.allclose(bands.whole[0], level[64:96], atol=1e-5)
    assert bands.wanted is bands.seen


def test_a_gain_moves_what_is_seen_and_what_is_told_by_its_decibels():
    noise = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    plain, louder = (bands_of(batch((noise, RATE_HZ), gain_db=gain)) for gain in (0, 6))
    assert torch.allclose(louder.seen - plain.seen, torch.tensor(6 * LEVEL_PER_DB), atol=1e-5)
    assert torch.allclose(louder.offset, torch.full((1, 32), 6 * LEVEL_PER_DB))
    assert torch.equal(louder.whole, plain.whole)


@pytest.mark.parametrize("noise_hz", [16_000, 44_100])
def test_a_background_is_added_at_its_level_whatever_its_rate_and_what_is_wanted_stays_without(noise_hz):
    clips = (tone(3000), RATE_HZ), (tone(3400, 0.01, noise_hz), noise_hz)
    bands = bands_of(batch(*clips, noise=1, snr_db=10))
    clean, heard = power(bands.wanted), power(bands.seen)
    own, other = 3000 // 40 - 64, 3400 // 40 - 64
    assert float(heard[own] / clean[own]) == pytest.approx(1, rel=0.02)
    assert float(heard[other] / clean[own]) == pytest.approx(0.1, rel=0.02)
    assert torch.allclose(bands.wanted, bands_of(batch(clips[0])).seen, atol=1e-6)


def test_a_background_of_a_lower_rate_ends_where_its_rate_ends():
    low = np.random.default_rng(0).standard_normal(4000).astype(np.float32)  # 1 s, up to 2 kHz
    bands = bands_of(batch((tone(3000), RATE_HZ), (low, 4_000), noise=1, snr_db=-40))
    assert torch.equal(bands.seen, bands.wanted)


def test_a_silent_background_or_machine_gives_no_number_that_is_not_one():
    silence = np.zeros(RATE_HZ, np.float32)
    for clips in [(tone(3000), silence), (silence, tone(3000)), (silence, silence)]:
        bands = bands_of(batch(*((clip, RATE_HZ) for clip in clips), noise=1, snr_db=0))
        assert bool(torch.isfinite(bands.seen).all())
        assert torch.equal(bands.seen, bands.wanted)


def test_rows_of_a_partial_band_that_are_none_stay_zero_under_gain():
    bands = bands_of(batch((tone(3000), RATE_HZ), start=201 - 32, empty=23, gain_db=12))
    assert not bands.seen[:, :23].any()
    assert not bands.whole[:, :23].any()
    assert not bands.offset[:, :23].any()
    assert bool(bands.seen[:, 23:].all())


def drawn(folder, *changes: str, index: int = 0) -> tuple[Batch, Bands]:
    config = configured(folder, *(f"data.{change}" for change in changes)).data
    found = Batches(config, [], seed=0)[index]
    return found, bands_of(found)


def test_views_of_a_band_follow_each_other_and_take_turns_between_the_states_of_their_machine(tmp_path):
    found, bands = drawn(tmp_path, "states=2", "views=3", "crop_s=[0.4, 1.0]", "clip_s=1.0")
    assert bands.seen.shape[0] == 12 * 6
    assert bands.whole.shape[0] == 12 * 2
    assert found.lengths == tuple(found.lengths[0] * rate // found.rates_hz[0] for rate in found.rates_hz)
    for first in range(0, 72, 6):
        assert len(set(bands.position[first : first + 6].tolist())) == 1
        assert len(set(bands.of_whole[first : first + 6].tolist())) == 2
        clips = found.rows["clip"][first : first + 6].tolist()
        assert clips == [clips[0], clips[0] + 1] * 3
    assert len(set(found.rows["first"].tolist())) > 5


def test_what_is_told_is_of_the_clip_that_is_seen(tmp_path):
    found, bands = drawn(tmp_path, "states=2", "views=2", "crop_s=[0.4, 1.0]", "clip_s=1.0", "augment.gain_db=12")
    near = bands.seen[..., : found.frames].mean(2) - bands.offset
    told = bands.whole.mean(2)
    distance = (near[:, None] - told).square().mean(2)
    assert float(distance[torch.arange(len(near)), bands.of_whole].median()) < 0.1 * float(distance.median())


def test_backgrounds_come_with_their_probability_from_other_machines_within_their_range(tmp_path):
    with_noise = ("augment.background_share=0.5", "augment.background_snr_db=[0, 10]", "states=2", "views=2")
    shares = []
    for index in range(20):
        found, bands = drawn(tmp_path, *with_noise, index=index)
        noisy = found.rows["noise"] >= 0
        shares.append(float(noisy.float().mean()))
        assert bool((found.rows["noise"] // 2 != found.rows["clip"] // 2)[noisy].all())
        assert bool(((found.rows["snr_db"] >= 0) & (found.rows["snr_db"] <= 10)).all())
        assert torch.equal(bands.seen[~noisy], bands.wanted[~noisy])
        assert bool((bands.seen[noisy] != bands.wanted[noisy]).any())
    assert 0.3 < np.mean(shares) < 0.7


def test_a_clip_alone_in_its_batch_has_no_background(tmp_path):
    row = recorded(tmp_path, "0.wav", np.random.default_rng(0).standard_normal(8000), 8_000)
    changes = ("clips_per_batch=1", "bands_per_batch=2", "machines_share=0", "augment.background_share=1")
    config = configured(tmp_path, *(f"data.{change}" for change in changes)).data
    bands = bands_of(Batches(config, [listed(tmp_path, [row])], seed=0)[0])
    assert torch.equal(bands.seen, bands.wanted)


def test_a_clip_is_longer_than_a_view_where_the_recordings_allow(tmp_path):
    manifest = noises(tmp_path, [0.9] * 4)
    config = configured(tmp_path, "data.crop_s=[0.4, 2.0]", "data.clip_s=2.0", "data.machines_share=0").data
    found = Batches(config, [manifest], seed=0)[0]
    seconds = {length / rate for length, rate in zip(found.lengths, found.rates_hz, strict=True)}
    assert all(0.85 < length <= 0.91 for length in seconds)
    assert found.frames < 85


def test_a_batch_that_is_pinned_holds_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())  # pinning itself needs a GPU
    found, _ = drawn(tmp_path)
    pinned = found.pin_memory()
    assert torch.equal(pinned.samples, found.samples)
    assert pinned.rows.keys() == found.rows.keys()
    assert all(torch.equal(pinned.rows[key], found.rows[key]) for key in found.rows)
    assert (pinned.lengths, pinned.rates_hz, pinned.clips) == (found.lengths, found.rates_hz, found.clips)
