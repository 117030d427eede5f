"""Evidence: what a person who checks an alarm is shown. Pure.

Which frequencies and which part carry the score, the indicators that left their usual range, for how long, and the
window's coarse spectrogram beside the most similar normal one.

Shape suffixes: C = channels, K = indicators, R and Q = rows and columns of a coarse spectrogram.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echo_edge.indicators import in_words, strangeness_scale
from echo_edge.normal_state import NormalState
from echo_edge.records import BandShare, Embedding, Score
from echo_edge.spread import Spread

MOVED_RATIO = 3.0  # usual spreads from the middle: nearer is no news
MAX_MOVED = 5
VELOCITY = "velocity_rms_mm_s"


@dataclass(frozen=True, slots=True)
class Moved:
    """One indicator that left its usual range, in the channel where it did so most."""

    name: str
    """As ``indicators.names``."""

    channel: int
    value: float
    usual_low: float
    usual_high: float
    """Nine of ten windows learned lay between the two; in the indicator's unit, as ``value``."""

    words: str
    """``velocity RMS 4.2 mm/s, usual 1.1 to 1.4``."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a window was unlike normal."""

    bands: tuple[BandShare, ...]
    parts: Mapping[str, float]
    """Part -> what it said, in decades; as ``Score.rarities``."""

    moved: tuple[Moved, ...]
    """The strongest first."""

    strange_for_s: float | None
    """Since the alert's first strange window began; None when the clock was set back meanwhile."""

    label: str
    """Of the strangest channel; empty where the point has one."""

    rate_hz: int
    length_s: float
    now: NDArray[np.uint8]
    """Shape (R, Q): the strangest channel of this window, as ``Embedding.picture``."""

    nearest: NDArray[np.uint8]
    """Shape (R, Q): the same channel of the normal window that is most like it."""

    velocity_mm_s: tuple[float, float] | None
    """Velocity RMS now and the upper end of its usual range, the largest of all channels; None without acceleration."""

    zone: str | None = None
    usual_zone: str | None = None
    """Of these two, A to D, for information; None where no class was configured."""


def gather(
    embedding: Embedding, score: Score, state: NormalState, began_ns: int, labels: Sequence[str] = ("",)
) -> Evidence:
    """Return what there is to show of a window.

    Args:
        score: of this embedding.
        state: the one that the score was made by.
        began_ns: when the first strange window of the alert began.
        labels: of the point's channels, as ``PointConfig.channel_labels``.
    """
    strange_ns = score.end_ns - began_ns
    channel = score.channel
    return Evidence(
        score.bands,
        score.rarities,
        moved(embedding, state, labels),
        strange_ns / 1e9 if strange_ns >= 0 else None,
        labels[channel],
        embedding.rate_hz,
        (embedding.end_ns - embedding.time_ns) / 1e9,
        embedding.picture[channel],
        state.nearest_picture(embedding)[channel],
        _velocity(embedding, state),
    )


def moved(embedding: Embedding, state: NormalState, labels: Sequence[str]) -> tuple[Moved, ...]:
    """Return the indicators clearly outside what was learned, the strongest first, each in its strongest channel."""
    part = state.parts.get("indicators")
    if not isinstance(part, Spread):
        return ()
    ratios_ck = part.ratios(strangeness_scale(embedding.indicators, embedding.indicator_names))
    low_ck, high_ck = state.usual
    outside_ck = (embedding.indicators < low_ck) | (embedding.indicators > high_ck)
    ratios_ck = np.where(outside_ck, ratios_ck, 0.0)
    found = []
    for k in np.argsort(-ratios_ck.max(axis=0), kind="stable")[:MAX_MOVED]:
        c = int(ratios_ck[:, k].argmax())
        if ratios_ck[c, k] <= MOVED_RATIO:
            break
        name, value = embedding.indicator_names[k], float(embedding.indicators[c, k])
        usual = float(low_ck[c, k]), float(high_ck[c, k])
        found.append(Moved(name, c, value, *usual, in_words(name, value, usual, labels[c])))
    return tuple(found)


def _velocity(embedding: Embedding, state: NormalState) -> tuple[float, float] | None:
    if VELOCITY not in embedding.indicator_names or not state.indicator_names:
        return None
    k = embedding.indicator_names.index(VELOCITY)
    return float(embedding.indicators[:, k].max()), float(state.usual[1, :, k].max())
