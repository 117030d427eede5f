"""What happens to a clip before its bands: rates go down only, without aliases; gain and transfer path as asked."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from echo_edge.frontend import log_spectrogram
from trainer.config import AugmentConfig
from trainer.data.augment import Augment, downsample


def tone(freq_hz: float, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * freq_hz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)


def rms(samples: np.ndarray) -> float:
    inner = samples[len(samples) // 10 : -len(samples) // 10]  # a filter rings at the ends
    return float(np.sqrt(np.mean(inner**2)))


@pytest.mark.parametrize(("rate_hz", "target_hz"), [(48_000, 8_000), (44_100, 16_000), (44_100, 25_600)])
def test_resampling_keeps_a_tone_below_the_new_nyquist_and_removes_one_above(rate_hz, target_hz):
    kept, gone = (downsample(tone(share * target_hz, rate_hz), rate_hz, target_hz) for share in (0.3, 0.7))
    assert len(kept) == target_hz
    assert rms(kept - tone(0.3 * target_hz, target_hz)) < 0.01
    assert rms(gone) < 10 ** (-45 / 20) * rms(kept)


@pytest.mark.parametrize("target_hz", [16_000, 16_001, 48_000])
def test_resampling_never_goes_up(target_hz):
    with pytest.raises(ValueError, match="only resampled down"):
        downsample(tone(100, 16_000), 16_000, target_hz)


def test_off_by_default_a_clip_stays_as_it_is():
    augment, samples = Augment.draw(AugmentConfig(), np.random.default_rng(0)), tone(440, 16_000)
    assert np.array_equal(augment.gained(samples), samples)
    assert not augment.transfer(201).any()


def test_the_gain_stays_within_its_decibels_and_uses_them():
    random = np.random.default_rng(0)
    drawn = [Augment.draw(AugmentConfig(gain_db=6), random).gain_db for _ in range(500)]
    assert -6 <= min(drawn) < -5
    assert 5 < max(drawn) <= 6
    assert rms(Augment(gain_db=6).gained(tone(440, 16_000))) == pytest.approx(10 ** (6 / 20) * np.sqrt(0.5), rel=1e-3)


def test_a_flat_transfer_path_is_a_gain():
    noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    plain, louder = (log_spectrogram(a.gained(noise), 16_000) for a in (Augment(), Augment(gain_db=9.0)))
    path = Augment(transfer_db=(9.0, 9.0, 9.0)).transfer(201)
    assert np.abs(plain + path[:, None] - louder).mean() < 1e-5


def test_a_transfer_path_goes_straight_from_point_to_point():
    path = Augment(transfer_db=(0.0, 10.0, -10.0)).transfer(201)
    assert path[[0, 50, 100, 150, 200]] / path[100] == pytest.approx([0, 0.5, 1, 0, -1])
