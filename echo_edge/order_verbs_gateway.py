"""Orders about the gateway itself: is it there, what is it, what is wrong, how much does it log, what was missed."""

from __future__ import annotations

import logging
from typing import Any, Literal

from pydantic import Field

from echo_edge import __version__
from echo_edge.alert_orders import waiting
from echo_edge.doctor import diagnosis
from echo_edge.envelope import split_point
from echo_edge.errors import OrderError
from echo_edge.health import engine_fields
from echo_edge.order_bench import EXIT_CONFLICT, EXIT_USAGE, Bench, order, would
from echo_edge.order_types import Call, Verb
from echo_edge.point_status import point_status
from echo_edge.verbs import Args

log = logging.getLogger(__name__)

LOGGERS = ("echo_edge", "sensors")


class LogArgs(Args):
    """How much to log, and for how long; then it is as before."""

    level: Literal["debug", "info", "warning"]
    minutes: float = Field(default=10.0, gt=0, le=60)


class ReplayArgs(Args):
    """From which event on (``seq``) those that were sent are sent again."""

    from_seq: int = Field(ge=1, lt=2**63)


class RemoveArgs(Args):
    """A point that is no longer configured."""

    point: str


def _ping(_: Bench, __: Args, call: Call) -> dict[str, Any]:
    return {"pong": True, "version": __version__, "role": call.role}


def _info(bench: Bench, _: Args, call: Call) -> dict[str, Any]:
    return would("publish the info message again") if call.dry_run else bench.reporter.info()


def _status(bench: Bench, _: Args, __: Call) -> dict[str, Any]:
    outbox, publisher, sentences = bench.outbox.status, bench.publisher, bench.reporter.alerts.gateway.sentences
    return {
        "gateway": {
            "id": bench.config.gateway.id,
            "version": __version__,
            "model": bench.reporter.model,
            "broker": f"{bench.config.mqtt.host}:{bench.config.mqtt.port}",
            "connected": publisher.connected,
            "problems": list(publisher.problems),
            "outbox": {
                "waiting": outbox.waiting,
                "lost": outbox.lost,
                "durable": outbox.durable,
                "problem": outbox.problem,
            },
            "engine": engine_fields(bench.engine.status),
            "clips": bench.clips.on,
            "alarms": [
                {"alert_id": life.alert_id, "severity": life.severity, "text": sentences.get(life.about, life.about)}
                for life in waiting(bench.points, bench.reporter.alerts)
                if life.kind == "monitor" and life.active
            ],
        },
        "points": [point_status(bench, point) for point in bench.points.values()],
    }


def _doctor(bench: Bench, _: Args, __: Call) -> dict[str, Any]:
    found = diagnosis(bench)
    return {"well": not found, "findings": found}


def _log_level(bench: Bench, args: LogArgs, call: Call) -> dict[str, Any]:
    if call.dry_run:
        return would(f"log from '{args.level}' on for {args.minutes:g} minutes")
    log.warning("%s logs from '%s' on for %g minutes", call.actor, args.level, args.minutes)
    _set_level(logging.getLevelName(args.level.upper()))
    bench.monitor.standing.later("log.level", args.minutes * 60, usual_level)
    return {"level": args.level, "minutes": args.minutes}


def usual_level() -> None:
    """Log as the whole program does."""
    _set_level(logging.NOTSET)


def _set_level(level: int) -> None:
    for name in LOGGERS:
        logging.getLogger(name).setLevel(level)


def _replay(bench: Bench, args: ReplayArgs, call: Call) -> dict[str, Any]:
    if call.dry_run:
        return would(f"send what is kept of the events from {args.from_seq} on again")
    by = call.actor
    bench.outbox.replay(args.from_seq, lambda n: log.info("%s had %d events sent again", by, n))
    return {"accepted": True, "from_seq": args.from_seq}


def _remove(bench: Bench, args: RemoveArgs, call: Call) -> dict[str, Any]:
    try:
        machine, _ = split_point(args.point)
    except ValueError as error:
        raise OrderError(f"'{args.point}' is no point: write it as machine/point", EXIT_USAGE) from error
    if args.point in bench.points:
        why = "is configured: take it out of the configuration first"
        raise OrderError(f"{args.point}: {why}", EXIT_CONFLICT)
    topics = list(bench.topics.retained(args.point))
    if machine not in bench.config.machines:
        topics.append(bench.topics.machine_state(machine))
    if call.dry_run:
        return would(f"empty {len(topics)} retained topics", topics=topics)
    for topic in topics:
        bench.publisher.set_state(topic, b"")
    return {"point": args.point, "emptied": topics}


VERBS: dict[str, Verb[Bench, Any]] = {
    "ping": order("viewer", Args, _ping, "Answers: the way there and back works."),
    "info.get": order("viewer", Args, _info, "Publishes what the gateway is again, and answers it."),
    "status": order("viewer", Args, _status, "Tells how every point and the gateway are."),
    "doctor": order("viewer", Args, _doctor, "Tells what is wrong now, and what mends it."),
    "log.level": order("engineer", LogArgs, _log_level, "Logs more, or less, for at most an hour."),
    "outbox.replay": order("engineer", ReplayArgs, _replay, "Sends events again that a subscriber missed."),
    "point.remove": order("admin", RemoveArgs, _remove, "Empties the topics of a point that is no longer configured."),
}
