"""Machine state: all points of a machine in one word. Told on change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from echo_edge.payload import VERDICTS, MachineState
from echo_edge.records import OperatingState

WORST = ("normal", "not_monitored", "unknown", "warning", "alarm")
"""Each level is worse than those before it: a machine is normal only when every point says so."""


class Machines:
    """Gathers levels from the pipeline's thread and open alerts from the store's; hence the lock.

    Args:
        points: of all machines.
        tell: takes what is news of a machine; must not wait.
        interval_s: a change of nothing but the operating state is told no more often.
    """

    def __init__(self, points: Iterable[str], tell: Callable[[str, MachineState], None], interval_s: float) -> None:
        self._tell, self._interval_s = tell, interval_s
        self._points: dict[str, dict[str, tuple[str, str | None]]] = {}  # machine -> point -> level, operating state
        for point in points:
            self._points.setdefault(_machine(point), {})[point] = ("not_monitored", None)
        self._alerts: dict[str, tuple[str, ...]] = {}  # point -> ids
        self._told: dict[str, tuple[MachineState, float]] = {}  # machine -> state, monotonic s
        self._lock = threading.Lock()

    def level(self, point: str, level: str, operating: OperatingState | None) -> None:
        """How a point is."""
        with self._lock:
            self._points[_machine(point)][point] = (level, None if operating is None else operating.name)
            self._news(_machine(point))

    def alerts(self, point: str, ids: tuple[str, ...]) -> None:
        """Which alerts of a point are open."""
        with self._lock:
            self._alerts[point] = ids
            if _machine(point) in self._told:  # before the first level there is nothing to say
                self._news(_machine(point))

    def _news(self, machine: str) -> None:
        state, now_s = self._state(machine), time.monotonic()
        told, told_s = self._told.get(machine, (None, 0.0))
        if told is not None:
            if state == told:
                return
            # which of the states is nearest may change with every window
            same = state == replace(told, operating_state=state.operating_state)
            if same and now_s - told_s < self._interval_s:
                return
        self._told[machine] = (state, now_s)
        self._tell(machine, state)

    def _state(self, machine: str) -> MachineState:
        points = self._points[machine]
        levels = [level for level, _ in points.values()]
        states = {state for _, state in points.values()}
        return MachineState(
            max(levels, key=WORST.index),
            sum(level in VERDICTS for level in levels),
            len(levels),
            states.pop() if len(states) == 1 else None,
            tuple(id_ for point in points for id_ in self._alerts.get(point, ())),
        )


def _machine(point: str) -> str:
    return point.partition("/")[0]
