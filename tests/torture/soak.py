"""The soak: every fault in turn, each with its end, on the real daemon, for half an hour.

python -m tests.torture.soak [--minutes 30] [--output docs/results/soak.md]

It needs Mosquitto; root for the faults of the disk, else those are left out by name. ``--minutes 3`` is a rehearsal: as
many faults as fit. Exit code 1: something was not as promised.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.torture.soak_faults import ALL, FAULTS, Fault
from tests.torture.soak_growth import Sampler
from tests.torture.soak_plant import POINTS, Plant, Since, key_of
from tests.torture.soak_report import OVERLOAD, Result, Row, false_alarms, ledger, markdown, opened

WHOLE_MINUTES = 10.0  # less is a rehearsal
ENROLL_MINUTES, REHEARSAL_ENROLL_MINUTES = 1.0, 0.3
SETTLED_S = 120.0  # from the recovery until no alert is open
DELIVERED_S = 90.0
SAVED_FOR_LAST_S = 30.0  # for each of those that end the process


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="of faults; enrollment comes before (default: 30)")
    parser.add_argument("--output", type=Path, default=Path("docs/results/soak.md"), help="the report")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    logging.disable(logging.CRITICAL)  # of the stand-ins: the report says what counts
    console, folder = Console(), Path(tempfile.mkdtemp(prefix="soak-"))
    result = soak(arguments.minutes, folder, console)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(markdown(result))
    failures = result.failures
    for failure in failures:
        console.print(f"[red]{failure}", markup=True)
    console.print(f"{arguments.output}: {len(result.rows)} faults, {len(failures)} failures")
    if failures:
        console.print(f"the daemon's log and the broker's are kept in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failures else 0


def soak(minutes: float, folder: Path, console: Console) -> Result:
    """Run it, and say what was found, also when it was broken off."""
    rows: list[Row] = []
    aborted = ""
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("the plant starts", total=minutes * 60)
        with Plant(folder) as plant, Sampler(lambda: plant.daemon.process.pid) as sampler:
            started_s = time.monotonic()
            try:
                bar.update(task, description="enrollment")
                plant.enroll(ENROLL_MINUTES if minutes >= WHOLE_MINUTES else REHEARSAL_ENROLL_MINUTES)
                begun_s = time.monotonic()
                for fault in turns(plant, minutes):
                    bar.update(task, description=fault.name, completed=time.monotonic() - begun_s)
                    rows.append(suffer(plant, fault, started_s))
                    bar.console.print(_line(rows[-1]), markup=False, highlight=False)
                bar.update(task, description="the last events", completed=time.monotonic() - begun_s)
                _wait(lambda: ledger(plant.heard.messages).holes == 0, DELIVERED_S)
            except (AssertionError, OSError, subprocess.SubprocessError, KeyboardInterrupt, SystemExit) as error:
                aborted = f"broken off: {type(error).__name__}: {str(error)[:500]}"
            plant.look_after()
            last_exit = _stop(plant)
            lasted_s = time.monotonic() - started_s
    heard, counted = plant.heard.messages, ledger(plant.heard.messages)
    left_out = {f.name: _unable(plant, f) or "no time" for f in FAULTS if f not in [row.fault for row in rows]}
    return Result(
        minutes=minutes,
        lasted_s=lasted_s,
        rows=rows,
        left_out=left_out,
        processes=list(sampler.processes.values()),
        exits=plant.exits,
        last_exit=last_exit,
        holes=counted.holes,
        told_lost=counted.told_lost,
        events=counted.events,
        repeats=counted.repeats,
        messages=len(heard),
        false_alarms=false_alarms(heard, rows, started_s),
        overloads=sum(key_of(alert) == OVERLOAD for _, alert in opened(heard)),
        broken_contract=plant.broken_contract,
        tracebacks=plant.daemon.log.count("Traceback (most recent call last)"),
        aborted=aborted,
    )


def turns(plant: Plant, minutes: float) -> Iterator[Fault]:
    """The faults in turn until then. Those that end the process come first and last: in between one process lives.

    In a rehearsal they come last only, for want of time.
    """
    ends_s = time.monotonic() + minutes * 60
    able = [fault for fault in FAULTS if _unable(plant, fault) is None]
    ending = [fault for fault in able if fault.new_process]
    others = [fault for fault in able if not fault.new_process]
    if minutes >= WHOLE_MINUTES:
        yield from ending
    for number in count():
        if time.monotonic() > ends_s - SAVED_FOR_LAST_S * len(ending):
            break
        yield others[number % len(others)]
    yield from ending


def suffer(plant: Plant, fault: Fault, started_s: float) -> Row:
    """Inject one fault, end it, and wait until all is well again."""
    time.sleep(plant.held_off_s([key for key in fault.alerts if key.startswith("monitor")]))
    since = Since(plant)
    row = Row(fault, since.at_s - started_s)
    with fault.inject(plant):
        row.told_s = _wait(lambda: fault.is_told(plant, since), 2 * fault.told_s + 20, since.at_s)
        time.sleep(max(0.0, fault.hold_s - (time.monotonic() - since.at_s)))
    ended = Since(plant)
    plant.look_after()
    row.back_s = _wait(lambda: fault.is_back(plant, ended), 2 * fault.back_s + 20, ended.at_s)
    if row.told_s is None or row.told_s > fault.told_s:
        row.wrong.append("not reported" if row.told_s is None else "reported late")
    if row.back_s is None or row.back_s > fault.back_s:
        row.wrong.append("not recovered" if row.back_s is None else "recovered late")
    if _wait(lambda: not plant.open_alerts() and ALL(plant, ended), SETTLED_S) is None:
        row.wrong.append(f"still open: {', '.join(sorted(plant.open_alerts())) or 'not normal'}")
    for point in sorted(set(POINTS) - fault.hits):
        levels = {state["level"] for state in since.on(f"/p/{point}/state")} - {"normal"}
        if levels:
            row.wrong.append(f"{point} was {', '.join(sorted(levels))}")
    return row


def _wait(condition: Callable[[], bool], timeout_s: float, since_s: float | None = None) -> float | None:
    """Seconds until it holds; None: it did not in time."""
    since_s = time.monotonic() if since_s is None else since_s
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return None
        time.sleep(0.05)
    return time.monotonic() - since_s


def _unable(plant: Plant, fault: Fault) -> str | None:
    return next((plant.cannot[what] for what in fault.needs if what in plant.cannot), None)


def _stop(plant: Plant) -> int | None:
    try:
        return plant.daemon.stop()
    except subprocess.TimeoutExpired:
        return None


def _line(row: Row) -> str:
    times = ["never" if s is None else f"{s:.1f} s" for s in (row.told_s, row.back_s)]
    return f"{row.fault.name}: reported after {times[0]}, recovered after {times[1]}: {row.verdict}"


if __name__ == "__main__":
    sys.exit(main())
