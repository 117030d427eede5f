"""What anyone can write in a line, and every encoder has to beat: averages of a spectrogram, vibration features.

Shape suffixes: C = channels, S = samples, T = frames, F = bins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.signal import hilbert
from torch import Tensor

from echo_edge.frontend import SPEC, frame_sizes
from trainer.evaluation.features import mean_and_deviation, mean_log_spectrum
from trainer.siren.encoders.base import Encoder, FloatArray, Mode
from trainer.siren.encoders.mel import mel_power
from trainer.siren.encoders.pieces import RATE_HZ, PieceEncoder

MELS, FFT, HOP = 128, 1024, 512
FLOOR = 1e-10
ENVELOPE_LOW_HZ, ENVELOPE_HIGH_HZ, ENVELOPE_BANDS = 8.0, 1000.0, 32


class Feature(Encoder):
    """A function of one channel (S,) and its rate."""

    def __init__(self, name: str, function: Callable[[FloatArray, int], FloatArray], *, by_bin: bool = False) -> None:
        self.name, self._function, self._by_bin = name, function, by_bin
        self.digest = hashlib.sha256(name.encode()).hexdigest()  # the code itself is hashed by the engine

    def embed_batch(self, signals: Sequence[FloatArray], rate_hz: int) -> list[FloatArray]:
        """Return one array (C, D) for each signal (C, S); see ``Encoder``."""
        return [np.stack([self._function(channel, rate_hz) for channel in signal]) for signal in signals]

    def band_edges(self, rate_hz: int) -> tuple[int, ...] | None:
        """Return the edges of ECHO's bands where a vector has one number a bin."""
        if not self._by_bin:
            return None
        bins = frame_sizes(rate_hz)[0] // 2 + 1
        return (*range(0, bins, SPEC.band_width), bins)


class LogMel(PieceEncoder):
    """The mean over time of the log mel spectrogram of 16 kHz encoders: 128 bands, 64 ms every 32 ms."""

    clamps_tail = True
    name = "log-mel"

    def __init__(self, device: torch.device, mode: Mode) -> None:
        self.device, self.mode = device, mode
        self.digest = hashlib.sha256(self.name.encode()).hexdigest()

    def embed_pieces(self, pieces: Tensor) -> Tensor:
        """Return (B, 128) of pieces (B, S)."""
        power = mel_power(pieces, n_fft=FFT, hop=HOP, n_mels=MELS, low_hz=0.0, high_hz=RATE_HZ / 2, rate_hz=RATE_HZ)
        return torch.log(power + FLOOR).mean(dim=2)


def vibration(samples: FloatArray, rate_hz: int) -> FloatArray:
    """Return what a vibration analyst looks at first, as natural logarithms, shape (35,).

    RMS, crest factor and kurtosis; then the spectrum of the envelope, the mean amplitude in each of 32 bands evenly
    spaced in the logarithm of frequency from 8 to 1000 Hz (below half the rate), as a share of the mean envelope.
    Source: R. B. Randall and J. Antoni, "Rolling element bearing diagnostics: a tutorial", MSSP 25, 2011.

    Raises:
        ValueError: no movement at all, or shorter than four turns at 8 Hz.
    """
    x = samples.astype(np.float64) - samples.mean(dtype=np.float64)
    rms = np.sqrt(np.mean(np.square(x)))
    if not rms > 0:
        raise ValueError("all samples are equal: there is no level to take a logarithm of")
    if x.size * ENVELOPE_LOW_HZ < 4 * rate_hz:
        raise ValueError(f"{x.size} samples at {rate_hz} Hz are too short for lines at {ENVELOPE_LOW_HZ:g} Hz")
    crest, kurtosis = np.abs(x).max() / rms, np.mean(x**4) / rms**4
    envelope = np.abs(hilbert(x))
    window = np.hanning(x.size)
    lines = 4 * np.abs(np.fft.rfft((envelope - envelope.mean()) * window)) / (x.size * envelope.mean())
    frequency = np.fft.rfftfreq(x.size, 1 / rate_hz)
    edges = np.geomspace(ENVELOPE_LOW_HZ, min(ENVELOPE_HIGH_HZ, rate_hz / 2), ENVELOPE_BANDS + 1)
    places = np.digitize(frequency, edges)
    counted = np.bincount(places, minlength=ENVELOPE_BANDS + 2)[1:-1]
    summed = np.bincount(places, lines, minlength=ENVELOPE_BANDS + 2)[1:-1]
    middle = np.sqrt(edges[:-1] * edges[1:])
    share = np.where(counted > 0, summed / np.maximum(counted, 1), np.interp(middle, frequency, lines))
    found: FloatArray = np.log(np.concatenate([[rms, crest, kurtosis], share + FLOOR])).astype(np.float32)
    return found


def features(device: torch.device, mode: Mode) -> dict[str, Callable[[], Encoder]]:
    """Return the trivial encoders by name."""
    return {
        "mean-log-spectrum": lambda: Feature("mean-log-spectrum", mean_log_spectrum, by_bin=True),
        "mean-deviation": lambda: Feature("mean-deviation", mean_and_deviation),
        "log-mel": lambda: LogMel(device, mode),
        "vibration": lambda: Feature("vibration", vibration),
    }
