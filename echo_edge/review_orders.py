"""What can be asked about alerts of the past: verbs with arguments in JSON, the same for command line and daemon."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from echo_edge import verbs
from echo_edge.audit import MAX_TEXT
from echo_edge.baseline_store import BaselineStore
from echo_edge.errors import HistoryError
from echo_edge.examples import keep_example
from echo_edge.history_reader import HistoryReader
from echo_edge.operation import OperationLog
from echo_edge.review import Item, Label, Reviews, with_episode
from echo_edge.verbs import Args

CHANGES = ("feedback", "accept", "dismiss")
"""Verbs that write: through the daemon while one runs. The others only read, and anyone may call them beside it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the verbs work with."""

    log: OperationLog
    history: HistoryReader
    examples: Path
    store: BaselineStore


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
        OrderError: no such verb, or arguments that do not fit it.
        HistoryError, BaselineError: refused; nothing was changed.
    """
    return verbs.run(VERBS, "reviews", desk, verb, args)


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


VERBS = {
    "feedback": verbs.verb(FeedbackArgs, _feedback),
    "accept": verbs.verb(SettleArgs, _accept),
    "dismiss": verbs.verb(SettleArgs, _dismiss),
    "list": verbs.verb(Args, _list),
    "show": verbs.verb(ShowArgs, _show),
}
