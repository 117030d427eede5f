"""What is wrong with the gateway itself, as alarms of kind ``monitor``: found by the supervisor, once a second."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from echo_edge.disk_guard import floor_bytes
from echo_edge.engine.standby import StandbyEngine
from echo_edge.health import DAY_S, certificate_ends_s
from echo_edge.outbox import Outbox
from echo_edge.publisher import Publisher

FRESH_S = 60.0  # a dropped window is a trouble of now for so long
LOST_TOLD_S = 3600.0
CERTIFICATE_DAYS = 30.0
LEAST_FREE_FILES = 500  # inodes: history makes two files an hour and point
SLOW_EVERY_S = 60.0  # disk and certificates change slowly
TOLD_BY_MQTT = ("mqtt_denied", "mqtt_subscribe_denied", "client_id_conflict")
"""Troubles of the connection that can be told over it; of the others the status tells, and the last will."""


class Supervision:
    """Remembers what it saw last, so that a count that rose is a trouble and one that stands is none."""

    def __init__(
        self,
        publisher: Publisher,
        outbox: Outbox,
        engine: StandbyEngine,
        folder: Path,
        client_cert: Path | None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher, self._outbox, self._engine = publisher, outbox, engine
        self._folder, self._client_cert = folder, client_cert
        self._now_s = now_s
        self._rises: dict[str, tuple[int, float]] = {}  # name of a count -> its value, when it last rose
        self._slow: dict[str, str] = {}
        self._slow_s = -SLOW_EVERY_S
        self.disk_bytes: tuple[int, float] | None = None
        """What is free where the state is kept and what should be, as last seen; None: it could not be asked."""

        self.certificate_ends_s: dict[str, float] = {}
        """``broker`` and ``client`` -> when its certificate runs out, seconds since 1970; replaced as a whole."""

        self._broker_ends_s: float | None = None  # as last seen: a broker that is away has not got a better one

    def troubles(self, windows_dropped: int) -> dict[str, str]:
        """Name -> a sentence; empty when all is well."""
        now_s, found = self._now_s(), dict[str, str]()
        if self._rose("dropped", windows_dropped, FRESH_S):
            found["overload"] = f"too slow: {windows_dropped} windows were not judged since the start"
        if (problem := self._engine.status.problem) is not None:
            found["engine"] = problem
        status = self._outbox.status
        if status.problem is not None:
            found["outbox"] = f"alerts are not stored safely: {status.problem}"
        if self._rose("lost", status.lost, LOST_TOLD_S):
            found["outbox_lost"] = f"{status.lost} events were given up, undelivered"
        for problem in self._publisher.problems:
            if problem.startswith(TOLD_BY_MQTT):
                found[problem.partition(":")[0]] = problem
        if now_s - self._slow_s >= SLOW_EVERY_S:
            self._slow_s, self._slow = now_s, self._slow_troubles()
        return found | self._slow

    def _rose(self, name: str, value: int, told_s: float) -> bool:
        before, rose_s = self._rises.get(name, (value, -told_s))
        if value > before:
            rose_s = self._now_s()
        self._rises[name] = (value, rose_s)
        return self._now_s() - rose_s < told_s

    def _slow_troubles(self) -> dict[str, str]:
        found = {}
        try:
            usage = shutil.disk_usage(self._folder)
            self.disk_bytes = usage.free, floor_bytes(usage.total)
            if usage.free < floor_bytes(usage.total):
                found["disk"] = f"{usage.free / 1e6:.0f} MB are free where {self._folder.name} is kept"
            names = os.statvfs(self._folder)
            if names.f_files and names.f_favail < LEAST_FREE_FILES:  # some file systems have no such limit
                found["disk"] = f"only {names.f_favail} files can still be made where {self._folder.name} is kept"
        except OSError as error:
            self.disk_bytes = None
            found["disk"] = f"where {self._folder.name} is kept: {error.strerror}"
        self._broker_ends_s = self._publisher.broker_certificate_ends_s or self._broker_ends_s
        ends = {"broker": self._broker_ends_s, "client": certificate_ends_s(self._client_cert)}
        self.certificate_ends_s = {whose: ends_s for whose, ends_s in ends.items() if ends_s is not None}
        for whose, ends_s in self.certificate_ends_s.items():
            days = (ends_s - time.time()) / DAY_S
            if days < CERTIFICATE_DAYS:
                name = "the broker's certificate" if whose == "broker" else "our certificate"
                found["certificate"] = f"{name} runs out in {days:.0f} days"
        return found
