"""Spectrogram: the latest windows side by side, low frequencies below; what was not heard is a gap.

Made with the standard library: the service of the page stays small.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from echo_edge.web.figures import hertz
from echo_edge.web.svg import Times, Values, element, level_word
from echo_edge.web.texts import Translator, as_datetime

COLUMNS = 360  # of the picture; a wall screen shows no more of a minute
GAP = 255  # the index of the palette that nothing is drawn for
SHOWN = 60  # hops
SILENT_S = 5.0  # a window that is judged late is no gap yet
LATE = 0.5  # hops; a window that begins later than this after the one before leaves a gap
SIGNATURE = b"\x89PNG\r\n\x1a\n"
STOPS = (
    (0, 0, 4),
    (40, 17, 89),
    (101, 26, 128),
    (159, 47, 127),
    (212, 72, 104),
    (245, 125, 21),
    (254, 194, 80),
    (252, 253, 191),
)
"""Dark to light, each lighter than the one before: read without colours, too."""

HEIGHT = 86.0  # percent of the drawing; the times stand below

Band = tuple[bytes, ...]  # rows of one window or gap, row 0 lowest


def spectrogram(t: Translator, windows: Sequence[Mapping[str, Any]], now: float | None = None) -> Markup:
    """A whole figure of messages ``window``, oldest first.

    Args:
        now: seconds of the epoch; what was not heard for a while until then is a gap at the end.
    """
    drawn = [window for window in windows if window.get("picture")]
    if not drawn:
        return element("p", t("charts.no_spectrogram"), class_="empty")
    newest = drawn[-1]
    alike = (newest["rows"], newest["top_hz"])
    same = [
        w for w in drawn if (w["rows"], w["top_hz"]) == alike and _end(w) <= _end(newest)
    ]  # a clock may be set back
    hop_s, end = newest["hop_s"], _end(newest)
    silent_s = max(0.0 if now is None else now - end, 0.0)
    if silent_s > hop_s * SHOWN:
        return element("p", t("charts.not_heard_since", when=t.when(newest["ts"])), class_="empty")
    end += 0.0 if silent_s < SILENT_S + hop_s else silent_s // hop_s * hop_s
    span_s = min(end - _end(same[0]) + hop_s, hop_s * SHOWN)
    times = Times(end - span_s, end)
    each = max(1, min(newest["cols"], COLUMNS // max(round(span_s / hop_s), 1)))
    png = _png(_placed(same, times), newest["rows"], each)
    top_hz = newest["top_hz"]
    gaps = (end > _end(newest)) + sum(
        1 for one, two in pairwise(same) if _end(two) - _end(one) > (1 + LATE) * two["hop_s"]
    )
    said = t.count("charts.spectrogram", gaps, seconds=t.span(span_s), top=hertz(t, top_hz))
    address = "data:image/png;base64," + base64.b64encode(png).decode()
    room = {"x": "0", "y": "0", "width": "100%", "height": f"{HEIGHT}%"}
    drawing = [
        element("rect", fill="url(#hatch)", **room),
        element("image", href=address, preserveAspectRatio="none", class_="pixels", **room),
        *_marks(t, top_hz, times),
    ]
    svg = element("svg", *drawing, class_="plot", role="img", aria_label=said, width="100%", height="200")
    return element("figure", svg, element("figcaption", said), class_="chart")


def _end(window: Mapping[str, Any]) -> float:
    moment = as_datetime(window["ts"])
    return 0.0 if moment is None else moment.timestamp()


def _placed(windows: Sequence[Mapping[str, Any]], times: Times) -> tuple[str | int, ...]:
    """Pictures and, between them, how many hops of gap."""
    parts: list[str | int] = []
    before: float | None = None
    for window in windows:
        end, hop_s = _end(window), window["hop_s"]
        if end - hop_s < times.begin - LATE * hop_s:
            continue
        begin = times.begin if before is None else before
        if (missing := round((end - begin) / hop_s) - 1) > 0:
            parts.append(missing)
        share = min(1.0, hop_s / window["length_s"])
        parts.append(f"{window['cols']}:{share:.4f}:{window['picture']}")
        before = end
    if before is not None and (missing := round((times.end - before) / windows[-1]["hop_s"])) > 0:
        parts.append(missing)
    return tuple(parts)


@lru_cache(maxsize=32)
def _png(parts: tuple[str | int, ...], rows: int, each: int) -> bytes:
    """One picture of all; kept, since every viewer and language gets the same one."""
    bands = [
        (bytes([GAP]) * (each * part),) * rows if isinstance(part, int) else _band(part, rows, each) for part in parts
    ]
    values = b"".join(b"".join(band) for band in bands).replace(bytes([GAP]), b"")
    low, high = _contrast(values)
    levels = bytes(GAP if i == GAP else min(max((i - low) * 254 // (high - low), 0), 254) for i in range(256))
    lines = (b"\0" + b"".join(band[row] for band in bands).translate(levels) for row in reversed(range(rows)))
    width = sum(len(band[0]) for band in bands)
    header = struct.pack(">IIBBBBB", width, rows, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", PALETTE),
        (b"tRNS", b"\xff" * GAP + b"\0"),
        (b"IDAT", zlib.compress(b"".join(lines), 6)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@lru_cache(maxsize=1024)
def _band(picture: str, rows: int, each: int) -> Band:
    """The last hop of one window in ``each`` columns; the loudest of those that become one, so that a knock is seen."""
    columns, share, data = picture.split(":", 2)
    cols, pixels = int(columns), base64.b64decode(data)
    first = cols - max(1, round(cols * float(share)))
    edges = [first + (cols - first) * i // each for i in range(each + 1)]
    cuts = [(begin, max(end, begin + 1)) for begin, end in pairwise(edges)]
    lines = (pixels[row * cols : (row + 1) * cols] for row in range(rows))
    return tuple(bytes(min(max(line[begin:end]), GAP - 1) for begin, end in cuts) for line in lines)


def _contrast(values: bytes) -> tuple[int, int]:
    """What is drawn darkest and lightest; in steps of 8, so that the picture does not flicker."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 20] // 8 * 8, -(-ordered[-1 - len(ordered) // 500] // 8) * 8
    return low, max(high, low + 32)


def _palette() -> bytes:
    last = len(STOPS) - 1
    colours = bytearray()
    for i in range(256):
        at = min(i, 254) / 254 * last
        k = min(int(at), last - 1)
        colours += bytes(round(a + (b - a) * (at - k)) for a, b in zip(STOPS[k], STOPS[k + 1], strict=True))
    return bytes(colours)


PALETTE = _palette()


def _marks(t: Translator, top_hz: float, times: Times) -> list[Markup]:
    scale = Values(0.0, top_hz, bottom=HEIGHT, top=0.0)
    marks = []
    for hz in scale.ticks():
        if 0 < hz < top_hz * 0.95:
            y = f"{scale.place(hz):.2f}%"
            marks.append(element("line", x1="0", x2="8", y1=y, y2=y, class_="hz-line"))
            marks.append(element("text", hertz(t, hz), x="12", y=y, dy="4", class_="hz"))
    for i, (x, words) in enumerate(times.ticks(t)):
        if 4 <= x <= 96:
            marks.append(level_word(x, words, wide=i % 2 == 1))
    return marks
