"""What SIREN puts in front of every 16 kHz encoder: no mean, another rate, pieces of ten seconds, and their average.

Shape suffixes: B = pieces, S = samples, D = length of a vector.
Source: github.com/yucongzh/SIREN@f9fa43e, ``examples/``; resampling as torchaudio 2's default (windowed sinc, Hann,
6 zero crossings, roll-off 0.99), after J. O. Smith, "Digital Audio Resampling", ccrma.stanford.edu/~jos/resample.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.siren.encoders.base import Encoder, FloatArray, Mode

RATE_HZ = 16_000
PIECE = 10 * RATE_HZ
BATCH = 16  # pieces at a time
ZERO_CROSSINGS, ROLL_OFF = 6, 0.99


class PieceEncoder(Encoder):
    """An encoder of 16 kHz pieces. A subclass says what one batch of pieces is worth; the rest is here."""

    device: torch.device
    mode: Mode
    clamps_tail = False
    """Whether the published wrapper cut the last piece of a clip below ten seconds rightly: only EAT's did."""

    @abstractmethod
    def embed_pieces(self, pieces: Tensor) -> Tensor:
        """Return vectors (B, D) of pieces (B, S) of equal length, 16 kHz, on ``device``."""

    def embed_batch(self, signals: Sequence[FloatArray], rate_hz: int) -> list[FloatArray]:
        """Return one array (C, D) for each signal (C, S); see ``Encoder``."""
        by_length: dict[int, list[tuple[int, FloatArray]]] = defaultdict(list)
        channels = [channel for signal in signals for channel in signal]
        for index, channel in enumerate(channels):
            if not len(channel):
                raise ValueError("a signal has no samples")
            if not np.isfinite(channel).all():
                raise ValueError("samples must be finite")
            whole = resample(torch.from_numpy(channel - channel.mean(dtype=np.float64).astype(np.float32)), rate_hz)
            for piece in cut(whole, siren_tail=self.mode == "siren" and not self.clamps_tail):
                by_length[len(piece)].append((index, piece.numpy()))
        sums: dict[int, FloatArray] = {}
        count = np.zeros(len(channels), np.float32)
        for group in by_length.values():
            for first in range(0, len(group), BATCH):
                batch = group[first : first + BATCH]
                with torch.inference_mode():
                    found = self.embed_pieces(torch.from_numpy(np.stack([p for _, p in batch])).to(self.device))
                for (index, _), vector in zip(batch, found.float().cpu().numpy(), strict=True):
                    sums[index] = sums[index] + vector if index in sums else vector
                    count[index] += 1
        vectors = iter([sums[i] / count[i] for i in range(len(channels))])
        return [np.stack([next(vectors) for _ in signal]) for signal in signals]


def cut(samples: Tensor, *, siren_tail: bool) -> list[Tensor]:
    """Cut samples (S,) into pieces of ten seconds, and one of the last ten when something is left.

    Args:
        siren_tail: as the published BEATs, CED and Dasheng wrappers do. They compute where the last piece starts
            without a floor at 0, so that of a clip between 5 and 10 s only the last ``10 s - length`` are heard.
    """
    length = len(samples)
    pieces = [samples[at : at + PIECE] for at in range(0, length - PIECE + 1, PIECE)]
    if length % PIECE:
        start = length - PIECE
        pieces.append(samples[start:] if siren_tail or start >= 0 else samples)
    return pieces


def resample(samples: Tensor, rate_hz: int, to_hz: int = RATE_HZ) -> Tensor:
    """Return float32 samples (S,) at another rate, shape (ceil(S * to / from),)."""
    if rate_hz == to_hz:
        return samples
    common = math.gcd(rate_hz, to_hz)
    step, phases = rate_hz // common, to_hz // common
    kernel, width = _kernel(step, phases)
    padded = functional.pad(samples[None, None], (width, width + step))
    found = functional.conv1d(padded, kernel, stride=step)[0]
    return found.T.reshape(-1)[: -(-phases * len(samples) // step)]


@lru_cache(maxsize=16)
def _kernel(step: int, phases: int) -> tuple[Tensor, int]:
    """Return one windowed sinc for each phase of the output, (phases, 1, taps), and how far it reaches back."""
    cut_off = min(step, phases) * ROLL_OFF
    width = math.ceil(ZERO_CROSSINGS * step / cut_off)
    taps = torch.arange(-width, width + step, dtype=torch.float64)[None, None] / step
    phase = -torch.arange(phases)[:, None, None] / phases  # float32, as torchaudio rounds it: the same to the bit
    t = ((taps + phase) * cut_off).clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    window = torch.cos(t * math.pi / ZERO_CROSSINGS / 2) ** 2
    return (torch.sinc(t) * window * cut_off / step).float(), width
