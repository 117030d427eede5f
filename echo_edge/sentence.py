"""Say an alert in one sentence for a person: which point, since when, in which frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from echo_edge.records import BandShare, Event

MOSTLY = 0.5  # bands that carry less than half of a score between them do not explain it


def alert_text(event: Event, title: str | None = None) -> str:
    """Return one sentence; times are UTC.

    Args:
        event: the step to tell.
        title: the machine's name for people; absent, its id.
    """
    machine, _, point = event.point.partition("/")
    where = f"{title or machine} / {point}"
    since = _clock(event.opened_ns, beside_ns=event.time_ns)
    state = event.score.state
    if event.type == "clear":
        at = _clock(event.time_ns, beside_ns=event.time_ns)
        return f"{where}: like normal {state} again at {at}, had been unlike it since {since}"
    return f"{where}: unlike normal {state} since {since}{_mostly(event.score.bands)}"


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


def _mostly(bands: Sequence[BandShare]) -> str:
    edges = dominant_bands(bands)
    if edges is None or len(bands) == 1:
        return ""
    low_hz, high_hz = edges
    if high_hz < 1000:
        return f", mostly {low_hz:.0f}-{high_hz:.0f} Hz"
    return f", mostly {low_hz / 1000:.1f}-{high_hz / 1000:.1f} kHz"


def _clock(time_ns: int, *, beside_ns: int) -> str:
    """Return the time of day, with the date when it is another day than ``beside_ns``."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000_000, timezone.utc)
    same_day = moment.date() == datetime.fromtimestamp(beside_ns // 1_000_000_000, timezone.utc).date()
    return moment.strftime("%H:%M:%S UTC" if same_day else "%Y-%m-%d %H:%M:%S UTC")
