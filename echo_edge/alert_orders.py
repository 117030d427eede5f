"""What persons do about alerts: acknowledge, shelve, clear by hand; and mute a machine for planned work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from echo_edge.alert_life import EXIT_CONFLICT, EXIT_USAGE, Action, AlertSlot, Life, check_words
from echo_edge.books import Books
from echo_edge.envelope import timestamp
from echo_edge.errors import OrderError
from echo_edge.pipeline import Point
from echo_edge.records import Answer
from echo_edge.report_alerts import AlertReporter
from echo_edge.troubles import GatewayAlarms

SHORTEST_ID = 6  # characters of an alert's id


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person wants to do about an alert."""

    alert_id: str
    action: Action
    said: Answer
    until_ns: int | None = None
    """End of a shelving."""

    expect_rev: int | None = None
    """The revision that the person has seen."""

    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an alert is kept."""

    slot: AlertSlot
    point: Point | None
    cleared_by_hand: Callable[[int], None]


def answer(points: Mapping[str, Point], alerts: AlertReporter, books: Books, wanted: Wanted) -> dict[str, Any]:
    """Do it and publish it; return how the alert stands then. An acknowledgement that repeats another changes nothing.

    Raises:
        OrderError: no such alert, it moved on meanwhile, or it cannot be done to this one; nothing was changed.
    """
    place, life = _find(points, alerts.gateway, wanted.alert_id)
    after = life.answered(wanted.action, wanted.said, wanted.until_ns)
    if after is not life and wanted.expect_rev not in (None, life.rev):
        raise OrderError(
            f"alert {life.alert_id} is at rev {life.rev}, not {wanted.expect_rev}: look at it again", EXIT_CONFLICT
        )
    if wanted.dry_run:
        return told(after)
    if (step := place.slot.keep(after)) is not None:
        if wanted.action == "clear":
            place.cleared_by_hand(after.time_ns)
            if after.kind == "machine":
                books.closed(after.alert_id, after.time_ns)
        alerts.step(step, place.point)
    return told(after)


def waiting(points: Mapping[str, Point], alerts: AlertReporter) -> list[Life]:
    """Every alert that is active or waits for a person."""
    return [place.slot.life for place in _places(points, alerts.gateway) if place.slot.life is not None]


def to_mute(points: Mapping[str, Point], machine: str, until_ns: int | None, said: Answer) -> list[Point]:
    """The points of a machine that may be muted until then; None: that may be heard again.

    Raises:
        OrderError: there is no such machine, or the end has passed.
    """
    check_words(said)
    found = [point for name, point in points.items() if name.partition("/")[0] == machine]
    if not found:
        machines = ", ".join(dict.fromkeys(name.partition("/")[0] for name in points))
        raise OrderError(f"there is no machine '{machine}'; there are {machines}", EXIT_USAGE)
    if until_ns is not None and until_ns <= said.time_ns:
        raise OrderError(f"{timestamp(until_ns)} has passed; say until when the work lasts", EXIT_USAGE)
    return found


def _find(points: Mapping[str, Point], gateway: GatewayAlarms, alert_id: str) -> tuple[_Place, Life]:
    """By its id, or by as much of its beginning as tells it from the others."""
    known = [(place, place.slot.life) for place in _places(points, gateway) if place.slot.life is not None]
    begins = alert_id if len(alert_id) >= SHORTEST_ID else f"{alert_id}?"  # too short to be meant
    found = [(place, life) for place, life in known if life.alert_id.startswith(begins)]
    if len(found) == 1:
        return found[0]
    if found:
        raise OrderError(f"'{alert_id}' begins the id of {len(found)} alerts; give more of it", EXIT_USAGE)
    ids = ", ".join(f"{life.alert_id} ({life.about})" for _, life in known)
    raise OrderError(
        f"there is no alert '{alert_id}' that is open or waits for a person; there are {ids or 'none'}", EXIT_CONFLICT
    )


def _places(points: Mapping[str, Point], gateway: GatewayAlarms) -> Iterator[_Place]:
    for point in points.values():
        alarm = point.sensor_alarm
        yield _Place(point.policy.slot, point, point.policy.cleared_by_hand)
        yield _Place(alarm.slot, point, lambda _, alarm=alarm: alarm.settle())  # type: ignore[misc]
    for name, slot in gateway.slots.items():
        yield _Place(slot, None, lambda now_ns, name=name: gateway.cleared_by_hand(name, now_ns))  # type: ignore[misc]


def told(life: Life) -> dict[str, Any]:
    """How an alert stands, for a person."""
    fields: dict[str, Any] = {
        "alert_id": life.alert_id,
        "rev": life.rev,
        "kind": life.kind,
        "about": life.about,
        "severity": life.severity,
        "state": "active" if life.active else "cleared",
        "acknowledged": life.ack is not None,
    }
    if life.ack is not None:
        fields["acknowledged_by"] = life.ack.by
    if life.shelved_until_ns is not None:
        fields["shelved_until"] = timestamp(life.shelved_until_ns)
    return fields
