"""Reporter: what the pipeline found out -> MQTT topics. Owns what was last said of each point; one thread uses it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from echo_edge.album import Album
from echo_edge.board import Board
from echo_edge.capture import SensorStatus
from echo_edge.config import Config
from echo_edge.envelope import Listener, subject
from echo_edge.features import Features, describe
from echo_edge.machine_state import Machines
from echo_edge.outbox import Outbox
from echo_edge.payload import (
    Envelope,
    Info,
    MachineState,
    Payload,
    PointState,
    Quality,
    Topics,
    WindowCount,
    encode,
    features_payload,
    info_payload,
    machine_state_payload,
    point_state_payload,
    quality_payload,
    score_payload,
)
from echo_edge.payload_enroll import InForce, baseline_payload, enroll_payload
from echo_edge.pipeline import Point, Verdict
from echo_edge.publisher import Publisher
from echo_edge.report_alerts import AlertReporter
from echo_edge.signal_checks import Finding
from echo_edge.troubles import starting, trouble_of
from echo_edge.window_message import WindowMessages

HOUR_S = 3600.0
PPM_NEWS = 50.0
RATE_PPM = 500.0  # of error: crystals are within 100, so the announced rate is another one


class SensorQuality:
    """Health of one device, from its status and counters and from what its windows showed."""

    def __init__(self) -> None:
        self.status: SensorStatus | None = None
        self._history: deque[tuple[float, int, int]] = deque()  # (monotonic s, gaps, lost frames), at every change
        self._outages = 0  # each is a gap, too: what a lost sensor would have heard is missing
        self._findings: dict[str, tuple[Finding, ...]] = {}  # point -> what its latest window showed

    def update(self, status: SensorStatus) -> None:
        if status.state == "ok" and self.status is not None and self.status.state == "lost":
            self._outages += 1
        self.status = status
        now = (status.counters.get("gaps", 0) + self._outages, status.counters.get("lost_frames", 0))
        if not self._history or self._history[-1][1:] != now:
            self._history.append((time.monotonic(), *now))

    def windows_show(self, point: str, findings: tuple[Finding, ...]) -> None:
        """Note what a point's latest window showed of the sensor."""
        self._findings[point] = findings

    def last_hour(self) -> tuple[int, int]:
        """Gaps and lost samples of the last hour."""
        # the oldest entry kept is the newest one that is over an hour old: the hour's counts start from it
        while len(self._history) > 1 and self._history[1][0] < time.monotonic() - HOUR_S:
            self._history.popleft()
        if not self._history:
            return 0, 0
        first, last = self._history[0], self._history[-1]
        return last[1] - first[1], last[2] - first[2]

    def describe(self, point: str, of_point: tuple[Finding, ...] = ()) -> Quality:
        """How the device is for a point; ``of_point`` is what the point finds in it against its baseline."""
        gaps, lost = self.last_hour()
        status = self.status
        reasons: list[str] = []
        findings: list[Finding] = []
        if status is None or status.state != "ok":
            reasons.append("starting" if status is None or status.state == "opening" else f"sensor_{status.state}")
            if status is not None and status.reason:
                reasons.append(status.reason)
            state = "lost"
        else:
            findings = [*self._findings.get(point, ()), *of_point, *_rate_findings(status)]
            reasons += ["gap"] if gaps else []
            reasons += [finding.check for finding in findings]
            state = "degraded" if reasons else "ok"
        info = None if status is None else status.info
        return Quality(
            point,
            time.time_ns(),
            state,
            tuple(reasons),
            rate_hz=None if info is None else float(info.rate_hz),
            rate_ppm=None if status is None else status.rate_ppm,
            gaps_1h=gaps,
            lost_samples_1h=lost if lost or not gaps else None,  # the length of a gap may be unknown: no zero
            unit=None if info is None else info.unit,
            calibration=None if info is None else info.calibration,
            counters={} if status is None else dict(status.counters),
            findings=tuple(findings),
        )


def _rate_findings(status: SensorStatus) -> Iterator[Finding]:
    """What no single window can show."""
    if status.rate_ppm is not None and status.info is not None and abs(status.rate_ppm) > RATE_PPM:
        yield Finding(
            "rate_wrong",
            False,
            f"{status.info.rate_hz * (1 + status.rate_ppm * 1e-6):.1f} Hz measured, {status.info.rate_hz} Hz announced "
            f"({status.rate_ppm:+.0f} ppm)",
            "the device's rate setting, or samples that it loses in silence",
        )


def _news(quality: Quality, told: Quality) -> bool:
    """True when something changed that is worth a message: not the decimals of a rate or of a finding."""
    drifted = abs((quality.rate_ppm or 0) - (told.rate_ppm or 0)) > PPM_NEWS
    first = (quality.rate_ppm is None) != (told.rate_ppm is None)
    same = replace(
        quality, time_ns=told.time_ns, findings=told.findings, rate_ppm=told.rate_ppm, counters=told.counters
    )
    return drifted or first or same != told


def _silent(status: SensorStatus, point: str) -> str | None:
    """Why a device delivers no windows to a point; None where it does."""
    if status.state != "ok":
        return f"sensor {status.state}" + (f": {status.reason}" if status.reason else "")
    return status.refused.get(point)


class Reporter:
    """Publishes what the gateway is, point states, sensor quality and alerts."""

    def __init__(
        self,
        config: Config,
        publisher: Publisher,
        outbox: Outbox,
        topics: Topics,
        envelope: Envelope,
        info: Info,
        album: Album | None = None,
        *,
        listeners: Sequence[Listener] = (),
        board: Board | None = None,
    ) -> None:
        """``listeners`` hear every state and alert as it is made, in the thread that made it: they must not wait.

        Args:
            board: for scores and windows while somebody watches it; what is retained it gets from the publisher.
        """
        self._config = config
        self._listeners = tuple(listeners)
        self._publisher = publisher
        self._envelope = envelope
        self._topics = topics
        self._info = info
        self._model = info.model
        self._interval_s = config.mqtt.state_interval_s
        self._quality = {device: SensorQuality() for device in config.devices}
        self._told: dict[str, tuple[tuple[str | None, ...], float]] = {}  # point -> what is news, monotonic s
        self._told_quality: dict[str, Quality] = {}
        self._newest: dict[str, tuple[PointState, int]] = {}  # point -> how it is, and since when (ns) of that level
        self._told_features_s: dict[str, float] = {}
        self._of_point: dict[str, tuple[Finding, ...]] = {}
        self._streamed = config.mqtt.score_stream
        self._board = board or Board(topics)
        self._windows = WindowMessages()
        self._machines = Machines(config.points(), self._tell_machine, self._interval_s)
        self.alerts = AlertReporter(
            config, publisher, outbox, topics, envelope, info.model, self._machines, album, listeners=self._listeners
        )

    def restore(self, points: Mapping[str, Point]) -> set[str]:
        """Go on with the alerts of an earlier run, before ``begin``; return the ids of the machines' that are open."""
        return self.alerts.restore(points)

    def begin(self) -> None:
        """Say what we are, that nothing is monitored yet and what is open, in place of what an earlier run left."""
        self.info()
        for name, point in self._config.points().items():
            self.unmonitored(name, "starting")
            self._tell_quality(name, point.device, anyway=True)
            self.enroll(name, None)
        self.alerts.begin()

    def end(self) -> None:
        """Say that nothing is monitored any more: a retained ``normal`` must not outlive us."""
        for name in self._config.points():
            self.unmonitored(name, "stopped")

    def enroll(self, point: str, progress: dict[str, Any] | None) -> None:
        """A point's enrollment went on, or there is none."""
        self._set(self._topics.enroll(point), enroll_payload(self._envelope, point, time.time_ns(), progress))

    def baseline(self, point: Point) -> None:
        """What a point is judged by, and the promise as it stands now."""
        baseline, alarms, known = point.baseline, point.false_alarm_rate, None
        if baseline is not None and alarms is not None:
            known = InForce(baseline, point.thresholds, alarms, point.provisional)
        payload = baseline_payload(self._envelope, point.name, time.time_ns(), known)
        self._set(self._topics.baseline(point.name), payload)

    @property
    def model(self) -> str:
        """Name of the encoder's package."""
        return self._model

    def told(self, point: str) -> tuple[PointState, int, Quality]:
        """How a point is now, since when it has that level (nanoseconds since 1970), and how its sensor is.

        From any thread: what is looked up is never changed, only replaced. KeyError: nothing was told yet.
        """
        return *self._newest[point], self._told_quality[point]

    def level(self, point: str) -> str:
        """How a point is now, in one word; from any thread."""
        state, _ = self._newest.get(point, (None, 0))
        return "starting" if state is None else state.level

    def info(self) -> Payload:
        """Say anew what we are; returns the message."""
        payload = info_payload(self._envelope, self._info, time.time_ns())
        self._set(self._topics.info, payload)
        return payload

    def computes_with(self, engine: str) -> None:
        """Say anew what we are if that is another engine than before."""
        if engine != self._info.engine:
            self._info = replace(self._info, engine=engine)
            self.info()

    def refresh(self) -> None:
        """Tell every sensor's quality again: gaps leave the last hour without anything happening."""
        for name, point in self._config.points().items():
            self._tell_quality(name, point.device, anyway=True)

    def sensor(self, status: SensorStatus, point: Point) -> None:
        """A point's device came, went, lost samples or has news of itself."""
        name = point.name
        self._quality[status.device].update(status)
        self._of_point[name] = point.sensor_findings
        self._tell_quality(name, status.device)
        if status.readings:
            self._tell_features(name, status.device, status.read_ns, Features(status.readings))
        if (silent := _silent(status, name)) is not None:
            self.unmonitored(name, point.muted or silent)

    def look(self, point: Point, silent: str | None = None) -> None:
        """What time alone does to a point's alerts, and how its sensor is; once a round.

        Args:
            silent: why no window comes from a sensor that is there.
        """
        if point.muted is not None:  # planned work: nothing alarms, and what is open stays as it is
            return
        now_ns, alarm, alerts = time.time_ns(), point.sensor_alarm, point.policy.slot
        quality = self._quality[point.config.device].describe(point.name, self._of_point.get(point.name, ()))
        steps = [alerts.keep(alerts.life.at(now_ns)) if alerts.life is not None else None, alarm.wake(now_ns)]
        if not starting(quality):
            steps.append(alarm.update(trouble_of(quality, silent), time.monotonic(), now_ns))
        for step in steps:
            if step is not None:
                self.alerts.step(step, point)

    def monitor_alarms(self, problems: Mapping[str, str]) -> None:
        """Take in what is wrong with the gateway itself now: name -> a sentence. What is not named is well again."""
        now_ns, gateway = time.time_ns(), self.alerts.gateway
        for step in (*gateway.wake(now_ns), *gateway.update(problems, now_ns)):
            self.alerts.step(step)

    def muted(self, point: Point) -> None:
        """Planned work at a point began or ended."""
        if point.muted is not None:
            self.unmonitored(point.name, point.muted)
            return
        status = self._quality[point.config.device].status
        silent = None if status is None else _silent(status, point.name)
        self.unmonitored(point.name, silent or "muted no longer; the next window tells")

    def unmonitored(self, point: str, reason: str) -> None:
        """Say that a point has no verdict, and why."""
        state = PointState(point, time.time_ns(), "not_monitored", model=self._model, reason=reason)
        self._tell_state(state)

    def verdict(self, verdict: Verdict, point: Point) -> None:
        """One window was judged, or could not be."""
        name, window, score = point.name, verdict.window, verdict.score
        self._quality[point.config.device].windows_show(name, verdict.findings)
        self._of_point[name] = point.sensor_findings
        quality = self._tell_quality(name, point.config.device)
        if self._board.watchers:
            message = self._windows.of(verdict, point.config.window.hop_s)
            self._board.live(self._topics.window(name), encode(message))
        if features := describe(self._config, verdict):
            self._tell_features(name, point.config.device, window.end_ns, features)
        if score is None:
            self._tell_state(
                PointState(
                    name,
                    time.time_ns(),
                    verdict.level,
                    model=self._model,
                    operating_state=verdict.operating_state,
                    reason=verdict.reason or "no verdict",
                )
            )
            return
        needed = point.persistence
        state = PointState(
            name,
            window.end_ns,
            verdict.level,
            model=self._model,
            score=score,
            false_alarms=point.false_alarm_rate,
            windows=WindowCount(verdict.strange_windows, needed.windows, needed.strange),
            operating_state=verdict.operating_state,
            reason=verdict.reason,
            quality=quality.state,
            lag_ms=max(0.0, (time.time_ns() - window.end_ns) / 1e6),
        )
        self._tell_state(state)
        if self._streamed or self._board.watchers:
            streamed = encode(score_payload(self._envelope, state))
            self._board.live(self._topics.score(name), streamed)
            if self._streamed:
                self._publisher.send_once(self._topics.score(name), streamed)
        self.alerts.judged(verdict)

    def _tell_state(self, state: PointState) -> None:
        last, since_ns = self._newest.get(state.point, (state, state.time_ns))
        self._newest[state.point] = (state, since_ns if last.level == state.level else state.time_ns)
        operating = state.operating_state
        self._machines.level(state.point, state.level, operating)
        # which of the states is nearest may change with every window: that alone is no news
        named = None if operating is None or operating.source == "auto" else operating.name
        news, now_s = (state.level, state.reason, named), time.monotonic()
        before, told_s = self._told.get(state.point, ((), 0.0))
        if news == before and now_s - told_s < self._interval_s:
            return
        self._told[state.point] = (news, now_s)
        self._set(self._topics.state(state.point), point_state_payload(self._envelope, state))

    def _tell_quality(self, point: str, device: str, *, anyway: bool = False) -> Quality:
        quality = self._quality[device].describe(point, self._of_point.get(point, ()))
        told = self._told_quality.get(point)
        if anyway or told is None or _news(quality, told):
            self._told_quality[point] = quality
            self._set(self._topics.quality(point), quality_payload(self._envelope, quality))
        return quality

    def _tell_features(self, point: str, device: str, time_ns: int, features: Features) -> None:
        now_s = time.monotonic()
        if now_s - self._told_features_s.get(point, -self._interval_s) >= self._interval_s:
            self._told_features_s[point] = now_s
            status = self._quality[device].status
            calibration = "none" if status is None or status.info is None else status.info.calibration
            payload = features_payload(self._envelope, point, time_ns, features.values, calibration, features.zone)
            self._set(self._topics.features(point), payload, qos=0)

    def _tell_machine(self, machine: str, state: MachineState) -> None:
        payload = machine_state_payload(self._envelope, machine, time.time_ns(), state)
        self._set(self._topics.machine_state(machine), payload)

    def _set(self, topic: str, payload: Payload, qos: int = 1) -> None:
        self._publisher.set_state(topic, encode(payload), qos=qos)
        for listen in self._listeners:
            listen(*subject(payload))
