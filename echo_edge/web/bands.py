"""Bands: which frequencies carry a score, and how much of its threshold it is. Colours are in ``page.css``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from echo_edge.web.figures import figure, hertz, numbers
from echo_edge.web.svg import Values, base_line, element, level_word
from echo_edge.web.texts import Translator

NAMED = 2  # bands in a sentence
NAMED_SHARE = 0.1  # a band with less of the score is not named


def bands_chart(t: Translator, bands: Sequence[Mapping[str, Any]], ident: str = "") -> Markup:
    """Which frequencies carry the score: the share of each band over its Hz."""
    if not bands:
        return element("p", t("charts.no_bands"), class_="empty")
    top_hz, most = max(b["hz"][1] for b in bands), max(b["share"] for b in bands) or 1.0
    said = mostly(t, bands)
    columns = [
        element(
            "rect",
            x=f"{100 * low / top_hz + 0.15:.2f}%",
            width=f"{max(100 * (high - low) / top_hz - 0.3, 0.3):.2f}%",
            y=f"{86 - 78 * band['share'] / most:.2f}%",
            height=f"{78 * band['share'] / most:.2f}%",
            class_="band band-most" if band["share"] >= NAMED_SHARE else "band",
        )
        for band in bands
        for low, high in [band["hz"]]
    ]
    marks = [hz for hz in Values(0.0, top_hz).ticks() if 0 < hz < top_hz * 0.97]
    words = [
        level_word(100 * hz / top_hz, hertz(t, hz), wide=len(marks) > 4 and i % 2 == 0) for i, hz in enumerate(marks)
    ]
    svg = element(
        "svg",
        *columns,
        base_line(),
        *words,
        class_="plot plot-low",
        role="img",
        aria_label=said,
        width="100%",
        height="150",
    )
    rows = [(_band_name(t, band), t("charts.percent", n=t.number(100 * band["share"], 0))) for band in bands]
    table = numbers(t, [t("charts.band"), t("charts.share")], rows, ident)
    return element("figure", svg, element("figcaption", said), table, class_="chart")


def mostly(t: Translator, bands: Sequence[Mapping[str, Any]]) -> str:
    """The bands that carry most, in one sentence."""
    most = sorted(bands, key=lambda band: -band["share"])[:NAMED]
    named = [band for band in most if band["share"] >= NAMED_SHARE]
    if not named:
        return t("charts.bands_even")
    parts = [t("charts.band_share", band=_band_name(t, b), n=t.number(100 * b["share"], 0)) for b in named]
    return t("charts.bands_mostly", bands=", ".join(parts))


def ratio_bar(t: Translator, raw: float, threshold: float) -> Markup:
    """A score as a bar; the mark in its middle is the threshold, and a bar that ends goes on beyond the drawing."""
    ratio = raw / threshold
    said = t("charts.of_threshold", raw=figure(t, raw), threshold=figure(t, threshold))
    return element(
        "svg",
        element("rect", class_="bar-room", width="100", height="10"),
        element(
            "rect",
            class_="bar-over" if ratio >= 1 else "bar-fill",
            width=f"{min(max(50 * ratio, 0), 100):.1f}",
            height="10",
        ),
        element("rect", class_="bar-limit", x="49.2", width="1.6", height="10"),
        class_="bar",
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        role="img",
        aria_label=said,
    )


def _band_name(t: Translator, band: Mapping[str, Any]) -> str:
    low, high = band["hz"]
    return t("charts.from_to", low=hertz(t, low), high=hertz(t, high))
