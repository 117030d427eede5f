"""How each fault of the soak is injected and ended: context managers over the injectors of the other system tests."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from tests.torture.soak_plant import ACL, GATEWAY, KEEPALIVE_S, PASSWORD, Plant

Injector = Callable[[Plant], AbstractContextManager[None]]


def _between(begin: Callable[[Plant], object], end: Callable[[Plant], object]) -> Injector:
    """A fault that one thing begins and another ends."""

    @contextmanager
    def injected(plant: Plant) -> Iterator[None]:
        begin(plant)
        try:
            yield
        finally:
            end(plant)

    return injected


# sensors


unplugged = _between(lambda plant: plant.ee1.unplug(), lambda plant: plant.ee1.plug())


silent = _between(lambda plant: plant.quake.silent.set(), lambda plant: plant.quake.silent.clear())


stalled = _between(lambda plant: plant.mic.stalled.set(), lambda plant: plant.mic.stalled.clear())


@contextmanager
def garbage(plant: Plant) -> Iterator[None]:
    """Random bytes before every frame, and damage in it: nothing whole arrives for four seconds."""
    noise = random.Random(0)
    for _ in range(200):
        plant.ee1.corrupt()
        plant.ee1.send(noise.randbytes(64))
        time.sleep(0.02)
    yield


stuck = _between(
    lambda plant: setattr(plant.machine, "stuck", True), lambda plant: setattr(plant.machine, "stuck", False)
)


overdriven = _between(
    lambda plant: setattr(plant.machine, "overdriven", True), lambda plant: setattr(plant.machine, "overdriven", False)
)


@contextmanager
def broken_bearing(plant: Plant) -> Iterator[None]:
    plant.machine.set_fault("inner_race")
    try:
        yield
    finally:
        plant.machine.set_fault(None)


# broker and network


killed_broker = _between(lambda plant: plant.broker.kill(), lambda plant: plant.broker.start())


frozen_broker = _between(lambda plant: plant.broker.freeze(), lambda plant: plant.broker.thaw())


half_open = _between(lambda plant: plant.proxy.half_open(), lambda plant: plant.proxy.half_open(stuck=False))


@contextmanager
def cut(plant: Plant) -> Iterator[None]:
    plant.proxy.cut()
    yield


@contextmanager
def slow(plant: Plant) -> Iterator[None]:
    """A slow link, and something to be told over it."""
    plant.proxy.slow(4000)
    try:
        with unplugged(plant):
            yield
    finally:
        plant.proxy.slow(None)


@contextmanager
def wrong_password(plant: Plant) -> Iterator[None]:
    plant.set_password("not-" + PASSWORD)
    try:
        yield
    finally:
        plant.set_password(PASSWORD)


@contextmanager
def denied(plant: Plant) -> Iterator[None]:
    refused = f"topic write echo-edge/v1/{GATEWAY}/#\n"
    plant.broker.set_acl(ACL.replace(refused, f"{refused}topic deny echo-edge/v1/{GATEWAY}/m/m/p/quake/#\n"))
    try:
        yield
    finally:
        plant.broker.set_acl(ACL)


@contextmanager
def strangers_words(plant: Plant) -> Iterator[None]:
    """What nobody signed, in every ugly form: all of it must be ignored."""
    root = f"echo-edge/v1/{GATEWAY}/cmd/"
    order = {"v": 1, "id": "x", "verb": "enroll.start", "args": {"point": "m/ee1", "path": "../../../etc/passwd"}}
    bodies = [
        b"",
        b"\0\xff" * 500,
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b'{"v": NaN, "id": 1e999}',
        b'{"id": "a", "id": "b"}',
        b"x" * 1_000_000,
        json.dumps(order).encode(),
        b"eyJhIjoxfQ.console.AAAA",
        "\u202e\x1b[2J\nline two\r\n".encode(),
    ]
    for number, body in enumerate(bodies):
        for verb in ("ping", "enroll.start", "no-such-verb"):
            plant.publish(root + verb, body, "-q", "1", *(["-r"] if number % 2 and body else []))
    yield


# disk


@contextmanager
def full_disk(plant: Plant) -> Iterator[None]:
    ballast = plant.daemon.state / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for step_bytes in (65536, 512):
            with suppress(OSError):  # full
                while file.write(b"\0" * step_bytes):
                    pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def unplugged_at_full_disk(plant: Plant) -> Iterator[None]:
    with full_disk(plant), unplugged(plant):
        yield


@contextmanager
def refused_writes(plant: Plant) -> Iterator[None]:
    """Every write of a database fails as on a file system that turned read-only; an alarm has to be told meanwhile."""
    inject = ["-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EROFS", "-o", "/dev/null"]
    with subprocess.Popen(["strace", "-f", "-qq", *inject, "-p", str(plant.daemon.process.pid)]) as tracer:
        try:
            with unplugged(plant):
                yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)


# process and time


killed_daemon = _between(lambda plant: plant.kill(), lambda plant: plant.daemon.start())


@contextmanager
def broken_file(plant: Plant) -> Iterator[None]:
    """An editor's slip, read again by SIGHUP; then the good file, the same way."""
    plant.configure(plant.config.replace("keepalive_s", "keepalive"))
    plant.daemon.process.send_signal(signal.SIGHUP)
    try:
        yield
    finally:
        plant.configure(plant.config)
        plant.daemon.process.send_signal(signal.SIGHUP)


@contextmanager
def broken_file_at_start(plant: Plant) -> Iterator[None]:
    """The same slip, and the daemon is started with it."""
    plant.stop()
    plant.configure(plant.config.replace("keepalive_s", "keepalive"))
    plant.daemon.start()
    try:
        yield
    finally:
        plant.configure(plant.config)
        plant.daemon.process.send_signal(signal.SIGHUP)


@contextmanager
def stopped_daemon(plant: Plant) -> Iterator[None]:
    """Stopped for less than the broker waits, as by a machine that swaps."""
    plant.daemon.process.send_signal(signal.SIGSTOP)
    time.sleep(KEEPALIVE_S * 0.8)
    plant.daemon.process.send_signal(signal.SIGCONT)
    yield


@contextmanager
def two_hours_later(plant: Plant) -> Iterator[None]:
    plant.clock.write_text("7200")
    try:
        yield
    finally:
        plant.clock.write_text("0")
