"""SVG: elements as escaped text, scales of values and time. Places are in percent, so that words keep their size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup, escape

from echo_edge.web.texts import Translator

STEPS_S = (10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
STEPS_DAYS = (1, 2, 7, 14, 28)
COMPRESSED_ABOVE = 4.0  # thresholds: a straight scale would press what is normal flat against the axis


def element(tag: str, /, *inside: str, **attributes: object) -> Markup:
    """``<tag ...>inside</tag>``, all escaped; ``text_anchor`` becomes ``text-anchor``; None is left out."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    within = "".join(str(escape(part)) for part in inside)
    return Markup(f"<{tag}{given}>{within}</{tag}>")  # each part of it was escaped above


def path(points: Sequence[tuple[float, float]]) -> str:
    """A line through points, for the attribute ``d``."""
    return "M" + "L".join(f"{x:.4g} {y:.4g}" for x, y in points)


@dataclass(frozen=True, slots=True)
class Values:
    """The upright scale: from ``low`` at the bottom to ``high``; above ``bend`` it is compressed, like a logarithm."""

    low: float
    high: float
    bend: float | None = None
    bottom: float = 86.0
    top: float = 6.0
    """Percent of the drawing's height, counted from above."""

    @classmethod
    def of(cls, values: Sequence[float], limits: Sequence[float] = (), *, from_zero: bool = False) -> Values:
        """The scale that shows all of them."""
        every = [*values, *limits] or [0.0, 1.0]
        low, high = min(every), max(every)
        if from_zero:
            low = min(low, 0.0)
        if limits and low >= 0 and high > COMPRESSED_ABOVE * max(limits):
            return cls(0.0, high * 1.1, max(limits))
        spare = max((high - low or abs(high)) * 0.08, 1e-6 * abs(high), 1e-9)
        return cls(low if from_zero and low == 0 else low - spare, high + spare)

    def place(self, value: float) -> float:
        """Percent of the height, counted from above."""
        low, high, at = self._bent(self.low), self._bent(self.high), self._bent(value)
        return self.bottom - (self.bottom - self.top) * min(max((at - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """A few round values."""
        if self.bend is not None:
            decades = range(math.ceil(math.log10(self.high)))
            return [0.0, *(10.0**k for k in decades if 10.0**k > 1.5 * self.bend)][-4:]
        raw = (self.high - self.low) / 4
        size = 10 ** math.floor(math.log10(raw))
        step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= raw)
        first = math.ceil(self.low / step)
        return [step * k for k in range(first, math.floor(self.high / step) + 1)]

    def _bent(self, value: float) -> float:
        return value if self.bend is None else math.asinh(value / self.bend)


@dataclass(frozen=True, slots=True)
class Times:
    """The level scale: seconds of the epoch from left to right."""

    begin: float
    end: float

    def place(self, time: float) -> float:
        """Percent of the width."""
        return 100 * min(max((time - self.begin) / max(self.end - self.begin, 1e-3), 0.0), 1.0)

    def ticks(self, t: Translator) -> Iterator[tuple[float, str]]:
        """Percent and words of at most nine round times of day, or days, at the gateway."""
        span = self.end - self.begin
        begin = datetime.fromtimestamp(self.begin)
        day = begin.replace(hour=0, minute=0, second=0, microsecond=0)
        step_s = next((s for s in STEPS_S if span / s <= 8), None)
        if step_s is not None:
            step, words = timedelta(seconds=step_s), t("charts.seconds" if step_s < 60 else "charts.clock")
            at = day + step * math.ceil((begin - day) / step)
        else:
            step, words = timedelta(days=next((d for d in STEPS_DAYS if span / 86400 / d <= 8), 28)), t("charts.day")
            at = day + timedelta(days=1)
        while at.timestamp() <= self.end:
            yield self.place(at.timestamp()), at.strftime(t("charts.day") if step_s and _midnight(at) else words)
            at += step


def _midnight(at: datetime) -> bool:
    return at.hour == at.minute == at.second == 0


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def level_word(x: float, words: str, *, wide: bool) -> Markup:
    return element(
        "text", words, x=f"{x:.2f}%", y="98%", text_anchor="middle", class_="tick tick-wide" if wide else "tick"
    )


def base_line() -> Markup:
    return element("line", x1="0", x2="100%", y1="86%", y2="86%", class_="base-line")
