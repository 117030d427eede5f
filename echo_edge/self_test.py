"""Self-test: what was collected, judged before anybody relies on it. Pure; may take seconds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from echo_edge.alerts import AlertPolicy
from echo_edge.ambient import check_ambient
from echo_edge.baseline import Baseline
from echo_edge.config import AlertConfig
from echo_edge.duplicates import duplicates
from echo_edge.errors import EnrollError
from echo_edge.material import Material
from echo_edge.normal import Normal
from echo_edge.normal_state import MIN_WINDOWS, NormalState
from echo_edge.operating import OFF
from echo_edge.records import FalseAlarmRate, Score
from echo_edge.signal_checks import Finding
from echo_edge.stationarity import check_stationarity
from echo_edge.tail import MONTH_S

TARGETS = (0.1, 1.0, 10.0)  # false alarms per month that the table is made for
LATER_WARNS, LATER_BAD = 0.05, 0.30  # share of one half that is strange to the other
# Strange is what is met once in a thousand normal windows, even where so few were heard that the threshold for a rate
# per month lies far above: it extrapolates, and would call nothing strange.
STRANGE_DECADES = 3.0
DOUBTED = "is it really healthy? Say so with --healthy, or start it with --no-accept and let a second person accept"
BEFORE_DOUBTS = 0.5  # share of the windows that the baseline in force would call strange
SURE_WINDOWS = 60  # with fewer a change only warns: 18 windows of a steady machine once looked like two ways to run
DEAF_DECADES = 20.0  # a threshold above leaves only plain faults to be heard
LIKE_ANOTHER = 0.8  # share of the windows that another state of the point takes for its own
REPEATS_WARN = 0.2  # share of the windows that are nearly equal to an earlier one
COMPARED = 2048  # windows that are looked at for repeats: the work grows with the square
JUDGED = 360  # windows that a comparison looks at, evenly spread


@dataclass(frozen=True, slots=True)
class Check:
    """One line of what was looked at, for a person and for a program."""

    check: str
    severity: str
    """``ok``, ``warning`` or ``bad``."""

    text: str
    """What was seen, with its unit."""

    advice: str = ""
    """What a person can do; empty when nothing is wrong."""

    @classmethod
    def of(cls, finding: Finding) -> Check:
        return cls(finding.check, "bad" if finding.bad else "warning", finding.text, finding.advice)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be tested, and by which measure."""

    point: str
    state: str
    material: Material
    learned_s: float
    useful: int
    rate_hz: int
    kept: tuple[NormalState, ...]
    """The states that will stand beside the new one."""

    active: Baseline | None
    """The baseline in force, where it knows this state and can judge such windows."""

    target_per_month: float
    hop_s: float
    alert: AlertConfig


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The state that was learned, and what its own windows say of it."""

    state: NormalState
    checks: tuple[Check, ...]
    alerts: int
    """That the enrolled time would have opened, each window judged without its own stretch of time."""

    threshold: float
    rate: FalseAlarmRate
    """At the target that is configured."""

    table: tuple[tuple[dict[str, float], FalseAlarmRate], ...]
    """For each of ``TARGETS`` the threshold of every state of the point, and what they promise together."""

    windows: int
    unlike_before: float | None
    """Share of the windows that the baseline in force calls strange; None where there is nothing to compare with."""

    @property
    def passed(self) -> bool:
        return all(check.severity != "bad" for check in self.checks)

    @property
    def doubtful(self) -> bool:
        """Most of what is called normal now would have raised an alert until now: a person must say that it is well."""
        return self.unlike_before is not None and self.unlike_before > BEFORE_DOUBTS

    def about(self) -> dict[str, Any]:
        """For people, programs and the manifest."""
        told: dict[str, Any] = {
            "passed": self.passed,
            "alerts": self.alerts,
            "heard_s": round(self.state.learned_s, 3),
            "threshold": round(self.threshold, 4),
            "supports_one_in": self.windows,
            "false_alarms_per_month": _rounded(self.rate),
            "table": [{"threshold": round(t[self.state.name], 4), **_rounded(rate)} for t, rate in self.table],
            "text": self.text(),
        }
        if self.unlike_before is not None:
            told["unlike_before"] = round(self.unlike_before, 4)
        return told

    def text(self) -> str:
        """One sentence of figures."""
        return (
            f"leave-block-out: {self.alerts} alerts in {_duration(self.state.learned_s)}. "
            f"estimated {_rate(self.rate.estimated)} (tail model, and what so short a time cannot have heard), "
            f"demonstrated < {_rate(self.rate.demonstrated_upper_95)} (95 %)"
        )


def self_test(subject: Subject) -> SelfTest:
    """Learn the state and test it.

    Raises:
        EnrollError: too little or useless material; exit code 4.
    """
    state = NormalState.learn(subject.state, subject.material, subject.learned_s)
    states = (*subject.kept, state)

    def judge_for(target: float) -> Normal:
        return Normal("", states, target, subject.hop_s, subject.alert)

    normal = judge_for(subject.target_per_month)
    alerts = _alerts_of_the_enrolled_time(subject, state, normal)
    before = _share_strange(subject, subject.active, subject.material)
    checks = [
        _sufficiency(subject, state, alerts),
        *_halves(subject),
        *_steadiness(subject),
        *_repeats(subject),
        *_surroundings(subject),
        *_unlike_before(before),
        *_hears_little(normal.thresholds[state.name]),
        *_like_another(subject),
    ]
    tried = [judge_for(target) for target in TARGETS]
    return SelfTest(
        state=state,
        checks=tuple(checks),
        alerts=alerts,
        threshold=normal.thresholds[state.name],
        rate=normal.false_alarm_rate(alerts=alerts),
        table=tuple((judge.thresholds, judge.false_alarm_rate(alerts=alerts)) for judge in tried),
        windows=subject.useful,
        unlike_before=before,
    )


def _alerts_of_the_enrolled_time(subject: Subject, state: NormalState, normal: Normal) -> int:
    """How many alerts the policy would have opened, had it judged the windows learned as if they were not."""
    policy = AlertPolicy(subject.alert, normal.persistence)
    threshold, opened = normal.thresholds[state.name], 0
    for value, start_ns, end_ns, new_run in zip(
        state.held_out.tolist(), state.start_ns.tolist(), state.end_ns.tolist(), state.run_starts(), strict=True
    ):
        if new_run:
            policy.forget()
        score = Score(subject.point, start_ns, end_ns, value, threshold, state.name, 0, (), "", True, {})
        event = policy.update(score)
        opened += event is not None and event.type == "open"
    return opened


def _sufficiency(subject: Subject, state: NormalState, alerts: int) -> Check:
    text = f"{subject.useful} windows in {_duration(state.learned_s)} support 1 in {subject.useful}"
    if alerts:
        return Check("alerts", "warning", f"{text}; {alerts} alerts in the enrolled time itself", "extend it")
    return Check("data", "ok", f"{text}; rarer than that is a model")


def _halves(subject: Subject) -> list[Check]:
    """Each half judged by the other: a machine that changes while it is learned has no normal yet.

    Both ways, for a change shortly before the middle leaves examples of the later way to run in the first half.
    """
    middle = len(subject.material) // 2
    if middle < MIN_WINDOWS:
        return [Check("halves", "ok", f"too few windows to compare halves (2 x {MIN_WINDOWS} needed)")]
    first, second = subject.material.pick(slice(None, middle)), subject.material.pick(slice(middle, None))
    try:
        later, earlier = _strange_to(subject, first, second), _strange_to(subject, second, first)
    except EnrollError as error:
        return [Check("halves", "warning", f"half of it alone teaches nothing: {error}", "extend it")]
    share = max(later, earlier)
    one, other = ("second", "first") if later >= earlier else ("first", "second")
    text = f"{share:.0%} of the {one} half are strange to the {other}"
    if share > LATER_BAD:
        advice = "the machine changed while it was learned: learn the other way to run as a state of its own"
        return [Check("halves", "bad", text, advice)]
    if share > LATER_WARNS:
        return [Check("halves", "warning", text, "extend it, so that all that is normal is heard")]
    return [Check("halves", "ok", text)]


def _steadiness(subject: Subject) -> list[Check]:
    material = subject.material
    found = check_stationarity(material.spectrum, material.start_ns, subject.rate_hz).findings
    if len(material) < SURE_WINDOWS:
        found = tuple(replace(finding, bad=False) for finding in found)
    return [Check.of(finding) for finding in found] or [Check("steady", "ok", "neither step nor trend")]


def _repeats(subject: Subject) -> list[Check]:
    share = float(duplicates(subject.material.bands[:COMPARED]).mean())
    if share <= REPEATS_WARN:
        return []
    text = f"{share:.0%} of the windows repeat others: they count for less than they are"
    return [Check("duplicates", "warning", text, "extend it; a looped recording teaches its first round only")]


def _surroundings(subject: Subject) -> list[Check]:
    """Is it louder than the machine at rest, where that was taught? Only a warning: a way to idle may be as quiet."""
    off = next((state for state in subject.kept if state.name == OFF), None)
    if off is None or off.shape != subject.material.bands.shape[1:]:
        return []
    found = check_ambient(subject.material.spectrum, off.spectra(JUDGED), subject.rate_hz)
    return [Check("ambient", "ok", "louder than off")] if found is None else [Check.of(replace(found, bad=False))]


def _strange_to(subject: Subject, known: Material, new: Material) -> float:
    learned = NormalState.learn(subject.state, known)
    judge = Normal("", [learned], subject.target_per_month, subject.hop_s, subject.alert)
    return _strange_share(subject, judge, new, STRANGE_DECADES)


def _share_strange(subject: Subject, baseline: Baseline | None, material: Material) -> float | None:
    if baseline is None:
        return None
    states = [state for state in baseline.states if state.name == subject.state]
    if not states or states[0].shape != material.bands.shape[1:]:
        return None
    judge = Normal(baseline.id, baseline.states, subject.target_per_month, subject.hop_s, subject.alert)
    return _strange_share(subject, judge, material, math.inf)


def _strange_share(subject: Subject, judge: Normal, material: Material, highest: float) -> float:
    """Share of the windows above their threshold, or above ``highest`` where that is less."""
    which = np.unique(np.linspace(0, len(material) - 1, min(JUDGED, len(material))).astype(np.int64))
    scores = [judge.score(one) for one in material.pick(which).embeddings(subject.point, subject.rate_hz)]
    return float(np.mean([score.value > min(score.threshold, highest) for score in scores]))


def _unlike_before(share: float | None) -> list[Check]:
    if share is None:
        return []
    text = f"{share:.0%} of the windows are strange to the baseline in force"
    if share > BEFORE_DOUBTS:
        return [Check("unlike_before", "warning", text, DOUBTED)]
    return [Check("unlike_before", "ok", text)]


def _hears_little(threshold: float) -> list[Check]:
    if threshold <= DEAF_DECADES:
        return []
    text = f"after so few windows the threshold is {threshold:.0f} decades: only plain faults will be heard"
    return [Check("hears_little", "warning", text, "extend it")]


def _like_another(subject: Subject) -> list[Check]:
    """A second state that sounds like the first hides its faults: a window counts as the state it is most like."""
    shape = subject.material.bands.shape[1:]
    for state in subject.kept:
        if state.shape != shape or state.indicator_names != subject.material.indicator_names:
            continue
        judge = Normal("", [state], subject.target_per_month, subject.hop_s, subject.alert)
        normal = 1 - _strange_share(subject, judge, subject.material, STRANGE_DECADES)
        if normal > LIKE_ANOTHER:
            text = f"{normal:.0%} of the windows sound like '{state.name}'"
            advice = f"if it is no other way to run, reject it and learn '{state.name}' again, for longer"
            return [Check("like_another", "warning", text, advice)]
    return []


def _rounded(rate: FalseAlarmRate) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in asdict(rate).items() if name != "kept"}


def _rate(per_month: float) -> str:
    """A rate in the unit that suits its size."""
    for unit, seconds in (("month", MONTH_S), ("day", 24 * 3600), ("h", 3600)):
        value = per_month * seconds / MONTH_S
        if value < 100 or unit == "h":
            return f"{value:.2g}/{unit}" if value < 10 else f"{value:.0f}/{unit}"
    raise AssertionError("an hour is the last unit")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
