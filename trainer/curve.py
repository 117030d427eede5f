"""A training curve as an SVG picture: losses, and accuracies beside their baselines, over steps. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

WIDTH, HEIGHT = 320, 220  # of a panel's field, in pixels
LEFT, TOP, BOTTOM, NAMES = 52, 30, 40, 170
SPACING = 14  # between names that would stand on each other
COLOURS = ("#1f6feb", "#d1480b", "#1a7f37", "#8250df", "#9a6700", "#57606a")
TICKS = 5
POINTS = 60  # of a line
DOTTED = 20  # a line of so few points shows them
ACCURACIES = {  # as trainer.evaluation.while_training names them
    "cwru_siren": "SIREN protocol",
    "cwru_siren_mean_log_spectrum": "SIREN, mean spectrum",
    "cwru_strict": "leakage-free",
    "cwru_strict_mean_log_spectrum": "leakage-free, mean spectrum",
}


@dataclass(frozen=True, slots=True)
class Line:
    """Values over steps; a dashed one is something to compare with."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines that share their axes; values above 0 may stand on a logarithmic one."""

    title: str
    lines: tuple[Line, ...]
    logarithmic: bool = False


def curve(lines: Sequence[Mapping[str, float]]) -> str:
    """Return the picture of a run's metrics, as in ``metrics.jsonl``: losses, and accuracies where they were taken."""
    losses = sorted({key for line in lines for key in line if key == "loss" or key.endswith("_loss")})
    drawn = tuple(_line(lines, key, key.replace("_", " ")) for key in losses)
    panels = [Panel("loss", drawn, logarithmic=all(value > 0 for line in drawn for value in line.values))]
    taken = {key: name for key, name in ACCURACIES.items() if any(key in line for line in lines)}
    if taken:
        drawn = tuple(_line(lines, key, name, dashed=key.endswith("spectrum")) for key, name in taken.items())
        panels.append(Panel("CWRU, accuracy", drawn))
    return draw(panels)


def _line(lines: Sequence[Mapping[str, float]], key: str, name: str, dashed: bool = False) -> Line:
    """Return one figure over steps, neighbouring lines averaged."""
    pairs = np.array([(line["step"], line[key]) for line in lines if key in line])
    steps, values = np.array([group.mean(0) for group in np.array_split(pairs, min(POINTS, len(pairs)))]).T
    return Line(name, tuple(steps.tolist()), tuple(values.tolist()), dashed)


def draw(panels: Sequence[Panel]) -> str:
    """Return the picture; the same numbers give the same bytes."""
    pitch = LEFT + WIDTH + NAMES
    size = f"{pitch * len(panels)} {TOP + HEIGHT + BOTTOM}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        *(
            f'<g transform="translate({number * pitch + LEFT} {TOP})">{_panel(p)}</g>'
            for number, p in enumerate(panels)
        ),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _panel(panel: Panel) -> str:
    values = [value for line in panel.lines for value in line.values]
    last = max(step for line in panel.lines for step in line.steps)
    marks = _decades(min(values), max(values)) if panel.logarithmic else _even(max(values))
    scale = math.log if panel.logarithmic else float
    low, high = scale(marks[0]), scale(marks[-1])

    def place(step: float, value: float) -> tuple[float, float]:
        return round(WIDTH * step / last, 1), round(HEIGHT * (high - scale(value)) / (high - low), 1)

    parts = [f'<text x="0" y="-12" font-weight="bold">{escape(panel.title)}</text>']
    for mark in marks:
        _, y = place(0, mark)
        parts.append(f'<path d="M0 {y}H{WIDTH}" stroke="#d0d7de"/>')
        parts.append(f'<text x="-6" y="{y + 4}" text-anchor="end">{mark:.4g}</text>')
    for mark in (mark for mark in _even(last) if mark <= last):
        x, _ = place(mark, marks[0])
        parts.append(f'<text x="{x}" y="{HEIGHT + 16}" text-anchor="middle">{mark:,.6g}</text>')
    parts.append(f'<text x="{WIDTH}" y="{HEIGHT + 32}" text-anchor="end">steps</text>')
    ends = sorted((place(line.steps[-1], line.values[-1])[1], number) for number, line in enumerate(panel.lines))
    lowest = -float(SPACING)
    for y, number in ends:
        line, colour = panel.lines[number], COLOURS[number % len(COLOURS)]
        points = list(map(place, line.steps, line.values))
        dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
        corners = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>')
        if len(points) <= DOTTED:
            parts += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in points]
        lowest = max(y, lowest + SPACING)
        parts.append(f'<text x="{WIDTH + 6}" y="{lowest + 4:g}" fill="{colour}">{escape(line.name)}</text>')
    return "\n".join(parts)


def _even(largest: float) -> list[float]:
    """Return marks from 0 to ``largest`` or just above, about five, at 1, 2 or 5 times a power of ten."""
    rough = (largest if largest > 0 else 1.0) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(largest / step - 1e-9) + 1)]


def _decades(smallest: float, largest: float) -> list[float]:
    """Return marks at 1, 2 and 5 times powers of ten, the first and last at the values' ends or just outside."""
    powers = range(math.floor(math.log10(smallest)), math.ceil(math.log10(largest)) + 1)
    marks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    first = max(number for number, mark in enumerate(marks) if mark <= smallest)
    beyond = min(number for number, mark in enumerate(marks) if mark >= largest and number > first)
    return marks[first : beyond + 1]
