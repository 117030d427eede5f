"""Metrics: how the gateway is, for Prometheus. Reads, whenever it is asked, what others know anyway; waits for nobody.

What belongs to the pipeline's thread is a plain number, or something that is never changed but only replaced.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from echo_edge import __version__
from echo_edge.alert_life import SEVERITIES
from echo_edge.clock import read_clock
from echo_edge.config_metrics import MetricsConfig
from echo_edge.durations import BOUNDS_S
from echo_edge.metrics_server import MetricsServer
from echo_edge.payload import LEVELS, PointState, Quality

if TYPE_CHECKING:
    from echo_edge.assembly import Parts

log = logging.getLogger(__name__)

SENSOR_STATES = ("opening", "ok", "lost", "ended")
QUALITIES = ("ok", "degraded", "lost")
KINDS = ("machine", "sensor", "monitor")
COUNTERS = (
    ("gaps", "echo_edge_sensor_gaps", "Interruptions of the signal."),
    ("lost_frames", "echo_edge_sensor_lost_samples", "Samples per channel known to be missing."),
    ("overflows", "echo_edge_sensor_overflows", "Times the driver's buffer ran full."),
)
"""Counters of drivers that are told; a driver that cannot know one has no such metric."""


class Metrics:
    """The page, from ``start`` to ``stop``."""

    def __init__(self, config: MetricsConfig, parts: Parts) -> None:
        self._config = config
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(GatewayCollector(parts))
        self._server: MetricsServer | None = None

    def start(self) -> None:
        """Listen; a port that cannot be had is told and costs nothing else."""
        host, port = self._config.host, self._config.port
        try:
            self._server = MetricsServer(host, port, self._registry)
        except OSError as error:
            log.error("metrics: nobody can listen on %s, port %d: %s; monitoring goes on", host, port, error.strerror)
            return
        self._server.start()

    def stop(self) -> None:
        """Close the port and end the threads."""
        if self._server is not None:
            self._server.stop()


class GatewayCollector(Collector):
    """Makes the metrics anew for every scrape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._points = tuple(parts.monitor.scored)
        self._started_s = time.monotonic()

    def describe(self) -> Sequence[Metric]:
        """Nothing is asked for when the registry is made."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._gateway()
        yield from self._levels()
        yield from self._windows()
        yield from self._sensors()
        yield from self._alerts()
        yield from self._outbox()
        yield from self._mqtt()

    def _gateway(self) -> Iterator[Metric]:
        monitor, supervision, embedder = self._parts.monitor, self._parts.supervision, self._parts.embedder
        now_s = time.monotonic()
        build = GaugeMetricFamily("echo_edge_build_info", "What runs; always 1.", labels=("version", "model"))
        build.add_metric((__version__, embedder.model_name), 1)
        yield build
        yield from self._engine()
        yield _gauge("echo_edge_uptime_seconds", "Since the daemon began.", now_s - self._started_s)
        age_s = max(0.0, now_s - monitor.heartbeat_s)
        yield _gauge("echo_edge_pipeline_heartbeat_age_seconds", "Since the pipeline last came round.", age_s)
        buckets = [*map(str, BOUNDS_S), "+Inf"]
        counts = monitor.steps.cumulated()
        step = HistogramMetricFamily("echo_edge_pipeline_step_seconds", "To judge the windows that waited together.")
        step.add_metric((), list(zip(buckets, counts, strict=True)), monitor.steps.sum_s)
        yield step
        text = "Spent on judging; over echo_edge_pipeline_signal_seconds_total it is the real-time factor."
        yield _counter("echo_edge_pipeline_busy_seconds", text, monitor.busy_s)
        yield _counter("echo_edge_pipeline_signal_seconds", "Signal that was judged.", monitor.signal_s)
        if supervision.disk_bytes is not None:
            free, floor = supervision.disk_bytes
            yield _gauge("echo_edge_disk_free_bytes", "Where the state is kept, at most a minute ago.", free)
            yield _gauge("echo_edge_disk_floor_bytes", "Below this much the least valuable of it is deleted.", floor)
        if (clock := read_clock()) is not None:
            yield _gauge("echo_edge_clock_synced", "1: something disciplines the system clock.", clock.synced)

    def _engine(self) -> Iterator[Metric]:
        status = self._parts.engine.status
        yield _labelled("echo_edge_engine_serving", "The engine that computes.", "engine", {status.serving: 1})
        text = "1: another engine than the wanted one serves, for a reason that echo-edge status tells."
        yield _gauge("echo_edge_engine_problem", text, status.problem is not None)
        if status.building is not None:
            yield _gauge("echo_edge_engine_building_ratio", "How far the wanted engine is.", status.building)
        yield _counter("echo_edge_engine_fallbacks", "Times that the CPU took over.", status.fallbacks)

    def _levels(self) -> Iterator[Metric]:
        told = self._told()
        states = {name: state for name, (state, _) in told.items()}
        qualities = {name: quality.state for name, (_, quality) in told.items()}
        levels = {name: state.level for name, state in states.items()}
        yield _state_set("echo_edge_point_level", "1 for the point's level.", ("point", "level"), LEVELS, levels)
        yield _state_set(
            "echo_edge_point_quality", "1 for how its sensor is.", ("point", "quality"), QUALITIES, qualities
        )
        scores = {name: state.score for name, state in states.items() if state.score is not None}
        rates = {name: state.false_alarms for name, state in states.items() if state.false_alarms is not None}
        lags_ms = {name: state.lag_ms for name, state in states.items() if state.lag_ms is not None}
        for metric, text, values in (
            ("score", "How rare the newest window is, in decades.", {n: s.value for n, s in scores.items()}),
            ("threshold", "The score from which a window is strange.", {n: s.threshold for n, s in scores.items()}),
            ("lag_seconds", "From a window's end to its verdict.", {n: ms / 1000 for n, ms in lags_ms.items()}),
            ("false_alarms_target_per_month", "Accepted in 30 days.", {n: r.target for n, r in rates.items()}),
            ("false_alarms_estimated_per_month", "Expected in 30 days.", {n: r.estimated for n, r in rates.items()}),
            (
                "false_alarms_upper_95_per_month",
                "What operation so far proves: 95 % bound.",
                {n: r.demonstrated_upper_95 for n, r in rates.items()},
            ),
            (
                "false_alarms_kept",
                "0: more alerts came than the target explains.",
                {n: r.kept for n, r in rates.items() if r.kept is not None},
            ),
        ):
            yield _labelled(f"echo_edge_point_{metric}", text, "point", values)

    def _told(self) -> dict[str, tuple[PointState, Quality]]:
        told = {}
        for point in self._points:
            try:
                state, _, quality = self._parts.reporter.told(point)
            except KeyError:  # the pipeline has just begun
                continue
            told[point] = (state, quality)
        return told

    def _windows(self) -> Iterator[Metric]:
        monitor, dropped = self._parts.monitor, self._parts.mailbox.windows_dropped
        text = "Windows by what became of them: a score, none (the point is not monitored), dropped for want of time."
        family = CounterMetricFamily("echo_edge_windows", text, labels=("point", "outcome"))
        for point in self._points:
            family.add_metric((point, "scored"), monitor.scored[point])
            family.add_metric((point, "unscored"), monitor.unscored[point])
            family.add_metric((point, "dropped"), dropped[point])
        yield family

    def _sensors(self) -> Iterator[Metric]:
        captures, now_s = self._parts.captures, time.monotonic()
        statuses = {capture.device: capture.status for capture in captures}
        states = {device: status.state for device, status in statuses.items()}
        yield _state_set(
            "echo_edge_sensor_state", "1 for the device's state.", ("device", "state"), SENSOR_STATES, states
        )
        for key, name, text in COUNTERS:
            family = CounterMetricFamily(name, text, labels=("device",))
            for device, status in statuses.items():
                if key in status.counters:
                    family.add_metric((device,), status.counters[key])
            yield family
        newest = ((capture.device, capture.last_block_s) for capture in captures)
        ages_s = {device: max(0.0, now_s - last_s) for device, last_s in newest if last_s is not None}
        yield _labelled("echo_edge_sensor_last_sample_age_seconds", "Since samples came.", "device", ages_s)

    def _alerts(self) -> Iterator[Metric]:
        active, opened = self._parts.reporter.alerts.counts()
        labels = ("kind", "severity")
        now = GaugeMetricFamily("echo_edge_alerts_active", "Alerts that are active now.", labels=labels)
        ever = CounterMetricFamily("echo_edge_alerts_opened", "Alerts that opened, as severe as then.", labels=labels)
        for kind in KINDS:
            for severity in SEVERITIES:
                now.add_metric((kind, severity), active[kind, severity])
                ever.add_metric((kind, severity), opened[kind, severity])
        yield now
        yield ever

    def _outbox(self) -> Iterator[Metric]:
        status = self._parts.outbox.status
        oldest_s = 0.0
        if status.waiting and status.oldest_ns is not None:
            oldest_s = max(0, time.time_ns() - status.oldest_ns) / 1e9
        yield _gauge("echo_edge_outbox_waiting", "Events that the broker has not taken.", status.waiting)
        yield _gauge("echo_edge_outbox_oldest_age_seconds", "Age of the oldest that waits; 0: none does.", oldest_s)
        yield _counter("echo_edge_outbox_lost", "Events given up, undelivered.", status.lost)
        yield _gauge("echo_edge_outbox_dead", "Events put aside: the broker will never take them.", status.dead)
        yield _gauge("echo_edge_outbox_durable", "1: events are safe on disk.", status.durable)
        yield _gauge("echo_edge_outbox_used_bytes", "Of its file.", status.used_bytes)
        yield _gauge("echo_edge_outbox_free_bytes", "Of its file.", status.free_bytes)

    def _mqtt(self) -> Iterator[Metric]:
        publisher = self._parts.publisher
        yield _gauge("echo_edge_mqtt_connected", "1: the broker has us.", publisher.connected)
        yield _counter("echo_edge_mqtt_connects", "Times the broker let us in.", publisher.connects)
        yield _counter("echo_edge_mqtt_events_accepted", "Events it took.", publisher.counters.events_accepted)
        ends_s = self._parts.supervision.certificate_ends_s
        text = "When it runs out, seconds since 1970."
        yield _labelled("echo_edge_certificate_expires_timestamp_seconds", text, "certificate", ends_s)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _state_set(name: str, text: str, labels: tuple[str, str], states: Sequence[str], now: dict[str, str]) -> Metric:
    """One series for each state, so that a state that nobody has reads 0."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, state in now.items():
        for other in states:
            family.add_metric((key, other), state == other)
    return family
