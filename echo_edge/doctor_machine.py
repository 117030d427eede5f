"""Doctor's look at the machine: the clock, the daemon, and the devices with whoever holds them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from echo_edge.clock import Clock, read_clock
from echo_edge.config_devices import DeviceConfig
from echo_edge.doctor import TEACH
from echo_edge.doctor_found import Found, Patient, bad
from sensors import Block, SensorError, Source, create_source, user_of

FIRST_YEAR, LAST_YEAR = 2025, 2100
FIRST_BLOCK_S = 5.0
HOLDERS = {
    "ModemManager": "a udev rule tells it to leave sensors alone (70-echo-edge.rules, or "
    'ENV{ID_MM_DEVICE_IGNORE}="1" in one of your own): install it, then plug the sensor anew',
    "brltty": "it takes the adapter for a Braille display: remove the package brltty, then plug it anew",
}
"""Programs that take serial ports unasked."""


def clock(now_s: Callable[[], float] = time.time, read: Callable[[], Clock | None] = read_clock) -> Iterator[Found]:
    """Whether the time can be right: certificates, deadlines of orders and the times of alerts go by it."""
    now = datetime.fromtimestamp(now_s(), timezone.utc)
    told = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if not FIRST_YEAR <= now.year <= LAST_YEAR:
        mend = "set the clock, and let NTP keep it (timedatectl set-ntp true); until then TLS refuses good certificates"
        yield Found("clock", "broken", f"it says {told}, which cannot be", mend)
        return
    kernel = read()
    if kernel is None:
        yield Found("clock", "warning", f"it says {told}; the kernel cannot be asked whether that is right")
    elif not kernel.synced:
        mend = "let NTP or PTP keep it (timedatectl set-ntp true), and let it reach its server"
        yield Found("clock", "warning", f"it says {told}, and nothing keeps it right", mend)
    else:
        yield Found("clock", "ok", f"{told}, kept right, within {kernel.max_error_ms:.0f} ms")


def daemon(patient: Patient) -> Iterator[Found]:
    """Whether the daemon runs, and what it says is wrong."""
    if patient.daemon is None:
        yield Found("daemon", "ok", "none runs for this gateway; what it would find is looked at here")
        return
    yield Found("daemon", "ok", "it runs" + (", and says that all is well" if patient.daemon["well"] else ""))
    for told in patient.daemon["findings"]:
        if told["where"] in {*patient.config.devices, "mqtt"} or told["mend"] == TEACH:
            continue  # told below, with what is looked at there
        broken = told["where"] in {"outbox", "disk"}
        yield bad("daemon", f"{told['where']}: {told['what']}", told["mend"], broken=broken)


def devices(patient: Patient) -> Iterator[Found]:
    """Whether each device is there and delivers: by the daemon while it runs, else each is opened once."""
    used = {point.device for point in patient.config.points().values()}
    for name, settings in patient.config.devices.items():
        where = f"device {name}"
        if name not in used:
            yield Found(where, "warning", "no point uses it", "take it out of `devices`, or give it to a point")
        elif patient.daemon is not None:
            yield _as_told(patient, name)
        elif (held := _holder(patient, settings)) is not None:
            yield Found(where, "broken", *held)
        else:
            yield _opened(name, settings)


def _as_told(patient: Patient, name: str) -> Found:
    assert patient.daemon is not None
    for told in patient.daemon["findings"]:
        if told["where"] == name:
            held = _holder(patient, patient.config.devices[name])
            what, mend = (told["what"], told["mend"]) if held is None else (f"{told['what']}; {held[0]}", held[1])
            return Found(f"device {name}", "broken", what, mend)
    return Found(f"device {name}", "ok", "the daemon has it open")


def _holder(patient: Patient, settings: DeviceConfig) -> tuple[str, str] | None:
    """What is wrong and the mend where another program has a serial port open."""
    port = getattr(settings, "port", None)
    who = "" if port is None else user_of(Path(port))
    if not who or _is_ours(who, patient.path):
        return None
    mend = next((mend for name, mend in HOLDERS.items() if who.startswith(name)), "stop it, or choose another port")
    return f"{port} is in use by {who}", mend


def _is_ours(who: str, configuration: Path) -> bool:
    """Whether this is the daemon of this gateway, or a stand-in for a sensor, which keeps its port open."""
    number = re.search(r"\(pid (\d+)\)$", who)
    try:
        arguments = Path(f"/proc/{number[1] if number else 0}/cmdline").read_text("utf-8", "replace").split("\0")
    except OSError:
        return False
    if not any(one.endswith(("echo_edge", "echo-edge")) for one in arguments):
        return False
    return "simulate" in arguments or configuration.name in {Path(one).name for one in arguments}


def _opened(name: str, settings: DeviceConfig) -> Found:
    where = f"device {name}"
    source = create_source(settings.kind, name, **settings.options)
    try:
        with closing(source):
            info = source.open()
            block = _first_block(source)
    except SensorError as error:
        unseen = "another program" in error.message and os.geteuid() != 0  # /proc shows other users' to root alone
        mend = "run this as root to learn which" if unseen else "see `echo-edge devices` for what is plugged in"
        return Found(where, "broken", error.message, mend)
    told = f"{info.identity}, {info.rate_hz} Hz, {info.channels} channel(s) in {info.unit}"
    if block is None:
        mend = "look at its plug, its power and its rate"
        return Found(where, "broken", f"{told}: opens and delivers nothing for {FIRST_BLOCK_S:g} s", mend)
    return Found(where, "ok", f"{told}: opens and delivers")


def _first_block(source: Source) -> Block | None:
    deadline_s = time.monotonic() + FIRST_BLOCK_S
    while time.monotonic() < deadline_s:
        if (block := source.read()) is not None:
            return block
    return None
