"""What orders work with, and what is the same for all of them: points and machines that exist, conditions that hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BeforeValidator, Field, TypeAdapter

from echo_edge.baseline_store import BaselineStore
from echo_edge.books import Books
from echo_edge.capture import Capture
from echo_edge.clip_job import ClipJob
from echo_edge.config import Config
from echo_edge.config_versions import ConfigVersions
from echo_edge.engine.standby import StandbyEngine
from echo_edge.enroll_orders import LATEST_NS
from echo_edge.envelope import Topics
from echo_edge.errors import OrderError
from echo_edge.monitor import Monitor
from echo_edge.order_types import Call, Role, Verb
from echo_edge.outbox import Outbox
from echo_edge.pipeline import Point
from echo_edge.publisher import Publisher
from echo_edge.report import Reporter
from echo_edge.verbs import Args

EXIT_USAGE, EXIT_CONFLICT = 2, 6
MAX_TEXT = 500  # characters of a note or reason, as the audit log keeps them


@dataclass(frozen=True, slots=True)
class Bench:
    """The daemon, as orders see it; all of them run in the pipeline's thread."""

    config: Config
    folder: Path
    """The state folder."""

    monitor: Monitor
    store: BaselineStore
    books: Books
    reporter: Reporter
    publisher: Publisher
    outbox: Outbox
    engine: StandbyEngine
    topics: Topics
    captures: Mapping[str, Capture]
    clips: ClipJob
    versions: ConfigVersions | None = None
    """Of the configuration; None where there is no file that could be changed."""

    restart: Callable[[], None] = lambda: None
    """Ask the daemon to begin anew with the configuration as the file has it then."""

    @property
    def points(self) -> Mapping[str, Point]:
        return self.monitor.points


class OfPoint(Args):
    """One measuring point."""

    point: str
    """``machine/point``."""


class OfMachine(Args):
    """One machine."""

    machine: str


class OfAlert(Args):
    """One alert, as its messages name it."""

    alert_id: str = Field(min_length=1, max_length=64)


Text = Annotated[str, Field(max_length=MAX_TEXT)]
A = TypeVar("A", bound=Args)
_TIME: TypeAdapter[AwareDatetime] = TypeAdapter(AwareDatetime)


def _read_time(value: object) -> object:
    return _TIME.validate_python(value) if isinstance(value, str) else value


Moment = Annotated[AwareDatetime, BeforeValidator(_read_time)]
"""RFC 3339 with a zone; read from text here, since a strict reader takes no text for a time."""


def moment_ns(moment: AwareDatetime | None, what: str) -> int | None:
    """Nanoseconds since 1970; raises OrderError when that is no time a message can tell."""
    if moment is None:
        return None
    time_ns = round(moment.timestamp() * 1e3) * 1_000_000
    if not 0 <= time_ns <= LATEST_NS:
        raise OrderError(f"{what}: is a time between 1970 and 2116", EXIT_USAGE)
    return time_ns


def order(role: Role, args: type[A], work: Callable[[Bench, A, Call], dict[str, Any]], help_: str) -> Verb[Bench, A]:
    """A verb whose point or machine is known, and whose conditions hold, before its work begins."""

    def checked(bench: Bench, given: A, call: Call) -> dict[str, Any]:
        _known(bench, given)
        _as_expected(bench, given, call)
        return work(bench, given, call)

    return Verb(role, args, checked, help_)


def would(what: str, **more: Any) -> dict[str, Any]:
    """The answer to a rehearsal: everything was checked and nothing was changed."""
    return {"dry_run": True, "would": what, **more}


def _known(bench: Bench, given: Args) -> None:
    if isinstance(given, OfPoint) and given.point not in bench.points:
        raise OrderError(f"no point '{given.point}'; known are {', '.join(bench.points)}", EXIT_USAGE)
    if isinstance(given, OfMachine) and given.machine not in bench.config.machines:
        raise OrderError(f"no machine '{given.machine}'; known are {', '.join(bench.config.machines)}", EXIT_USAGE)


def _as_expected(bench: Bench, given: Args, call: Call) -> None:
    """Insist that what must still be so is so.

    Raises:
        OrderError: it is not (6), or nothing here could tell (2): a condition that is not looked at protects nobody.
    """
    point = given.point if isinstance(given, OfPoint) else None
    for what, expected in call.expect.items():
        if what == "rev" and isinstance(given, OfAlert):
            if isinstance(expected, bool) or not isinstance(expected, int) or expected < 1:
                raise OrderError("if.rev: is a whole number from 1 on", EXIT_USAGE)
            continue  # whoever keeps the alert compares it
        if what == "baseline" and point is not None:
            in_force = bench.points[point].baseline
            now: object = None if in_force is None else in_force.id
        elif what == "config" and bench.versions is not None:
            now = bench.versions.sha256
        else:
            raise OrderError(f"if.{what}: this order has no such condition", EXIT_USAGE)
        if now != expected:
            raise OrderError(f"if.{what}: is {now} by now, not {expected}; look again, then decide", EXIT_CONFLICT)
