"""Baseline: one enrolled, versioned set of normal states of a point, and what is told of how it was learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from echo_edge.errors import BaselineError
from echo_edge.material import Material
from echo_edge.normal_state import NormalState
from sensors import FULL_SCALE

UNNAMED_UNIT = "unit"  # what a recording gets that was scaled by hand, with nobody saying in which unit

How = Literal["live", "recordings", "history", "import", "adaptation"]
"""Where the windows of a state came from; of a state that only grew, those that were added last."""

Status = Literal["proposed", "active", "retired", "rejected", "damaged"]
"""``retired`` was active once; ``damaged`` does not verify."""


def same_unit(one: str, other: str) -> bool:
    """True when samples can be compared; a scale given by hand is taken for any physical unit."""
    return one == other or (UNNAMED_UNIT in {one, other} and FULL_SCALE not in {one, other})


def moved_settings(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """What a sensor's level depends on and that differs, in words; what only one side tells of is no difference."""
    moved = [f"{k} was {v}, is {now[k]}" for k, v in before.items() if now.get(k, v) != v]
    return "; ".join(moved) or None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a baseline was made with; a window of any other origin cannot be judged by it."""

    model_name: str
    model_sha256: str
    rate_hz: int
    channels: tuple[int, ...]
    length_s: float
    hop_s: float
    """Seconds between windows: thresholds count how many of them come in a month, and how alike neighbours are."""

    unit: str
    """Of the samples; the level matters to the encoder. see ``same_unit``."""

    def difference(self, now: Origin) -> str | None:
        """The first thing that differs, in words; None when nothing does."""
        if self.model_sha256 != now.model_sha256:
            return (
                f"model {self.model_name} ({self.model_sha256[:12]}), "
                f"the model now is {now.model_name} ({now.model_sha256[:12]})"
            )
        for name, unit in (("rate_hz", " Hz"), ("channels", ""), ("length_s", " s"), ("hop_s", " s")):
            then, today = getattr(self, name), getattr(now, name)
            if then != today:
                return f"{name} {then}{unit}, the point now has {today}{unit}"
        if not same_unit(self.unit, now.unit):
            return f"samples in {self.unit}, the point's are now in {now.unit}"
        return None


@dataclass(frozen=True, slots=True)
class Learned:
    """How one normal state was learned: for people, no verdict depends on it."""

    how: How
    windows: int
    """Useful windows that were seen; of very many, not all are kept."""

    excluded: dict[str, int] = field(default_factory=dict)
    """Windows left out, by reason."""

    checks: tuple[dict[str, Any], ...] = ()
    """What the checks of sensor and machine found."""

    self_test: dict[str, Any] = field(default_factory=dict)
    added_windows: int = 0
    """Of ``windows``, those that joined with this version; 0 for a state that was learned, or came along as it was."""


def added_windows(learned: Mapping[str, Learned | None]) -> dict[str, int]:
    """Windows that adaptation added with a version, by state; none in a version that a person made."""
    return {
        state: told.added_windows
        for state, told in learned.items()
        if told is not None and told.how == "adaptation" and told.added_windows
    }


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """What the thresholds for one target promise, in false alarms per month of 30 days."""

    target: float
    thresholds: dict[str, float]
    """By state."""

    estimated: float
    demonstrated_upper_95: float


@dataclass(frozen=True, slots=True)
class Import:
    """Where a baseline that was brought in came from; its signature was verified then, by the key named here."""

    id: str
    point: str
    gateway: str
    key_id: str
    signature: str
    """Hexadecimal, of the manifest with this hash."""

    manifest_sha256: str


@dataclass(frozen=True, slots=True)
class Baseline:
    """Normal states of one point; never changed, only followed by the next version."""

    point: str
    origin: Origin
    identity: str
    """Which physical sensor (or which recordings) it was learned from."""

    states: tuple[NormalState, ...]
    learned: dict[str, Learned] = field(default_factory=dict)
    """By state."""

    settings: dict[str, str] = field(default_factory=dict)
    """What the sensor's level depended on (gain, range, mixer), as ``SourceInfo.settings``; empty when unknown."""

    false_alarms: tuple[FalseAlarms, ...] = ()
    """For several targets; empty when not computed."""

    parent: str | None = None
    imported_from: Import | None = None
    id: str = ""
    """``bl_0001``; given when it is stored, like the author, the note and the time."""

    author: str = ""
    note: str = ""
    created_ns: int = 0

    def check(self, now: Origin) -> None:
        """Insist that windows of this origin can be judged.

        Raises:
            BaselineError: made with another model, sampling rate, channels, window length or hop.
        """
        if difference := self.origin.difference(now):
            raise BaselineError(f"{self.point}: baseline {self.id} was made with {difference}; enroll again")

    def followed_by(self, next_one: Baseline) -> Baseline:
        """The next version: ``next_one`` with those states of this one that it does not replace."""
        names = {state.name for state in next_one.states}
        kept = tuple(s for s in self.states if s.name not in names)
        learned = {**self._learned_before(), **next_one.learned}
        return replace(next_one, states=(*kept, *next_one.states), learned=learned, parent=self.id)

    def grown(self, how: How, more: Mapping[str, Material]) -> Baseline:
        """The next version: windows join the banks of their states, by name. No threshold moves; nothing is stored yet.

        Raises:
            BaselineError: the windows have another shape.
        """
        states, learned = [], self._learned_before()
        for state in self.states:
            if (material := more.get(state.name)) is None:
                states.append(state)
                continue
            before = learned.get(state.name, Learned(how, state.windows))
            added = len(material)
            learned[state.name] = replace(before, how=how, windows=before.windows + added, added_windows=added)
            states.append(state.with_more(material))
        made = replace(self, states=tuple(states), learned=learned, parent=self.id, imported_from=None)
        return replace(made, id="", author="", note="", created_ns=0)

    def _learned_before(self) -> dict[str, Learned]:
        return {name: replace(one, added_windows=0) for name, one in self.learned.items()}

    def difference(self, origin: Origin, settings: Mapping[str, str], indicators: tuple[str, ...]) -> str | None:
        """Why the states of this one do not fit beside a new one, in words; None when they do.

        Args:
            origin, settings, indicators: what the new one is learned with, and what its indicators measure.
        """
        if difference := self.origin.difference(origin):
            return difference
        if moved := moved_settings(self.settings, settings):
            return f"another gain: {moved}"
        return next((d for state in self.states if (d := state.other_indicators(indicators))), None)


@dataclass(frozen=True, slots=True)
class BaselineSummary:
    """One line of a point's list; made without reading the vectors."""

    id: str
    point: str
    status: Status
    problem: str | None = None
    """Why it is damaged; then the fields below are empty."""

    parent: str | None = None
    states: tuple[str, ...] = ()
    learned_s: float = 0.0
    author: str = ""
    note: str = ""
    label: str = ""
    """What people call it; given later, and again as often as they like."""

    created_ns: int = 0
    active_since_ns: int | None = None
    imported_from: str | None = None
    """The gateway it came from."""
