"""Spans: a course over time in pieces, of the history or of the newest windows; what is not known is a gap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from echo_edge.web.texts import as_datetime

TURNED = 0.1  # of the middle: less is steady
FEW = 9  # values that tell no trend


@dataclass(frozen=True, slots=True)
class Span:
    """What is known of one stretch of time, in seconds of the epoch; None is not known."""

    begin: float
    end: float
    value: float | None
    high: float | None = None
    limit: float | None = None
    alert: bool = False


def of_history(history: Mapping[str, Any]) -> list[Span]:
    """The score in a reading ``history``: middle and maximum of each bucket, with its threshold."""
    starts = [moment.timestamp() for text in history["t"] if (moment := as_datetime(text))]
    columns = (history[name] for name in ("score_median", "score_max", "threshold", "alert"))
    return [
        Span(start, start + history["bucket_s"], value, high, limit, bool(alert))
        for start, value, high, limit, alert in zip(starts, *columns, strict=True)
    ]


def of_scores(scores: Sequence[Mapping[str, Any]]) -> list[Span]:
    """The newest windows that were judged."""
    spans = []
    for score in scores:
        window = score.get("window", {})
        begin, end = as_datetime(window.get("from")), as_datetime(window.get("to") or score.get("ts"))
        if end is not None:
            start = (begin or end).timestamp()
            alert = score.get("level") in {"warning", "alarm"}
            spans.append(Span(start, end.timestamp(), score["raw"], None, score.get("threshold"), alert))
    return sorted(spans, key=lambda span: span.begin)  # a clock may be set back


def trend(values: Sequence[float | None]) -> str:
    """``rising``, ``falling`` or ``steady``: the newest eighth beside what eight of ten were in the first half.

    ``untold`` where there are too few values to say.
    """
    known = [value for value in values if value is not None]
    if len(known) < FEW:
        return "untold"
    before, now = sorted(known[: len(known) // 2]), median(known[-max(len(known) // 8, 3) :])
    low, middle, high = before[len(before) // 10], median(before), before[-1 - len(before) // 10]
    if abs(now - middle) <= TURNED * max(abs(now), abs(middle)) or low <= now <= high:
        return "steady"
    return "rising" if now > middle else "falling"


def stretches(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Stretches without a gap between."""
    run: list[Span] = []
    for span in spans:
        if run and (span.value is None or _apart(run[-1], span)):
            yield run
            run = []
        if span.value is not None:
            run.append(span)
    if run:
        yield run


def _apart(one: Span, two: Span) -> bool:
    return two.begin - one.end > 0.5 * (one.end - one.begin)
