"""Charts: lines over time against their limit, drawn by the server. Colours and sizes are in ``page.css``.

Each has its finding in words (``aria-label``), and its numbers as a table. What was not heard is a hatched gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from itertools import groupby

from markupsafe import Markup

from echo_edge.web.figures import figure, numbers
from echo_edge.web.spans import Span, stretches, trend
from echo_edge.web.svg import Times, Values, base_line, element, level_word, path
from echo_edge.web.texts import Translator

HATCH = "url(#hatch)"  # in base.html's symbols
ROWS = 200  # of a table of numbers
FEW = 4  # values that draw no course


def line_chart(
    t: Translator,
    spans: Sequence[Span],
    name: str,
    *,
    unit: str = "",
    ident: str = "",
    finding: str = "",
    tall: bool = True,
) -> Markup:
    """A whole figure: line, highest value, limit, gaps hatched, alerts shaded, its words and its numbers.

    Args:
        name: what the line is, for people.
        ident: of the table; a live part that is drawn again keeps one open that has it.
        finding: the chart in one sentence; absent, it is made of the newest value.
    """
    known = [span for span in spans if span.value is not None]
    if not known:
        return element("p", t("charts.nothing"), class_="empty")
    said = finding or _said(t, name, unit, spans)
    shown = [x for s in known for x in (s.value, s.high) if x is not None]
    limits = [s.limit for s in known if s.limit is not None]
    values = Values.of(shown, limits, from_zero=bool(limits))
    times = Times(spans[0].begin, spans[-1].end)
    runs = list(stretches(spans))
    drawing = [
        *_gaps(t, spans, times),
        *_alerts(spans, times),
        *_grid(t, values, times),
        _lines(runs, times, values),
        *_limit_words(t, limits, values),
    ]
    svg = element(
        "svg",
        *drawing,
        class_="plot" if tall else "plot plot-low",
        role="img",
        aria_label=said,
        width="100%",
        height="200",
    )
    return element(
        "figure",
        svg,
        _key(t, spans, values),
        element("figcaption", said),
        _table(t, spans, name, unit, ident),
        class_="chart",
    )


def spark(t: Translator, values: Sequence[float | None], name: str) -> Markup:
    """A small line without scales; gaps stay open."""
    known = [v for v in values if v is not None]
    if len(known) < FEW:
        return Markup("")
    scale = Values.of(known)
    spans = [Span(float(i), float(i + 1), value) for i, value in enumerate(values)]
    line = _lines(list(stretches(spans)), Times(0.0, float(len(values))), scale)
    said = t(
        "charts.spark",
        name=name,
        low=figure(t, min(known)),
        high=figure(t, max(known)),
        trend=t(f"charts.{trend(values)}"),
    )
    return element("svg", line, class_="spark", role="img", aria_label=said, width="120", height="32")


def _said(t: Translator, name: str, unit: str, spans: Sequence[Span]) -> str:
    last = next((span for span in reversed(spans) if span.value is not None), None)
    way = t(f"charts.{trend([span.value for span in spans])}")
    if last is None:
        return t("charts.nothing")
    if last.limit is None:
        return t("charts.finding", name=name, value=f"{figure(t, last.value)} {unit}".strip(), trend=way)
    value, limit = figure(t, last.value), figure(t, last.limit)
    highs = [span.high for span in spans if span.high is not None]
    if highs:
        most = figure(t, max(highs))
        return t("charts.finding_most", name=name, value=value, most=most, limit=limit, trend=way)
    return t("charts.finding_limit", name=name, value=value, limit=limit, trend=way)


def _lines(runs: Sequence[Sequence[Span]], times: Times, values: Values) -> Markup:
    """In a drawing of its own that is stretched, so that a line's width stays as it is."""
    shapes = []
    for heard in runs:
        alone = len(heard) == 1  # a line needs two ends
        run = [heard[0], heard[0]] if alone else heard
        xs = [times.place((s.begin + s.end) / 2) for s in run]
        xs = [times.place(run[0].begin), times.place(run[0].end)] if alone else xs
        highs = [values.place(s.high) for s in run if s.high is not None]
        lows = [values.place(s.value) for s in run if s.value is not None]
        if len(highs) == len(run):
            around = [*zip(xs, highs, strict=True), *reversed(list(zip(xs, lows, strict=True)))]
            shapes.append(element("path", class_="range", d=path(around) + "Z"))
        limits = [values.place(s.limit) for s in run if s.limit is not None]
        if len(limits) == len(run):
            shapes.append(
                element(
                    "path",
                    class_="limit",
                    d=path(list(zip(xs, limits, strict=True))),
                    vector_effect="non-scaling-stroke",
                )
            )
        shapes.append(
            element("path", class_="line", d=path(list(zip(xs, lows, strict=True))), vector_effect="non-scaling-stroke")
        )
    return element("svg", *shapes, viewBox="0 0 100 100", preserveAspectRatio="none", width="100%", height="100%")


def _gaps(t: Translator, spans: Sequence[Span], times: Times) -> Iterator[Markup]:
    runs = list(stretches(spans))
    edges = [times.begin, *(edge for run in runs for edge in (run[0].begin, run[-1].end)), times.end]
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        x, width = times.place(begin), times.place(end) - times.place(begin)
        if width > 0.2:
            yield element("rect", x=f"{x:.2f}%", y="2%", width=f"{width:.2f}%", height="84%", fill=HATCH, class_="gap")
            if width > 18:
                yield element(
                    "text", t("charts.gap"), x=f"{x + width / 2:.2f}%", y="46%", text_anchor="middle", class_="gap-word"
                )


def _alerts(spans: Sequence[Span], times: Times) -> Iterator[Markup]:
    for alert, group in groupby(spans, key=lambda span: span.alert):
        if alert:
            during = list(group)
            x, end = times.place(during[0].begin), times.place(during[-1].end)
            yield element(
                "rect", x=f"{x:.2f}%", y="2%", width=f"{max(end - x, 0.4):.2f}%", height="84%", class_="alert-span"
            )
            yield element(
                "rect", x=f"{x:.2f}%", y="0", width=f"{max(end - x, 0.4):.2f}%", height="3%", class_="alert-top"
            )


def _grid(t: Translator, values: Values, times: Times) -> Iterator[Markup]:
    for value in values.ticks():
        y = f"{values.place(value):.2f}%"
        yield element("line", x1="0", x2="100%", y1=y, y2=y, class_="grid-line")
        yield element("text", figure(t, value), x="4", y=y, dy="-3", class_="tick")
    for i, (x, words) in enumerate(times.ticks(t)):
        yield element("line", x1=f"{x:.2f}%", x2=f"{x:.2f}%", y1="86%", y2="89%", class_="base-line")
        if 4 <= x <= 96:
            yield level_word(x, words, wide=i % 2 == 1)
    yield base_line()


def _limit_words(t: Translator, limits: Sequence[float], values: Values) -> Iterator[Markup]:
    if limits:
        words = t("charts.threshold_is", value=figure(t, limits[-1]))
        yield element(
            "text",
            words,
            x="100%",
            dx="-4",
            y=f"{values.place(limits[-1]):.2f}%",
            dy="-4",
            text_anchor="end",
            class_="limit-word",
        )


def _key(t: Translator, spans: Sequence[Span], values: Values) -> Markup:
    """What is what, in words."""
    runs = list(stretches(spans))
    holes = len(runs) > 1 or runs[0][0] is not spans[0] or runs[-1][-1] is not spans[-1]
    there = {
        "line": any(s.high is not None for s in spans),
        "range": any(s.high is not None for s in spans),
        "limit": any(s.limit is not None for s in spans),
        "alert": any(s.alert for s in spans),
        "gap": holes,
    }
    words = [
        element("span", t(f"charts.key_{name}"), class_=f"key key-{name}") for name, shown in there.items() if shown
    ]
    bent = [element("span", t("charts.compressed"), class_="muted")] if values.bend is not None else []
    return element("p", *words, *bent, class_="keys")


def _table(t: Translator, spans: Sequence[Span], name: str, unit: str, ident: str) -> Markup:
    """The numbers; several gaps in a row are one."""
    limits, highs = any(s.limit is not None for s in spans), any(s.high is not None for s in spans)
    heads = [t("charts.time"), f"{name} ({unit})" if unit else name]
    heads += [t("charts.highest")] * highs + [t("charts.threshold")] * limits
    rows = []
    for gap, group in groupby(spans[-ROWS:], key=lambda span: span.value is None):
        for span in list(group)[: 1 if gap else None]:
            cells = [t("charts.gap") if gap else figure(t, span.value)]
            cells += [figure(t, span.high)] * highs + [figure(t, span.limit)] * limits
            rows.append((_at(t, span), *cells))
    return numbers(t, heads, rows, ident)


def _at(t: Translator, span: Span) -> str:
    moment = datetime.fromtimestamp(span.begin, timezone.utc)
    return t.clock(moment) if span.end - span.begin < 60 else t.when(moment)
