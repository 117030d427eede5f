"""Pictures: an alert as PNG for a person who checks it, the window beside the most similar normal one. Pure.

The same evidence gives the same bytes. Text needs no font of the system: Pillow brings one, of ASCII letters.

Shape suffixes: R and Q = rows and columns of a coarse spectrogram.
"""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from echo_edge.embedder import PICTURE_STEPS
from echo_edge.evidence import Evidence
from echo_edge.frontend import SPEC
from echo_edge.records import BandShare, Event
from echo_edge.sentence import clock, dominant_bands, mostly

SIZE = WIDTH, HEIGHT = 900, 420
TOP, BOTTOM = 92, 348  # of every panel
NOW, NORMAL, SCALE, CHANGE, SHARE = (54, 290), (314, 550), (564, 576), (642, 742), (768, 852)  # left and right edges
STEP_DB = 20 / math.log(10) * SPEC.log_scale / PICTURE_STEPS  # of one step of a coarse spectrogram
MIN_SPAN_DB, MAX_SPAN_DB = 30.0, 80.0  # of the colours: less would show noise, more would hide what differs
SPANS_DB = (10, 20, 40, 60, 120)  # of the change, to either side
INK, SOFT, GRID = (25, 25, 25), (95, 95, 95), (205, 205, 205)
LOUDER, QUIETER, MARK = (200, 80, 0), (40, 100, 170), (200, 80, 0)
SEVERITIES = {"warning": ((250, 210, 90), INK), "alarm": ((170, 20, 30), (255, 255, 255))}
VIRIDIS = np.array(  # by S. van der Walt and N. Smith, CC0: even steps of lightness, safe for colour-blind eyes
    [
        (68, 1, 84),
        (71, 45, 123),
        (59, 82, 139),
        (44, 114, 142),
        (33, 145, 140),
        (40, 174, 128),
        (94, 201, 98),
        (173, 220, 48),
        (253, 231, 37),
    ]
)

RGB = tuple[int, int, int]


def draw(event: Event, evidence: Evidence, title: str | None = None, since: str | None = None) -> bytes:
    """Return a PNG of 900 x 420 pixels.

    Args:
        event: the step of the alert that is shown.
        evidence: of the window that made it.
        title: the machine's name for people; its id stands where the title has letters that the font lacks.
        since: when it began, in words; None tells the time in UTC.
    """
    image = Image.new("RGB", SIZE, (255, 255, 255))
    page = _Page(image, ImageDraw.Draw(image))
    _heading(page, event, evidence, title, since)
    low, high = _colour_range(evidence)
    page.panel(NOW, evidence.now, low, high)
    page.panel(NORMAL, evidence.nearest, low, high)
    channel = f", channel {evidence.label}" if evidence.label else ""
    page.text(NOW[0], TOP - 20, f"now{channel}", 14)
    page.text(NORMAL[0], TOP - 20, f"nearest normal: {event.score.state}", 14)
    _frequency_axis(page, evidence.rate_hz / 2)
    for left, right in (NOW, NORMAL):
        _time_axis(page, left, right, evidence.length_s)
    _colour_scale(page, (high - low) * STEP_DB)
    _change(page, evidence)
    _shares(page, evidence)
    _footer(page, evidence)
    file = io.BytesIO()
    image.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class _Page:
    image: Image.Image
    pen: ImageDraw.ImageDraw

    def text(self, x: float, y: float, words: str, size: int, ink: RGB = INK, anchor: str = "la") -> None:
        """``anchor``: l, m or r, then a (top), m or b, as Pillow has it."""
        self.pen.text((x, y), words, ink, _font(size), anchor)

    def fitted(self, x: float, y: float, words: str, size: int, width: float, ink: RGB = INK) -> None:
        """Text from its top left, cut to a width."""
        font = _font(size)
        if font.getlength(words) > width:
            while words and font.getlength(f"{words}...") > width:
                words = words[:-1]
            words = f"{words.rstrip(' ,;')}..."
        self.pen.text((x, y), words, ink, font)

    def panel(self, edges: tuple[int, int], picture_rq: NDArray[np.uint8], low: float, high: float) -> None:
        """One spectrogram, DC at the bottom."""
        level_rq = np.clip((picture_rq[::-1].astype(np.float64) - low) / (high - low), 0, 1)
        left, right = edges
        cells = Image.fromarray(_colours(level_rq)).resize((right - left, BOTTOM - TOP), Image.Resampling.NEAREST)
        self.image.paste(cells, (left, TOP))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if size not in _FONTS:
        _FONTS[size] = ImageFont.load_default(size)
    return _FONTS[size]


_FONTS: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}


def _heading(page: _Page, event: Event, evidence: Evidence, title: str | None, since: str | None) -> None:
    machine, _, point = event.point.partition("/")
    page.fitted(16, 10, f"{_plain(title) or machine} / {point}", 24, WIDTH - 150)
    paper, ink = SEVERITIES[event.severity]
    page.pen.rounded_rectangle((WIDTH - 116, 12, WIDTH - 16, 38), 6, paper)
    page.text(WIDTH - 66, 25, event.severity.upper(), 16, ink, "mm")
    lasted = "" if evidence.strange_for_s is None else f" (strange for {_duration(evidence.strange_for_s)})"
    words = f"unlike normal {event.score.state} since {since or clock(event.opened_ns)}{lasted}{mostly(event.score)}"
    page.fitted(16, 44, words, 15, WIDTH - 32)


def _colour_range(evidence: Evidence) -> tuple[float, float]:
    """The steps that the darkest and the brightest colour stand for, the same in both panels."""
    both = np.concatenate([evidence.now.ravel(), evidence.nearest.ravel()])
    low, high = np.quantile(both, 0.02), float(both.max())
    span = min(max(high - low, MIN_SPAN_DB / STEP_DB), MAX_SPAN_DB / STEP_DB)
    return high - span, high


def _colours(level: NDArray[np.float64]) -> NDArray[np.uint8]:
    """0..1 of any shape -> RGB along a further axis."""
    at = np.linspace(0, 1, len(VIRIDIS))
    return np.stack([np.interp(level, at, VIRIDIS[:, i]) for i in range(3)], axis=-1).round().astype(np.uint8)


def _frequency_axis(page: _Page, top_hz: float) -> None:
    page.text(NOW[0] - 6, TOP - 20, "kHz", 13, SOFT, "ra")
    for tick, words in _ticks(top_hz / 1000):
        y = _y(tick * 1000, top_hz)
        page.pen.line((NOW[0] - 5, y, NOW[0] - 1, y), INK)
        page.text(NOW[0] - 8, y, words, 13, INK, "rm")


def _time_axis(page: _Page, left: int, right: int, length_s: float) -> None:
    for tick, words in _ticks(length_s, 4):
        x = round(left + tick / length_s * (right - left - 1))
        page.pen.line((x, BOTTOM, x, BOTTOM + 4), INK)
        page.text(x, BOTTOM + 6, f"{words} s" if tick else words, 13, INK, "ma" if x < right - 16 else "ra")


def _colour_scale(page: _Page, span_db: float) -> None:
    left, right = SCALE
    levels = np.repeat(np.linspace(1, 0, BOTTOM - TOP)[:, None], right - left, axis=1)
    page.image.paste(Image.fromarray(_colours(levels)), (left, TOP))
    page.text(left, TOP - 20, "dB", 13, SOFT)
    for tick, words in _ticks(span_db, 4):
        y = round(TOP + tick / span_db * (BOTTOM - TOP - 1))
        page.text(right + 5, y, f"-{words}" if tick else "loudest", 13, INK, "lm")


def _change(page: _Page, evidence: Evidence) -> None:
    """Row by row: how much louder or quieter than the nearest normal, averaged over the window."""
    change_r = (evidence.now.mean(axis=1) - evidence.nearest.mean(axis=1)) * STEP_DB
    largest = float(np.abs(change_r).max())
    span_db = next((span for span in SPANS_DB if span >= largest), SPANS_DB[-1])
    (left, right), rows = CHANGE, len(change_r)
    zero, per_db = (left + right) / 2, (right - left) / 2 / span_db
    page.text(zero, TOP - 20, "change, dB", 14, INK, "ma")
    page.pen.rectangle((left, TOP, right, BOTTOM - 1), outline=GRID)
    edges = np.linspace(BOTTOM, TOP, rows + 1).round().astype(int)
    for row, decibels in enumerate(np.clip(change_r, -span_db, span_db)):
        end = zero + decibels * per_db
        page.pen.rectangle(
            (min(zero, end), edges[row + 1], max(zero, end), edges[row] - 1), LOUDER if decibels > 0 else QUIETER
        )
    page.pen.line((zero, TOP, zero, BOTTOM), INK)
    for decibels, anchor in ((-span_db, "la"), (0, "ma"), (span_db, "ra")):
        page.text(zero + decibels * per_db, BOTTOM + 6, f"{decibels:+d}" if decibels else "0", 13, INK, anchor)


def _shares(page: _Page, evidence: Evidence) -> None:
    """What each band carries of the score; those that carry most are marked beside the spectrograms, too."""
    left, right = SHARE
    page.text((left + right) / 2, TOP - 20, "share of score", 14, INK, "ma")
    page.pen.rectangle((left, TOP, right, BOTTOM - 1), outline=GRID)
    top_hz = evidence.rate_hz / 2
    marked_hz = _marked_hz(evidence.bands)
    for band in evidence.bands:
        low_y, high_y = _y(band.low_hz, top_hz), _y(band.high_hz, top_hz)
        if low_y - high_y < 3:  # the last band may be half a row
            continue
        marked = marked_hz is not None and marked_hz[0] <= band.low_hz and band.high_hz <= marked_hz[1]
        end = left + band.share * (right - left)
        page.pen.rectangle((left, high_y + 1, max(left, end), low_y - 2), MARK if marked else SOFT)
        if low_y - high_y >= 11 and band.share >= 0.05:
            page.text(end + 4, (low_y + high_y) / 2, f"{band.share:.0%}", 13, INK, "lm")
    if marked_hz is not None:
        low_y, high_y = (_y(edge, top_hz) for edge in marked_hz)
        for x, inward in ((NOW[0] - 4, 3), (NORMAL[1] + 3, -3), (CHANGE[0] - 5, 3)):
            page.pen.line((x + inward, high_y, x, high_y, x, low_y, x + inward, low_y), MARK, 3)


def _marked_hz(bands: Sequence[BandShare]) -> tuple[float, float] | None:
    """The edges of the neighbouring bands that carry most of the score, else of the strongest one."""
    strongest = max(bands, key=lambda band: band.share, default=None)
    if strongest is None or strongest.share == 0:
        return None
    return dominant_bands(bands) or (strongest.low_hz, strongest.high_hz)


def _footer(page: _Page, evidence: Evidence) -> None:
    lines = ["; ".join(one.words for one in evidence.moved[:3])] if evidence.moved else []
    if evidence.zone is not None:
        lines.append(f"zone {evidence.zone}, normal here is {evidence.usual_zone} (ISO 10816 style, for information)")
    for number, line in enumerate(lines):
        page.fitted(16, BOTTOM + 26 + 20 * number, line, 15 if number == 0 else 14, WIDTH - 32)


def _y(hz: float, top_hz: float) -> int:
    return round(BOTTOM - min(hz / top_hz, 1.0) * (BOTTOM - TOP))


def _ticks(length: float, about: int = 6) -> list[tuple[float, str]]:
    """Round values from 0 to a length, with their words."""
    rough = length / about
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(decade * m for m in (1, 2, 5, 10) if decade * m >= 0.8 * rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(i * step, f"{i * step:.{digits}f}" if i else "0") for i in range(int(length / step + 1e-6) + 1)]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def _plain(title: str | None) -> str:
    """A title in ASCII, without accents; empty where that would lose a letter."""
    decomposed = unicodedata.normalize("NFKD", (title or "").replace("ß", "ss"))
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return bare if bare.isascii() and bare.isprintable() else ""
