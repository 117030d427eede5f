"""No alert is lost to ``kill -9``, of the daemon or of the broker, and none arrives out of order.

The short form kills a few times; ``make torture ARGS=tests/system/test_kill.py`` kills 500 times and writes the result.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.broker import HOST, Mosquitto, needs_mosquitto, wait_for

pytestmark = needs_mosquitto
LONG = os.environ.get("ECHO_EDGE_TORTURE") == "1"
DAEMON_KILLS, BROKER_KILLS = (500, 100) if LONG else (6, 2)
EVENTS_PER_S = 300.0
WINDOW = 20  # messages in flight: what may be sent again after a kill


@dataclass
class Ledger:
    """What was promised and what came."""

    stored: dict[str, int] = field(default_factory=dict)
    """Id of each event that was on disk -> its rank."""

    came: list[tuple[str, int, bytes]] = field(default_factory=list)
    """Id, rank and payload of each message, in order."""

    def read(self, told: Path, heard: Path) -> None:
        for line in told.read_text("ascii").splitlines():
            identity, _, rank = line.partition(" ")
            self.stored[identity] = int(rank)
        for payload in heard.read_bytes().splitlines():
            message = json.loads(payload)
            self.came.append((message["id"], message["rank"], payload))

    @property
    def lost(self) -> set[str]:
        return self.stored.keys() - {identity for identity, _, _ in self.came}

    @property
    def repeats(self) -> int:
        return len(self.came) - len({identity for identity, _, _ in self.came})

    @property
    def inversions(self) -> int:
        """First arrivals that came after a later one of their rank."""
        found, seen, last = 0, set(), Counter[tuple[str, int]]()
        for identity, rank, _ in self.came:
            if identity in seen:
                continue
            seen.add(identity)
            _, epoch, seq = identity.split(":")
            found += int(seq) < last[epoch, rank]
            last[epoch, rank] = max(last[epoch, rank], int(seq))
        return found

    @property
    def altered(self) -> int:
        """Repeats that do not say the same."""
        said: dict[str, bytes] = {}
        return sum(said.setdefault(identity, payload) != payload for identity, _, payload in self.came)


class Hall:
    """A broker, a subscriber of its own process that keeps a ledger, and a deliverer under load."""

    def __init__(self, folder: Path) -> None:
        self.broker = Mosquitto(folder / "broker", extra="max_inflight_messages 0")
        self.told, self.heard = folder / "told", folder / "heard"
        self.folder = folder
        self.ledger = Ledger()

    def __enter__(self) -> Hall:
        self.broker.start()
        program = shutil.which("mosquitto_sub")
        assert program is not None
        listen = [program, "-h", HOST, "-p", str(self.broker.port), "-V", "5", "-q", "1", "-t", "echo-edge/+/+/m/#"]
        self._heard = self.heard.open("wb")
        self._reader = subprocess.Popen([*listen, "-R"], stdout=self._heard)
        wait_for(lambda: "echo-edge/+/+/m/#" in self.broker.log, "the subscriber")
        return self

    def __exit__(self, *_: object) -> None:
        self._deliverer.kill()
        self._deliverer.wait(5)
        self._reader.terminate()
        self._reader.wait(5)
        self._heard.close()
        self.broker.stop()

    def start(self, events_per_s: float = EVENTS_PER_S) -> None:
        command = [sys.executable, "-m", "tests.system.deliverer", str(self.folder), str(self.broker.port)]
        before = self.told.stat().st_size if self.told.exists() else 0
        with self.told.open("ab") as told:
            self._deliverer = subprocess.Popen([*command, str(events_per_s)], stdout=told)
        wait_for(lambda: self.told.stat().st_size > before, "the first event on disk", 20)

    def kill(self) -> None:
        self._deliverer.kill()
        self._deliverer.wait(5)

    def settle(self) -> None:
        """Let a last deliverer send all that is left."""
        self.start(events_per_s=0.2)

        def all_came() -> bool:
            self.ledger = Ledger()
            self.ledger.read(self.told, self.heard)
            return not self.ledger.lost

        wait_for(all_came, "every stored event at the subscriber", 60)


@pytest.mark.timeout(7200 if LONG else 60)
def test_no_alert_is_lost_when_the_daemon_and_the_broker_are_killed_at_random_instants(tmp_path: Path) -> None:
    seed = time.time_ns() if LONG else 7
    chance = random.Random(seed)
    broker_dies = {round((i + 0.5) * DAEMON_KILLS / BROKER_KILLS) for i in range(BROKER_KILLS)}
    with Hall(tmp_path) as hall:
        for kill in range(DAEMON_KILLS):
            hall.start()
            if kill in broker_dies:
                time.sleep(chance.uniform(0.0, 0.3))
                hall.broker.kill()
                time.sleep(chance.uniform(0.0, 0.2))
                hall.broker.start()
            time.sleep(chance.uniform(0.0, 0.5))
            hall.kill()
        hall.settle()
        ledger = hall.ledger
    result = (
        f"{DAEMON_KILLS} kills of the daemon, {BROKER_KILLS} of the broker: {len(ledger.stored)} events stored, "
        f"{len(ledger.lost)} lost, {ledger.inversions} out of order within their class, {ledger.repeats} repeated"
    )
    print(f"seed {seed}: {result}")
    assert not ledger.lost
    assert ledger.inversions == 0, result
    assert ledger.altered == 0
    assert ledger.repeats <= WINDOW * (DAEMON_KILLS + BROKER_KILLS)
    assert len(ledger.stored) > 20 * DAEMON_KILLS
