"""The numpy front end by itself: shapes, layout, refusals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from echo_edge import frontend


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


@pytest.mark.parametrize(
    ("rate_hz", "n_bands", "last_bins"),
    [(1000, 1, 13), (2000, 1, 26), (12_800, 6, 1), (16_000, 7, 9), (22_050, 9, 20), (25_600, 11, 1), (48_000, 19, 25)],
)
def test_every_rate_has_its_bands_and_the_last_one_is_partial(rate_hz, n_bands, last_bins):
    edges = frontend.band_bins(rate_hz)
    assert (len(edges), edges[-1][1] - edges[-1][0]) == (n_bands, last_bins)
    assert frontend.positions(rate_hz).shape == (n_bands,)
    assert len(frontend.band_edges_hz(rate_hz)) == n_bands


def test_positions_at_16_khz_are_the_worked_example():
    expected = [0.0775, 0.2375, 0.3975, 0.5575, 0.7175, 0.8775, 0.98]
    assert frontend.positions(16_000) == pytest.approx(expected, abs=1e-7)


def test_band_edges_touch_each_other_and_end_at_half_the_rate():
    edges = frontend.band_edges_hz(16_000)
    assert edges[0] == (0.0, 1260.0)
    assert all(low == high for (_, high), (low, _) in pairwise(edges))
    assert edges[-1][1] == 8000.0


def test_the_partial_band_is_padded_in_front_and_time_at_the_end():
    spectrogram = np.arange(1, 201 * 28 + 1, dtype=np.float32).reshape(201, 28)
    bands = frontend.split_bands(spectrogram)
    assert bands.shape == (7, 32, 32)
    assert not bands[6, :23].any()
    assert np.array_equal(bands[6, 23:, :28], spectrogram[192:])
    assert np.array_equal(bands[0, :, :28], spectrogram[:32])
    assert not bands[:, :, 28:].any()


@pytest.mark.parametrize("rate_hz", [1000, 2000, 11_025, 16_000, 25_600, 48_000])
def test_bands_are_the_split_spectrogram(rate_hz):
    samples = noise(rate_hz // 2)
    bands, position = frontend.bands(samples, rate_hz)
    assert np.array_equal(bands, frontend.split_bands(frontend.log_spectrogram(samples, rate_hz)))
    assert np.array_equal(position, frontend.positions(rate_hz))
    assert bands.dtype == position.dtype == np.float32


def test_silence_lies_at_the_floor_and_a_constant_is_silence():
    for level in (0.0, 0.5):
        spectrogram = frontend.log_spectrogram(np.full(4800, level, np.float32), 16_000)
        assert spectrogram == pytest.approx((np.log(1e-9) + 5.874158) / 10.446348, abs=1e-6)


def test_twice_as_loud_is_a_constant_higher():
    samples = noise(16_000)
    louder = frontend.log_spectrogram(2 * samples, 16_000) - frontend.log_spectrogram(samples, 16_000)
    assert louder == pytest.approx(np.log(2) / 10.446348, abs=1e-5)


def test_a_long_signal_is_the_same_as_its_parts():
    """Frames are computed in chunks; no chunk border may show."""
    samples = noise(48_000 * 3)
    samples -= samples.mean(dtype=np.float64).astype(np.float32)
    whole = frontend.log_spectrogram(samples, 48_000)
    for frame in (0, 65, 66, 67, 133, 297):
        part = samples[480 * frame : 480 * frame + 1200].astype(np.float64)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1200) / 1200)
        level = np.log(np.abs(np.fft.rfft(part * hann)) + 1e-9)
        assert whole[:, frame] == pytest.approx((level + 5.874158) / 10.446348, abs=1e-4)


@pytest.mark.parametrize(
    ("samples", "rate_hz", "says"),
    [
        (noise(399), 16_000, "399 samples at 16000 Hz: one frame needs 400"),
        (np.array([0.0] * 500 + [np.nan] * 500), 16_000, "sample 500 is nan"),
        (np.array([np.inf] + [-np.inf] * 500), 16_000, "sample 0 is inf"),
        (np.array([0.0] * 500 + [1e30]), 16_000, "sample 500 is 1.*e\\+30"),
        (noise(2000 * 10 + 25), 1000, "2001 frames: at most 2000"),
        (noise(4000), 999, "at least 1000 Hz"),
        (noise(800).reshape(2, 400), 16_000, "one channel at a time"),
    ],
)
def test_what_cannot_be_heard_is_refused_with_the_reason(samples, rate_hz, says):
    with pytest.raises(ValueError, match=says):
        frontend.bands(samples, rate_hz)


def test_the_longest_window_has_exactly_2000_frames():
    bands, _ = frontend.bands(noise(1999 * 10 + 25), 1000)
    assert bands.shape == (1, 32, 2000)
