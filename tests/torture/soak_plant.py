"""The plant of the soak: a real broker behind a bad network, sensors over their real transports, and the daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import jsonschema
import numpy as np

from echo_edge.operator_keys import make_key, write_key
from echo_edge.troubles import GATEWAY_HOLD_OFF_NS
from sensors import STAND_INS, AlsaMicrophone, Machine, PtyAccelerometer
from sensors.machine import Array
from tests.broker import HOST, Mosquitto, free_port, make_certificates, wait_for
from tests.proxy import Proxy
from tests.system.daemon import Daemon, Heard, MosquittoSub

GATEWAY, PASSWORD = "soak", "a-password-of-the-plant"
POINTS = ("ee1", "quake", "mic", "sim")
KEEPALIVE_S = 10
ALERTS = ("/alert", "/alerts")
STATE_MB = 48
ACL = f"""\
user {GATEWAY}
topic write echo-edge/v1/{GATEWAY}/#
topic read echo-edge/v1/{GATEWAY}/cmd/+
user console
topic read echo-edge/#
topic deny echo-edge/v1/{GATEWAY}/cmd/+
user stranger
topic write echo-edge/v1/{GATEWAY}/cmd/+
"""
# The console must not hear what the stranger sends: mosquitto_sub writes one line for each message, whatever is in it.

CONFIG = """\
gateway: {{id: {gateway}, outbox: {{max_mb: 8}}, history: {{max_mb: 10}}}}
mqtt:
  port: {port}
  username: {gateway}
  password_file: {folder}/password
  tls: {{ca_file: {folder}/ca.crt}}
  keepalive_s: {keepalive_s}
  state_interval_s: 1
engine: {{threads: 1}}
orders: {{mqtt: true, operators: {{console: {{role: viewer, key_file: {folder}/console.key}}}}}}
devices:
  ee1: {{kind: accelerometer, port: {folder}/usb-ee1}}
  quake: {{kind: accelerometer, port: {folder}/usb-quake, protocol: picoquake, rate_hz: 2000}}
  mic: {{kind: microphone, device: machine, rate_hz: 16000}}
  sim: {{kind: simulator, rate_hz: 8000, seed: 5}}
machines:
  m:
    points:
      ee1: {{device: ee1, channels: [x, y, z], window: {{length_s: 1, hop_s: 1}}}}
      quake: {{device: quake, window: {{length_s: 1, hop_s: 1}}}}
      mic: {{device: mic, window: {{length_s: 1, hop_s: 1}}}}
      sim: {{device: sim, window: {{length_s: 1, hop_s: 1}}}}
"""


class SpoiltMachine(Machine):
    """A machine whose sensor can be stuck at one value, or driven far beyond its range."""

    stuck = overdriven = False

    def samples(self, frames: int) -> Array:
        samples_tc = super().samples(frames)
        if self.stuck:
            return np.full_like(samples_tc, 0.25)
        return samples_tc * np.float32(1000 if self.overdriven else 1)


class Since:
    """What was logged and heard from a moment on, without repeats: a broker that comes back says old things again."""

    def __init__(self, plant: Plant) -> None:
        self.at_s = time.monotonic()
        self._plant, self._log_bytes = plant, len(plant.daemon.log.encode())
        before = plant.heard.messages[:]
        self._first, self._known = len(before), {_number(message) for message in before}

    @property
    def messages(self) -> list[Heard]:
        return [message for message in self._plant.heard.messages[self._first :] if _number(message) not in self._known]

    def alerts(self) -> list[dict[str, Any]]:
        """Steps of alerts. A point's come twice, but only those on its own topic come for certain."""
        return [message.payload for message in self.messages if message.topic.endswith(ALERTS)]

    def on(self, suffix: str) -> list[dict[str, Any]]:
        """Payloads on topics that end so."""
        return [message.payload for message in self.messages if message.topic.endswith(suffix)]

    @property
    def log(self) -> str:
        return self._plant.daemon.log.encode()[self._log_bytes :].decode(errors="replace")


def _number(message: Heard) -> tuple[str, str, int]:
    """The same for repetitions of a message, and for no other; the last will has none, and counts each time."""
    payload = message.payload
    return payload["schema"], payload["boot"], payload.get("seq", -id(message))


class Plant:
    """Everything that runs; a context manager. Broker, sensors and daemon are there to be mistreated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exits: list[str] = []
        """Of daemons that ended and should not have, with their exit codes."""

        self.cannot: dict[str, str] = {}
        """What this machine or user cannot do, and why: ``mount``, ``strace``, ``cc``."""

        self._stack = ExitStack()

    def __enter__(self) -> Plant:
        with ExitStack() as stack:
            folder = make_certificates(self.folder, days=60)  # fewer than 30 would be an alarm
            self.password = folder / "password"
            self.set_password(PASSWORD)
            write_key(folder / "console.key", make_key(ed25519=False))
            self.machine = SpoiltMachine(1, 16_000, 3, gravity=True)
            self.ee1 = stack.enter_context(PtyAccelerometer(self.machine, link=folder / "usb-ee1"))
            quaking = Machine(2, 2000, 3, gravity=True)
            self.quake = stack.enter_context(STAND_INS["picoquake"](quaking, link=folder / "usb-quake"))
            self.mic = stack.enter_context(AlsaMicrophone(Machine(3, 16_000, 1, level=0.3)))
            passwords = {GATEWAY: PASSWORD, "console": "c", "stranger": "s"}
            # The certificates are the last listener's, the daemon's. The others come without: over TLS mosquitto_sub
            # ends with a broker that is killed.
            encrypted = free_port()
            self.broker = stack.enter_context(
                Mosquitto(
                    folder / "broker",
                    passwords=passwords,
                    acl=ACL,
                    persistent=True,
                    certificates=folder,
                    extra=f"autosave_interval 5\nlistener {encrypted} {HOST}",  # 5 s: a kill must not cost the session
                )
            )
            self.proxy = stack.enter_context(Proxy(encrypted))
            session = ["-i", "console", "-c", "-x", "86400", "--quiet"]
            self.heard = MosquittoSub(self.broker.port, "-u", "console", "-P", "c", *session)
            stack.callback(self._hang_up)
            self.config = CONFIG.format(gateway=GATEWAY, port=self.proxy.port, folder=folder, keepalive_s=KEEPALIVE_S)
            self.daemon = Daemon(folder / "daemon", self.config, {**self.mic.env, **self._clock()})
            stack.enter_context(self._disk())
            stack.enter_context(self.daemon)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _hang_up(self) -> None:
        self.broken_contract = "" if self.heard.listens else "mosquitto_sub does not listen any more"
        try:
            self.heard.__exit__()
        except (AssertionError, jsonschema.ValidationError, subprocess.TimeoutExpired) as error:
            self.broken_contract += f"{type(error).__name__}: {str(error)[:300]}"

    def _clock(self) -> dict[str, str]:
        """A wall clock that can be set, for the daemon alone."""
        self.clock = self.folder / "offset"
        self.clock.write_text("0")
        if shutil.which("cc") is None:
            self.cannot["cc"] = "there is no C compiler"
            return {}
        library, source = self.folder / "wall_clock.so", Path(__file__).parents[1] / "system" / "wall_clock.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        return {"LD_PRELOAD": str(library), "WALL_OFFSET_FILE": str(self.clock)}

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """A small file system of its own for the state folder, where we may mount one."""
        if shutil.which("strace") is None:
            self.cannot["strace"] = "strace is not installed"
        mount = ["mount", "-t", "tmpfs", "-o", f"size={STATE_MB}m,mode=700", "soak", str(self.daemon.state)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
        if done is None or done.returncode:
            self.cannot["mount"] = "not root" if done is None else f"mount: {done.stderr.strip()}"
            yield
            return
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(self.daemon.state)], check=False)

    def set_password(self, password: str) -> None:
        """Change what the daemon believes to be its password."""
        new = self.password.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(password + "\n")
        new.replace(self.password)

    def publish(self, topic: str, payload: bytes, *options: str) -> None:
        """Send something as the stranger."""
        program = shutil.which("mosquitto_pub")
        assert program is not None
        to = ["-h", HOST, "-p", str(self.broker.port), "-u", "stranger", "-P", "s"]
        subprocess.run(
            [program, *to, "-V", "5", "-t", topic, "-s" if payload else "-n", *options],
            input=payload,
            timeout=20,
            check=True,
            capture_output=True,
        )

    def enroll(self, minutes: float) -> None:
        """Teach all points at once what is normal."""
        for point in POINTS:
            wait_for(lambda p=point: self.heard.hears(p), f"{point} to deliver; {self.daemon.log[-800:]}", 60)  # type: ignore[misc]
        with ThreadPoolExecutor() as pool:
            told = [
                pool.submit(self.daemon.enroll, f"m/{p}", "--minutes", str(minutes), timeout_s=120 + 180 * minutes)
                for p in POINTS
            ]
            for one in told:
                one.result()
        for point in POINTS:
            self.heard.wait_level(f"m/{point}", "normal", self.daemon, 60)

    def configure(self, config: str) -> None:
        """Write the configuration, as an editor does."""
        new = self.daemon.config.with_suffix(".new")
        new.write_text(config)
        new.replace(self.daemon.config)

    def kill(self) -> None:
        self.daemon.process.kill()
        self.daemon.process.wait(10)

    def stop(self) -> None:
        """Ask the daemon to end; one that does not do so properly is noted."""
        if (code := self.daemon.stop()) != 0:
            self.exits.append(f"exit code {code}, asked to stop")

    def look_after(self) -> None:
        """Note a daemon that ended by itself, and start another."""
        if (code := self.daemon.process.poll()) is not None:
            self.exits.append(f"exit code {code}: {self.daemon.log[-300:].strip().splitlines()[-1:]}")
            self.daemon.start()

    def open_alerts(self) -> set[str]:
        """What is open by the latest word: ``sensor m/ee1``, ``monitor disk``."""
        told = self.heard.last("/alerts/active").get("alerts", [])
        return {key_of(alert) for alert in told if alert["state"] == "active"}

    def held_off_s(self, keys: Collection[str]) -> float:
        """How long to wait until the gateway would open such an alarm again: it does not soon after the last one."""
        gone = [m.at_s for m in self.heard.on("/alerts") if m.payload["type"] == "clear" and key_of(m.payload) in keys]
        return max([0.0, *(at_s + GATEWAY_HOLD_OFF_NS / 1e9 + 1 - time.monotonic() for at_s in gone)])


def key_of(alert: dict[str, Any]) -> str:
    """What an alert is about, of any kind."""
    about = alert["problem"] if alert["kind"] == "monitor" else f"{alert['machine']}/{alert['point']}"
    return f"{alert['kind']} {about}"
