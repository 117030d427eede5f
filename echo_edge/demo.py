"""The demonstration: two invented pumps on real transports, a real broker, the real daemon, and somebody who listens.

Nothing is shown that did not travel over MQTT: the table and the alerts are what the subscriber received.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from echo_edge.config_file import load_config
from echo_edge.demo_broker import DemoBroker, demo_broker
from echo_edge.demo_page import page_beside
from echo_edge.enroll_command import enroll_point
from echo_edge.errors import EchoEdgeError
from sensors import AlsaMicrophone, Machine, PtyAccelerometer, SensorError, list_microphones

FAULTY, HEALTHY = "pump-1", "pump-2"
FAULT = "outer_race"
ENROLL_S = 40
START_WITHIN_S = 30.0
ALERT_WITHIN_S = 60.0
EXIT_INTERRUPTED = 130
MIC_RATE_HZ, ACC_RATE_HZ = 48_000, 25_600
STYLES = {"normal": "green", "warning": "bold yellow", "alarm": "bold red"}

CONFIG = """\
gateway: {{id: demo, outbox: {{max_mb: 4}}}}
mqtt: {{host: {host}, port: {port}, protocol: "{protocol}", state_interval_s: 0.5}}
devices:
  mic: {{kind: microphone, device: {mic}, rate_hz: {mic_rate_hz}, unit: Pa}}
  acc-1: {{kind: accelerometer, port: {port_1}}}
  acc-2: {{kind: accelerometer, port: {port_2}}}
machines:
  pump-1:
    title: Feed pump 1
    points:
      mic: {{device: mic, window: {{length_s: 1, hop_s: 1}}, alert: {{hold_off_s: 5}}}}
      de: {{device: acc-1, channels: [x, y, z], window: {{length_s: 1, hop_s: 1}}, alert: {{hold_off_s: 5}}}}
  pump-2:
    title: Feed pump 2
    points:
      de: {{device: acc-2, channels: [x, y, z], window: {{length_s: 1, hop_s: 1}}}}
"""


class Subscriber:
    """An MQTT client of its own that keeps the newest state of every point and every alert message, in order."""

    def __init__(self, broker: DemoBroker, told: Callable[[dict[str, Any]], None]) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.alerts: list[dict[str, Any]] = []
        self._told = told
        version = mqtt.MQTTv5 if broker.protocol == "5" else mqtt.MQTTv311
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-subscriber", protocol=version)
        self._client.on_connect = lambda client, *_: client.subscribe("echo-edge/v1/demo/#", qos=1)
        self._client.on_message = self._received
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def _received(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        payload = json.loads(message.payload)
        if message.topic.endswith("/state") and "point" in payload:  # a machine has one, too
            self.states[f"{payload['machine']}/{payload['point']}"] = payload
        elif message.topic.endswith("/alert"):
            self.alerts.append(payload)
            self._told(payload)

    def told_of(self, kind: str, machine: str) -> list[dict[str, Any]]:
        return [a for a in self.alerts if a["type"] == kind and a["machine"] == machine]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def run_demo(*, page: bool = False) -> int:
    """Run it; 0 when the fault was reported and cleared over MQTT and the healthy machine stayed silent.

    Args:
        page: serve the page, too, from the start on and until Ctrl-C.
    """
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        with ExitStack() as stack:
            return _play(stack, console, page=page)
    except (EchoEdgeError, SensorError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _play(stack: ExitStack, console: Console, *, page: bool) -> int:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="echo-edge-demo-")))
    list_microphones()  # says at once when PortAudio is missing
    broker = stack.enter_context(demo_broker())
    pump_1 = [Machine(1, MIC_RATE_HZ, 1, unit="Pa"), Machine(1, ACC_RATE_HZ, 3, gravity=True)]
    mic = stack.enter_context(AlsaMicrophone(pump_1[0]))
    acc_1 = stack.enter_context(PtyAccelerometer(pump_1[1], serial="DEMO-1"))
    acc_2 = stack.enter_context(PtyAccelerometer(Machine(2, ACC_RATE_HZ, 3, gravity=True), serial="DEMO-2"))
    config = folder / "demo.yaml"
    config.write_text(
        CONFIG.format(
            host=broker.host,
            port=broker.port,
            protocol=broker.protocol,
            mic=mic.device,
            mic_rate_hz=MIC_RATE_HZ,
            port_1=acc_1.port,
            port_2=acc_2.port,
        )
    )
    step = Text()
    subscriber = Subscriber(broker, lambda payload: _print_alert(console, payload))
    stack.callback(subscriber.close)
    env = {**os.environ, **mic.env, "STATE_DIRECTORY": str(folder)}
    daemon = stack.enter_context(_daemon(config, env, folder / "daemon.log"))
    if page:
        console.print(stack.enter_context(page_beside(folder, "demo", env)), markup=False, soft_wrap=True)
    stack.enter_context(
        Live(
            get_renderable=lambda: Group(_table(subscriber), step if console.is_terminal else ""),
            console=console,
            refresh_per_second=4,
        )
    )
    points = list(load_config(config).points())

    stage = Stage(subscriber, daemon, folder)

    def say(text: str) -> None:
        step.plain = text
        if not console.is_terminal:
            console.print(text)

    say(f"1/5 broker: {broker.name}, MQTT {broker.protocol}; the daemon starts")
    stage.wait(lambda: stage.all_hear(points), START_WITHIN_S, "the daemon did not hear every sensor")
    say(f"2/5 this is how they sound when they are well: {ENROLL_S} s of enrolling")
    _enroll_all(config, env, points)
    stage.wait(stage.all_normal, 15, "not every point became normal")
    time.sleep(5)
    say(f"3/5 {FAULTY}: a bearing's outer race begins to spall")
    for machine in pump_1:
        machine.set_fault(FAULT, 1.0)
    stage.wait(lambda: subscriber.told_of("open", FAULTY), ALERT_WITHIN_S, f"no alert for {FAULTY}")
    time.sleep(5)  # the other point of the machine hears it too
    say(f"4/5 {FAULTY}: the bearing is replaced")
    for machine in pump_1:
        machine.set_fault(None)
    stage.wait(stage.all_cleared, ALERT_WITHIN_S, f"the alert of {FAULTY} did not clear")
    time.sleep(2)
    stage.wait(stage.all_normal, 15, "not every point is normal in the end")
    wrong = [a for a in subscriber.alerts if a["machine"] == HEALTHY]
    if wrong:
        say(f"FAILED: {len(wrong)} alert messages for the healthy {HEALTHY}")
        return 1
    say(f"5/5 done: {FAULTY} opened and cleared over MQTT, {HEALTHY} stayed silent")
    if page:
        say("5/5 done; the page goes on: Ctrl-C ends it")
        stage.wait(lambda: False, float("inf"), "the daemon ended")
    return 0


@dataclass(frozen=True)
class Stage:
    """What the demonstration waits for, and what it tells when it waits in vain."""

    subscriber: Subscriber
    daemon: subprocess.Popen[bytes]
    folder: Path

    def all_hear(self, points: list[str]) -> bool:
        """Every point has a sensor and waits to be enrolled."""
        states = self.subscriber.states
        return len(states) == len(points) and all("not enrolled" in s.get("reason", "") for s in states.values())

    def all_normal(self) -> bool:
        return all(state["level"] == "normal" for state in self.subscriber.states.values())

    def all_cleared(self) -> bool:
        return len(self.subscriber.told_of("clear", FAULTY)) == len(self.subscriber.told_of("open", FAULTY))

    def wait(self, done: Callable[[], object], timeout_s: float, failure: str) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not done():
            if self.daemon.poll() is not None or time.monotonic() > deadline_s:
                states = {point: s.get("reason", s["level"]) for point, s in self.subscriber.states.items()}
                tail = (self.folder / "daemon.log").read_text(errors="replace")[-2000:]
                raise EchoEdgeError(f"{failure}; points: {states}; the daemon's log ends:\n{tail}")
            time.sleep(0.1)


def _print_alert(console: Console, payload: dict[str, Any]) -> None:
    """One JSON line: the message as received, its bands cut to those that carry the score."""
    bands = sorted(payload["evidence"]["bands"], key=lambda band: -band["share"])[:3]
    shown = {k: payload[k] for k in ("ts", "machine", "point", "alert_id", "rev", "type", "severity", "text", "model")}
    console.print(json.dumps({**shown, "bands": bands}), markup=False, highlight=False, soft_wrap=True)


def _table(subscriber: Subscriber) -> Table:
    table = Table("point", "level", "score", "threshold", "normal state", "strange windows", "model")
    for point, state in sorted(subscriber.states.items()):
        score, windows = state.get("score"), state.get("windows")
        table.add_row(
            point,
            Text(state["level"], style=STYLES.get(state["level"], "dim")),
            f"{score['raw']:.2f}" if score else "",
            f"{score['threshold']:.2f}" if score else "",
            state["operating_state"]["name"] if score else state.get("reason", ""),
            f"{windows['k']} of {windows['n_of']}" if windows else "",
            state.get("model", ""),
        )
    return table


@contextmanager
def _daemon(config: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "echo_edge", "run", str(config)]
    with log.open("wb") as out, subprocess.Popen(command, env=env, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _enroll_all(config: Path, env: dict[str, str], points: list[str]) -> None:
    """Enroll every point at once, as a technician would: through the running daemon."""
    loaded = load_config(config)
    before = os.environ.get("STATE_DIRECTORY")
    os.environ["STATE_DIRECTORY"] = env["STATE_DIRECTORY"]
    errors: list[EchoEdgeError] = []

    def enroll(point: str) -> None:
        try:
            enroll_point(loaded, point, "run", ENROLL_S / 60, [], None, lambda _: None, "demo", "")
        except EchoEdgeError as error:
            errors.append(error)

    try:
        threads = [threading.Thread(target=enroll, args=(point,), name=f"enroll:{point}") for point in points]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os.environ.pop("STATE_DIRECTORY")
        if before is not None:
            os.environ["STATE_DIRECTORY"] = before
    if errors:
        raise errors[0]
