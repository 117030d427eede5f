"""Figures in words: numbers with the digits that count, frequencies, and the numbers behind a chart as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from echo_edge.web.svg import element
from echo_edge.web.texts import UNKNOWN, Translator

MONTH_H = 30 * 24.0


def figure(t: Translator, value: float | None) -> str:
    """A number with three digits that count, and no noughts behind them: 82.5, 0.176, 12,800, 1."""
    if not value:
        return t.number(value, 0)
    digits = min(max(2 - math.floor(math.log10(abs(value))), 0), 4)
    while digits and round(value, digits) == round(value, digits - 1):
        digits -= 1
    return t.number(value, digits)


def hertz(t: Translator, hz: float) -> str:
    """A frequency as people write it: 850 Hz, 2.5 kHz."""
    return f"{t.number(hz, 0)} Hz" if hz < 1000 else f"{t.number(hz / 1000, 0 if hz % 1000 == 0 else 1)} kHz"


def numbers(t: Translator, heads: Sequence[str], rows: Sequence[Sequence[str]], ident: str) -> Markup:
    """A folded table; its first column names the rows. With an id it stays open when a live part is drawn again."""
    head = element("tr", *(element("th", words, scope="col") for words in heads))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell, class_="num") for cell in row[1:]))
        for row in rows
    ]
    table = element("table", element("thead", head), element("tbody", *body))
    room = element("div", table, class_="table table-low", tabindex="0", role="group", aria_label=t("charts.numbers"))
    return element("details", element("summary", t("charts.numbers")), room, class_="fold no-print", id=ident or None)


def rate(t: Translator, per_month: float | None) -> str:
    """False alarms in the unit that suits their number: ``2.2 a month``, ``18 an hour``."""
    if per_month is None:
        return UNKNOWN
    for unit, hours in (("month", MONTH_H), ("day", 24.0), ("hour", 1.0)):
        value = per_month * hours / MONTH_H
        if value < 100 or unit == "hour":
            break
    if value < 0.01:
        return t("enroll.rate.never")
    return t(f"enroll.rate.{unit}", n=t.number(value, _digits(value)))


def _digits(value: float) -> int:
    if value >= 10 or value == round(value):
        return 0
    return 1 if value >= 1 else 2
