"""Durations: how long something took, counted in classes. One thread adds; any thread reads, without a lock."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Durations:
    """A histogram: plain numbers of the thread that adds, which never wait for whoever looks at them."""

    def __init__(self) -> None:
        self.sum_s = 0.0
        self._counts = [0] * (len(BOUNDS_S) + 1)

    def add(self, duration_s: float) -> None:
        """Note one."""
        self.sum_s += duration_s
        self._counts[bisect_left(BOUNDS_S, duration_s)] += 1

    def cumulated(self) -> list[int]:
        """How many took at most each of ``BOUNDS_S``, and last, how many there were."""
        return list(accumulate(self._counts))
