"""Lineage: what adaptation made of a baseline, told by the store's manifests, and how its next version is stored."""

from __future__ import annotations

from echo_edge.adaptation import EVERY_NS, Version
from echo_edge.baseline import Baseline, added_windows
from echo_edge.baseline_store import BaselineStore

AUTHOR = "adaptation"
"""Who the audit log names."""


def line(store: BaselineStore, baseline: Baseline) -> list[Version]:
    """A baseline and its parents, newest first, as far as the first that a person made.

    Raises:
        BaselineError: one of them does not verify.
    """
    found: list[Version] = []
    id_: str | None = baseline.id
    while id_ is not None:
        manifest = store.manifest(id_)
        added = manifest.added_windows
        found.append(Version(id_, manifest.created_ns, added or None))
        id_ = manifest.parent if added else None
    return found


def ancestor(store: BaselineStore, baseline: Baseline) -> str:
    """The id of the version whose thresholds, and so whose promise, are in force; raises as ``line``."""
    return line(store, baseline)[-1].id


def rests(store: BaselineStore, present: Baseline, now_ns: int) -> str | None:
    """Why adaptation makes no version to follow this one now, in words; None when it may.

    One that a person was asked about, rejected or rolled back counts as well: it is not made anew the next day.

    Raises:
        BaselineError: the store cannot be read.
    """
    for one in store.list(present.point):
        if present.id not in {one.id, one.parent} or not store.manifest(one.id).added_windows:
            continue
        if one.status == "proposed":
            return f"{one.id}, which adaptation proposed, waits for a person"
        if now_ns - one.created_ns < EVERY_NS:
            return "it was adapted less than a week ago"
    return None


def why(grown: Baseline) -> str:
    """What adaptation did to make this version, for the audit log."""
    return "grown by " + ", ".join(f"{n} windows of '{state}'" for state, n in added_windows(grown.learned).items())


def keep(store: BaselineStore, grown: Baseline) -> Baseline | None:
    """Store the next version and make it the active one; None where a person must do so. Both are audited.

    Raises:
        BaselineError: it cannot be stored.
    """
    stored = store.propose(grown, AUTHOR, why(grown))
    if store.needs_another_person(stored.point):
        return None
    return store.activate(stored.point, stored.id, AUTHOR, why(grown))
