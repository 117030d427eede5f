"""What became of a point's baselines, by the audit log: which were proposed, active, rolled back or rejected."""

from __future__ import annotations

from collections.abc import Iterable

from echo_edge.audit import AuditEntry
from echo_edge.baseline import Status

MADE = ("propose", "import")
MADE_ACTIVE = ("activate", "rollback")


class History:
    """The rows of one point, oldest first, read as a story."""

    def __init__(self, entries: Iterable[AuditEntry] = ()) -> None:
        self.made: dict[str, AuditEntry] = {}
        self.rejected: set[str] = set()
        self.labels: dict[str, str] = {}
        """What people call a version."""

        self._ever_active: set[str] = set()
        self._stack: list[str] = []  # a rollback takes away what came after its target, so that the next goes further
        for entry in entries:
            self.read(entry)

    def read(self, entry: AuditEntry) -> None:
        """Go on with the next row."""
        if entry.what in MADE:
            self.made[entry.object] = entry
        elif entry.what == "label":
            self.labels[entry.object] = entry.why
        elif entry.what == "reject":
            self.rejected.add(entry.object)
        elif entry.what == "rollback":
            while self._stack and self._stack[-1] != entry.object:
                self._stack.pop()
        elif entry.what == "activate":
            self._ever_active.add(entry.object)
            if self._stack[-1:] != [entry.object]:
                self._stack.append(entry.object)

    @property
    def active(self) -> str | None:
        return self._stack[-1] if self._stack else None

    @property
    def before_active(self) -> str | None:
        """What a rollback leads to: the one that was active before, unless it was rejected since."""
        return next(iter(self.in_turn[1:]), None)

    @property
    def in_turn(self) -> list[str]:
        """The active one, and where one rollback after the other leads to."""
        found: list[str] = []
        for id_ in reversed(self._stack):
            if not found or (id_ not in self.rejected and id_ != found[-1]):
                found.append(id_)
        return found

    def status(self, id_: str) -> Status:
        if id_ == self.active:
            return "active"
        if id_ in self.rejected:
            return "rejected"
        return "retired" if id_ in self._ever_active else "proposed"
