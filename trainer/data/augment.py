"""What may happen to a clip between its file and its bands: another rate, gain and transfer path. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from echo_edge.frontend import SPEC
from trainer.config import AugmentConfig

Array = NDArray[np.float32]


def downsample(samples: Array, rate_hz: int, target_hz: int) -> Array:
    """Return ``samples`` at a lower rate, free of aliases (polyphase, with scipy's anti-aliasing filter).

    Raises:
        ValueError: ``target_hz`` is not below ``rate_hz``: what was never recorded cannot be made.
    """
    if target_hz >= rate_hz:
        raise ValueError(f"{rate_hz} Hz to {target_hz} Hz: recordings are only resampled down")
    common = math.gcd(rate_hz, target_hz)
    return np.asarray(resample_poly(samples, target_hz // common, rate_hz // common), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Augment:
    """The draw for one clip; off unless the configuration asks for it."""

    gain_db: float = 0.0
    transfer_db: tuple[float, ...] = ()
    """Gain at evenly spaced frequencies from 0 to half the rate: a smooth transfer path."""

    @classmethod
    def draw(cls, config: AugmentConfig, random: np.random.Generator) -> Augment:
        gain_db = random.uniform(-1, 1) * config.gain_db
        knots = random.uniform(-1, 1, config.transfer_knots) * config.transfer_db
        return cls(float(gain_db), tuple(knots) if config.transfer_db else ())

    def gained(self, samples: Array) -> Array:
        """Return the samples with the gain."""
        return samples * np.float32(10 ** (self.gain_db / 20)) if self.gain_db else samples

    def transfer(self, n_bins: int) -> Array:
        """Return what the transfer path adds to each bin of a normalized log spectrogram, shape (F,)."""
        if not self.transfer_db:
            return np.zeros(n_bins, dtype=np.float32)
        knots = np.linspace(0, n_bins - 1, len(self.transfer_db))
        curve_db = np.interp(np.arange(n_bins), knots, self.transfer_db)
        return np.asarray(curve_db * (math.log(10) / 20 / SPEC.log_scale), dtype=np.float32)
