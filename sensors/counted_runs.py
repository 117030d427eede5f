"""CountedRuns: which of a format's single, numbered samples may pass, where no checksum vouches for the number. Pure.

A damaged number looks like lost samples, and the next good one like a restarted sensor. So a number is believed only
when a neighbour agrees: the one before or the one after is one period away. A sample that agrees with neither is left
out; after a jump one sample is held back until the next has spoken for it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensors.protocol import Samples

NEXT = 1.5  # periods: a longer step means that samples are missing
REPEATED_PERIODS = 64  # a step back by no more than this repeats what came; by more it is a new beginning

Numbers = NDArray[np.unsignedinteger[Any]]
Values = NDArray[np.float32]


class CountedRuns:
    """Cuts samples into runs at every missing one, and lets none pass twice.

    Counts into ``counters``: ``bad_frames`` (a number that no neighbour confirms), ``repeated_frames`` and ``resets``.
    """

    def __init__(
        self, counters: Counter[str], period: float, *, plausible_periods: float, fresh_below: float = 0.0
    ) -> None:
        """Nothing has come yet.

        Args:
            counters: where to count.
            period: what the number grows by from sample to sample.
            plausible_periods: a longer step is a restarted sensor, not that many lost samples.
            fresh_below: a step back to a number below this one is a new beginning, however short the step.
        """
        self._counters = counters
        self._period = period
        self._plausible_periods = plausible_periods
        self._fresh_below = fresh_below
        self._last: Numbers | None = None  # shape (1,): the number of the last sample that passed
        self._held: tuple[Numbers, Values] | None = None

    def push(self, numbers_n: Numbers, values_nc: Values) -> list[Samples]:
        """Take samples in the order of their arrival.

        Args:
            numbers_n: shape (n,), unsigned; they wrap where their type does.
            values_nc: shape (n, channels).
        """
        if self._held is not None:
            numbers_n = np.concatenate((self._held[0], numbers_n))
            values_nc = np.concatenate((self._held[1], values_nc))
            self._held = None
        if not len(numbers_n):
            return []
        follows_n = self._follows(numbers_n)
        confirmed_n = follows_n.copy()
        confirmed_n[:-1] |= follows_n[1:]
        if not follows_n[-1]:
            self._held = numbers_n[-1:], values_nc[-1:]
        self._counters["bad_frames"] += int((~confirmed_n[:-1]).sum())
        kept = np.flatnonzero(confirmed_n)
        if not len(kept):
            return []
        seams = np.flatnonzero(~follows_n[kept[1:]] | (np.diff(kept) > 1)) + 1
        runs = (self._run(numbers_n[run], values_nc[run]) for run in (np.split(kept, seams) if len(seams) else [kept]))
        return [run for run in runs if run is not None]

    def _follows(self, numbers_n: Numbers) -> NDArray[np.bool_]:
        """Say of each number whether it lies one period after the one before it."""
        before = numbers_n[:1] if self._last is None else self._last  # the first of all follows nothing
        steps_n = _signed(np.diff(numbers_n, prepend=before))
        return np.asarray((steps_n > 0) & (steps_n <= NEXT * self._period))

    def _run(self, numbers_n: Numbers, values_nc: Values) -> Samples | None:
        """Judge a run of samples that follow each other against the last one that passed."""
        if self._last is None:
            self._last = numbers_n[-1:]
            return Samples(values_nc)
        step = int(_signed(numbers_n[:1] - self._last)[0])
        lost, gap = 0, not 0 < step <= NEXT * self._period
        if gap and self._is_repetition(step, int(numbers_n[0])):
            new_n = _signed(numbers_n - self._last) > 0
            self._counters["repeated_frames"] += int((~new_n).sum())
            return self._run(numbers_n[new_n], values_nc[new_n]) if new_n.any() else None
        if gap and 0 < step <= self._plausible_periods * self._period:
            lost = round(step / self._period) - 1
        elif gap:
            self._counters["resets"] += 1
        self._last = numbers_n[-1:]
        return Samples(values_nc, gap, lost)

    def _is_repetition(self, step: int, number: int) -> bool:
        return -REPEATED_PERIODS * self._period <= step <= 0 and number >= self._fresh_below


def _signed(steps_n: Numbers) -> NDArray[np.signedinteger[Any]]:
    """Return differences that wrapped as what they are: short, forward or back."""
    return np.ascontiguousarray(steps_n).view(f"i{steps_n.dtype.itemsize}")
