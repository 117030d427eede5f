"""Standing orders: what was ordered for a while, put in force at start, ended in time. In the pipeline's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from echo_edge.envelope import split_point
from echo_edge.errors import HistoryError
from echo_edge.pipeline import Point
from echo_edge.promise import Operation
from echo_edge.settings import Mute, Settings, Target

log = logging.getLogger(__name__)


class Standing:
    """Targets and planned work as they are in force, and work that falls due.

    Args:
        path: the database.
        points: of the pipeline.
        operation: what became of a point under a promise before (``Books.operation``).
        changed: is told of a point whose thresholds changed.
        now_ns: tells the time that ends are compared with, nanoseconds since 1970.
        now_s: tells monotonic seconds.
    """

    def __init__(
        self,
        path: Path,
        points: Mapping[str, Point],
        operation: Callable[[str, str], Operation],
        changed: Callable[[Point], None],
        now_ns: Callable[[], int] = time.time_ns,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._points, self._operation, self._changed = path, points, operation, changed
        self._now_ns, self._now_s = now_ns, now_s
        self._settings: Settings | None = None
        self.targets: dict[str, Target] = {}
        """Point -> what a person ordered in place of the configured target."""

        self._due: dict[str, tuple[float, Callable[[], None]]] = {}  # what -> when (monotonic s), and the work

    def begin(self) -> None:
        """Put in force what was ordered before this start; before baselines are loaded."""
        now_ns = self._now_ns()
        try:
            settings = self._settings = Settings(self._path)
            settings.forget(now_ns)
            targets, mutes = settings.targets(now_ns), settings.mutes(now_ns)
        except HistoryError as error:  # the configured ones hold; monitoring goes on
            log.error("targets and planned work that were ordered are not in force: %s", error)
            return
        self.targets = {name: target for name, target in targets.items() if name in self._points}
        for name, target in self.targets.items():
            self._points[name].target_per_month = target.per_month
            log.info("%s: target %g false alarms a month, as %s ordered", name, target.per_month, target.by)
        for name, point in self._points.items():
            if (mute := mutes.get(split_point(name)[0])) is not None:
                point.mute(mute.until_ns, mute.by, now_ns)

    def tick(self) -> None:
        """End what has lasted long enough, and do what is due; about once a second."""
        now_ns, now_s = self._now_ns(), self._now_s()
        ended = [n for n, t in self.targets.items() if t.until_ns is not None and t.until_ns <= now_ns]
        for name in ended:
            log.info("%s: the target that was ordered has ended", name)
            self._put_in_force(name, None)  # what is stored ends by its own time
        for what, (due_s, work) in list(self._due.items()):
            if now_s >= due_s:
                del self._due[what]
                work()

    def set_target(self, points: list[str], target: Target | None) -> None:
        """Judge these points by thresholds for this target; None: for the configured one.

        Raises:
            HistoryError: it cannot be stored.
        """
        self._stored().set_target(points, target)
        for name in points:
            self._put_in_force(name, target)

    def _put_in_force(self, name: str, target: Target | None) -> None:
        point = self._points[name]
        self.targets.pop(name, None)
        if target is not None:
            self.targets[name] = target
        wanted = point.configured_target if target is None else target.per_month
        if wanted != point.target_per_month:
            point.retarget(wanted, lambda promise: self._operation(name, promise))
            self._changed(point)

    def set_mute(self, machine: str, mute: Mute | None) -> None:
        """Remember planned work over a restart.

        Raises:
            HistoryError: it cannot be stored.
        """
        self._stored().set_mute(machine, mute)

    def later(self, what: str, after_s: float, work: Callable[[], None]) -> None:
        """Do this in the pipeline's thread after so many seconds, in place of what was to be done under this name."""
        self._due[what] = (self._now_s() + after_s, work)

    def _stored(self) -> Settings:
        if self._settings is None:
            self._settings = Settings(self._path)
        return self._settings
