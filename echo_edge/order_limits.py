"""Limits on orders: how many are taken in, and how many lines in the log one cause may make."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque

PER_OPERATOR, IN_ALL = 10, 30  # a minute
MINUTE_S = 60.0
HOUR_S = 3600.0
CAUSES = 200  # more than there are codes and operators: who sends what may not fill memory

log = logging.getLogger(__name__)


class Bucket:
    """At most so many in any 60 s; times are monotonic."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: deque[float] = deque()

    def full(self, now_s: float) -> bool:
        while self._taken and now_s - self._taken[0] >= MINUTE_S:
            self._taken.popleft()
        return len(self._taken) >= self._limit

    def take(self, now_s: float) -> bool:
        """Count one; False when it is one too many, which does not count."""
        if self.full(now_s):
            return False
        self._taken.append(now_s)
        return True


class Limits:
    """Orders a minute: of each operator, and of all together; one thread asks."""

    def __init__(self) -> None:
        self._all = Bucket(IN_ALL)
        self._each: dict[str, Bucket] = {}
        self._told: set[str] = set()

    def problem(self, operator: str, now_s: float) -> str | None:
        """In words why one more order of a configured operator is too many; None when it is not."""
        if self._own(operator).full(now_s):
            return f"more than {PER_OPERATOR} orders a minute; wait a minute"
        if self._all.full(now_s):
            return f"more than {IN_ALL} orders a minute of all operators together; wait a minute"
        return None

    def take(self, operator: str, now_s: float) -> None:
        """Count one that is not too many."""
        self._own(operator).take(now_s)
        self._all.take(now_s)
        self._told.discard(operator)

    def first(self, operator: str) -> bool:
        """True once, until an order of this operator was taken again."""
        new = operator not in self._told
        self._told.add(operator)
        return new

    def _own(self, operator: str) -> Bucket:
        return self._each.setdefault(operator, Bucket(PER_OPERATOR))


class Complaints:
    """Warnings by cause: the first of a cause at once, the others of an hour in one line. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hours: dict[str, float] = {}  # cause -> when it was told last
        self._more: Counter[str] = Counter()

    def note(self, cause: str, text: str, now_s: float) -> None:
        """Log ``text``, unless its cause was told within the hour; then count it."""
        with self._lock:
            known = cause in self._hours
            if not known and len(self._hours) >= CAUSES:
                cause = "others"
                known = cause in self._hours
            if known:
                self._more[cause] += 1
                return
            self._hours[cause] = now_s
        log.warning("%s", text)

    def tick(self, now_s: float) -> None:
        """Tell how many more there were, an hour after a cause was told; then it may be told anew."""
        with self._lock:
            due = [cause for cause, told_s in self._hours.items() if now_s - told_s >= HOUR_S]
            counts = {cause: self._more.pop(cause, 0) for cause in due}
            for cause, count in counts.items():
                if count:
                    self._hours[cause] = now_s
                else:
                    del self._hours[cause]
        for cause, count in counts.items():
            if count:
                log.warning("orders refused in the past hour: %s, %d more", cause, count)
