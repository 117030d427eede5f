"""The life of one alert, after ISA-18.2: active or cleared, acknowledged or not, shelved until a time. Pure.

    open -> update, escalate, ack, shelve -> clear          acknowledged before it cleared, or cleared by a person: over
                                          -> clear -> ack   cleared by itself: it waits for a person, or for the next
                                                            alert of the same point and kind to take its place

Every method returns the life after it; a ``rev`` that rose is a step to publish. A life is plain JSON for the outbox,
so that it goes on after a restart.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from echo_edge.errors import OrderError
from echo_edge.records import Answer, Event, Score

Kind = Literal["machine", "sensor", "monitor"]
Severity = Literal["warning", "alarm", "fault"]
StepType = Literal["open", "update", "escalate", "ack", "shelve", "clear"]
Action = Literal["ack", "shelve", "clear"]

SEVERITIES: tuple[Severity, ...] = ("warning", "alarm", "fault")
"""Each is worse than those before it."""

Nanoseconds = Annotated[int, Field(ge=0, lt=2**63)]
"""Since 1970, UTC."""

EXIT_USAGE, EXIT_CONFLICT = 2, 6
MAX_NOTE = 200  # characters: with two notes a message still fits into the outbox


@dataclass(frozen=True, slots=True)
class Life:
    """An alert as it stands after its latest step."""

    kind: Kind
    about: str
    """The point, ``machine/point``; of a monitor alarm the name of the problem."""

    severity: Severity
    """The worst so far; while shelved it may be worse than what was told."""

    opened_ns: Nanoseconds
    time_ns: Nanoseconds
    """Of the latest step that was published."""

    alert_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    rev: Annotated[int, Field(ge=1)] = 1
    type: StepType = "open"
    told_severity: Severity = "warning"
    peak_value: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """The largest score so far; None without scores."""

    peak_ns: Nanoseconds | None = None
    told_peak: float | None = None
    began_ns: Nanoseconds | None = None
    """When the first strange window began."""

    cleared_ns: Nanoseconds | None = None
    ack: Answer | None = None
    shelved_until_ns: Nanoseconds | None = None
    said: Answer | None = None
    """Who made the latest step, where a person did."""

    @classmethod
    def opened(
        cls,
        kind: Kind,
        about: str,
        severity: Severity,
        time_ns: int,
        *,
        value: float | None = None,
        began_ns: int | None = None,
    ) -> Life:
        """A new one."""
        return cls(
            kind,
            about,
            severity,
            time_ns,
            time_ns,
            uuid.uuid4().hex,
            told_severity=severity,
            peak_value=value,
            peak_ns=None if value is None else time_ns,
            told_peak=value,
            began_ns=began_ns,
        )

    @property
    def active(self) -> bool:
        return self.cleared_ns is None

    @property
    def over(self) -> bool:
        """Nobody has to know of it any more."""
        return not self.active and (self.ack is not None or (self.type == "clear" and self.said is not None))

    @property
    def key(self) -> str:
        """The place that it takes: there is one alert of a kind and point at a time."""
        return f"{self.kind}:{self.about}"

    def followed(
        self, time_ns: int, *, severity: Severity | None = None, value: float | None = None, news: bool = False
    ) -> Life:
        """It goes on: note severity and peak, and tell what is worse, or ``news``; while shelved nothing is told."""
        now = self
        if value is not None and (self.peak_value is None or value > self.peak_value):
            now = replace(now, peak_value=value, peak_ns=time_ns)
        if severity is not None and worse(severity, now.severity):
            now = replace(now, severity=severity)
        if self.shelved_until_ns is not None:
            return now
        if worse(now.severity, now.told_severity):
            return now._step("escalate", time_ns)
        return now._step("update", time_ns) if news else now

    def cleared(self, time_ns: int) -> Life:
        """What was wrong is well again; told even while shelved."""
        return replace(self, cleared_ns=time_ns, shelved_until_ns=None)._step("clear", time_ns)

    def at(self, now_ns: int) -> Life:
        """What time alone does: a shelving that ends with the alert still active is told."""
        if self.shelved_until_ns is None or now_ns < self.shelved_until_ns:
            return self
        woken = replace(self, shelved_until_ns=None)
        return woken._step("escalate" if worse(self.severity, self.told_severity) else "update", now_ns)

    def answered(self, action: Action, said: Answer, until_ns: int | None = None) -> Life:
        """A person acknowledges it, shelves it until a time, or clears it by hand.

        Raises:
            OrderError: it cannot be done to this alert; an acknowledgement of an acknowledged one is none.
        """
        check_words(said)
        if action == "ack":
            return self if self.ack is not None else replace(self, ack=said)._step("ack", said.time_ns, said)
        if not self.active:
            raise OrderError(f"alert {self.alert_id} has cleared by itself; acknowledge it", EXIT_CONFLICT)
        if action == "clear":
            return replace(self, cleared_ns=said.time_ns, shelved_until_ns=None)._step("clear", said.time_ns, said)
        if until_ns is None or until_ns <= said.time_ns:
            raise OrderError("a shelved alert needs an end, in the future: say until when", EXIT_USAGE)
        return replace(self, shelved_until_ns=until_ns)._step("shelve", said.time_ns, said)

    def _step(self, kind: StepType, time_ns: int, said: Answer | None = None) -> Life:
        return replace(
            self,
            rev=self.rev + 1,
            type=kind,
            time_ns=time_ns,
            said=said,
            told_severity=self.severity,
            told_peak=self.peak_value,
        )

    def event(self, score: Score) -> Event:
        """The step that a score made."""
        if self.peak_value is None or self.peak_ns is None:
            raise ValueError(f"alert {self.alert_id} has no scores")
        return Event(
            self.about,
            self.alert_id,
            self.rev,
            self.type,
            self.severity,
            self.time_ns,
            self.opened_ns,
            self.peak_value,
            self.peak_ns,
            score,
            self.ack,
        )

    def as_json(self) -> dict[str, Any]:
        """What ``restored`` takes."""
        plain: dict[str, Any] = _LIFE.dump_python(self, mode="json", exclude_none=True)
        return plain


_LIFE: TypeAdapter[Life] = TypeAdapter(Life)


def restored(stored: Mapping[str, Any]) -> Life:
    """The life that was stored; what else stands beside its fields is left alone.

    Raises:
        ValueError: it is damaged, or of a version that we do not know.
    """
    try:
        life = _LIFE.validate_python({name: stored[name] for name in Life.__dataclass_fields__ if name in stored})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    scored = life.peak_value is not None and life.peak_ns is not None and life.severity != "fault"
    if life.over or (life.kind == "machine" and not scored):
        raise ValueError("no alert is left in this state")
    return life


def worse(severity: Severity, than: Severity) -> bool:
    return SEVERITIES.index(severity) > SEVERITIES.index(than)


class AlertSlot:
    """The place of one point's alerts of one kind: the latest of them, as long as somebody has to know of it."""

    def __init__(self) -> None:
        self.life: Life | None = None

    @property
    def open(self) -> Life | None:
        """The alert that is active now."""
        return self.life if self.life is not None and self.life.active else None

    def keep(self, life: Life) -> Life | None:
        """Take in what became of the alert, or a new one once none is active; return it when that is to be told."""
        before = self.life
        if before is not None and before.active and before.alert_id != life.alert_id:
            raise ValueError(f"alert {before.alert_id} of {before.key} is still open")
        self.life = None if life.over else life
        told = before is None or (life.alert_id, life.rev) != (before.alert_id, before.rev)
        return life if told else None


def check_words(said: Answer) -> None:
    """Insist on a name, and on words that fit into a message.

    Raises:
        OrderError: they do not.
    """
    if not said.by.strip():
        raise OrderError("nobody is named; say who does it", EXIT_USAGE)
    for text in (said.by, said.note):
        if len(text) > MAX_NOTE or not text.isprintable():
            raise OrderError(
                f"{text[:40]!r}: names and notes are one line of at most {MAX_NOTE} characters", EXIT_USAGE
            )
