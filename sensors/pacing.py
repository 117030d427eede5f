"""Pacer: hands out invented or recorded samples at the pace of a real device."""

from __future__ import annotations

import threading
import time

LATE_S = 1.0  # after a longer delay (suspend, a stopped reader) the pace starts afresh instead of catching up


class Pacer:
    """Waits until a number of frames would have been recorded; never drifts against the monotonic clock."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._start_s = time.monotonic()
        self._frames = 0

    def wait(self, frames: int, stop: threading.Event | None = None) -> None:
        """Count ``frames`` more and wait until they are due, or until ``stop`` is set."""
        self._frames += frames
        ahead_s = self._start_s + self._frames / self._rate_hz - time.monotonic()
        if ahead_s < -LATE_S:
            self._start_s -= ahead_s
        elif ahead_s > 0:
            if stop is None:
                time.sleep(ahead_s)
            else:
                stop.wait(ahead_s)
