"""Mailbox: the one hand-over into the pipeline thread. Bounded and fair: no point can crowd out another.

It carries windows, orders, reports and the states that the plant tells; what a report holds is between the one who
posts and the one who takes.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from echo_edge.records import PlantState, Window

WINDOWS_PER_POINT = 2
ORDERS = 16

Order = Callable[[], None]
"""Work that some other thread asks the pipeline thread to do."""


Report = TypeVar("Report")


@dataclass(frozen=True, slots=True)
class Mail(Generic[Report]):
    """Everything that was waiting."""

    orders: list[Order]
    reports: list[Report]
    windows: list[Window]
    states: dict[str, PlantState]
    """Point -> what the plant tells of its state."""


class Mailbox(Generic[Report]):
    """Bounded: windows per point (a full one forgets its oldest), orders (refused when full), the newest report of each
    sender and state of each point."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._windows: dict[str, deque[tuple[int, Window]]] = {}
        self._number = 0  # of the windows that came
        self._orders: deque[Order] = deque()
        self._reports: dict[str, Report] = {}
        self._states: dict[str, PlantState] = {}
        self._closed = False
        self.windows_dropped: Counter[str] = Counter()

    def put(self, window: Window) -> None:
        """Post a window; never waits."""
        with self._lock:
            waiting = self._windows.setdefault(window.point, deque())
            if len(waiting) == WINDOWS_PER_POINT:
                waiting.popleft()
                self.windows_dropped[window.point] += 1
            self._number += 1
            waiting.append((self._number, window))
            self._lock.notify()

    def order(self, order: Order) -> bool:
        """Post an order; False when too many wait already."""
        with self._lock:
            if len(self._orders) == ORDERS or self._closed:
                return False
            self._orders.append(order)
            self._lock.notify()
            return True

    def report(self, sender: str, report: Report) -> None:
        """Post the newest word of a sender, in place of the one before."""
        with self._lock:
            self._reports[sender] = report
            self._lock.notify()

    def state(self, point: str, state: PlantState) -> None:
        """Post the newest state told of a point, in place of the one before; never waits, however many come."""
        with self._lock:
            self._states[point] = state
            self._lock.notify()

    def take(self, timeout_s: float) -> Mail[Report]:
        """Wait for mail, at most so long, and take all of it; windows in the order in which they came."""
        with self._lock:
            self._lock.wait_for(
                lambda: self._closed or self._orders or self._reports or self._states or any(self._windows.values()),
                timeout_s,
            )
            orders, reports = list(self._orders), list(self._reports.values())
            self._orders.clear()
            states = dict(self._states)
            self._reports.clear()
            self._states.clear()
            # in the order in which they came: the system clock may have been set back between two of them
            numbered = [pair for waiting in self._windows.values() for pair in waiting]
            windows = [window for _, window in sorted(numbered, key=lambda pair: pair[0])]
            for waiting in self._windows.values():
                waiting.clear()
            return Mail(orders, reports, windows, states)

    @property
    def waiting(self) -> int:
        """Windows that were not taken yet."""
        with self._lock:
            return sum(len(waiting) for waiting in self._windows.values())

    def close(self) -> None:
        """Wake the taker for good."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed
