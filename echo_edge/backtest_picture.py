"""Picture of a backtest: score by threshold over time, a panel a detector, with alerts and what was faulty."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from echo_edge.backtest import Assessment, Course, Fault
from echo_edge.backtest_report import fault_name
from echo_edge.backtest_run import Backtest

WIDTH, PANEL, GAP, LEFT, RIGHT, TOP, BOTTOM = 1400, 230, 34, 64, 20, 60, 46
LOW, HIGH = 0.05, 20.0  # score by threshold at the edges of a panel, at least
PAPER, INK, FAINT, GRID = "#ffffff", "#222222", "#777777", "#e4e4e4"
LINE, STRANGE, FAULTY, UNHEARD = "#1f5fa8", "#c62828", "#fbe3d3", "#ececec"
FALSE, TRUE = "#c62828", "#2e7d32"
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 7 * 86400)


def draw(found: Backtest) -> bytes:
    """Return a PNG."""
    every = (found.ours, *found.plain)
    height = TOP + len(every) * (PANEL + GAP) - GAP + BOTTOM
    image = Image.new("RGB", (WIDTH, height), PAPER)
    canvas = _Canvas(ImageDraw.Draw(image), found)
    canvas.heading(found)
    highest = max([HIGH, *(float(np.nanmax(one.course.ratio)) for one in every if one.course.judged.any())])
    for i, one in enumerate(every):
        canvas.panel(one, TOP + i * (PANEL + GAP), highest, found.faults, last=i == len(every) - 1)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


class _Canvas:
    def __init__(self, to: ImageDraw.ImageDraw, found: Backtest) -> None:
        self._to = to
        self._begin_ns = int(found.ours.course.start_ns[0])
        self._end_ns = int(found.ours.course.end_ns[-1])
        self._real = found.real_times
        self._labelled = found.labelled
        self._small, self._plain, self._large = (ImageFont.load_default(size) for size in (12, 14, 18))

    def heading(self, found: Backtest) -> None:
        self._to.text((LEFT, 10), f"{found.point}: score / threshold", INK, self._large)
        x = LEFT
        words = ((LINE, "window"), (STRANGE, "above the threshold"), (FAULTY, "faulty"), (UNHEARD, "not judged"))
        more = ((TRUE, "alert in a fault"), (FALSE, "false alarm" if found.labelled else "alert"))
        for colour, text in (*words, *more):
            self._to.rectangle((x, 39, x + 12, 51), colour, FAINT)
            self._to.text((x + 18, 37), text, FAINT, self._small)
            x += 18 + int(self._to.textlength(text, self._small)) + 24

    def panel(self, one: Assessment, top: int, highest: float, faults: Sequence[Fault], *, last: bool) -> None:
        bottom = top + PANEL
        to, course = self._to, one.course

        def y(ratio: NDArray[np.float64] | float) -> NDArray[np.int64]:
            share = np.log(np.clip(ratio, LOW, highest) / LOW) / math.log(highest / LOW)
            return np.asarray(np.rint(bottom - 14 - share * (PANEL - 42)), np.int64)

        for fault in faults:
            to.rectangle((self._x(fault.start_ns), top, self._x(fault.end_ns), bottom), FAULTY)
        for first, end in _stretches(~course.judged):
            to.rectangle((self._x(course.start_ns[first]), top, self._x(course.end_ns[end - 1]), bottom), UNHEARD)
        for tick in (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000):
            if LOW < tick < highest:
                at = int(y(tick))
                to.line((LEFT, at, WIDTH - RIGHT, at), INK if tick == 1 else GRID)
                to.text((LEFT - 8, at), f"{tick:g}", INK if tick == 1 else FAINT, self._small, anchor="rm")
        self._times(top, bottom, labels=last)
        self._scores(course, y)
        for alert in course.alerts:
            cleared_ns = self._end_ns if alert.cleared_ns is None else alert.cleared_ns
            good = any(alert.window_ns < f.end_ns and alert.opened_ns > f.start_ns for f in faults)
            x, until = self._x(alert.opened_ns), self._x(cleared_ns)
            to.rectangle((x, bottom - 8, max(until, x + 2), bottom - 2), TRUE if good else FALSE)
            to.line((x, top + 28, x, bottom - 2), TRUE if good else FALSE)
        taken = LEFT + 20 + int(to.textlength(one.name, self._plain))
        for fault in faults:
            x, text = self._x(fault.start_ns) + 4, fault_name(fault)
            if x > taken:
                to.text((x, top + 4), text, INK, self._small)
                taken = x + int(to.textlength(text, self._small)) + 8
        to.rectangle((LEFT, top, WIDTH - RIGHT, bottom), None, FAINT)
        to.rectangle((LEFT + 1, top + 1, LEFT + 12 + int(to.textlength(one.name, self._plain)), top + 19), PAPER)
        to.text((LEFT + 6, top + 2), one.name, INK, self._plain)

    def _scores(self, course: Course, y: Callable[[NDArray[np.float64] | float], NDArray[np.int64]]) -> None:
        """One stroke a pixel: from the least to the largest score in it, so that no single window is lost."""
        judged, ratio = course.judged, course.ratio
        middle_ns = (course.start_ns[judged] + course.end_ns[judged]) // 2
        columns = np.array([self._x(int(t)) for t in middle_ns], dtype=np.int64)
        rows, above = y(ratio[judged]), ratio[judged] > 1
        threshold = int(y(1.0))
        for x in np.unique(columns):
            own = rows[columns == x]
            low, high = int(own.max()), int(own.min())
            if low >= threshold:
                self._to.rectangle((x, max(high, threshold), x + 1, low + 1), LINE)
            if above[columns == x].any():
                self._to.rectangle((x, high - 1, x + 1, min(low, threshold)), STRANGE)
        if len(columns) < (WIDTH - LEFT - RIGHT) / 4:  # few windows: dots are seen, strokes of one pixel are not
            for x, row, strange in zip(columns, rows, above, strict=True):
                self._to.ellipse((x - 2, row - 2, x + 2, row + 2), STRANGE if strange else LINE)

    def _times(self, top: int, bottom: int, *, labels: bool) -> None:
        span_s = (self._end_ns - self._begin_ns) / 1e9
        step_s = next((step for step in STEPS_S if span_s / step <= 12), STEPS_S[-1])
        first = self._begin_ns // (step_s * 10**9) + (self._begin_ns % (step_s * 10**9) > 0)
        for number in range(first, self._end_ns // (step_s * 10**9) + 1):
            x = self._x(number * step_s * 10**9)
            self._to.line((x, top, x, bottom), GRID)
            if labels:
                self._to.text((x, bottom + 6), self._moment(number * step_s, step_s), FAINT, self._small, anchor="mt")

    def _moment(self, seconds: int, step_s: int) -> str:
        if self._real:
            return datetime.fromtimestamp(seconds, timezone.utc).strftime("%d %b" if step_s >= 86400 else "%d %b %H:%M")
        clock = f"{seconds // 3600}:{seconds // 60 % 60:02d}"
        return clock if step_s >= 60 else f"{clock}:{seconds % 60:02d}"

    def _x(self, time_ns: int) -> int:
        share = (int(time_ns) - self._begin_ns) / max(self._end_ns - self._begin_ns, 1)
        return LEFT + round(min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT))


def _stretches(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
