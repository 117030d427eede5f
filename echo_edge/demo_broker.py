"""A broker of our own on a free loopback port, for the demo and for looking at messages at a desk.

Mosquitto when it is installed; otherwise amqtt, a broker in Python without MQTT 5, in a process of its own.
Neither asks for a password: only this machine can reach it, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echo_edge.errors import EchoEdgeError

HOST = "127.0.0.1"
START_S = 15.0


class BrokerUnavailableError(EchoEdgeError):
    """No broker is installed, or it did not start."""


@dataclass(frozen=True, slots=True)
class DemoBroker:
    host: str
    port: int
    protocol: Literal["5", "3.1.1"]
    """What to put into ``mqtt.protocol``."""

    name: str


@contextmanager
def demo_broker(prefer: Literal["mosquitto", "amqtt"] = "mosquitto") -> Iterator[DemoBroker]:
    """Run a broker as long as the block lasts.

    Raises:
        BrokerUnavailableError: neither broker is installed, or the one chosen did not answer in ``START_S`` seconds.
    """
    mosquitto = find_mosquitto() if prefer == "mosquitto" else None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="echo-edge-broker-") as folder:
        if mosquitto is not None:
            config = Path(folder, "mosquitto.conf")
            lines = [f"listener {port} {HOST}", "allow_anonymous true", "max_queued_messages 100000", "user root"]
            config.write_text("\n".join(lines) + "\n")
            broker = DemoBroker(HOST, port, "5", "Mosquitto")
            command = [mosquitto, "-c", str(config)]
        elif importlib.util.find_spec("amqtt") is not None:
            broker = DemoBroker(HOST, port, "3.1.1", "amqtt")
            command = [sys.executable, "-m", __name__, str(port)]
        else:
            raise BrokerUnavailableError("no MQTT broker: install mosquitto, or the Python package amqtt")
        with running(command, port):
            yield broker


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a broker, wait until ``port`` answers, and end it with the block."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet) as process:
        try:
            deadline_s = time.monotonic() + START_S
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise BrokerUnavailableError(f"{Path(command[0]).name} did not start (exit code {process.poll()})")
                time.sleep(0.02)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def find_mosquitto() -> str | None:
    """Return the program; Debian puts it where only root's path leads."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


async def _serve_amqtt(port: int) -> None:
    from amqtt.broker import Broker  # noqa: PLC0415  only the demo without Mosquitto needs it

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    # Our pipe to the parent ends when it does, however it ends: no broker is left behind.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(_serve_amqtt(int(sys.argv[1])))
