"""The daemon: start everything in order, watch it, stop it in order."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from echo_edge.assembly import Parts, wire
from echo_edge.capture import Capture
from echo_edge.config import Config
from echo_edge.config_versions import ConfigVersions
from echo_edge.errors import ConfigError
from echo_edge.health import EVERY_S
from echo_edge.monitor import Monitor
from echo_edge.payload import encode
from echo_edge.reload import RELOAD
from echo_edge.store import (
    exclusive,
    state_folder,
)

log = logging.getLogger(__name__)

EXIT_OK, EXIT_ENGINE = 0, 70
HUNG_AFTER_S = 60.0  # a step of the pipeline takes well under a second; a minute means the engine hangs
STOP_WITHIN_S = 5.0
LINK_WITHIN_S = 180.0  # a new configuration must reach the broker again, if the one before did


def run(config: Config, credentials_folder: str | None = None, versions: ConfigVersions | None = None) -> int:
    """Monitor until SIGTERM or SIGINT; return the exit code, or ``RELOAD`` when an order changed the configuration.

    Args:
        versions: of the configuration's file, where an order may change it.

    Raises:
        ConfigError, ArtifactError: a person must act.
        StoreBusyError: another daemon uses this state folder.
    """
    folder = state_folder(config.gateway.id)
    with exclusive(folder), _signals() as stop:
        parts = wire(config, folder, list(config.devices), credentials_folder, versions=versions)
        embedder = parts.embedder
        log.info("model %s on %s, %d points", embedder.model_name, embedder.engine_name, len(config.points()))
        with _running(parts), _metrics(config, parts):
            if parts.discovery is not None:
                parts.discovery.begin()
            parts.publisher.start()
            if parts.sparkplug is not None:
                parts.sparkplug.start()
            return _watch(stop, parts)


@contextmanager
def alone(config: Config, folder: Path, devices: list[str]) -> Iterator[None]:
    """The same threads for these devices only, within a command and without a broker, while no daemon runs.

    The caller holds the state folder (``store.exclusive``).
    """
    with _running(wire(config, folder, devices, None, silent=True)):
        yield


@contextmanager
def _running(parts: Parts) -> Iterator[None]:
    """Start every thread but the publisher's; stop them all, in order."""
    parts.outbox.start()
    for thread in (parts.monitor, *parts.captures, parts.control):
        thread.start()
    try:
        yield
    finally:
        parts.control.stop()
        for capture in parts.captures:
            capture.stop()
        _join(*parts.captures)
        parts.mailbox.close()
        _join(parts.monitor, parts.control)
        if parts.orders is not None:
            parts.orders.stop()
        if parts.sparkplug is not None:
            parts.sparkplug.stop()
        parts.publisher.stop()
        parts.outbox.stop()
        log.info("stopped")


@contextmanager
def _metrics(config: Config, parts: Parts) -> Iterator[None]:
    """The page that Prometheus reads, where it is configured."""
    if config.metrics is None:
        yield
        return
    from echo_edge.metrics import Metrics  # noqa: PLC0415  slow to import

    metrics = Metrics(config.metrics, parts)
    metrics.start()
    try:
        yield
    finally:
        metrics.stop()


def _watch(stop: threading.Event, parts: Parts) -> int:
    """The main loop, once a second: end when asked to, or when a thread failed or hangs; tell how we are."""
    dropped, told_s, told = 0, -EVERY_S, dict[str, str]()
    begun_s, linked = time.monotonic(), False
    while not stop.wait(1.0):
        if parts.restart.is_set():  # the answer to the order is on its way by now
            return RELOAD
        if time.monotonic() - begun_s > LINK_WITHIN_S and not linked:
            linked = True  # asked once
            _insist_on_a_link(parts)
        linked = linked or parts.publisher.connected
        if (defect := _defect(parts)) is not None:
            log.critical("%s", defect)
            return EXIT_ENGINE
        for ticking in (parts.orders, parts.discovery):
            if ticking is not None:
                ticking.tick()
        _tell_status(parts)
        if time.monotonic() - told_s >= EVERY_S:
            told_s = time.monotonic()
            parts.publisher.set_state(parts.topics.health, encode(parts.health.payload(parts.envelope)), qos=0)
        if (now := sum(parts.mailbox.windows_dropped.values())) > dropped:
            log.warning("overload: %d windows dropped so far (%s)", now, dict(parts.mailbox.windows_dropped))
            dropped = now
        if (troubles := parts.supervision.troubles(dropped)) != told:
            told = troubles if parts.mailbox.order(partial(parts.reporter.monitor_alarms, troubles)) else told
    return EXIT_OK


def _insist_on_a_link(parts: Parts) -> None:
    """Raises ConfigError when a configuration on trial has cut us off from a broker that we had before."""
    trial = None if parts.versions is None else parts.versions.trial()
    if trial is not None and trial.linked:
        raise ConfigError([f"no broker was reached for {LINK_WITHIN_S:.0f} s: {'; '.join(parts.publisher.problems)}"])


def _defect(parts: Parts) -> str | None:
    """What only a new process mends, in words."""
    threads: list[Monitor | Capture] = [parts.monitor, *parts.captures]
    for thread in threads:
        if thread.failure is not None:
            return f"{thread.name} failed: {thread.failure}"
    if time.monotonic() - parts.monitor.heartbeat_s > HUNG_AFTER_S:
        return f"the pipeline has not come round for {HUNG_AFTER_S:.0f} s"
    living = {"publisher": parts.publisher.alive, "outbox": parts.outbox.alive}
    if parts.sparkplug is not None:
        living["Sparkplug link"] = parts.sparkplug.alive
    return next((f"the thread of the {name} ended" for name, lives in living.items() if not lives), None)


def _tell_status(parts: Parts) -> None:
    problems = list(parts.publisher.problems) if parts.publisher.connected else []
    if parts.sparkplug is not None:
        problems += parts.sparkplug.problems
    if parts.outbox.status.problem is not None:
        problems.append(parts.outbox.status.problem)
    parts.publisher.set_status("degraded" if problems else "online", "; ".join(problems) or None)


def _join(*threads: threading.Thread) -> None:
    deadline_s = time.monotonic() + STOP_WITHIN_S
    for thread in threads:
        thread.join(max(0.1, deadline_s - time.monotonic()))
        if thread.is_alive():
            log.warning("%s does not stop; leaving it behind", thread.name)


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; the old handlers come back at the end."""
    stop = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
