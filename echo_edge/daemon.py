"""The daemon: start everything in order, watch it, stop it in order."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from echo_edge.assembly import Parts, wire
from echo_edge.capture import Capture
from echo_edge.config import Config
from echo_edge.config_versions import ConfigVersions
from echo_edge.crashes import Crashes
from echo_edge.errors import ConfigError, EchoEdgeError
from echo_edge.health import EVERY_S
from echo_edge.monitor import Monitor
from echo_edge.payload import encode
from echo_edge.reload import RELOAD
from echo_edge.store import exclusive, keep_reserve, spend_reserve, state_folder
from echo_edge.systemd import ServiceManager

log = logging.getLogger(__name__)

EXIT_OK, EXIT_ENGINE = 0, 70
HUNG_AFTER_S = 60.0  # a step of the pipeline takes well under a second; a minute means the engine hangs
STOP_WITHIN_S = 5.0
WARNED_EVERY_S = 10.0  # one cause makes no more than ten lines a minute
LINK_WITHIN_S = 180.0  # a new configuration must reach the broker again, if the one before did


def run(config: Config, credentials_folder: str | None = None, versions: ConfigVersions | None = None) -> int:
    """Monitor until SIGTERM or SIGINT; return the exit code, or ``RELOAD`` when the configuration is to be read again.

    Args:
        versions: of the configuration's file, where an order may change it.

    Raises:
        ConfigError, ArtifactError: a person must act.
        StoreBusyError: another daemon uses this state folder.
    """
    folder = state_folder(config.gateway.id)
    with exclusive(folder), _signals() as asked, Crashes(folder) as crashes:
        spend_reserve(folder)
        parts = wire(config, folder, list(config.devices), credentials_folder, versions=versions, crashes=crashes)
        embedder = parts.embedder
        log.info("model %s on %s, %d points", embedder.model_name, embedder.engine_name, len(config.points()))
        with _running(parts), _metrics(config, parts):
            if parts.discovery is not None:
                parts.discovery.begin()
            parts.publisher.start()
            if parts.sparkplug is not None:
                parts.sparkplug.start()
            code = _watch(asked, parts, folder)
        crashes.ended_well = code != EXIT_ENGINE
    return code


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
    parts.engine.start()
    for thread in (parts.monitor, *parts.captures, *parts.controls):
        thread.start()
    try:
        yield
    finally:
        for control in parts.controls:
            control.stop()
        for capture in parts.captures:
            capture.stop()
        _join(*parts.captures)
        parts.mailbox.close()
        _join(parts.monitor, *parts.controls)
        parts.engine.close()
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


def _watch(asked: Asked, parts: Parts, folder: Path) -> int:
    """The main loop, once a second: end when asked to, or when a thread failed or hangs; tell how we are."""
    warned, warned_s, told_s = 0, -WARNED_EVERY_S, -EVERY_S
    told: dict[str, str] | None = None  # not {}: what was wrong before a restart and is well now, ends
    begun_s, linked = time.monotonic(), False
    manager = ServiceManager()
    while not asked.stop.wait(1.0):
        if parts.restart.is_set() or _reloads(asked, parts, manager):  # the answer to an order is on its way by now
            return RELOAD
        _tell_manager(manager, parts)
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
            keep_reserve(folder)
            parts.publisher.set_state(parts.topics.health, encode(parts.health.payload(parts.envelope)), qos=0)
        dropped = sum(parts.mailbox.windows_dropped.values())
        if dropped > warned and time.monotonic() - warned_s >= WARNED_EVERY_S:
            log.warning("overload: %d windows dropped so far (%s)", dropped, dict(parts.mailbox.windows_dropped))
            warned, warned_s = dropped, time.monotonic()
        if (troubles := parts.supervision.troubles(dropped) | _safe_mode(parts)) != told:
            told = troubles if parts.mailbox.order(partial(parts.reporter.monitor_alarms, troubles)) else told
    manager.stopping()
    return EXIT_OK


def _reloads(asked: Asked, parts: Parts, manager: ServiceManager) -> bool:
    """Whether a signal asked for the configuration to be read again, and it can be.

    Before we are up it waits: where the file is refused, the service manager would be told that we are.
    """
    if not asked.reload.is_set() or not manager.ready:
        return False
    asked.reload.clear()
    manager.reloading()
    if _acceptable(parts):
        return True
    manager.come_up(_in_words(parts))
    return False


def _tell_manager(manager: ServiceManager, parts: Parts) -> None:
    """Feed the watchdog while the pipeline comes round; say in a line how everything is."""
    if not manager.ready:
        if not parts.monitor.proven:
            manager.progress(time.monotonic())  # in a reload it is on guard already; what hangs now, ``_defect`` finds
            return
        if parts.versions is not None:
            parts.versions.works()
        manager.come_up(_in_words(parts))
        log.info("ready: the way to a verdict works at every point")
    manager.progress(parts.monitor.heartbeat_s)
    manager.status(_in_words(parts))


def _acceptable(parts: Parts) -> bool:
    """Whether the daemon can begin anew with what is in its configuration's file now; says in the log why not."""
    versions = parts.versions
    if versions is None:
        log.error("this daemon knows no file to read again")
        return False
    try:
        versions.check_file(parts.envelope.gateway)
    except EchoEdgeError as error:
        versions.refused = str(error).splitlines()[0]
        for line in str(error).splitlines():
            log.error("not reloaded, the configuration before stays in force: %s", line)
        return False
    log.info("reading %s again", versions.path)
    return True


def _in_words(parts: Parts) -> str:
    """How everything is, in one line."""
    levels = Counter(parts.reporter.level(name) for name in parts.monitor.points)
    points = ", ".join(f"{count} {level.replace('_', ' ')}" for level, count in sorted(levels.items()))
    link = "connected to the broker" if parts.publisher.connected else "NOT connected to the broker"
    versions = parts.versions
    refused = f"; configuration refused: {versions.refused}" if versions is not None and versions.refused else ""
    return f"points: {points}; {link}; engine {parts.embedder.engine_name}{refused}"


def _safe_mode(parts: Parts) -> dict[str, str]:
    """What is left out, or is not what the file says, so that the rest can work: name -> a sentence."""
    found = {}
    if parts.versions is not None and parts.versions.refused:
        found["config"] = f"the configuration in the file is not in force: {parts.versions.refused}"
    if parts.crashes.suspect:
        found["safe_mode"] = parts.crashes.sentence
    return found


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
    if parts.engine.status.needs_new_process:
        return f"only a new process can try the GPU again: {parts.engine.status.problem}"
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


@dataclass(frozen=True)
class Asked:
    """What signals ask for."""

    stop: threading.Event = field(default_factory=threading.Event)
    """SIGTERM, SIGINT."""

    reload: threading.Event = field(default_factory=threading.Event)
    """SIGHUP."""


@contextmanager
def _signals() -> Iterator[Asked]:
    """Events that signals set; the old handlers come back at the end."""
    asked = Asked()

    def end(number: int, _frame: FrameType | None) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        asked.stop.set()

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: lambda *_: asked.reload.set()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
