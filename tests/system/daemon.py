"""The real daemon in a process of its own, and mosquitto_sub to listen to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from echo_edge.contract import channel_of
from echo_edge.payload import load_schema
from tests.broker import HOST, wait_for

START_S = 30.0
AS_PUBLISHED = ("--retain-as-published", "-F", "%r %q %t %p")
FORMATS = jsonschema.FormatChecker()


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(load_schema(schema), format_checker=FORMATS)


def command(
    *arguments: str | Path, env: dict[str, str] | None = None, timeout_s: float = 50
) -> subprocess.CompletedProcess[str]:
    """Run ``echo-edge`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "echo_edge", *map(str, arguments)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


class Daemon:
    """``echo-edge run CONFIG`` with state and log in ``folder``; a context manager that stops it politely."""

    module = "echo_edge"
    """Of a test's own, it makes the same program fail."""

    def __init__(self, folder: Path, config: str, env: dict[str, str] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.config = folder / "line1.yaml"
        self.config.write_text(config)
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        self.env = {"STATE_DIRECTORY": str(self.state), **(env or {})}
        self._log = folder / "daemon.log"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, "run", str(self.config)],
                env={**os.environ, **self.env},
                stdout=out,
                stderr=out,
            )

    def command(self, *arguments: str | Path) -> list[str]:
        """The same program, on this daemon's state, for a test that wants to look at it while it runs."""
        env = [f"{name}={value}" for name, value in self.env.items()]
        return ["env", *env, sys.executable, "-m", "echo_edge", *map(str, arguments)]

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def enroll(self, point: str, *arguments: str | Path, timeout_s: float = 50) -> dict[str, Any]:
        """``echo-edge enroll start``; returns its JSON result."""
        done = command("enroll", "start", self.config, point, "--json", *arguments, env=self.env, timeout_s=timeout_s)
        assert done.returncode == 0, done.stdout + done.stderr + self.log
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer["result"]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Heard:
    """One message as it arrived."""

    at_s: float
    """Monotonic."""

    topic: str
    payload: dict[str, Any]
    retained: bool
    """It was published to be kept."""

    qos: int
    """As it was published."""


class MosquittoSub:
    """The ``mosquitto_sub`` program on everything; a context manager that holds every message against the contract:
    topic, schema, retain flag and QoS. ``options``: more of the program's own."""

    def __init__(self, port: int, *options: str) -> None:
        program = shutil.which("mosquitto_sub")
        assert program is not None
        listen = ["-h", HOST, "-p", str(port), "-V", "5", "-q", "2", "-t", "echo-edge/#"]
        self._process = subprocess.Popen(
            [program, *listen, *AS_PUBLISHED, *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.messages: list[Heard] = []
        self._reader = threading.Thread(target=self._read, name="mosquitto_sub")
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            retained, qos, topic, text = line.split(" ", 3)
            ordered = "/cmd/" in topic and not topic.endswith("/cmd/nonce")  # by a client: signed, and not ours
            if text.strip() and not ordered:
                self.messages.append(Heard(time.monotonic(), topic, json.loads(text), retained == "1", int(qos)))

    def __enter__(self) -> MosquittoSub:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:  # seen once: it took no notice, and its reader then waited for ever
            self._process.kill()
            self._process.wait(5)
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.hold_against_contract()

    def hold_against_contract(self) -> None:
        """Fail with the first message that is not as promised."""
        for message in self.messages:
            channel = channel_of("/".join(message.topic.split("/")[3:]))
            assert channel is not None, message.topic
            assert message.payload["schema"] == f"echo-edge/{channel.schema}/1", message.topic
            assert (message.retained, message.qos) == (channel.retained, channel.qos), message.topic
            _validator(channel.schema).validate(message.payload)

    @property
    def listens(self) -> bool:
        """False: the program ended, or said what could not be read."""
        return self._reader.is_alive()

    def on(self, suffix: str) -> list[Heard]:
        return [m for m in self.messages if m.topic.endswith(suffix)]

    def last(self, suffix: str) -> dict[str, Any]:
        heard = self.on(suffix)
        return heard[-1].payload if heard else {}

    def hears(self, point: str) -> bool:
        """The point's sensor delivers; on a busy machine it may have lost a frame already."""
        return self.last(f"/p/{point}/quality").get("state") in {"ok", "degraded"}

    def gaps(self, point: str) -> tuple[int, int]:
        """Gaps and lost samples of the last hour, as told."""
        told = self.last(f"/p/{point}/quality").get("gaps", {})
        return told.get("count_1h", 0), told.get("lost_samples_1h", 0)

    def alerts(self, point: str, kind: str | None = None) -> list[Heard]:
        machine, _, name = point.partition("/")
        heard = self.on(f"/m/{machine}/p/{name}/alert")
        return [m for m in heard if kind in (None, m.payload["type"])]

    def wait_level(self, point: str, level: str, daemon: Daemon, timeout_s: float = START_S) -> dict[str, Any]:
        machine, _, name = point.partition("/")
        suffix = f"/m/{machine}/p/{name}/state"
        wait_for(
            lambda: self.last(suffix).get("level") == level,
            f"{point} to be {level}; last {self.last(suffix)}; log {daemon.log[-1500:]}",
            timeout_s,
        )
        return self.last(suffix)
