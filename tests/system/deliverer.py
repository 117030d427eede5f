"""The delivering half of the daemon in a process of its own, under load: to be killed at any instant.

Prints the ``id`` and rank of each event once the outbox has it on disk. Started as
``python -m tests.system.deliverer FOLDER PORT EVENTS_PER_S``.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from echo_edge.backlog import Backlog
from echo_edge.envelope import Envelope, Payload, Topics
from echo_edge.mqtt import MqttSettings
from echo_edge.outbox import Outbox
from echo_edge.outgoing import CRITICAL, REST, WARNING, Outgoing
from echo_edge.publisher import Publisher, Timing

TOPICS = Topics("echo-edge/v1", "gw1")
TIMING = Timing(backoff_base_s=0.05, backoff_cap_s=0.5)


def main(folder: Path, port: int, events_per_s: float) -> None:
    outbox = Outbox(folder / "outbox.db", "gw1", max_mb=16)
    backlog = Backlog(outbox, retry_s=0.2, busy_s=0.2)
    publisher = Publisher(MqttSettings(port=port), TOPICS, Envelope("gw1"), outbox, timing=TIMING, backlog=backlog)
    outbox.start()
    publisher.start()
    ranks = random.Random(os.getpid())
    while True:
        outbox.put(event(ranks.choice((CRITICAL, WARNING, REST))))
        time.sleep(ranks.expovariate(events_per_s))


def event(rank: int) -> Outgoing:
    def stored(whole: Payload) -> None:
        if whole.get("durable", True):
            os.write(1, f"{whole['id']} {rank}\n".encode())  # in one piece, whenever the kill comes

    topic = TOPICS.alert(f"pump-{rank}/de")
    return Outgoing(topic, rank, {"rank": rank, "text": "x" * random.randrange(200, 1500)}, then=stored)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
