"""What an encoder is to the benchmark: channels in, one vector a channel out.

Shape suffixes: C = channels, S = samples, D = length of a vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

Mode = Literal["siren", "strict"]
"""``siren`` repeats the published code, its faults included; ``strict`` is what a careful person would report."""


class Encoder(ABC):
    """Turns signals into vectors; the same signal gives the same vector whatever else is in the batch."""

    name: str
    """As reports show it."""

    digest: str
    """SHA-256 in hex of the weights and of every choice that decides what comes out: the key of the cache."""

    @abstractmethod
    def embed_batch(self, signals: Sequence[FloatArray], rate_hz: int) -> list[FloatArray]:
        """Return one array (C, D) for each signal (C, S); lengths may differ, the rate is one.

        Raises:
            ValueError: a signal is too short, or holds samples that are not finite.
        """

    def embed(self, signal: FloatArray, rate_hz: int) -> FloatArray:
        """Return the vectors (C, D) of one signal (C, S)."""
        return self.embed_batch([signal], rate_hz)[0]

    def band_edges(self, rate_hz: int) -> tuple[int, ...] | None:  # noqa: ARG002 - most encoders hear the whole
        """Return where each band's part of a vector begins, and D at the end; None when a vector has no bands."""
        return None


def by_length(
    signals: Sequence[FloatArray], at_once: Callable[[int], int], embed: Callable[[FloatArray], FloatArray]
) -> list[FloatArray]:
    """Embed the channels of all signals (C, S), those of one length together; return one array (C, D) a signal.

    Args:
        at_once: how many channels of a length go together.
        embed: (R, S) to (R, D).
    """
    channels = [channel for signal in signals for channel in signal]
    alike: dict[int, list[int]] = defaultdict(list)
    for index, channel in enumerate(channels):
        alike[channel.size].append(index)
    vectors: dict[int, FloatArray] = {}
    for length, indices in alike.items():
        many = max(1, at_once(length))
        for first in range(0, len(indices), many):
            batch = indices[first : first + many]
            vectors.update(zip(batch, embed(np.stack([channels[i] for i in batch])), strict=True))
    rows = iter([vectors[i] for i in range(len(channels))])
    return [np.stack([next(rows) for _ in signal]) for signal in signals]
