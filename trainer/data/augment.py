"""What may happen to a clip between its file and its bands: another rate, another transfer path. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from echo_edge.frontend import SPEC
from trainer.config import AugmentConfig

Array = NDArray[np.float32]
LEVEL_PER_DB = math.log(10) / 20 / SPEC.log_scale  # what a decibel is in a normalized log spectrogram


def downsample(samples: Array, rate_hz: int, target_hz: int) -> Array:
    """Return ``samples`` at a lower rate, free of aliases (polyphase, with scipy's anti-aliasing filter).

    Raises:
        ValueError: ``target_hz`` is not below ``rate_hz``: what was never recorded cannot be made.
    """
    if target_hz >= rate_hz:
        raise ValueError(f"{rate_hz} Hz to {target_hz} Hz: recordings are only resampled down")
    common = math.gcd(rate_hz, target_hz)
    return np.asarray(resample_poly(samples, target_hz // common, rate_hz // common), dtype=np.float32)


def transfer_path(config: AugmentConfig, n_bins: int, random: np.random.Generator) -> Array:
    """Draw what a smooth transfer path adds to each bin of a normalized log spectrogram, shape (F,); 0 when off."""
    knots_db = random.uniform(-1, 1, config.transfer_knots) * config.transfer_db
    knots = np.linspace(0, n_bins - 1, len(knots_db))
    return np.asarray(np.interp(np.arange(n_bins), knots, knots_db) * LEVEL_PER_DB, dtype=np.float32)
