"""What an encoder is to the benchmark: channels in, one vector a channel out.

Shape suffixes: C = channels, S = samples, D = length of a vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
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
