"""A small plant for the page's tests: broker, daemon, and machines whose sensors can fail and be unplugged."""

from __future__ import annotations

import json
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

from echo_edge.demo_broker import free_port
from echo_edge.enroll_command import EnrollDesk
from sensors import Machine, PtyAccelerometer
from tests.broker import Mosquitto, wait_for
from tests.metrics_page import of, scrape
from tests.system.daemon import START_S, Daemon, MosquittoSub

POINT = "pump-12/de"
OTHER_POINT = "fan-3/nde"
RATE_HZ = 16_000
LEARNED_S = 90.0

CONFIG = """\
gateway: {{id: gw-hall3, outbox: {{max_mb: 256}}}}
mqtt: {{port: {port}, state_interval_s: 0.2}}
metrics: {{port: {metrics}}}
devices:
  acc1: {{kind: accelerometer, port: {pump}}}
  acc2: {{kind: accelerometer, port: {fan}}}
machines:
  pump-12:
    title: Feed pump 12
    shaft_hz: 29.5
    vibration_class: medium
    points:
      de:
        device: acc1
        channels: [x, y, z]
        window: &w {{length_s: {window_s}, hop_s: {window_s}}}
        bearing: {{rolling_elements: 9, ball_diameter_mm: 7.94, pitch_diameter_mm: 39.04}}
        alert: {{hold_off_s: 1}}
  fan-3:
    title: {fan_title}
    vibration_class: small
    points:
      nde: {{device: acc2, window: *w}}
"""
STEADY_POINT, STEADY_S = "saw-1/de", 2.0
STEADY_DEVICE = "  sim: {{kind: simulator, rate_hz: 8000, seed: 5}}\n"
STEADY = "  saw-1: {{points: {{de: {{device: sim, window: {{length_s: 2, hop_s: 2}}}}}}}}\n"


class Plant:
    """A pump with a triaxial accelerometer and a fan with a plain one; a context manager.

    Args:
        folder: empty, for this plant alone.
        fan_title: what the configuration calls the fan.
        fan_serial: what the fan's sensor says of itself.
        window_s: of both.
        steady: also a saw that the daemon invents itself: its sensor does not depend on this process's pace.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fan_title: str = "Hall fan 3",
        fan_serial: str = "SIM-2",
        window_s: float = 0.25,
        steady: bool = False,
    ) -> None:
        self.folder = folder
        self.pump, self.fan = Machine(1, RATE_HZ, 3, gravity=True), Machine(2, RATE_HZ)
        self._links = {"pump": folder / "usb-pump", "fan": folder / "usb-fan"}
        self.sensor = PtyAccelerometer(self.pump, serial="SIM-1", link=self._links["pump"])
        self._fan_sensor = PtyAccelerometer(self.fan, serial=fan_serial, link=self._links["fan"])
        self._named = {"fan_title": json.dumps(fan_title), "window_s": window_s}
        self._config = CONFIG
        if steady:
            self._config = CONFIG.replace("machines:\n", f"{STEADY_DEVICE}machines:\n") + STEADY
        self._metrics = free_port()
        self._running = ExitStack()

    def __enter__(self) -> Plant:
        with ExitStack() as stack:
            self.broker = stack.enter_context(Mosquitto(self.folder / "broker"))
            self.heard = stack.enter_context(MosquittoSub(self.broker.port))
            for sensor in (self.sensor, self._fan_sensor):
                stack.enter_context(sensor)
            text = self._config.format(port=self.broker.port, metrics=self._metrics, **self._named, **self._links)
            self.daemon = stack.enter_context(Daemon(self.folder / "daemon", text))
            self._running = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def socket(self) -> Path:
        """Where the daemon listens for the page."""
        return self.daemon.state / "page.sock"

    def wait_until_heard(self) -> None:
        """Both sensors deliver."""
        for point in (POINT, OTHER_POINT):
            wait_for(lambda p=point: self.heard.hears(p.partition("/")[2]), point, START_S)  # type: ignore[misc]

    def teach(self, *points: str, minutes: float, by: str = "m.lang", note: str = "") -> None:
        """All of them at once, as a command would; they are normal afterwards."""
        desks = {point: EnrollDesk(self.daemon.state, point, alone=False) for point in points}
        sessions = {p: desk.ask("start", minutes=minutes, by=by, note=note)["session"] for p, desk in desks.items()}
        for point, desk in desks.items():
            machine, _, name = point.partition("/")
            told = f"/m/{machine}/p/{name}/enroll"
            wait_for(lambda t=told: self.heard.last(t).get("phase") == "deciding", point, LEARNED_S)  # type: ignore[misc]
            desk.ask("accept", session=sessions[point], by=by)
        for point in points:
            self.heard.wait_level(point, "normal", self.daemon)

    def windows(self, point: str) -> tuple[float, float]:
        """How many were heard, whether the point is taught or not, and how many of them were given up."""
        page = scrape(self._metrics)
        by = {o: of(page, "windows_total", point=point, outcome=o) for o in ("scored", "unscored", "dropped")}
        return sum(by.values()), by["dropped"]

    def unplug(self) -> None:
        """Pull the cable of the pump's sensor."""
        self.sensor.unplug()

    def replug(self) -> None:
        self.sensor.plug()

    def decided(self) -> dict[str, list[tuple[object, ...]]]:
        """All that orders can change of the daemon's state: audit log, baselines, and which are in force."""
        with closing(sqlite3.connect(self.daemon.state / "state.db")) as db:
            tables = ("audit", "baseline", "active", "mute", "target")
            return {table: db.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
