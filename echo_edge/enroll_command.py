"""Enroll from the command line: orders to the running daemon, or to its threads within this command where none runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echo_edge.config import Config
from echo_edge.control_client import send_order
from echo_edge.errors import EnrollError
from echo_edge.store import StoreBusyError, control_socket, exclusive, state_folder

Progress = dict[str, Any]
Show = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class EnrollDesk:
    """Who takes the orders about enrollments of one point."""

    folder: Path
    point: str
    alone: bool
    """No daemon runs: what goes on here ends with this command."""

    def ask(self, order: str, **fields: Any) -> Progress:
        """Give an order and return the progress after it.

        Raises:
            EnrollError: refused, with the exit code that says why.
        """
        for answer in self._send({"order": f"enroll.{order}", "point": self.point, **fields}):
            result: Progress = answer["result"]
            return result
        raise EnrollError("the daemon went away before it answered; see 'echo-edge enroll status'", 1)

    def watch(self, session: str) -> Iterator[Progress]:
        """Every change of a session; the last one is of when it is over."""
        told: Progress = {}
        for answer in self._send({"order": "enroll.watch", "point": self.point, "session": session}):
            told = answer["progress"] if "progress" in answer else answer["result"]
            yield told
        if "code" not in told:
            raise EnrollError("the daemon went away before it finished; nothing was changed", 1)

    def _send(self, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
        try:
            for answer in send_order(control_socket(self.folder), order):
                if answer.get("ok") is False:
                    raise EnrollError(answer["error"], answer["code"])
                yield answer
        except OSError as error:
            raise EnrollError(f"{self.folder}: in use, but no daemon answers: {error}", 6) from error


@contextmanager
def open_desk(config: Config, point: str, *, alone_with: list[str] | None = None) -> Iterator[EnrollDesk]:
    """The running daemon's; where none runs, one within this command that opens ``alone_with`` of the devices.

    Raises:
        EnrollError: no daemon runs and ``alone_with`` is None.
    """
    folder = state_folder(config.gateway.id)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder))
        except StoreBusyError:
            yield EnrollDesk(folder, point, alone=False)
            return
        if alone_with is None:
            raise EnrollError(f"{point}: no daemon runs, so nothing is being enrolled", 6)
        from echo_edge.daemon import alone  # noqa: PLC0415  # seconds of imports that a running daemon has done

        stack.enter_context(alone(config, folder, alone_with))
        yield EnrollDesk(folder, point, alone=True)


@contextmanager
def starting_desk(config: Config, point: str, files: list[Path], *, past: bool = False) -> Iterator[EnrollDesk]:
    """A desk to start an enrollment at: alone, it opens the point's device only, and none where nothing is heard."""
    with open_desk(config, point, alone_with=[] if files or past else [config.points()[point].device]) as desk:
        yield desk


def until_decision(desk: EnrollDesk, session: str, show: Show) -> Progress:
    """Follow a session until somebody must decide, or until it is over."""
    last: Progress = {}
    for last in desk.watch(session):
        show(last)
        if last["phase"] == "deciding":
            break
    return last


def outcome(progress: Progress) -> Progress:
    """What an accepted or proposed session made.

    Raises:
        EnrollError: it ended in another way; the exit code says how.
    """
    if progress.get("code") != 0:
        raise EnrollError(progress.get("reason", f"the session is {progress['phase']}"), progress.get("code", 1))
    result: Progress = progress["result"] | {"self_test": progress["self_test"], "checks": progress["checks"]}
    return result


def accept_or_reject(desk: EnrollDesk, progress: Progress, by: str) -> Progress:
    """Accept what passed its self-test; where a person would have to vouch for it, end it and say so.

    Raises:
        EnrollError: it did not pass, or must be vouched for (5).
    """
    if progress["phase"] != "deciding":
        return outcome(progress)
    try:
        return outcome(desk.ask("accept", session=progress["session"], by=by))
    except EnrollError as error:
        desk.ask("reject", session=progress["session"], by=by, why=str(error))
        raise


def enroll_point(
    config: Config,
    point: str,
    state: str,
    minutes: float,
    files: list[Path],
    scale: float | None,
    show: Show,
    by: str,
    note: str,
) -> Progress:
    """Enroll for ``by`` without asking anybody, and return a summary; ``show`` is told of progress.

    Raises:
        EnrollError: refused, with the exit code that says why. The active baseline is untouched.
    """
    with starting_desk(config, point, files) as desk:
        told = [str(file) for file in files]
        begun = desk.ask("start", state=state, minutes=minutes, files=told, scale=scale, by=by, note=note)
        return accept_or_reject(desk, until_decision(desk, begun["session"], show), by)
