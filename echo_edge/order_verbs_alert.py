"""Orders about alerts: what people say of them and do about them, how many are wanted, and planned work."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import Field

from echo_edge import alert_orders
from echo_edge.audit import MAX_TEXT, check_words
from echo_edge.envelope import split_point, timestamp
from echo_edge.errors import BaselineError, OrderError
from echo_edge.order_bench import (
    EXIT_CONFLICT,
    EXIT_USAGE,
    Bench,
    Moment,
    OfAlert,
    OfMachine,
    Text,
    moment_ns,
    order,
    would,
)
from echo_edge.order_types import Call, Verb
from echo_edge.pipeline import Point
from echo_edge.review import Reviews
from echo_edge.settings import Mute, Target
from echo_edge.verbs import Args

MINUTE_NS = 60 * 10**9
MAX_SHELVE_MINUTES = 7 * 24 * 60  # ISA-18.2: what is shelved comes back by itself
MAX_HOLD_MINUTES = 365 * 24 * 60.0
MAX_MUTE_MINUTES = 90 * 24 * 60.0
ALERTS = 100


class ListArgs(Args):
    """The newest ones, of a point or of all."""

    point: str | None = None
    open: bool = True
    """Those that are active or wait for a person; False: those of machines that are over, too."""

    limit: int = Field(default=20, ge=1, le=ALERTS)


class AnswerArgs(OfAlert):
    """One line for whoever reads it later."""

    note: Text = ""


class ShelveArgs(AnswerArgs):
    """For how long nobody wants to hear of it."""

    minutes: int = Field(ge=1, le=MAX_SHELVE_MINUTES)


class FeedbackArgs(Args):
    """What a person says of an alert of the past, or of now."""

    alert_id: str = Field(min_length=1, max_length=64)
    verdict: Literal["normal", "fault"]
    cause: Text = ""
    note: Text = ""


class ThresholdArgs(Args):
    """How many false alarms are accepted at a point, or at a machine, whose points share them."""

    point: str | None = None
    machine: str | None = None
    target_false_alarms_per_month: float | None = Field(default=None, gt=0, le=1000)
    """None: as it is configured."""

    hold_minutes: float | None = Field(default=None, gt=0, le=MAX_HOLD_MINUTES)
    """Afterwards the configured one returns; None: it does not by itself."""


class MuteArgs(OfMachine):
    """How long the work takes, by its end or its length."""

    until: Moment | None = None
    minutes: float | None = Field(default=None, gt=0, le=MAX_MUTE_MINUTES)
    note: Text = ""


class UnmuteArgs(OfMachine):
    """What was done."""

    note: Text = ""


def _list(bench: Bench, args: ListArgs, _: Call) -> dict[str, Any]:
    lives = [
        life for life in alert_orders.waiting(bench.points, bench.reporter.alerts) if args.point in {None, life.about}
    ]
    found = [
        {**alert_orders.told(life), "opened": timestamp(life.opened_ns)}
        for life in sorted(lives, key=lambda life: life.opened_ns)
    ]
    if args.open:
        return {"alerts": found[-args.limit :]}
    known = {life.alert_id for life in lives}
    past = [
        {
            "alert_id": episode.alert_id,
            "kind": "machine",
            "about": episode.point,
            "state": "cleared",
            "opened": timestamp(episode.opened_ns),
            "until": timestamp(episode.until_ns),
        }
        for episode in bench.books.log.episodes(args.point)
        if episode.alert_id not in known
    ]
    return {"alerts": [*past, *found][-args.limit :]}


def _answer(action: Literal["ack", "shelve", "clear"]) -> Any:
    def answer(bench: Bench, args: AnswerArgs, call: Call) -> dict[str, Any]:
        minutes = args.minutes if isinstance(args, ShelveArgs) else None
        stands = bench.monitor.answer_alert(
            args.alert_id,
            action,
            call.actor,
            args.note,
            until_ns=None if minutes is None else time.time_ns() + minutes * MINUTE_NS,
            expect_rev=call.expect.get("rev"),
            dry_run=call.dry_run,
        )
        return would(f"{action} alert {args.alert_id}", **stands) if call.dry_run else stands

    return answer


def _feedback(bench: Bench, args: FeedbackArgs, call: Call) -> dict[str, Any]:
    if call.dry_run:
        episode = Reviews(bench.books.log).check(args.alert_id, call.actor, args.cause, args.note)
        return would(f"note that alert {args.alert_id} of {episode.point} was {args.verdict}")
    told = {"alert_id": args.alert_id, "label": args.verdict, "cause": args.cause, "note": args.note}
    return bench.monitor.review("feedback", {**told, "by": call.actor})


def _threshold(bench: Bench, args: ThresholdArgs, call: Call) -> dict[str, Any]:
    points, target = _points(bench, args), args.target_false_alarms_per_month
    if target is None and args.hold_minutes is not None:
        raise OrderError("hold_minutes: goes with a target; the configured one holds by itself", EXIT_USAGE)
    each = None if target is None else target / len(points)
    until_ns = None if args.hold_minutes is None else time.time_ns() + round(args.hold_minutes * MINUTE_NS)
    if call.dry_run:
        rate = "the configured number of" if each is None else f"{each:g}"
        return would(f"judge by thresholds for {rate} false alarms a month", points=[point.name for point in points])
    wanted = None if each is None else Target(each, until_ns, call.actor)
    bench.monitor.standing.set_target([point.name for point in points], wanted)
    return {"points": [_promise(point) for point in points], "until": None if until_ns is None else timestamp(until_ns)}


def _points(bench: Bench, args: ThresholdArgs) -> list[Point]:
    if (args.point is None) == (args.machine is None):
        raise OrderError("give 'point' or 'machine', one of them", EXIT_USAGE)
    points = [p for name, p in bench.points.items() if args.point == name or args.machine == split_point(name)[0]]
    if not points:
        known = ", ".join(bench.points if args.machine is None else bench.config.machines)
        raise OrderError(f"no '{args.point or args.machine}'; known are {known}", EXIT_USAGE)
    return points


def _promise(point: Point) -> dict[str, Any]:
    rate = point.false_alarm_rate
    told: dict[str, Any] = {"point": point.name, "target": point.target_per_month, "thresholds": point.thresholds}
    if rate is not None:
        told |= {"estimated": rate.estimated, "demonstrated_upper_95": rate.demonstrated_upper_95}
    return told


def _mute(bench: Bench, args: MuteArgs, call: Call) -> dict[str, Any]:
    if (args.until is None) == (args.minutes is None):
        raise OrderError("give 'until' or 'minutes', one of them: planned work has an end", EXIT_USAGE)
    now_ns = time.time_ns()
    until_ns = moment_ns(args.until, "until") or now_ns + round((args.minutes or 0) * MINUTE_NS)
    if not now_ns < until_ns <= now_ns + MAX_MUTE_MINUTES * MINUTE_NS:
        raise OrderError(f"until: is within the next {MAX_MUTE_MINUTES / 1440:g} days", EXIT_USAGE)
    _words(call.actor, args.note)
    if call.dry_run:
        return would(f"monitor nothing at {args.machine} until {timestamp(until_ns)}")
    bench.monitor.standing.set_mute(args.machine, Mute(until_ns, call.actor, args.note))
    return bench.monitor.mute(args.machine, until_ns, call.actor, args.note)


def _unmute(bench: Bench, args: UnmuteArgs, call: Call) -> dict[str, Any]:
    _words(call.actor, args.note)
    if call.dry_run:
        return would(f"monitor {args.machine} again")
    if all(point.muted_until_ns is None for name, point in bench.points.items() if name.startswith(f"{args.machine}/")):
        raise OrderError(f"{args.machine} is not muted", EXIT_CONFLICT)
    bench.monitor.standing.set_mute(args.machine, None)
    return bench.monitor.mute(args.machine, None, call.actor, args.note)


def _words(by: str, note: str) -> None:
    try:
        check_words(by[:MAX_TEXT], note)
    except BaselineError as error:
        raise OrderError(str(error), EXIT_USAGE) from error


VERBS: dict[str, Verb[Bench, Any]] = {
    "alert.list": order("viewer", ListArgs, _list, "Lists alerts, those that are open unless asked for all."),
    "alert.ack": order("technician", AnswerArgs, _answer("ack"), "Says that somebody looks after it."),
    "alert.shelve": order("technician", ShelveArgs, _answer("shelve"), "Silences it for a time."),
    "alert.clear": order("technician", AnswerArgs, _answer("clear"), "Ends it: the machine was seen to."),
    "feedback": order("technician", FeedbackArgs, _feedback, "Says what an alert was; no threshold moves by it."),
    "threshold.set": order("engineer", ThresholdArgs, _threshold, "Asks for another rate of false alarms."),
    "maintenance.mute": order("technician", MuteArgs, _mute, "Announces planned work: nothing is monitored meanwhile."),
    "maintenance.unmute": order("technician", UnmuteArgs, _unmute, "The work is over: it is monitored again."),
}
