"""Doctor: what is wrong now, each with what mends it. Looks at what is known already and asks no device."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from echo_edge.redact import redact

if TYPE_CHECKING:
    from echo_edge.order_bench import Bench

LEAST_FREE_BYTES, LEAST_FREE_SHARE = 200 << 20, 0.05
HOURS_LEFT = 24.0

TEACH = "enroll it"

Finding = tuple[str, str, str]
"""Where, what is wrong, the mend."""

LINK_MENDS = {
    "mqtt_denied": "let this gateway's user write there in the broker's access list",
    "mqtt_subscribe_denied": "let this gateway's user read there in the broker's access list",
    "no_subscriber": "let somebody subscribe to it with a session that is kept, or set `mqtt.no_subscriber: accept`",
    "client_id_conflict": "give each gateway an id of its own, and stop the other process",
}
OUTBOX_MENDS = {
    "disk_full": "free space on the disk of the state folder",
    "storage_ro": "mount the disk of the state folder for writing, or replace it",
    "io_error": "look at the disk's health, and replace it",
    "damaged": "the damaged file was set aside; look at the disk's health",
}
ALARM_MENDS = {
    "overload": "more `engine.threads`, longer windows, or fewer points on this machine",
    "engine": "`nvidia-smi` and `dmesg` say how the GPU is; `engine.kind: onnx` does without it",
    "certificate": "renew it; new files are read by themselves",
    "config": "mend the file, look at it with `echo-edge check`, then reload the service",
    "safe_mode": "see the log for how it ended; what is left out comes back at the next start that lasts",
}
"""Of the gateway's own alarms, those that are not looked at here anyway."""


def diagnosis(bench: Bench) -> list[dict[str, str]]:
    """Everything that is wrong, the link first; empty when all is well. Nothing in it looks like a secret."""
    parts = (_link, _outbox, _disk, _alarms, _sensors, _points, _orders)
    found = [one for part in parts for one in part(bench)]
    return [{"where": where, "what": redact(what), "mend": redact(mend)} for where, what, mend in found]


def _link(bench: Bench) -> Iterator[Finding]:
    mqtt = bench.config.mqtt
    problems = bench.publisher.problems
    for problem in problems:
        mend = LINK_MENDS.get(problem.partition(":")[0])
        yield "mqtt", problem, mend or f"look at the broker at {mqtt.host}:{mqtt.port} and the way there"
    if not bench.publisher.connected and not problems:
        yield "mqtt", "not connected to the broker yet", "wait a minute, then look at the broker and the way there"


def _outbox(bench: Bench) -> Iterator[Finding]:
    status = bench.outbox.status
    if status.problem is not None:
        mend = OUTBOX_MENDS.get(status.problem.partition(":")[0], "look at the disk of the state folder")
        yield "outbox", status.problem, mend
    if status.lost:
        yield "outbox", f"{status.lost} events were lost", "a larger `gateway.outbox.max_mb`, or a broker that is there"
    if status.dead:
        yield "outbox", f"{status.dead} events were refused by the broker for good", "its limits of size and topics"
    if status.hours_left is not None and status.hours_left < HOURS_LEFT:
        yield "outbox", f"it is full in {status.hours_left:.0f} h", "bring the broker back before"


def _disk(bench: Bench) -> Iterator[Finding]:
    usage = shutil.disk_usage(bench.folder)
    if usage.free < LEAST_FREE_BYTES or usage.free < LEAST_FREE_SHARE * usage.total:
        free = f"{usage.free / 1e6:.0f} MB free, {usage.free / usage.total:.0%}"
        yield "disk", f"the state folder's disk has {free}", "free space, or a smaller `gateway.history.max_mb`"


def _alarms(bench: Bench) -> Iterator[Finding]:
    gateway = bench.reporter.alerts.gateway
    for name, mend in ALARM_MENDS.items():
        if name in gateway.slots and gateway.slots[name].open is not None:
            yield "gateway", gateway.sentences.get(name, name), mend


def _sensors(bench: Bench) -> Iterator[Finding]:
    for device, capture in bench.captures.items():
        status = capture.status
        if status.state != "ok":
            yield (
                device,
                f"{status.state}: {status.reason or 'no reason told'}",
                "look at its plug and its name in `devices`",
            )
    for name in bench.points:
        _, _, quality = bench.reporter.told(name)
        for finding in quality.findings:
            yield name, f"sensor: {finding.check}: {finding.text}", finding.advice


def _points(bench: Bench) -> Iterator[Finding]:
    for name, point in bench.points.items():
        state, _, _ = bench.reporter.told(name)
        if state.score is not None:
            continue
        mend = TEACH if point.baseline is None else "see the reason; it is monitored again by itself when that ends"
        yield name, f"{state.level}: {state.reason or 'no verdict yet'}", mend


def _orders(bench: Bench) -> Iterator[Finding]:
    for name, target in bench.monitor.standing.targets.items():
        configured = bench.points[name].configured_target
        what = f"{target.per_month:g} false alarms a month by order of {target.by}, {configured:g} by configuration"
        yield name, what, "`threshold.set` without a rate returns to the configured one"
