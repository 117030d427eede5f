"""Pipeline: windows -> verdicts, in order. Knows no queue, thread or clock: replay and the daemon run the same step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from echo_edge.alert_life import Life
from echo_edge.alerts import AlertPolicy
from echo_edge.baseline import Baseline, FalseAlarms, Origin, moved_settings
from echo_edge.config import Config, PointConfig
from echo_edge.embedder import Embedder
from echo_edge.enroll import RECORDED
from echo_edge.envelope import timestamp
from echo_edge.errors import BaselineError
from echo_edge.evidence import Evidence, gather
from echo_edge.indicators import measure, names
from echo_edge.normal import FIRM_AFTER_S, PERSISTENCES, Normal
from echo_edge.operating import InForce, StateWatch
from echo_edge.promise import Operation, most, name_of
from echo_edge.records import Embedding, Event, FalseAlarmRate, OperatingState, PlantState, Score, Window
from echo_edge.signal_checks import Finding, check_signal
from echo_edge.tail import Persistence
from echo_edge.troubles import SensorAlarm
from sensors import FULL_SCALE

TARGETS_PER_MONTH = (0.1, 1.0, 10.0)  # false alarms, of the table in a baseline's manifest
PROOF_HZ, PROOF_LEVEL = 16000, 1e-3  # of the noise that proves a point without a baseline
UNREADABLE = "mixer"  # the setting that a sound driver tells in place of those that it cannot read


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one window said of its point."""

    window: Window
    level: str
    """``normal``, ``warning``, ``alarm``; ``not_monitored`` or ``unknown`` when there is no score."""

    reason: str | None = None
    """Why there is no score, in words; beside one, why the operating state is not the one that was told."""

    findings: tuple[Finding, ...] = ()
    """What is wrong with the samples themselves, the worst first."""

    score: Score | None = None
    strange_windows: int = 0
    event: Event | None = None
    life: Life | None = None
    """The alert after the event."""

    operating_state: OperatingState | None = None
    """None where nothing tells it and no score was made."""

    resting: bool = False
    """There is no score because the machine was off or settled, and nothing is wrong with the sensor."""

    evidence: Evidence | None = None
    """Why, wherever there is an event."""

    indicators: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    """As ``Embedding.indicators``; empty where the samples tell nothing of the machine."""
    embedding: Embedding | None = None
    """None where the samples say nothing of the machine, or nobody wants it."""


class Learner(Protocol):
    """Takes in the windows of a point to learn from them; ``embedding`` is None when the first finding forbids it."""

    def hear(
        self, window: Window, embedding: Embedding | None, findings: tuple[Finding, ...], origin: Origin, /
    ) -> None: ...


class Point:
    """Everything the pipeline keeps of one point: its normal states, its alert, who learns from it."""

    def __init__(
        self, name: str, config: PointConfig, target_per_month: float, model: tuple[str, str], settle_s: float
    ) -> None:
        self.name = name
        self.config = config
        self.learner: Learner | None = None
        """Gets every window, after it was judged: the last one learned must not be judged by itself."""

        self.states = StateWatch(name, config.off_below_db, settle_s)
        self.target_per_month = self.configured_target = target_per_month
        """Accepted false alarms per month, in force and by the configuration."""

        self._model_name, self._model_sha256 = model
        self._policy = AlertPolicy(config.alert, PERSISTENCES[0])
        self._baseline: Baseline | None = None
        self._normal: Normal | None = None
        self.problem = "not enrolled yet"
        self.settings: dict[str, str] = {}
        """What the sensor's level depends on, as it is now; empty when it does not tell."""

        self.unsettled_ns = 0
        """Windows that began before this time are not judged: the gain moved within them, or so little before."""

        self.muted_until_ns: int | None = None
        """Planned work: nothing alarms until then."""

        self._muted_by = ""
        self._mute_ended_ns = 0
        self.sensor_alarm = SensorAlarm(name)
        self.identity = ""
        """Which sensor it is now; empty before it was open for the first time."""

        self.remembered = False
        """True when every good window is to be embedded, judged or not: there is a history that keeps it."""

        self.operation = Operation()
        """What became of the point under its promise."""

        self.promised_by = ""
        """The version whose thresholds are in force."""

    @property
    def baseline(self) -> Baseline | None:
        return self._baseline

    def promise(self, promised_by: str) -> str:
        """What a version promises here: under another target than the configured one, something else."""
        return name_of(promised_by, self.target_per_month, self.configured_target)

    @property
    def provisional(self) -> bool:
        """True until a day was heard without an alert, or so much more with some as shows the same of their rate."""
        rare = self._heard_s * most(0) >= FIRM_AFTER_S * most(self.operation.false_alerts)
        return self._normal is None or not rare

    @property
    def _heard_s(self) -> float:
        return self.operation.monitored_s + (0.0 if self._normal is None else self._normal.learned_s)

    @property
    def policy(self) -> AlertPolicy:
        """Of the machine's alerts."""
        return self._policy

    @property
    def open_alert(self) -> Life | None:
        """The machine's alert that is active now."""
        return self._policy.open

    def mute(self, until_ns: int | None, by: str, now_ns: int) -> None:
        """Planned work: judge no window that begins before ``until_ns``, or end that now; learners go on hearing."""
        if until_ns is None and self.muted_until_ns is not None:
            self._mute_ended_ns = min(now_ns, self.muted_until_ns)
        self.muted_until_ns, self._muted_by = until_ns, by
        self._policy.forget()
        self.sensor_alarm.settle()

    @property
    def muted(self) -> str | None:
        """Until when and by whom, in words; None when it is not."""
        if self.muted_until_ns is None:
            return None
        return f"muted until {timestamp(self.muted_until_ns)} by {self._muted_by}"

    def _muted_within(self, window: Window) -> str | None:
        if self.muted_until_ns is not None and window.time_ns < self.muted_until_ns:
            return self.muted
        return "it was muted until within this window" if window.time_ns < self._mute_ended_ns else None

    @property
    def persistence(self) -> Persistence:
        """How many strange windows make an alert."""
        return self._policy.persistence

    @property
    def thresholds(self) -> dict[str, float]:
        """State -> the value above which a window counts towards an alert; empty without a baseline."""
        return {} if self._normal is None else self._normal.thresholds

    @property
    def false_alarm_rate(self) -> FalseAlarmRate | None:
        if self._normal is None:
            return None
        rate = self._normal.false_alarm_rate(self.operation.monitored_s, self.operation.false_alerts)
        return replace(rate, kept=self.operation.kept(self.target_per_month))

    def adopt(self, baseline: Baseline, operation: Operation | None = None, promised_by: str = "") -> None:
        """Judge by this baseline from the next window on.

        Args:
            operation: what became of the point under this promise before; nothing when it is new.
            promised_by: the version that the thresholds come from, where it is an earlier one.
        """
        self._baseline, self._normal = baseline, self._normal_of(baseline, self.target_per_month)
        self._policy.forget(self._normal.persistence)
        self.operation = operation or Operation()
        self.promised_by = promised_by or baseline.id

    def retarget(self, target_per_month: float, operation: Callable[[str], Operation]) -> None:
        """Judge by thresholds for another target from the next window on.

        Args:
            operation: what became of a promise before; alerts under another threshold tell nothing of this one's.
        """
        self.target_per_month = target_per_month
        if self._baseline is not None:
            self.adopt(self._baseline, operation(self.promise(self.promised_by)), self.promised_by)

    def _normal_of(self, baseline: Baseline, target_per_month: float) -> Normal:
        return Normal(baseline.id, baseline.states, target_per_month, self.config.window.hop_s, self.config.alert)

    def promises(self, baseline: Baseline) -> tuple[FalseAlarms, ...]:
        """What thresholds for the usual targets would promise at this point, for the baseline's manifest."""
        table = []
        for target in TARGETS_PER_MONTH:
            normal = self._normal_of(baseline, target)
            rate = normal.false_alarm_rate()
            table.append(FalseAlarms(target, normal.thresholds, rate.estimated, rate.demonstrated_upper_95))
        return tuple(table)

    def expected_rate(self, baseline: Baseline) -> FalseAlarmRate:
        """What this point's own target comes to with a baseline that need not be active."""
        return self._normal_of(baseline, self.target_per_month).false_alarm_rate()

    def refuse(self, problem: str) -> None:
        """Do not judge, and say why: the stored baseline cannot be used."""
        self._baseline, self._normal, self.problem = None, None, problem

    def hear(self, said: PlantState) -> None:
        """Take in what the plant tells of the machine's state."""
        if said.name is None:
            self.states.forget("mqtt", said.at_ns)
        else:
            self.states.tell(said.name, "mqtt", said.at_ns, said.until_ns)

    def about_state(self) -> dict[str, Any]:
        """What is told, taught and heard of the operating state, for a person."""
        states = self._normal.states if self._normal else {}
        heard = self.states.latest
        return {
            "point": self.name,
            "told": [asdict(told) for told in self.states.told],
            "enrolled": {name: round(float(state.quiet_db.max()), 1) for name, state in states.items()},
            "in_force": None if heard is None else asdict(heard),
            "level_db": self.states.level_db,
            "off_below_db": self.config.off_below_db,
        }

    def gain_moved(self, now_ns: int) -> None:
        """Note that the gain moved at some time before ``now_ns``: what was heard until then tells nothing."""
        self.unsettled_ns = now_ns
        self._policy.forget()

    @property
    def gain_change(self) -> str | None:
        """What differs from the settings that the baseline was learned with, in words; None when nothing does."""
        return None if self._baseline is None else moved_settings(self._baseline.settings, self.settings)

    @property
    def sensor_findings(self) -> tuple[Finding, ...]:
        """How the sensor differs from what the baseline was learned with; for the sensor's quality."""
        found = []
        if change := self.gain_change:
            found.append(Finding("gain_changed", True, change, "set it back, or enroll again"))
        then = {} if self._baseline is None else self._baseline.settings
        if text := self.settings.get(UNREADABLE, then.get(UNREADABLE)):
            found.append(Finding("gain_unknown", False, text, "make the mixer readable, then enroll again"))
        learned = "" if self._baseline is None else self._baseline.identity
        if learned and self.identity not in {"", learned} and not learned.startswith(RECORDED):
            text = f"enrolled with {learned}, this is {self.identity}"
            found.append(Finding("sensor_changed", True, text, "enroll again, or plug the old one in"))
        return tuple(found)

    @property
    def idle(self) -> bool:
        """True when nobody wants this point's embeddings."""
        return self._normal is None and self.learner is None and not self.remembered

    def idle_reason(self, window: Window) -> str:
        """Why there is nothing to judge a window by."""
        return self._muted_within(window) or self.problem

    def origin(self, window: Window) -> Origin:
        """What a baseline made of this window depends on."""
        return Origin(
            self._model_name,
            self._model_sha256,
            window.rate_hz,
            tuple(self.config.channel_numbers),
            self.config.window.length_s,
            self.config.window.hop_s,
            window.unit,
        )

    def reject(self, window: Window, findings: tuple[Finding, ...]) -> Verdict:
        """A window whose samples say nothing of the machine."""
        worst = findings[0]
        if self.learner is not None:
            self.learner.hear(window, None, findings, self.origin(window))
        reason = self._muted_within(window) or f"the sensor: {worst.check} ({worst.advice})"
        return Verdict(window, "not_monitored", reason, findings)

    def judge(self, window: Window, embedding: Embedding, findings: tuple[Finding, ...]) -> Verdict:
        """Score one window, then let it be learned."""
        origin = self.origin(window)
        judged = self._judged(window, embedding, origin)
        verdict = replace(judged, findings=findings, indicators=embedding.indicators, embedding=embedding)
        if self.learner is not None:
            self.learner.hear(window, embedding, findings, origin)
        return verdict

    def prove(self, embedding: Embedding) -> None:
        """Score what no sensor heard, and forget it; a baseline that does not fit says so at the first real window."""
        if self._normal is not None:
            with suppress(BaselineError):
                self._normal.score(embedding)

    def _unfit(self, window: Window) -> str | None:
        """Why a window is not to be compared with normal, in words."""
        # a moved knob looks like a fault, and another machine's sensor like nothing at all
        if bad := next((finding for finding in self.sensor_findings if finding.bad), None):
            return f"the sensor: {bad.check}, {bad.text} ({bad.advice})"
        return "the gain has just moved" if window.time_ns < self.unsettled_ns else None

    def _judged(self, window: Window, embedding: Embedding, origin: Origin) -> Verdict:
        if self._normal is None or self._baseline is None:
            return Verdict(window, "not_monitored", self.idle_reason(window))
        if muted := self._muted_within(window):
            return Verdict(window, "not_monitored", muted)
        if unfit := self._unfit(window):
            return Verdict(window, "not_monitored", unfit)
        try:
            self._baseline.check(origin)
            now = self._in_force(embedding, self._normal)
            if now.withheld:
                state = None if now.name is None else OperatingState(now.name, now.source)
                resting = now.withheld == "not_monitored"
                return Verdict(window, now.withheld, now.reason, operating_state=state, resting=resting)
            score = self._normal.score(embedding, now.name, provisional=self.provisional)
        except BaselineError as error:
            return Verdict(window, "not_monitored", str(error))
        state = OperatingState(score.state, now.source)
        event = self._policy.update(score)
        self.operation.monitored_s += self.config.window.hop_s
        self.operation.alerts += event is not None and event.type == "open"
        level = self._policy.open.severity if self._policy.open else "normal"
        strange = self._policy.strange_windows
        evidence = None
        if event is not None:  # now: within the batch a new baseline may come, or the next step of the alert
            normal, labels = self._normal.states[score.state], self.config.channel_labels
            evidence = gather(embedding, score, normal, self._policy.began_ns, labels)
        life = None if event is None else self._policy.latest
        verdict = Verdict(window, level, now.reason, score=score, strange_windows=strange, event=event, life=life)
        return replace(verdict, evidence=evidence, operating_state=state)

    def _in_force(self, embedding: Embedding, normal: Normal) -> InForce:
        quiet_db = {name: state.quiet_db for name, state in normal.states.items()}
        now = self.states.in_force(embedding.time_ns, embedding.end_ns, embedding.level_db, quiet_db)
        if now.changed:
            self._policy.forget()
        return now


class Pipeline:
    """All points of a gateway behind one encoder."""

    def __init__(self, config: Config, embedder: Embedder, at_work: Callable[[str], None] = lambda _part: None) -> None:
        """``at_work`` is told what is worked on next, ``point:NAME`` or ``engine:NAME``: who finds us dead asks."""
        self.at_work = at_work
        self.config = config
        self._embedder = embedder
        self.model_name = embedder.model_name
        model = (embedder.model_name, embedder.model_sha256)
        self.points = {
            name: Point(name, point, config.target_per_month(name), model, config.operating_state(name).settle_s)
            for name, point in config.points().items()
        }

    @property
    def model_sha256(self) -> str:
        """Of the encoder."""
        return self._embedder.model_sha256

    def prove(self) -> None:
        """Take noise the whole way to a score at every point, so that what would fail fails before it is relied on.

        Nothing is judged or remembered by it.

        Raises:
            EngineError: inference failed; the process must end.
        """
        noise = np.random.default_rng(0)
        for point in self.points.values():
            known = None if point.baseline is None else point.baseline.origin
            rate_hz, unit = (PROOF_HZ, FULL_SCALE) if known is None else (known.rate_hz, known.unit)
            self.at_work(f"point:{point.name}")
            shape = (len(point.config.channels), round(point.config.window.length_s * rate_hz))
            samples = PROOF_LEVEL * noise.standard_normal(shape, np.float32)
            point.prove(*self._embed([Window(point.name, samples, rate_hz, 0, unit)]))

    def step(self, windows: Sequence[Window]) -> list[Verdict]:
        """Judge a batch of windows, from any points, in one call of the encoder.

        Raises:
            EngineError: inference failed; the process must end.
        """
        findings = [check_signal(window) for window in windows]
        bad = [bool(found) and found[0].bad for found in findings]
        # by position, and decided once: a learner that ends within the batch must not shift what follows it
        wanted = [i for i, w in enumerate(windows) if not bad[i] and not self.points[w.point].idle]
        self.at_work(f"engine:{self._embedder.engine_name}")
        embeddings = dict(zip(wanted, self._embed([windows[i] for i in wanted]), strict=True))
        verdicts = []
        for i, window in enumerate(windows):
            point = self.points[window.point]
            self.at_work(f"point:{point.name}")
            if bad[i]:
                verdicts.append(point.reject(window, findings[i]))
            elif i in embeddings:
                verdicts.append(point.judge(window, embeddings[i], findings[i]))
            else:
                measured = self._measure(window)
                reason = point.idle_reason(window)
                verdicts.append(Verdict(window, "not_monitored", reason, findings[i], indicators=measured))
        return verdicts

    def _embed(self, windows: Sequence[Window]) -> list[Embedding]:
        embeddings = self._embedder.embed(windows)
        return [self._measured(e, w) for e, w in zip(embeddings, windows, strict=True)]

    def _measured(self, embedding: Embedding, window: Window) -> Embedding:
        spec = self.config.indicator_spec(window)
        return replace(embedding, indicators=measure(window, spec), indicator_names=names(spec))

    def _measure(self, window: Window) -> NDArray[np.float64]:
        return measure(window, self.config.indicator_spec(window))

    def learn(self, learner: Learner, windows: Sequence[Window]) -> None:
        """Let recorded windows of one point be learned; its live windows and its active baseline are untouched.

        Raises:
            EnrollError: what the learner says.
        """
        findings = [check_signal(window) for window in windows]
        bad = [bool(found) and found[0].bad for found in findings]
        embeddings = iter(self._embed([w for w, unusable in zip(windows, bad, strict=True) if not unusable]))
        for window, found, unusable in zip(windows, findings, bad, strict=True):
            origin = self.points[window.point].origin(window)
            learner.hear(window, None if unusable else next(embeddings), found, origin)
