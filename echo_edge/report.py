"""Reporter: what the pipeline found out -> MQTT topics. Owns what was last said of each point; one thread uses it."""

from __future__ import annotations

import time
from collections import deque

from echo_edge.capture import SensorStatus
from echo_edge.config import Config
from echo_edge.payload import (
    Envelope,
    Info,
    OperatingState,
    Payload,
    PointState,
    Quality,
    Topics,
    WindowCount,
    alert_active_payload,
    alert_payload,
    encode,
    info_payload,
    point_state_payload,
    quality_payload,
)
from echo_edge.pipeline import Point, Verdict
from echo_edge.publisher import Publisher

HOUR_S = 3600.0


class SensorQuality:
    """Health of one device, from its status and counters and from windows that could not be judged."""

    def __init__(self) -> None:
        self.status: SensorStatus | None = None
        self._history: deque[tuple[float, int, int]] = deque()  # (monotonic s, gaps, lost frames), at every change
        self._unusable: dict[str, str] = {}  # point -> what is wrong with its latest window

    def update(self, status: SensorStatus) -> None:
        self.status = status
        self._history.append((time.monotonic(), status.counters.get("gaps", 0), status.counters.get("lost_frames", 0)))

    def windows_are(self, point: str, reason: str | None) -> bool:
        """Note why a point's latest window was unusable (None: it was good); True when that changed."""
        before = self._unusable.pop(point, None)
        if reason is not None:
            self._unusable[point] = reason
        return before != reason

    def last_hour(self) -> tuple[int, int]:
        """Gaps and lost samples of the last hour."""
        # the oldest entry kept is the newest one that is over an hour old: the hour's counts start from it
        while len(self._history) > 1 and self._history[1][0] < time.monotonic() - HOUR_S:
            self._history.popleft()
        if not self._history:
            return 0, 0
        first, last = self._history[0], self._history[-1]
        return last[1] - first[1], last[2] - first[2]

    def describe(self, point: str) -> Quality:
        gaps, lost = self.last_hour()
        status = self.status
        reasons: list[str] = []
        if status is None or status.state != "ok":
            reasons.append("starting" if status is None or status.state == "opening" else f"sensor_{status.state}")
            if status is not None and status.reason:
                reasons.append(status.reason)
            state = "lost"
        else:
            reasons += ["gap"] if gaps else []
            reasons += [self._unusable[point]] if point in self._unusable else []
            state = "degraded" if reasons else "ok"
        rate = float(status.info.rate_hz) if status is not None and status.info is not None else None
        return Quality(point, time.time_ns(), state, tuple(reasons), rate, None, gaps, lost)


class Reporter:
    """Publishes what the gateway is, point states, sensor quality and alerts."""

    def __init__(self, config: Config, publisher: Publisher, topics: Topics, envelope: Envelope, info: Info) -> None:
        self._config = config
        self._publisher = publisher
        self._envelope = envelope
        self._topics = topics
        self._info = info
        self._model = info.model
        self._interval_s = config.mqtt.state_interval_s
        self._quality = {device: SensorQuality() for device in config.devices}
        self._told: dict[str, tuple[str, str | None, float]] = {}  # point -> level, reason, monotonic s

    def begin(self) -> None:
        """Say what we are, that nothing is monitored yet and no alert is open, in place of what an earlier run left."""
        self._set(self._topics.info, info_payload(self._envelope, self._info, time.time_ns()))
        for name, point in self._config.points().items():
            self.unmonitored(name, "starting")
            self._tell_quality(name, point.device)
            self._tell_active(name, time.time_ns(), None)

    def end(self) -> None:
        """Say that nothing is monitored any more: a retained ``normal`` must not outlive us."""
        for name in self._config.points():
            self.unmonitored(name, "stopped")

    def refresh(self) -> None:
        """Tell every sensor's quality again: gaps leave the last hour without anything happening."""
        for name, point in self._config.points().items():
            self._tell_quality(name, point.device)

    def sensor(self, status: SensorStatus) -> None:
        """A device came, went or lost samples."""
        self._quality[status.device].update(status)
        for name, point in self._config.points().items():
            if point.device == status.device:
                self._tell_quality(name, status.device)
                if status.state != "ok":
                    self.unmonitored(name, f"sensor {status.state}" + (f": {status.reason}" if status.reason else ""))
                elif refused := status.refused.get(name):
                    self.unmonitored(name, refused)

    def unmonitored(self, point: str, reason: str) -> None:
        """Say that a point has no verdict, and why."""
        state = PointState(point, time.time_ns(), "not_monitored", model=self._model, reason=reason)
        self._tell_state(state)

    def verdict(self, verdict: Verdict, point: Point) -> None:
        """One window was judged, or could not be."""
        name, window, score = point.name, verdict.window, verdict.score
        quality = self._quality[point.config.device]
        if quality.windows_are(name, verdict.unusable):
            self._tell_quality(name, point.config.device)
        if score is None:
            self.unmonitored(name, verdict.reason or "no verdict")
            return
        alert = point.config.alert
        self._tell_state(
            PointState(
                name,
                window.end_ns,
                verdict.level,
                model=self._model,
                score=score,
                false_alarms=point.false_alarm_rate,
                windows=WindowCount(verdict.strange_windows, alert.windows, alert.strange_windows),
                operating_state=OperatingState(score.state, "auto"),
                quality=quality.describe(name).state,
                lag_ms=max(0.0, (time.time_ns() - window.end_ns) / 1e6),
            )
        )
        if verdict.event is not None:
            payload = alert_payload(self._envelope, verdict.event, self._model, self._config.title(name))
            self._publisher.send_event(self._topics.alert(name), encode(payload), verdict.event.type)
            self._tell_active(name, window.end_ns, None if verdict.event.type == "clear" else payload)

    def _tell_state(self, state: PointState) -> None:
        level, reason, told_s = self._told.get(state.point, ("", None, 0.0))
        now_s = time.monotonic()
        if (state.level, state.reason) == (level, reason) and now_s - told_s < self._interval_s:
            return
        self._told[state.point] = (state.level, state.reason, now_s)
        self._set(self._topics.state(state.point), point_state_payload(self._envelope, state))

    def _tell_quality(self, point: str, device: str) -> None:
        quality = self._quality[device].describe(point)
        self._set(self._topics.quality(point), quality_payload(self._envelope, quality))

    def _tell_active(self, point: str, time_ns: int, alert: Payload | None) -> None:
        payload = alert_active_payload(self._envelope, point, time_ns, alert)
        self._set(self._topics.alert_active(point), payload)

    def _set(self, topic: str, payload: Payload) -> None:
        self._publisher.set_state(topic, encode(payload))
