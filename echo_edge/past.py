"""Past: a stretch of what a point remembers, as material to learn from; and how a person names such a stretch.

Shape suffixes: W = windows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from echo_edge.baseline import Origin
from echo_edge.material import Material

AGO = re.compile(r"^-(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?$")
CLOCK = re.compile(r"^\d{1,2}:\d{2}(:\d{2})?$")
DAYS = {"today": 0, "yesterday": 1}
EXAMPLES = "for example 'yesterday 08:00..16:00', '2026-05-03T08:00..2026-05-03T16:00' or '-8h..now'"


@dataclass(frozen=True, slots=True)
class Past:
    """The usable windows of a stretch of time; all of one sensor at one gain, embedded by one model."""

    material: Material | None
    """In order of time; None when no window is usable. Where memory is short, whole stretches are left out evenly."""

    origin: Origin | None
    identity: str
    """Which sensor; like ``settings`` and ``origin`` as it was for the newest usable window."""

    settings: dict[str, str]
    heard: int
    """Usable windows, those left out for memory's sake included."""

    heard_s: float
    """Seconds of signal in them; what ``NormalState.learn`` takes as ``learned_s``."""

    excluded: dict[str, int]
    """Other windows by reason: ``not_monitored``, ``alert_open``, ``other_model``, ``other_sensor`` (or rate, unit,
    channels, window length), ``other_gain``, ``vectors_gone`` (given up for room), ``damaged``."""


def past_span(text: str, now: datetime) -> tuple[int, int]:
    """Parse ``FROM..TO`` into nanoseconds since 1970 UTC.

    Each end is an ISO date or time (its own zone, ``Z`` too, else that of ``now``), ``yesterday`` or ``today`` with or
    without a time of day, a time of day (of the day of FROM; today), so long ago (``-8h``, ``-1d12h``), or ``now``.
    A day alone begins where it is FROM and ends where it is TO. TO is cut off at ``now``.

    Args:
        now: without a zone, it and all times without one are local times of this machine.

    Raises:
        ValueError: not such a text, or no past time in it; the message says what to write.
    """
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not dots or not first or not last:
        raise ValueError(f"'{text}' is no stretch of time FROM..TO: {EXAMPLES}")
    begin = _moment(first, now, now.date(), ends=False)
    end = _moment(last, now, begin.date(), ends=True)
    from_ns, to_ns, now_ns = _ns(begin), _ns(end), _ns(now)
    if from_ns >= to_ns:
        raise ValueError(f"'{text}' ends at {end:%Y-%m-%d %H:%M}, before it begins at {begin:%Y-%m-%d %H:%M}")
    if from_ns >= now_ns:
        raise ValueError(f"'{text}' lies in the future; it is {now:%Y-%m-%d %H:%M} now")
    return from_ns, min(to_ns, now_ns)


def _moment(text: str, now: datetime, day: date, *, ends: bool) -> datetime:
    word, _, clock = text.partition(" ")
    if text == "now":
        found = now
    elif (ago := AGO.match(text)) and any(ago.groups()):
        days, hours, minutes = (int(n or 0) for n in ago.groups())
        found = now - timedelta(days=days, hours=hours, minutes=minutes)
    elif word in DAYS:
        day = now.date() - timedelta(days=DAYS[word])
        found = _at(day, clock.strip(), now, text) if clock else _edge(day, now, ends=ends)
    elif CLOCK.match(text):
        found = _at(day, text, now, text)
    else:
        found = _written_out(text, now, ends=ends)
    return found


def _written_out(text: str, now: datetime, *, ends: bool) -> datetime:
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return _edge(date.fromisoformat(text), now, ends=ends)
        found = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError as error:
        raise ValueError(f"'{text}' is no date or time: {EXAMPLES}") from error
    if found.tzinfo is None:
        return found.replace(tzinfo=now.tzinfo)
    return found if now.tzinfo is not None else found.astimezone().replace(tzinfo=None)


def _at(day: date, clock: str, now: datetime, text: str) -> datetime:
    try:
        return datetime.combine(day, time.fromisoformat(clock if clock[1:2].isdigit() else f"0{clock}"), now.tzinfo)
    except ValueError as error:
        raise ValueError(f"'{text}' has no time of day HH:MM: {EXAMPLES}") from error


def _edge(day: date, now: datetime, *, ends: bool) -> datetime:
    return datetime.combine(day + timedelta(days=1) if ends else day, time(), now.tzinfo)


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000
