"""What can be asked about alerts of the past: verbs with arguments in JSON, the same for command line and daemon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError

from echo_edge.baseline import Baseline
from echo_edge.errors import HistoryError
from echo_edge.examples import keep_example
from echo_edge.history_reader import HistoryReader
from echo_edge.operation import OperationLog
from echo_edge.review import MAX_TEXT, Item, Label, Reviews, with_episode

CHANGES = ("feedback", "accept", "dismiss")
"""Verbs that write: through the daemon while one runs. The others only read, and anyone may call them beside it."""


@runtime_checkable
class Proposals(Protocol):
    """What accepting needs of the store of baselines."""

    def active(self, point: str) -> Baseline | None: ...

    def propose(self, baseline: Baseline, author: str, note: str = "") -> Baseline:
        """Store a version that is not active yet."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the verbs work with."""

    log: OperationLog
    history: HistoryReader
    examples: Path
    store: object
    """Of baselines; see ``Proposals``."""


class Args(BaseModel):
    """Arguments of a verb."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FeedbackArgs(Args):
    """What a person says of an alert."""

    alert_id: str
    label: Label
    by: str
    cause: str = ""
    note: str = ""


class SettleArgs(Args):
    """What becomes of an item."""

    item: int
    by: str
    note: str = ""


class ShowArgs(Args):
    """One item."""

    item: int


def run_verb(desk: Desk, verb: str, args: dict[str, Any]) -> dict[str, Any]:
    """Do what a verb says and return what a person wants to know, as JSON.

    Raises:
        HistoryError, BaselineError: refused; nothing was changed.
    """
    if verb not in VERBS:
        raise HistoryError(f"'{verb}' is no verb of reviews; there are {', '.join(VERBS)}")
    return VERBS[verb](desk, args)


T = TypeVar("T", bound=Args)


def _verb(
    model: type[T], work: Callable[[Desk, T], dict[str, Any]]
) -> Callable[[Desk, dict[str, Any]], dict[str, Any]]:
    def checked(desk: Desk, args: dict[str, Any]) -> dict[str, Any]:
        try:
            parsed = model.model_validate(args)
        except ValidationError as error:
            first = error.errors()[0]
            raise HistoryError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
        return work(desk, parsed)

    return checked


def _feedback(desk: Desk, args: FeedbackArgs) -> dict[str, Any]:
    item = Reviews(desk.log).say(args.alert_id, args.label, args.by, args.cause, args.note)
    return _told(desk, item)


def _accept(desk: Desk, args: SettleArgs) -> dict[str, Any]:
    """The work first, the status last: what fails half-way can be accepted again."""
    reviews = Reviews(desk.log)
    item = reviews.open_item(args.item)
    episode = desk.log.episode(item.alert_id)
    if item.label == "fault":
        done: dict[str, Any] = {"kept_windows": keep_example(desk.examples, desk.history, episode, item.cause)}
    else:
        if not isinstance(desk.store, Proposals):
            raise HistoryError("this store of baselines takes no proposals")
        active = desk.store.active(episode.point)
        if active is None:
            raise HistoryError(f"{episode.point}: there is no baseline to add the episode to; enroll first")
        grown, windows = with_episode(active, desk.history, episode)
        why = f"alert {item.alert_id} was normal (review item {item.id}): {item.cause or item.note}"[:MAX_TEXT]
        done = {"proposed": desk.store.propose(grown, args.by, why.rstrip(": ")).id, "added_windows": windows}
    return _told(desk, reviews.settle(args.item, "accepted", args.by, args.note)) | done


def _dismiss(desk: Desk, args: SettleArgs) -> dict[str, Any]:
    return _told(desk, Reviews(desk.log).settle(args.item, "dismissed", args.by, args.note))


def _list(desk: Desk, _: Args) -> dict[str, Any]:
    return {"items": [_told(desk, item) for item in Reviews(desk.log).items()]}


def _show(desk: Desk, args: ShowArgs) -> dict[str, Any]:
    return _told(desk, Reviews(desk.log).item(args.item))


def _told(desk: Desk, item: Item) -> dict[str, Any]:
    episode = desk.log.episode(item.alert_id)
    alert = {key: value for key, value in asdict(episode).items() if key not in {"alert_id", "point"}}
    return {**asdict(item), "point": episode.point, "alert": alert}


VERBS: dict[str, Callable[[Desk, dict[str, Any]], dict[str, Any]]] = {
    "feedback": _verb(FeedbackArgs, _feedback),
    "accept": _verb(SettleArgs, _accept),
    "dismiss": _verb(SettleArgs, _dismiss),
    "list": _verb(Args, _list),
    "show": _verb(ShowArgs, _show),
}
