"""How a look at a point is drawn in a terminal: level, spectrum, health. Returns text; prints nothing."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from echo_edge.listen import Look
from echo_edge.records import Limits
from sensors import FULL_SCALE, SourceInfo

WIDTH = 40
FLOOR_DB = 60.0  # how far below full scale, or below the loudest band, a bar still shows
ADDED_DB = {"Pa": (94.0, "dB SPL"), FULL_SCALE: (0.0, "dBFS")}  # 1 Pa is 94 dB SPL (20 micropascal)


def level_text(value: float, unit: str) -> str:
    """An RMS or peak in its unit, and in decibels where those are usual."""
    if value <= 0:
        return f"0 {unit}"
    if unit not in ADDED_DB:
        return f"{value:.4g} {unit}"
    added_db, name = ADDED_DB[unit]
    return f"{20 * math.log10(value) + added_db:.1f} {name}"


def look_line(look: Look, info: SourceInfo) -> str:
    """One look as one line, for output that is not a terminal."""
    levels = ", ".join(level_text(rms, info.unit) for rms in look.rms)
    loudest = int(look.bands_rms.argmax())
    edges = f"{look.bands_hz[loudest]:.0f}-{look.bands_hz[loudest + 1]:.0f} Hz"
    health = "; ".join(f"{f.check}: {f.text}" for f in look.findings) or "ok"
    return f"RMS {levels}; loudest {edges}; {health}"


def draw(point: str, info: SourceInfo, look: Look | None, notes: list[str]) -> RenderableType:
    """The whole picture; health and ``notes`` come first, for a short terminal cuts off the end."""
    title = f"{point}   {info.identity}   {info.rate_hz} Hz   in {info.unit} (scale from: {info.calibration})"
    if look is None:
        return Group(Text(title, style="bold"), Text("listening ..."))
    top = (Text(title, style="bold"), *(Text(note, style="bold") for note in notes), _health(look))
    return Group(*top, _levels(info, look.limits, look), _spectrum(look, info.unit))


def _levels(info: SourceInfo, limits: Limits, look: Look) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("channel", "RMS", "peak", f"-{FLOOR_DB:.0f} to 0 dB of full scale" if limits.full_scale else ""):
        table.add_column(column)
    for channel, (rms, peak) in enumerate(zip(look.rms, look.peak, strict=True)):
        full_scale = info.full_scale[channel] if channel < len(info.full_scale) else max(look.peak)
        below_db = -20 * math.log10(max(peak, 1e-30) / full_scale) if full_scale else FLOOR_DB
        style = "red" if below_db < 0.5 else "yellow" if below_db < 6 else "green"
        table.add_row(
            str(channel), level_text(rms, info.unit), level_text(peak, info.unit), Text(_bar(below_db), style)
        )
    return table


def _spectrum(look: Look, unit: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("Hz", justify="right")
    table.add_column("RMS", justify="right")
    table.add_column(f"-{FLOOR_DB:.0f} to 0 dB of the loudest")
    loudest = float(look.bands_rms.max()) or 1.0
    for low_hz, high_hz, rms in zip(look.bands_hz, look.bands_hz[1:], look.bands_rms, strict=False):
        below_db = -20 * math.log10(max(float(rms), 1e-30) / loudest)
        table.add_row(f"{low_hz:.0f}-{high_hz:.0f}", level_text(float(rms), unit), Text(_bar(below_db), "cyan"))
    return table


def _health(look: Look) -> Text:
    if not look.findings:
        return Text("health: ok", style="green")
    text = Text()
    for finding in look.findings:
        style = "red" if finding.bad else "yellow"
        text.append(f"{finding.check}: {finding.text}; {finding.advice}\n", style=style)
    text.right_crop(1)
    return text


def _bar(below_db: float) -> str:
    return "█" * max(0, round(WIDTH * (1 - below_db / FLOOR_DB)))
