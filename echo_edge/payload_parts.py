"""Parts that several messages have in common. What is not known is left out; a number is finite or an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from echo_edge.envelope import Payload
from echo_edge.records import BandShare, Score


def score_fields(score: Score) -> Payload:
    """``raw`` in decades of rarity, ``threshold`` on the same scale, and two figures to compare points by.

    ``ratio`` is 1 at the threshold and has no end. ``calibrated`` is 1 - 2 ** -ratio: from 0 to 1, and 0.5 at the
    threshold of every point. It is made of the tail probability alone, p = 10 ** -raw: 1 minus that power of p,
    log10(2) / threshold, which makes the threshold's own tail probability one half. A power keeps the order of
    windows, and points whose thresholds lie at different probabilities are on one axis.
    """
    ratio = score.value / score.threshold if score.threshold > 0 else None
    return known(
        raw=number(score.value, 6),
        calibrated=None if ratio is None else number(1 - 2**-ratio, 4),
        threshold=number(score.threshold, 6),
        ratio=number(ratio, 4),
    )


def bands(shares: Sequence[BandShare]) -> list[Payload]:
    return [{"hz": [number(b.low_hz, 1), number(b.high_hz, 1)], "share": number(b.share, 4)} for b in shares]


def parts(rarities: Mapping[str, float]) -> Payload | None:
    return {part: number(decades, 3) for part, decades in rarities.items()} or None


def known(**fields: object) -> Payload:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def number(value: float | None, digits: int) -> float | None:
    """Round, as a whole number where it is one; numpy's numbers become Python's.

    Raises:
        ValueError: it is not finite.
    """
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number that can be published")
    rounded = round(float(value), digits)
    return int(rounded) if rounded.is_integer() else rounded
