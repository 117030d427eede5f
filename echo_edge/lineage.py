"""Lineage: what adaptation made of a baseline, told by the store's manifests, and how its next version is stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from echo_edge.adaptation import Version
from echo_edge.adaptation_job import Adapted
from echo_edge.baseline import Baseline

AUTHOR = "adaptation"
ADDED = re.compile(r"(\d+) windows of '([^']*)'")


class Manifest(Protocol):
    """What is asked of one version."""

    @property
    def parent(self) -> str | None: ...

    @property
    def author(self) -> str: ...

    @property
    def note(self) -> str: ...

    @property
    def created_ns(self) -> int: ...


@runtime_checkable
class VersionStore(Protocol):
    """What is asked of the store of baselines."""

    def active(self, point: str, /) -> Baseline | None: ...

    def load(self, id_: str, /) -> Baseline: ...

    def manifest(self, id_: str, /) -> Manifest: ...

    def propose(self, baseline: Baseline, author: str, note: str = "") -> Baseline: ...

    def activate(self, point: str, id_: str, actor: str, why: str = "", /) -> Baseline: ...

    def needs_another_person(self, point: str, /) -> bool: ...


class StoredLineage:
    """The line of a point's versions. Reading, from any thread; ``keep`` belongs to the thread that writes.

    Every method raises BaselineError when a version cannot be read or stored.
    """

    def __init__(self, store: VersionStore) -> None:
        self._store = store

    def active(self, point: str) -> Baseline | None:
        return self._store.active(point)

    def load(self, id_: str) -> Baseline:
        return self._store.load(id_)

    def line(self, baseline: Baseline) -> list[Version]:
        """A baseline and its parents, newest first, as far as the first that a person made."""
        found: list[Version] = []
        id_: str | None = baseline.id
        while id_ is not None:
            manifest = self._store.manifest(id_)
            adapted = manifest.author == AUTHOR and manifest.parent is not None
            found.append(Version(id_, manifest.created_ns, _added(manifest.note) if adapted else None))
            id_ = manifest.parent if adapted else None
        return found

    def ancestor(self, baseline: Baseline) -> str:
        """The id of the version whose thresholds, and so whose promise, are in force."""
        return self.line(baseline)[-1].id

    def keep(self, point: str, adapted: Adapted) -> Baseline | None:
        """Store the next version and make it the active one; None where a person must do so. Both are audited."""
        stored = self._store.propose(adapted.baseline, AUTHOR, adapted.why)
        if self._store.needs_another_person(point):
            return None
        return self._store.activate(point, stored.id, AUTHOR, adapted.why)


def _added(note: str) -> Mapping[str, int]:
    return {state: int(count) for count, state in ADDED.findall(note)}
