"""Window messages: what a local watcher is shown of every window, judged or not: a coarse picture, never sound."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from echo_edge.embedder import coarse, level_db
from echo_edge.envelope import Payload, timestamp
from echo_edge.frontend import log_spectrogram
from echo_edge.payload_parts import number
from echo_edge.pipeline import Verdict
from echo_edge.records import Window

CHANNEL = 0  # always the same: windows are shown side by side, and the strangest channel changes from one to the next
FOLLOWS_WITHIN = 1.1  # hops; clocks are corrected between two windows, and less than this is no gap that can be seen


class WindowMessages:
    """Makes them; knows of each point when its latest window began."""

    def __init__(self) -> None:
        self._began_ns: dict[str, int] = {}

    def of(self, verdict: Verdict, hop_s: float) -> Payload:
        """Return the message of one window.

        ``picture`` has one byte for each row and column, row 0 lowest; 96 steps are a factor of 10 in the front end's
        logarithm, about 0.94 dB each above silence. Without ``picture``, ``rows`` and ``columns`` where a sample is not
        finite; such a channel's level is null.
        """
        window = verdict.window
        before_ns, self._began_ns[window.point] = self._began_ns.get(window.point), window.time_ns
        follows = before_ns is not None and 0 < window.time_ns - before_ns <= FOLLOWS_WITHIN * hop_s * 1e9
        with np.errstate(invalid="ignore"):  # infinite samples, of a window that is told all the same
            levels = level_db(window) if verdict.embedding is None else verdict.embedding.level_db
        message = {
            "ts": timestamp(window.end_ns),
            "length_s": number(window.length_s, 6),
            "hop_s": hop_s,
            "rate_hz": window.rate_hz,
            "level_db": [number(float(level), 2) if np.isfinite(level) else None for level in levels],
            "gap_before": not follows,
        }
        picture = _picture(window) if verdict.embedding is None else verdict.embedding.picture[CHANNEL]
        if picture is not None:
            message |= {
                "picture": base64.b64encode(np.ascontiguousarray(picture).tobytes()).decode(),
                "rows": picture.shape[0],
                "cols": picture.shape[1],
                "top_hz": window.rate_hz / 2,
                "channel": CHANNEL,
            }
        return message


def _picture(window: Window) -> NDArray[np.uint8] | None:
    """As ``Embedding.picture``, where nobody else wanted the window's; None where it is not to be drawn."""
    samples = window.samples[CHANNEL]
    return coarse(log_spectrogram(samples, window.rate_hz)) if np.isfinite(samples).all() else None
