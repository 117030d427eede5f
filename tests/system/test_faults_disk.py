"""The disk is full, or has no inodes left, under the running daemon: alarms are stored and go out, nothing ends."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from echo_edge.store import RESERVE
from sensors import Machine, PtyAccelerometer
from tests.broker import Mosquitto, needs_mosquitto, wait_for
from tests.small_disk import fill, small_disk
from tests.system.daemon import START_S, Daemon, MosquittoSub
from tests.system.faults import LONG, floods, teach
from tests.system.test_daemon import config

SEED, RATE_HZ = 5, 16_000
SIZE = "size=48m,nr_inodes=2000"
READY = "ready: the way to a verdict works"
TOLD_S = 150.0  # looked at once a minute, and told again once a minute


def take_inodes(disk: Path) -> None:
    """Take every inode, and leave the bytes."""
    with suppress(OSError):
        for number in range(3000):
            (disk / f"ballast{number}").touch()
    assert os.statvfs(disk).f_ffree == 0


TOLD = {fill: "0 MB are free", take_inodes: "only 0 files can still be made"}


@needs_mosquitto
@pytest.mark.timeout(240 if LONG else 90)
@pytest.mark.parametrize("broken", list(TOLD) if LONG else [fill], ids=lambda broken: broken.__name__)
def test_an_alarm_is_stored_and_delivered_whatever_became_of_the_disk(
    tmp_path: Path, broken: Callable[[Path], None]
) -> None:
    machine = Machine(SEED, RATE_HZ, 1)
    with (
        small_disk(tmp_path / "disk", SIZE) as disk,
        PtyAccelerometer(machine) as sensor,
        Mosquitto(tmp_path / "broker") as broker,
        MosquittoSub(broker.port) as heard,
    ):
        devices = {"de": f"{{kind: accelerometer, port: {sensor.port}}}"}
        daemon = Daemon(tmp_path / "daemon", config(broker.port, devices), {"STATE_DIRECTORY": str(disk)})
        daemon.state = disk
        teach(daemon, SEED, RATE_HZ)
        with daemon:
            heard.wait_level("m/de", "normal", daemon)
            wait_for((disk / RESERVE).exists, "the room that is put by for a start")
            broken(disk)
            machine.set_fault("cavitation")
            begun_s = time.monotonic()
            wait_for(lambda: bool(heard.alerts("m/de", "open")), f"the alert; log {daemon.log[-2000:]}", START_S)
            alert = heard.alerts("m/de", "open")[0]
            assert alert.payload.get("durable", True), "there is room that was reserved"
            if LONG:
                words = TOLD[broken]
                wait_for(lambda: any(words in m.payload["text"] for m in heard.on("/gw/alerts")), words, TOLD_S)
                assert heard.last("/p/de/state")["level"] in {"warning", "fault"}, "it judges on"
            assert daemon.stop() == 0
        if broken is fill:
            daemon.start()
            wait_for(lambda: daemon.log.count(READY) == 2, "a start on the full disk", START_S)
            assert daemon.stop() == 0
        assert floods(daemon.log, time.monotonic() - begun_s) == {}
    print(f"{broken.__name__}: the alert came {alert.at_s - begun_s:.1f} s after the machine began to fail")
