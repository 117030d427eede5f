"""What happens to a clip before its bands: rates go down only, without aliases; a transfer path as asked."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from echo_edge.frontend import log_spectrogram
from trainer.config import AugmentConfig
from trainer.data.augment import LEVEL_PER_DB, downsample, transfer_path


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


def test_off_by_default_there_is_no_transfer_path():
    assert not transfer_path(AugmentConfig(), 201, np.random.default_rng(0)).any()


def test_a_transfer_path_stays_within_its_decibels_uses_them_and_goes_straight_between_its_points():
    config, random = AugmentConfig(transfer_db=10, transfer_knots=3), np.random.default_rng(0)
    paths = np.array([transfer_path(config, 201, random) for _ in range(200)]) / LEVEL_PER_DB
    assert 9.5 < np.abs(paths).max() <= 10 + 1e-4
    assert np.allclose(paths[:, 50], (paths[:, 0] + paths[:, 100]) / 2, atol=1e-4)


def test_a_decibel_is_what_it_is_in_a_log_spectrogram():
    noise = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    louder = log_spectrogram(noise * np.float32(10 ** (9 / 20)), 16_000) - log_spectrogram(noise, 16_000)
    assert louder.mean() == pytest.approx(9 * LEVEL_PER_DB, rel=1e-4)
