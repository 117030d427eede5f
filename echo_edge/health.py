"""Health: what an operator wants to know of the gateway itself, every half minute.

The supervisor gathers it; nothing here decides anything.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from echo_edge.capture import Capture, SensorStatus
from echo_edge.clock import read_clock
from echo_edge.engine.standby import EngineStatus, StandbyEngine
from echo_edge.envelope import Envelope, Payload
from echo_edge.mailbox import Mailbox
from echo_edge.monitor import Monitor
from echo_edge.outbox import Outbox
from echo_edge.publisher import Publisher

EVERY_S = 30.0
DAY_S = 86400.0
MB = 1e6
XRUNS = "overflows"  # counter of drivers that know when their buffer ran full


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at."""

    monitor: Monitor
    mailbox: Mailbox[SensorStatus]
    captures: Sequence[Capture]
    publisher: Publisher
    outbox: Outbox
    engine: StandbyEngine
    folder: Path
    client_cert: Path | None = None


class Health:
    """Makes the message ``health``; one thread uses it."""

    def __init__(self, watched: Watched, now_s: Callable[[], float] = time.monotonic) -> None:
        self._watched = watched
        self._now_s = now_s
        self._started_s = now_s()
        self._busy_s = self._signal_s = 0.0

    def payload(self, envelope: Envelope) -> Payload:
        """Return the message; what cannot be found out is left out."""
        watched, now_s = self._watched, self._now_s()
        fields: Payload = {
            "uptime_s": round(now_s - self._started_s),
            "pipeline": self._pipeline(),
            "engine": engine_fields(watched.engine.status),
            "sensors": {capture.device: self._sensor(capture, now_s) for capture in watched.captures},
            "outbox": self._outbox(),
            "mqtt": self._mqtt(),
            "system": _system(),
        }
        with suppress(OSError):  # a disk that went away is told as a trouble
            fields["disk"] = _disk(watched.folder)
        if (clock := read_clock()) is not None:
            fields["clock"] = {
                "synced": clock.synced,
                "offset_ms": round(clock.offset_ms, 3),
                "max_error_ms": round(clock.max_error_ms, 1),
            }
        return envelope.stamp("health", time.time_ns()) | fields

    def _pipeline(self) -> Payload:
        monitor, mailbox = self._watched.monitor, self._watched.mailbox
        busy_s, signal_s = monitor.busy_s - self._busy_s, monitor.signal_s - self._signal_s
        self._busy_s, self._signal_s = monitor.busy_s, monitor.signal_s
        fields: Payload = {
            "windows_waiting": mailbox.waiting,
            "windows_dropped": sum(mailbox.windows_dropped.values()),
        }
        if signal_s > 0:  # else nothing was judged: a factor would be made up
            fields["rtf"] = round(busy_s / signal_s, 4)
        return fields

    @staticmethod
    def _sensor(capture: Capture, now_s: float) -> Payload:
        status, fields = capture.status, Payload()
        fields["state"] = status.state
        if capture.last_block_s is not None:
            fields["last_sample_age_s"] = round(max(0.0, now_s - capture.last_block_s), 1)
        if XRUNS in status.counters:  # a driver that cannot know tells none, rather than 0
            fields["xruns"] = status.counters[XRUNS]
        return fields

    def _outbox(self) -> Payload:
        status = self._watched.outbox.status
        fields: Payload = {
            "waiting": status.waiting,
            "lost": status.lost,
            "dead": status.dead,
            "durable": status.durable,
            "used_mb": round(status.used_bytes / MB, 2),
            "free_mb": round(status.free_bytes / MB, 2),
        }
        if status.hours_left is not None:
            fields["hours_left"] = round(status.hours_left, 1)
        if status.waiting and status.oldest_ns is not None:
            fields["oldest_s"] = round(max(0, time.time_ns() - status.oldest_ns) / 1e9)
        if status.problem is not None:
            fields["problem"] = status.problem
        return fields

    def _mqtt(self) -> Payload:
        publisher, fields = self._watched.publisher, Payload()
        fields["problems"] = list(publisher.problems)
        if publisher.broker_certificate_ends_s is not None:
            fields["broker_cert_days_left"] = round((publisher.broker_certificate_ends_s - time.time()) / DAY_S, 1)
        if (ends_s := certificate_ends_s(self._watched.client_cert)) is not None:
            fields["client_cert_days_left"] = round((ends_s - time.time()) / DAY_S, 1)
        return fields


def engine_fields(status: EngineStatus) -> Payload:
    """Which engine serves, and why not another."""
    fields: Payload = {"serving": status.serving, "wanted": status.wanted, "fallbacks": status.fallbacks}
    if status.building is not None:
        fields["building"] = round(status.building, 3)
    if status.problem is not None:
        fields["problem"] = status.problem
    return fields


def certificate_ends_s(path: Path | None) -> float | None:
    """When a certificate in PEM runs out, in seconds since 1970; None without one that can be read."""
    if path is None:
        return None
    with suppress(OSError, ValueError):
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    return None


def _disk(folder: Path) -> Payload:
    usage = shutil.disk_usage(folder)
    return {"free_mb": round(usage.free / MB), "free_share": round(usage.free / usage.total, 4)}


def _system() -> Payload:
    fields: Payload = {"load_1m": round(os.getloadavg()[0], 2)}
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        fields["rss_mb"] = round(pages * os.sysconf("SC_PAGE_SIZE") / MB, 1)
    temperatures = list(_temperatures_c())
    if temperatures:
        fields["temp_c"] = max(temperatures)
    return fields


def _temperatures_c() -> list[float]:
    found = []
    for path in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        with suppress(OSError, ValueError):
            found.append(int(path.read_text("ascii")) / 1000)
    return found
