"""Operating state: which normal way of running is in force at one point. Pure; time comes with what is told or heard.

Three things decide, the first that speaks wins: the level of the window (a machine that is silent is off, whatever a
controller says), what was told (by a person, else over MQTT), and else nobody: then a window is compared with every
state. Shape suffix: C = channels.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

OFF = "off"
QUIET = "quiet"
QUIETER_DB = 10.0  # below every state that was taught; loads and speeds of one state differ by less
TOO_QUIET = (
    f"more than {QUIETER_DB:g} dB quieter than every enrolled state: look whether it runs and turns what it should; "
    "if it is switched off, teach that"
)
LATE_NS = 60_000_000_000  # no window comes so long after it was heard: the clock was set back

Source = Literal["mqtt", "order"]
TELLERS: tuple[Source, ...] = ("order", "mqtt")  # a person's word counts for more than a controller's
Level = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Told:
    """A state that something outside has named."""

    name: str
    source: Source
    at_ns: int
    """When it was told."""

    until_ns: int | None = None
    """When it ends by itself."""


@dataclass(frozen=True, slots=True)
class InForce:
    """In which state the machine was while a window was heard."""

    name: str | None
    """None: nothing tells it, and the state that the window is most like decides."""

    source: str
    """``level``, ``order``, ``mqtt`` or ``auto``."""

    withheld: Literal["not_monitored", "unknown"] | None = None
    """The level in place of a verdict: the machine is off or settling, or nobody taught this state. None: judge it."""

    reason: str | None = None
    """Why there is no verdict; beside one, why the state is not the one that was told."""

    changed: bool = False
    """It is another state than before: windows counted so far say nothing of it."""


class StateWatch:
    """Follows the operating state of one point.

    Args:
        point: ``machine/point``.
        off_below_db: a window is ``off`` when all its channels are below, in dB relative to 1 of the sensor's unit.
        settle_s: after a change, no window that began within so long is judged.
    """

    def __init__(self, point: str, off_below_db: float | None = None, settle_s: float = 10.0) -> None:
        self._point, self._off_below_db = point, off_below_db
        self._settle_ns = round(settle_s * 1e9)
        self.latest: InForce | None = None
        """Of the newest window; None before the first one that could be judged."""

        self.level_db: float | None = None
        """Of that window's loudest channel."""

        self._told: dict[Source, Told] = {}
        self._heard: str | None = None  # ``OFF``, ``QUIET``, or None: loud enough to run
        self._changed = False
        self._changed_ns: int | None = None
        self._change = ""

    @property
    def told(self) -> tuple[Told, ...]:
        """What is told now, what counts first; what has ended is in it until the next window."""
        return tuple(self._told[source] for source in TELLERS if source in self._told)

    def tell(self, name: str, source: Source, at_ns: int, until_ns: int | None = None) -> None:
        """Take a state for the one in force, from now on or until a time; it replaces what the source told before."""
        before = self._name
        self._told[source] = Told(name, source, at_ns, until_ns)
        if until_ns is not None and until_ns <= at_ns:  # a retained message may be of long ago
            del self._told[source]
        self._compare(before, at_ns)

    def forget(self, source: Source, at_ns: int) -> None:
        """A source tells nothing any more."""
        before = self._name
        self._told.pop(source, None)
        self._compare(before, at_ns)

    def in_force(self, start_ns: int, end_ns: int, level_db: Level, quiet_db: Mapping[str, Level]) -> InForce:
        """Say in which state a window was heard; windows come in their order.

        Args:
            start_ns, end_ns: its capture time.
            level_db: shape (C,): 20 log10 of its RMS, in the sensor's unit.
            quiet_db: every state that was taught -> shape (C,): the level that nearly all its windows exceed.
        """
        self._end_what_is_over(end_ns)
        self._listen(end_ns, level_db, quiet_db)
        self.level_db = round(float(level_db.max()), 1)
        self.latest = replace(self._in_force(start_ns, quiet_db), changed=self._changed)
        self._changed = False
        return self.latest

    def _in_force(self, start_ns: int, known: Container[str]) -> InForce:
        told = next(iter(self.told), None)
        although = "" if told is None or told.name == OFF else f", although {told.name} is told ({told.source})"
        if self._heard == OFF and OFF not in known:
            return InForce(OFF, "level", "not_monitored", f"the machine is off{although}")
        if told and told.name not in known and self._heard != OFF:
            prompt = f"state {told.name} is not enrolled: {self._prompt(told.name)}"
            return InForce(told.name, told.source, "unknown", prompt)
        if self._heard == QUIET:
            return InForce(None, "auto", "unknown", f"{TOO_QUIET}: {self._prompt(OFF)}")
        if self._heard == OFF:
            now = InForce(OFF, "level", reason=f"the level is below off_below_db{although}" if although else None)
        else:
            now = InForce(told.name, told.source) if told else InForce(None, "auto")
        settling = self._settling(start_ns)
        return replace(now, withheld="not_monitored", reason=settling) if settling else now

    @property
    def _name(self) -> str | None:
        return next((told.name for told in self.told), None)

    def _end_what_is_over(self, now_ns: int) -> None:
        for told in self.told:
            if told.until_ns is not None and told.until_ns <= now_ns:
                before = self._name
                del self._told[told.source]
                self._compare(before, told.until_ns)

    def _compare(self, before: str | None, at_ns: int) -> None:
        if (now := self._name) != before:
            self._settle("the end of the told state" if now is None else f"the change to {now}", at_ns)

    def _listen(self, end_ns: int, level_db: Level, quiet_db: Mapping[str, Level]) -> None:
        heard = None
        if self._off_below_db is not None and level_db.max() < self._off_below_db:
            heard = OFF
        elif self._name is None and quiet_db:  # one channel as loud as ever: that is no machine at rest
            quieter = all((level_db < usual_db - QUIETER_DB).all() for usual_db in quiet_db.values())
            heard = QUIET if quieter else None
        if heard == self._heard:
            return
        self._heard = heard
        to = heard if heard is not None else self._name
        self._settle("the start of the machine" if to is None else f"the change to {to}", end_ns)

    def _settle(self, change: str, at_ns: int) -> None:
        self._change, self._changed_ns, self._changed = change, at_ns, True

    def _settling(self, start_ns: int) -> str | None:
        if self._changed_ns is None:
            return None
        if not self._changed_ns - LATE_NS <= start_ns < self._changed_ns + self._settle_ns:
            self._changed_ns = None
            return None
        return f"settling after {self._change}"

    def _prompt(self, state: str) -> str:
        return f"`echo-edge enroll start CONFIG {self._point} --state {state}`"
