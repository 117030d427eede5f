"""Orders that teach normal states, and that tell which one is in force."""

from __future__ import annotations

import time
from typing import Annotated, Any

from pydantic import Field

from echo_edge.config_model import ID_PATTERN
from echo_edge.enroll_orders import (
    LATEST_NS,
    MAX_MINUTES,
    EnrollAccept,
    EnrollExtend,
    EnrollOrder,
    EnrollReject,
    EnrollStart,
    EnrollStatus,
)
from echo_edge.errors import OrderError
from echo_edge.order_bench import EXIT_USAGE, Bench, Moment, OfPoint, Text, moment_ns, order, would
from echo_edge.order_types import Call, Verb

State = Annotated[str, Field(pattern=ID_PATTERN)]
Minutes = Annotated[float, Field(gt=0, le=MAX_MINUTES)]
Files = Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=1000)]


class StartArgs(OfPoint):
    """As ``EnrollStart``."""

    state: State = "run"
    minutes: Minutes = 10.0
    files: Files = Field(default_factory=list)
    """Recordings on the gateway, for a local client only."""

    scale: float | None = Field(default=None, gt=0)
    past_from: Moment | None = None
    past_until: Moment | None = None
    """Learn what was kept of these hours instead; both, or neither."""

    note: Text = ""
    healthy: bool = False


class SessionArgs(OfPoint):
    """A running enrollment; without its id, the one that runs."""

    session: str | None = Field(default=None, max_length=64)


class AcceptArgs(SessionArgs):
    """Say that the machine is healthy, where the self-test doubts it."""

    healthy: bool = False


class ExtendArgs(SessionArgs):
    """How much longer to listen."""

    minutes: Minutes


class RejectArgs(SessionArgs):
    """Why it is ended."""

    note: Text = ""


class SetArgs(OfPoint):
    """The state, and when it ends by itself."""

    name: State
    until: Moment | None = None


def _start(bench: Bench, args: StartArgs, call: Call) -> dict[str, Any]:
    if args.files and call.channel != "socket":
        raise OrderError("files: only the command line names files; enroll from recordings at the gateway", EXIT_USAGE)
    if (args.past_from is None) != (args.past_until is None):
        raise OrderError("past_from and past_until go together: give both or neither", EXIT_USAGE)
    from_ns, until_ns = moment_ns(args.past_from, "past_from"), moment_ns(args.past_until, "past_until")
    past = None if from_ns is None or until_ns is None else [min(from_ns, LATEST_NS), min(until_ns, LATEST_NS)]
    told = args.model_dump(include={"point", "state", "minutes", "files", "scale", "note", "healthy"})
    start = EnrollStart.model_validate({"order": "enroll.start", **told, "past_ns": past, "by": call.actor[:80]})
    answer = _handled(bench, start, call, f"begin to learn '{args.state}'")
    return answer if call.dry_run else {"accepted": True, **answer}


def _stop(bench: Bench, args: RejectArgs, call: Call) -> dict[str, Any]:
    session = _session(bench, args)
    fields = {"point": args.point, "session": session, "by": call.actor[:80], "why": args.note}
    return _handled(bench, EnrollReject(order="enroll.reject", **fields), call, f"end session {session}")


def _accept(bench: Bench, args: AcceptArgs, call: Call) -> dict[str, Any]:
    session = _session(bench, args)
    accept = EnrollAccept(
        order="enroll.accept", point=args.point, session=session, by=call.actor[:80], healthy=args.healthy
    )
    return _handled(bench, accept, call, f"put in force, or propose, what session {session} learned")


def _extend(bench: Bench, args: ExtendArgs, call: Call) -> dict[str, Any]:
    session = _session(bench, args)
    extend = EnrollExtend(order="enroll.extend", point=args.point, session=session, minutes=args.minutes)
    return _handled(bench, extend, call, f"let session {session} listen for {args.minutes:g} minutes more")


def _status(bench: Bench, args: OfPoint, _: Call) -> dict[str, Any]:
    return bench.monitor.sessions.handle(EnrollStatus(order="enroll.status", point=args.point))


def _session(bench: Bench, args: SessionArgs) -> str:
    running = bench.monitor.sessions.progress.get(args.point)
    return args.session or (running["session"] if running else "(none)")


def _handled(bench: Bench, wanted: EnrollOrder, call: Call, what: str) -> dict[str, Any]:
    if call.dry_run:
        bench.monitor.sessions.check(wanted)
        return would(f"{wanted.point}: {what}")
    return bench.monitor.sessions.handle(wanted)


def _set_state(bench: Bench, args: SetArgs, call: Call) -> dict[str, Any]:
    until_ns = moment_ns(args.until, "until")
    if until_ns is not None and until_ns <= time.time_ns():
        raise OrderError("until: has passed", EXIT_USAGE)
    if call.dry_run:
        return would(f"{args.point}: take '{args.name}' for the state in force")
    bench.monitor.tell_state(args.point, args.name, until_ns)
    return bench.monitor.state_of(args.point)


def _clear_state(bench: Bench, args: OfPoint, call: Call) -> dict[str, Any]:
    if call.dry_run:
        return would(f"{args.point}: forget the state that was ordered")
    bench.monitor.tell_state(args.point, None, None)
    return bench.monitor.state_of(args.point)


VERBS: dict[str, Verb[Bench, Any]] = {
    "enroll.start": order("technician", StartArgs, _start, "Begins to teach a normal state."),
    "enroll.stop": order("technician", RejectArgs, _stop, "Ends an enrollment at any step; nothing is changed."),
    "enroll.reject": order("technician", RejectArgs, _stop, "The same."),
    "enroll.accept": order("technician", AcceptArgs, _accept, "Puts in force what was learned."),
    "enroll.extend": order("technician", ExtendArgs, _extend, "Listens on, then tests again."),
    "enroll.status": order("viewer", OfPoint, _status, "Tells how far it is, or how the latest one ended."),
    "state.set": order("technician", SetArgs, _set_state, "Says which operating state is in force."),
    "state.clear": order("technician", OfPoint, _clear_state, "Takes back what `state.set` said."),
}
