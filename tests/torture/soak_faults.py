"""The faults of the soak: how each is injected and ended, which message must tell it, and within what time.

The limits are those of the fault catalogue, where it has one; a second is added where the figure is of the gateway
alone and the message has yet to arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from echo_edge.publisher import Timing
from tests.torture import soak_injectors as inject
from tests.torture.soak_plant import GATEWAY, KEEPALIVE_S, POINTS, Plant, Since, key_of

Check = Callable[[Plant, Since], bool]
Injector = Callable[[Plant], AbstractContextManager[None]]
BACKOFF_S = Timing().backoff_cap_s + 10.0  # the longest pause between two tries, and what follows
DISK_LOOKED_AT_S = 60.0 + 5.0


@dataclass(frozen=True)
class Fault:
    """One fault, with its end."""

    name: str
    injected: str
    inject: Injector
    told: str
    """What tells it, for the table."""

    is_told: Check
    """``Since`` the injection."""

    told_s: float
    back_s: float
    is_back: Check
    """``Since`` the end of the fault."""

    hold_s: float = 0.0
    """It lasts at least so long."""

    alerts: frozenset[str] = frozenset()
    """What it may open; anything else is a false alarm."""

    hits: frozenset[str] = frozenset()
    """Points that may be without a verdict meanwhile; the others must not be."""

    needs: tuple[str, ...] = ()
    new_process: bool = False
    """It ends the daemon's process, and with it the long look at its growth."""


# what tells it


def state(point: str, word: str) -> Check:
    """The point is not monitored, for this reason."""

    def check(_: Plant, since: Since) -> bool:
        told = since.on(f"/p/{point}/state")
        return any(s["level"] == "not_monitored" and word in s.get("reason", "") for s in told)

    return check


def status(state: str, word: str = "") -> Check:
    return lambda _, since: any(s["state"] == state and word in s.get("reason", "") for s in since.on("/status"))


def logged(word: str) -> Check:
    return lambda _, since: word in since.log


def alert(key: str, step: str) -> Check:
    """A step of an alert about that, as ``key_of`` says it."""
    return lambda _, since: any(a["type"] == step and key_of(a) == key for a in since.alerts())


def gap(_: Plant, since: Since) -> bool:
    """A gap in a sensor's samples is told."""
    return any("gap" in q["reasons"] for q in since.on("/quality"))


# how it is over


def judged(*points: str) -> Check:
    """The gateway is connected, and these points are told to be normal."""

    def check(plant: Plant, since: Since) -> bool:
        if plant.heard.last("/status").get("state") != "online":
            return False
        return all((since.on(f"/p/{p}/state") or [{}])[-1].get("level") == "normal" for p in points)

    return check


ALL = judged(*POINTS)


def and_then(*checks: Check) -> Check:
    return lambda plant, since: all(check(plant, since) for check in checks)


def now_ish(moment: str) -> bool:
    return moment < time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3600))


def two_hours_ahead(_: Plant, since: Since) -> bool:
    return any(not now_ish(s["ts"]) for s in since.on("/p/sim/state"))


def of_now(_: Plant, since: Since) -> bool:
    return bool(told := since.on("/p/sim/state")) and now_ish(told[-1]["ts"])


def on_with_it(_: Plant, since: Since) -> bool:
    """Every point's state keeps coming."""
    return all(since.on(f"/p/{point}/state") for point in POINTS)


def sensor(*points: str) -> frozenset[str]:
    return frozenset(f"sensor m/{point}" for point in points)


EE1, QUAKE, MIC, EVERY = frozenset({"ee1"}), frozenset({"quake"}), frozenset({"mic"}), frozenset(POINTS)
LOST = "state `not_monitored`: sensor lost"
GONE = "status `offline` (last will)"
AWAY_S = 6.5  # a sensor that is lost for 5 s opens an alarm

FAULTS = (
    Fault(
        "daemon killed (G1)",
        "SIGKILL, started again 3 s later",
        inject.killed_daemon,
        GONE,
        status("offline", "connection_lost"),
        5,
        20,
        ALL,
        hold_s=3,
        hits=EVERY,
        new_process=True,
    ),
    Fault(
        "broken file at start (D11)",
        "the daemon is stopped, a key of its configuration misspelt, and it is started",
        inject.broken_file_at_start,
        "alert `open`: config",
        alert("monitor config", "open"),
        20,
        20,
        and_then(alert("monitor config", "clear"), ALL),
        alerts=frozenset({"monitor config"}),
        hits=EVERY,
        new_process=True,
    ),
    Fault(
        "sensor unplugged (B1)",
        f"the tty of the EE1 sensor is closed for {AWAY_S:g} s, and comes back as another",
        inject.unplugged,
        LOST,
        state("ee1", "sensor lost"),
        5,
        10,
        ALL,
        hold_s=AWAY_S,
        alerts=sensor("ee1"),
        hits=EE1,
    ),
    Fault(
        "machine fault",
        "a broken inner race on the machine of the EE1 sensor, until the alert",
        inject.broken_bearing,
        "alert `open` of kind machine",
        alert("machine m/ee1", "open"),
        30,
        60,
        alert("machine m/ee1", "clear"),
        alerts=frozenset({"machine m/ee1"}),
        hits=EE1,
    ),
    Fault(
        "broker killed (E3)",
        "SIGKILL of Mosquitto, started again after 5 s",
        inject.killed_broker,
        "log: the connection is lost",
        logged("trying again"),
        5,
        BACKOFF_S,
        ALL,
        hold_s=5,
    ),
    Fault(
        "silent sensor (B5)",
        "the PicoQuake sends nothing for 5 s",
        inject.silent,
        LOST,
        state("quake", "sensor lost"),
        3 + 1,
        10,
        ALL,
        hold_s=5,
        alerts=sensor("quake"),
        hits=QUAKE,
    ),
    Fault(
        "signal stuck (A8)",
        "the EE1 sensor repeats one value for 5 s",
        inject.stuck,
        "state `not_monitored`: stuck",
        state("ee1", "stuck"),
        5,
        10,
        ALL,
        hold_s=5,
        alerts=sensor("ee1"),
        hits=EE1,
    ),
    Fault(
        "link cut (E3)",
        "the proxy resets the connection",
        inject.cut,
        GONE,
        status("offline", "connection_lost"),
        5,
        BACKOFF_S,
        ALL,
    ),
    Fault(
        "hostile messages (E13, H2)",
        "30 messages that nobody signed on `cmd/`: 1 MB, nested 100,000 deep, NaN, bytes, retained",
        inject.strangers_words,
        "nothing: they are ignored",
        on_with_it,
        20,
        5,
        ALL,
    ),
    Fault(
        "sound device hangs (A3)",
        "the microphone delivers nothing for 5 s, without an error",
        inject.stalled,
        "state `not_monitored`: stalled",
        state("mic", "stalled"),
        3 + 1,
        10,
        ALL,
        hold_s=5,
        alerts=sensor("mic"),
        hits=MIC,
    ),
    Fault(
        "garbage on the wire (B2)",
        "4 s of random bytes and damaged frames on the tty of the EE1 sensor",
        inject.garbage,
        "quality: gap",
        gap,
        5,
        10,
        ALL,
        alerts=sensor("ee1"),
        hits=EE1,
    ),
    Fault(
        "signal clipped (A8)",
        "the EE1 sensor is driven to its limits for 5 s",
        inject.overdriven,
        "state `not_monitored`: clipping",
        state("ee1", "clipping"),
        5,
        10,
        ALL,
        hold_s=5,
        alerts=sensor("ee1"),
        hits=EE1,
    ),
    Fault(
        "daemon stopped (F3)",
        f"SIGSTOP for {KEEPALIVE_S * 0.8:g} s",
        inject.stopped_daemon,
        "quality: gap",
        gap,
        KEEPALIVE_S * 0.8 + 10,
        10,
        ALL,
        hits=EVERY,
        alerts=sensor(*POINTS),
    ),
    Fault(
        "clock set (F1)",
        "the wall clock is 2 h ahead for 10 s, then right again",
        inject.two_hours_later,
        "the `ts` of the states",
        two_hours_ahead,
        5,
        5,
        and_then(of_now, ALL),
        hold_s=10,
        needs=("cc",),
    ),
    Fault(
        "broken file, read again (D11)",
        "a key of the configuration is misspelt, SIGHUP; then the good one, SIGHUP",
        inject.broken_file,
        "alert `open`: config",
        alert("monitor config", "open"),
        5,
        20,
        and_then(alert("monitor config", "clear"), ALL),
        alerts=frozenset({"monitor config"}),
        hits=EVERY,
    ),
    Fault(
        "broker frozen (E5)",
        "SIGSTOP of Mosquitto until it is noticed",
        inject.frozen_broker,
        "log: the connection is lost",
        logged("trying again"),
        30,
        BACKOFF_S,
        ALL,
    ),
    Fault(
        "link half-open (E5)",
        "the proxy keeps the connection and forwards nothing, until it is noticed",
        inject.half_open,
        "log: the connection is lost",
        logged("trying again"),
        30,
        BACKOFF_S,
        ALL,
    ),
    Fault(
        "slow link (E4)",
        "4 kB/s, and the EE1 sensor is unplugged",
        inject.slow,
        "alert `open` of the sensor",
        alert("sensor m/ee1", "open"),
        5 + 10,
        20,
        ALL,
        alerts=sensor("ee1"),
        hits=EE1,
    ),
    Fault(
        "access list denies publish (E8)",
        "Mosquitto refuses all topics of one point",
        inject.denied,
        "status `degraded`: mqtt_denied",
        status("degraded", "mqtt_denied"),
        5,
        BACKOFF_S,
        ALL,
        alerts=frozenset({"monitor mqtt_denied"}),
    ),
    Fault(
        "wrong password (E7)",
        "the password file is wrong until the broker refused it",
        inject.wrong_password,
        "log: the refusal and the user's name",
        logged(f"user {GATEWAY}, password from"),
        15,
        BACKOFF_S,
        ALL,
    ),
    Fault(
        "disk refuses writes (D5)",
        "every write of a database fails with EROFS (strace); the EE1 sensor is unplugged",
        inject.refused_writes,
        "alert `open` of the sensor",
        alert("sensor m/ee1", "open"),
        5 + 5,
        30 + 10,
        ALL,
        alerts=sensor("ee1") | {"monitor outbox"},
        hits=EE1,
        needs=("strace",),
    ),
    Fault(
        "disk full (D3)",
        "the last byte of the state folder's tmpfs is written",
        inject.full_disk,
        "alert `open`: disk",
        alert("monitor disk", "open"),
        DISK_LOOKED_AT_S,
        DISK_LOOKED_AT_S,
        and_then(alert("monitor disk", "clear"), ALL),
        alerts=frozenset({"monitor disk", "monitor outbox"}),
        needs=("mount",),
    ),
    Fault(
        "alarm at 0 bytes free (D3)",
        "the same, and the EE1 sensor is unplugged",
        inject.unplugged_at_full_disk,
        "alert `open` of the sensor",
        alert("sensor m/ee1", "open"),
        5 + 5,
        30 + 10,
        ALL,
        alerts=sensor("ee1") | {"monitor disk", "monitor outbox"},
        hits=EE1,
        needs=("mount",),
    ),
)
