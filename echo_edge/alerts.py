"""Alert policy: scores -> events. Pure; one object per point.

An alert opens when k of the latest n windows are above the threshold, and clears when all n are well below it: the
two limits lie apart, so that a machine on the edge does not chatter. What an alert lives through is ``alert_life``.
"""

from __future__ import annotations

from collections import deque

from echo_edge.alert_life import AlertSlot, Life, Severity
from echo_edge.config import AlertConfig
from echo_edge.records import Event, Score
from echo_edge.tail import Persistence

SPAN_NS = 2_000_000_000  # strange for less is no alert: what is wrong with a sensor is known only a second later
UPDATE_RATIO = 1.5  # a peak this many times the last one told is news
UPDATE_EVERY_NS = 10_000_000_000


class AlertPolicy:
    """Opens, follows and clears one point's alerts, one at a time."""

    def __init__(self, config: AlertConfig, persistence: Persistence) -> None:
        self._config = config
        self.persistence = persistence
        self.slot = AlertSlot()
        self._recent: deque[float] = deque(maxlen=persistence.windows)  # score / threshold
        self._strange_ns: int | None = None  # begin of the first window of those that are strange now
        self._cleared_ns: int | None = None
        self._heard_ns: int | None = None  # end of the latest window
        self.latest: Life | None = None
        """The alert after the latest step that a score made."""

        self.began_ns = 0
        """When the first strange window of the latest alert began."""

    @property
    def open(self) -> Life | None:
        """The alert that is active now."""
        return self.slot.open

    @property
    def strange_windows(self) -> int:
        """How many of the latest windows are above the threshold."""
        return sum(ratio > 1 for ratio in self._recent)

    def forget(self, persistence: Persistence | None = None) -> None:
        """Start the count of windows anew: what came before was judged by another measure, or heard at another gain.

        Args:
            persistence: how many strange windows make an alert from now on.
        """
        self.persistence = persistence or self.persistence
        self._recent = deque(maxlen=self.persistence.windows)
        self._strange_ns = None

    def restore(self, life: Life) -> None:
        """Go on with an alert of before a restart; it clears as any other."""
        self.slot.life, self._cleared_ns = life, life.cleared_ns
        self.began_ns = life.opened_ns if life.began_ns is None else life.began_ns

    def update(self, score: Score) -> Event | None:
        """Take in one score; return what is news."""
        self._recent.append(score.value / score.threshold)
        self._heard_ns = score.end_ns
        if not self.strange_windows:
            self._strange_ns = None
        elif self._strange_ns is None:
            self._strange_ns = score.time_ns
        if (life := self.slot.open) is None:
            told = self._opened(score)
        elif len(self._recent) == self.persistence.windows and max(self._recent) < self._config.clear_ratio:
            self._cleared_ns = score.end_ns
            told = self.slot.keep(life.cleared(score.end_ns))
        else:
            told = self.slot.keep(self._followed(life, score))
        self.latest = told or self.latest
        return None if told is None else told.event(score)

    def cleared_by_hand(self, now_ns: int) -> None:
        """A person ended the alert: what was counted until now opens no other, and the hold-off applies."""
        self.forget()
        # by the windows' own time: those that are on their way end before now, too
        self._cleared_ns = now_ns if self._heard_ns is None else self._heard_ns

    def _followed(self, life: Life, score: Score) -> Life:
        strange = score.value > score.threshold
        grown = life.told_peak is not None and score.value > UPDATE_RATIO * life.told_peak
        return life.followed(
            score.end_ns,
            severity="alarm" if strange and not score.provisional else None,
            value=score.value,
            news=grown and abs(score.end_ns - life.time_ns) >= UPDATE_EVERY_NS,
        )

    def _opened(self, score: Score) -> Life | None:
        if score.value <= score.threshold or self.strange_windows < self.persistence.strange:
            return None
        if self._strange_ns is not None and 0 <= score.end_ns - self._strange_ns < SPAN_NS:  # negative: set back
            return None
        since_ns = None if self._cleared_ns is None else score.end_ns - self._cleared_ns
        if since_ns is not None and 0 <= since_ns < self._config.hold_off_s * 1e9:  # negative: the clock was set back
            return None
        self.began_ns = score.time_ns if self._strange_ns is None else self._strange_ns
        severity: Severity = "warning" if score.provisional else "alarm"
        life = Life.opened("machine", score.point, severity, score.end_ns, value=score.value, began_ns=self.began_ns)
        return self.slot.keep(life)
