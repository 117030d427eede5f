"""What the soak found, as Markdown, and whether that is good enough."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.system.daemon import Heard
from tests.torture.soak_faults import Fault
from tests.torture.soak_growth import QUANTITIES, Process
from tests.torture.soak_plant import ALERTS, key_of

GROWN_MB = 5.0  # more than that, surely and over the whole time, is growth
GROWN_COUNT = 1.0
ABOUT = """\
The real daemon with four sensors (an EE1 and a PicoQuake accelerometer on pseudo-terminals, a microphone through real
PortAudio, a simulator) and windows of one second; a real Mosquitto with TLS, passwords, an access list and a proxy
before it; a subscriber with a session, which holds every message against the contract. Each fault waits until the one
before is over. *Reported* counts from the injection, *recovered* from the end of the fault to the message that all is
well again."""

GROWTH = f"""\
Every process of the daemon, looked at every 5 s; a line after Theil and Sen through what followed the first 30 % of its
life (5 minutes at most). It fails when it surely grows by more than {GROWN_MB:g} MB, or by a descriptor or a thread,
over its life."""

NOT_SHOWN = """\
## What this does not show

Days: a slope of half an hour says nothing of 1 MB a day. Real USB, sound cards, flash, networks and brokers under the
load of a plant: sensors are pseudo-terminals and ALSA pipes, the network is loopback through a proxy in user space, the
disk is a tmpfs, and a disk that refuses writes is `strace` on one system call. Power cuts
([delivery](delivery.md#power-cuts)). Faults that come together, but for an alarm on a full disk and on a slow link.
Detection: the machine fault is a gross one. The times include what else the machine had to do. A limit is the fault
catalogue's where it has one, else the gateway's own pause. The confidence of a slope takes the samples as independent,
which they are not: it is wider in truth."""


@dataclass
class Row:
    """One fault, once."""

    fault: Fault
    begun_s: float
    """Since the start."""

    told_s: float | None = None
    """After the injection; None: never."""

    back_s: float | None = None
    """After its end; None: never."""

    wrong: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        return "; ".join(self.wrong) or "ok"


@dataclass
class Result:
    """All that was found."""

    minutes: float
    lasted_s: float
    rows: list[Row]
    left_out: dict[str, str]
    """Fault -> why it was not injected."""

    processes: list[Process]
    exits: list[str]
    last_exit: int | None
    holes: int
    """Events that never came and that nobody told to be given up."""

    told_lost: int
    events: int
    repeats: int
    messages: int
    false_alarms: list[str]
    overloads: int
    """Alerts that the machine was too busy: they are true, whatever fault there was."""

    broken_contract: str
    tracebacks: int
    aborted: str = ""

    @property
    def failures(self) -> list[str]:
        found = [f"{row.fault.name}: {row.verdict}" for row in self.rows if row.wrong]
        found += [f"the daemon ended by itself: {what}" for what in self.exits]
        if self.last_exit != 0:
            found.append(f"the last daemon ended with {self.last_exit}")
        if self.holes:
            found.append(f"{self.holes} events lost")
        if self.false_alarms:
            found.append(f"{len(self.false_alarms)} false alarms: {', '.join(self.false_alarms[:5])}")
        if self.broken_contract:
            found.append(f"against the contract: {self.broken_contract}")
        if self.tracebacks:
            found.append(f"{self.tracebacks} tracebacks in the log")
        found += [f"{process.what} grows: {why}" for process in self.processes for why in growth(process)]
        return found + ([self.aborted] if self.aborted else [])


def growth(process: Process) -> list[str]:
    """What surely grows: the lower end of the slope, over the time that was looked at, is more than is allowed."""
    found = []
    for quantity, words in QUANTITIES.items():
        slope = process.slope(quantity)
        allowed = GROWN_MB if quantity == "rss_mb" else GROWN_COUNT
        if slope is not None and slope.low * process.lived_s / 3600 > allowed:
            found.append(f"{words} by {slope.per_h:.1f} an hour")
    return found


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the numbers of the events say."""

    events: int
    repeats: int
    holes: int
    told_lost: int


def ledger(messages: list[Heard]) -> Ledger:
    """Of every event that was stored, was it heard? ``id`` ends in the outbox's epoch and the event's number in it."""
    heard = [(message.topic, message.payload["id"]) for message in messages if "id" in message.payload]
    ids = {identity for _, identity in heard}
    came: dict[str, set[int]] = {}
    for identity in ids:
        _, epoch, number = identity.rsplit(":", 2)
        came.setdefault(epoch, set()).add(int(number))
    missing = sum(max(numbers) - len(numbers) for numbers in came.values())
    given_up = {m.payload["id"]: m.payload["outbox_lost"]["events"] for m in messages if "outbox_lost" in m.payload}
    told = sum(given_up.values())
    return Ledger(len(ids), len(heard) - len(set(heard)), max(0, missing - told), told)


OVERLOAD = "monitor overload"


def opened(messages: list[Heard]) -> Iterator[tuple[float, dict[str, Any]]]:
    """When each alert was opened (monotonic), and how; each once."""
    known = set[str]()
    for message in messages:
        alert = message.payload
        if message.topic.endswith(ALERTS) and alert["type"] == "open" and alert["alert_id"] not in known:
            known.add(alert["alert_id"])
            yield message.at_s, alert


def false_alarms(messages: list[Heard], rows: list[Row], started_s: float) -> list[str]:
    """Alerts that were opened while no fault explains them; a fault explains until the next one begins."""
    found = []
    for opened_s, alert in opened(messages):
        at_s, about = opened_s - started_s, key_of(alert)
        now = next((row.fault for row in reversed(rows) if row.begun_s <= at_s), None)
        if about != OVERLOAD and (now is None or about not in now.alerts):
            during = "enrollment" if now is None else now.name
            found.append(f"{about} ({alert['severity']}) at {at_s:.0f} s, {during}")
    return found


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f}"


def _fault_table(result: Result) -> list[str]:
    lines = ["| fault | injected | told by | reported after s | recovered after s | limits s | verdict |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in result.rows:
        fault = row.fault
        times = f"{_seconds(row.told_s)} | {_seconds(row.back_s)} | {fault.told_s:g}, {fault.back_s:g}"
        lines.append(f"| {fault.name} | {fault.injected} | {fault.told} | {times} | {row.verdict} |")
    lines += [f"| {name} | not injected: {why} | | | | | |" for name, why in result.left_out.items()]
    return lines


def _growth_table(result: Result) -> list[str]:
    lines = ["| process | lived min | quantity | at first | median | peak | slope per hour (95 %) | verdict |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    short = Counter[str]()
    for process in result.processes:
        if process.slope("rss_mb") is None:
            short[process.what] += 1
            continue
        verdict = "; ".join(growth(process)) or "ok"
        for quantity, words in QUANTITIES.items():
            slope, values = process.slope(quantity), sorted(process.settled(quantity)[1])
            assert slope is not None
            span = f"{slope.per_h:+.2f} ({slope.low:+.2f} to {slope.high:+.2f})"
            numbers = f"{process.values[quantity][0]:.4g} | {values[len(values) // 2]:.4g} | "
            numbers += f"{max(process.values[quantity]):.4g}"
            lines.append(f"| {process.what} | {process.lived_s / 60:.1f} | {words} | {numbers} | {span} | {verdict} |")
    if short:
        told = ", ".join(f"{count} {what}" for what, count in short.items())
        lines += ["", f"Too short-lived for a slope: {told}."]
    return lines


def markdown(result: Result) -> str:
    """The whole page."""
    failures = result.failures
    kinds = Counter(row.fault.name for row in result.rows)
    lines = [
        "# Everything that goes wrong, one after the other",
        "",
        f"    python -m tests.torture.soak --minutes {result.minutes:g}",
        "",
        ABOUT,
        f"{len(result.rows)} faults of {len(kinds)} kinds in {result.lasted_s / 60:.1f} minutes, on a machine of "
        f"{os.cpu_count()} cores.",
        "",
        "**Passed.**" if not failures else "**Failed:**",
        *(f"- {failure}" for failure in failures),
        "",
        "## Faults",
        "",
        *_fault_table(result),
        "",
        "## Messages",
        "",
        "| | |",
        "|---|---|",
        f"| messages, each held against its schema, topic, retain flag and QoS | {result.messages} |",
        f"| events, by their numbers | {result.events} |",
        f"| of these lost, and told to be given up | {result.holes}, {result.told_lost} |",
        f"| repeats | {result.repeats} |",
        f"| false alarms | {len(result.false_alarms)} |",
        f"| alerts that the machine was too busy for all windows | {result.overloads} |",
        f"| daemons that ended by themselves | {len(result.exits)} |",
        f"| tracebacks in the log | {result.tracebacks} |",
        f"| exit code of the last daemon, asked to stop | {result.last_exit} |",
        "",
        "## Growth",
        "",
        GROWTH,
        "",
        *_growth_table(result),
        "",
        NOT_SHOWN,
    ]
    return "\n".join(lines) + "\n"
