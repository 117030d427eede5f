"""Backtest of remembered hours: embeddings that were kept are judged again, as if they had just been heard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from echo_edge.history_reader import HistoryReader, Part
from echo_edge.pipeline import Point, Verdict
from echo_edge.records import Window


def remembered_verdicts(
    point: Point, reader: HistoryReader, span_ns: tuple[int, int], model_sha256: str
) -> Iterator[Verdict]:
    """Judge every window that is remembered of a stretch of time, in order of time.

    Vectors were kept in half precision: a score may differ in its third digit from the one at the time. What was not
    monitored then, or has no vectors any more, is not judged.

    Raises:
        HistoryError: the disk.
    """
    parts, _ = reader.parts(point.name, *span_ns)
    for part in parts:
        point.settings, point.identity = part.circumstances.settings, part.circumstances.identity
        same_model = part.circumstances.origin.model_sha256 == model_sha256
        everything = np.ones(len(part.facts), np.bool_)
        material = reader.material([(part, everything)])[0] if same_model else None
        rate_hz = part.circumstances.origin.rate_hz
        kept = () if material is None else material.embeddings(point.name, rate_hz)
        heard = {embedding.time_ns: embedding for embedding in kept}
        for start_ns, away in _by_time(part):
            window = _window(point.name, part, start_ns)
            if away:
                yield Verdict(window, "not_monitored", "not monitored at the time")
            elif (embedding := heard.get(start_ns)) is not None:
                yield point.judge(window, embedding, ())
            elif not same_model:
                yield Verdict(window, "not_monitored", f"heard by model {part.circumstances.origin.model_name}")
            else:
                yield Verdict(window, "not_monitored", "its vectors are not kept any more")


def _by_time(part: Part) -> Sequence[tuple[int, bool]]:
    """When each window began, and whether the point was not monitored then."""
    order = np.unique(part.facts["start_ns"], return_index=True)[1]
    away = part.away
    return [(int(part.facts["start_ns"][i]), bool(away[i])) for i in order]


def _window(point: str, part: Part, start_ns: int) -> Window:
    """The window without its samples, which are not kept."""
    origin = part.circumstances.origin
    shape = (len(origin.channels), round(origin.length_s * origin.rate_hz))
    return Window(point, np.broadcast_to(np.float32(0), shape), origin.rate_hz, start_ns, origin.unit)
