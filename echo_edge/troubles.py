"""Troubles: alarms about sensors, and about the gateway itself. Pure.

They are never mixed with a machine's: each kind has alerts of its own, and a point may have one of its machine and one
of its sensor at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from echo_edge.alert_life import AlertSlot, Life, Severity, worse
from echo_edge.payload import Quality

LOST_S = 5.0  # a sensor that is lost for less is being reopened
UNUSABLE_S = 30.0  # a signal that tells nothing for less has many harmless causes
WELL_S = 5.0  # well for less is no end: a loose plug comes and goes
SENSOR_UPDATE_NS = 10_000_000_000
GATEWAY_UPDATE_NS = 60_000_000_000  # counts in a sentence rise all the time
GATEWAY_HOLD_OFF_NS = 60_000_000_000  # what comes and goes opens no alarm every second
ALSO_UNUSABLE = ("rate_wrong",)  # judged all the same, but nobody should rely on it
MAX_TOLD = 2  # findings in one sentence


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a sensor."""

    severity: Severity
    reasons: tuple[str, ...]
    """Words for a program; as long as they stay the same nothing is news."""

    text: str
    """For a person."""


def starting(quality: Quality) -> bool:
    """Nobody knows yet how the sensor is."""
    return quality.state == "lost" and quality.reasons[:1] == ("starting",)


def trouble_of(quality: Quality, silent: str | None = None) -> Trouble | None:
    """What a sensor's quality has to say that is worth an alarm.

    Args:
        silent: why no window comes from a sensor that is there.
    """
    if quality.state == "lost":
        why = ": ".join(("", *quality.reasons[1:]))
        return Trouble("fault", quality.reasons[:1], f"the sensor is {_word(quality)}{why}")
    unusable = [finding for finding in quality.findings if finding.bad or finding.check in ALSO_UNUSABLE]
    if unusable:
        told = "; ".join(f"{one.check}, {one.text} ({one.advice})" for one in unusable[:MAX_TOLD])
        return Trouble("warning", tuple(dict.fromkeys(one.check for one in unusable)), f"the sensor: {told}")
    return None if silent is None else Trouble("warning", ("no_window",), f"the sensor: {silent}")


def _word(quality: Quality) -> str:
    return "at its end" if quality.reasons[:1] == ("sensor_ended",) else "lost"


class SensorAlarm:
    """The alarm of one point's sensor: opens and clears late, grows from a warning to a fault."""

    def __init__(self, point: str) -> None:
        self.slot = AlertSlot()
        self.trouble: Trouble | None = None
        """The latest."""

        self._point = point
        self._told: tuple[str, ...] | None = None  # reasons; None after a restart
        self._since_s: dict[Severity, float] = {}  # monotonic; of troubles that are at least so severe
        self._well_s: float | None = None

    def settle(self) -> None:
        """Count from now on: nobody looked for a while, or a person closed the alarm."""
        self._since_s.clear()
        self._well_s = None

    def wake(self, now_ns: int) -> Life | None:
        """Return the step that time alone made."""
        return None if self.slot.life is None else self._tell(self.slot.life.at(now_ns))

    def update(self, trouble: Trouble | None, now_s: float, now_ns: int) -> Life | None:
        """Take in how the sensor is now; return the step that is to be told."""
        life = self.slot.open
        if trouble is None:
            self._since_s.clear()
            self._well_s = now_s if self._well_s is None else self._well_s
            if life is None or now_s - self._well_s < WELL_S:
                return None
            return self._tell(life.cleared(now_ns))
        self._well_s, self.trouble = None, trouble
        severity = self._due(trouble, now_s)
        if life is not None:
            self._told = trouble.reasons if self._told is None else self._told
            other = trouble.reasons != self._told and not worse(trouble.severity, life.severity)  # that will escalate
            news = other and abs(now_ns - life.time_ns) >= SENSOR_UPDATE_NS
            return self._tell(life.followed(now_ns, severity=severity, news=news))
        return None if severity is None else self._tell(Life.opened("sensor", self._point, severity, now_ns))

    def _due(self, trouble: Trouble, now_s: float) -> Severity | None:
        """How severe an alarm is due; None while it has not lasted."""
        self._since_s.setdefault("warning", now_s)
        if trouble.severity == "warning":
            self._since_s.pop("fault", None)
        elif now_s - self._since_s.setdefault("fault", now_s) >= LOST_S:
            return "fault"
        return "warning" if now_s - self._since_s["warning"] >= UNUSABLE_S else None

    def _tell(self, life: Life) -> Life | None:
        told = self.slot.keep(life)
        if told is not None and self.trouble is not None:
            self._told = self.trouble.reasons
        return told


class GatewayAlarms:
    """What is wrong with the gateway itself: one alarm for each problem that has a name."""

    def __init__(self) -> None:
        self.slots: dict[str, AlertSlot] = {}
        self.sentences: dict[str, str] = {}
        """Of the latest problems."""

        self._told: dict[str, str] = {}
        self._cleared_ns: dict[str, int] = {}

    def restore(self, life: Life) -> None:
        """Go on with an alarm of before a restart."""
        self.slots[life.about] = AlertSlot()
        self.slots[life.about].life = life

    def cleared_by_hand(self, name: str, now_ns: int) -> None:
        """A person ended the alarm: the hold-off applies."""
        self._cleared_ns[name] = now_ns

    def wake(self, now_ns: int) -> list[Life]:
        """Return the steps that time alone made."""
        steps = [self._tell(slot.life.at(now_ns)) for slot in self.slots.values() if slot.life is not None]
        return [step for step in steps if step is not None]

    def update(self, problems: Mapping[str, str], now_ns: int) -> list[Life]:
        """Take in all problems that there are, name -> sentence; return the steps that are to be told."""
        steps = []
        for name, slot in self.slots.items():
            if name not in problems and slot.open is not None:
                self._cleared_ns[name] = now_ns
                steps.append(self._tell(slot.open.cleared(now_ns)))
        self.sentences |= problems
        for name, sentence in problems.items():
            life = self.slots.setdefault(name, AlertSlot()).open
            if life is None and self._held_off(name, now_ns):
                continue
            if life is None:
                steps.append(self._tell(Life.opened("monitor", name, "warning", now_ns)))
            else:
                told = self._told.setdefault(name, sentence)  # after a restart
                news = sentence != told and abs(now_ns - life.time_ns) >= GATEWAY_UPDATE_NS
                steps.append(self._tell(life.followed(now_ns, news=news)))
        return [step for step in steps if step is not None]

    def _held_off(self, name: str, now_ns: int) -> bool:
        since_ns = now_ns - self._cleared_ns.get(name, now_ns - GATEWAY_HOLD_OFF_NS)
        return 0 <= since_ns < GATEWAY_HOLD_OFF_NS  # negative: the clock was set back

    def _tell(self, life: Life) -> Life | None:
        told = self.slots[life.about].keep(life)
        if told is not None and life.about in self.sentences:  # else what was told before a restart still stands
            self._told[life.about] = self.sentences[life.about]
        return told
