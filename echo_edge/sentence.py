"""Say an alert in one sentence for a person: which point, since when, in which frequencies, what moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone

from echo_edge.alert_life import Life
from echo_edge.evidence import Moved
from echo_edge.records import BandShare, Event, Score

MOSTLY = 0.5  # bands that carry less than half of a score between them do not explain it
MAX_TITLE = 100  # characters: a sentence must have room for what is wrong
MAX_TOLD = 2  # indicators in one sentence


def alert_text(event: Event, title: str | None = None, moved: Sequence[Moved] = ()) -> str:
    """Return one sentence; times are UTC.

    Args:
        event: the step to tell.
        title: the machine's name for people; absent, its id.
        moved: indicators that left their usual range, the strongest first.
    """
    where = place(event.point, title)
    since = clock(event.opened_ns, beside_ns=event.time_ns)
    state = event.score.state
    if event.type == "clear":
        at = clock(event.time_ns, beside_ns=event.time_ns)
        return f"{where}: like normal {state} again at {at}, had been unlike it since {since}"
    told = "".join(f"; {one.words}" for one in moved[:MAX_TOLD])
    return f"{where}: unlike normal {state} since {since}{mostly(event.score)}{told}"


def place(point: str, title: str | None = None) -> str:
    """Return a point's name for people."""
    machine, _, name = point.partition("/")
    return f"{(title or machine)[:MAX_TITLE]} / {name}"


def step_text(life: Life, where: str, what: str = "shelved no longer") -> str:
    """Return one sentence about a step that no score made; times are UTC.

    Args:
        where: the point, or the gateway, for people.
        what: what is wrong, or is so no longer; not told where a person made the step.
    """
    opened, now = (clock(ns, beside_ns=life.time_ns) for ns in (life.opened_ns, life.time_ns))
    since = f"open since {opened}" if life.active else f"had been open since {opened}"
    if life.said is not None:
        return f"{where}: {_done(life)} by {life.said.by}; {since}"
    return f"{where}: {what}; {since}" if life.active else f"{where}: {what} at {now}; {since}"


def _done(life: Life) -> str:
    if life.type == "shelve" and life.shelved_until_ns is not None:
        return f"shelved until {clock(life.shelved_until_ns, beside_ns=life.time_ns)}"
    return "acknowledged" if life.type == "ack" else "closed"


def dominant_bands(bands: Sequence[BandShare]) -> tuple[float, float] | None:
    """Return the low and high edge, in Hz, of the neighbouring bands that carry most of a score, or None.

    Grown from the strongest band while the next one down or up carries at least half as much.
    """
    if not bands:
        return None
    strongest = max(range(len(bands)), key=lambda i: bands[i].share)
    enough = bands[strongest].share / 2
    first = last = strongest
    while first > 0 and bands[first - 1].share >= enough:
        first -= 1
    while last + 1 < len(bands) and bands[last + 1].share >= enough:
        last += 1
    if sum(band.share for band in bands[first : last + 1]) < MOSTLY:
        return None
    return bands[first].low_hz, bands[last].high_hz


def mostly(score: Score) -> str:
    """Return ``, mostly 3.8-5.1 kHz``; nothing where no few bands, or not the spectrum at all, explain a score."""
    edges = dominant_bands(score.bands)
    spectral = math.hypot(*(decades for part, decades in score.rarities.items() if part != "indicators"))
    if edges is None or len(score.bands) == 1 or spectral < score.rarities.get("indicators", 0.0):
        return ""
    low_hz, high_hz = edges
    if high_hz < 1000:
        return f", mostly {low_hz:.0f}-{high_hz:.0f} Hz"
    return f", mostly {low_hz / 1000:.1f}-{high_hz / 1000:.1f} kHz"


def clock(time_ns: int, *, beside_ns: int | None = None) -> str:
    """Return a time, without the date where it is the same day as ``beside_ns``."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000_000, timezone.utc)
    same_day = beside_ns is not None and (
        moment.date() == datetime.fromtimestamp(beside_ns // 1_000_000_000, timezone.utc).date()
    )
    return moment.strftime("%H:%M:%S UTC" if same_day else "%Y-%m-%d %H:%M:%S UTC")
