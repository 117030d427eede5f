"""What the precision benchmark judges: invented machines, and real recordings where they are at hand.

Each world is one point as a technician would meet it: normals to learn, then a sequence to judge in which faults come
and go.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from echo_edge.recordings import recorded_windows
from echo_edge.records import Window
from echo_edge.windows import Windower
from sensors import FAULTS, Block, Machine
from tests.world import POINT

KINDS = ("normal", "weak fault", "strong fault", "recorded normal", "recorded fault")
FIRST_SEVERITY, WEAK = 0.01, 0.2  # a fault grows from the first to 1, and is called weak up to the second
LEARNED, HELD_OUT, GROWING, AFTER = 150, 200, 36, 10  # windows of one invented machine
TAKEN = 2 / 3  # of a normal recording is learned, the rest is judged
LENGTH_S, HOP_S = 0.25, 0.125  # of a window of the recordings, which last seconds


@dataclass(frozen=True, slots=True)
class World:
    """One point: what is learned, state by state, and what is judged, in order, with what it is."""

    name: str
    length_s: float
    hop_s: float
    learned: dict[str, list[Window]]
    judged: list[tuple[str, Window]]
    """Kind (one of ``KINDS``) and window."""

    @property
    def size(self) -> int:
        return len(self.judged) + sum(len(windows) for windows in self.learned.values())


@dataclass(frozen=True, slots=True)
class Invented:
    """How to invent a machine."""

    rate_hz: int
    length_s: float
    shaft_hz: float
    wander: float
    """How far load and level drift, as a share: 0 is a machine on a test bench, 0.2 one at work."""


INVENTED = (
    Invented(16_000, 2, 24.5, 0),
    Invented(16_000, 2, 29.5, 0.2),
    Invented(25_600, 1, 29.5, 0),
    Invented(25_600, 1, 49.0, 0.1),
    Invented(48_000, 1, 12.3, 0.2),
    Invented(16_000, 5, 24.5, 0.1),
)


def worlds(machines: int, data: Path | None) -> list[Callable[[], World]]:
    """Return how to make each world; they are large, so one at a time."""
    made: list[Callable[[], World]] = [
        lambda seed=seed: invented(seed, INVENTED[seed % len(INVENTED)])  # type: ignore[misc]
        for seed in range(machines)
    ]
    if data is not None:
        made += [lambda end=end: cwru(data / "cwru", end) for end in ("DE", "FE")]  # type: ignore[misc]
        made.append(lambda: propeller(data / "bldc_motor_mic"))
    return made


def invented(seed: int, kind: Invented) -> World:
    """A machine that runs well, and then develops one fault after the other, each until it is mended.

    A fault grows by 14 % from window to window, so that some windows of every fault lie near the threshold wherever
    that is: those are the ones that can change sides.
    """
    machine = Machine(seed, kind.rate_hz, shaft_hz=kind.shaft_hz)
    windows = _heard(machine, kind)
    learned = [next(windows) for _ in range(LEARNED)]
    judged = [("normal", next(windows)) for _ in range(HELD_OUT)]
    for fault in FAULTS:
        for severity in FIRST_SEVERITY ** np.linspace(1, 0, GROWING):
            machine.set_fault(fault, float(severity))
            judged.append(("weak fault" if severity <= WEAK else "strong fault", next(windows)))
        machine.set_fault(None)
        machine.samples(kind.rate_hz // 2)  # it fades softly
        judged += [("normal", next(windows)) for _ in range(AFTER)]
    name = f"invented {seed}, {kind.rate_hz / 1000:g} kHz {kind.length_s:g} s"
    return World(name, kind.length_s, kind.length_s, {"run": learned}, judged)


def _heard(machine: Machine, kind: Invented) -> Iterator[Window]:
    """Windows of a machine whose load and level go up and down on scales of minutes, as production does."""
    windower = Windower(POINT, [0], kind.rate_hz, kind.length_s, kind.length_s, machine.unit)
    load, count = machine.load, 0
    machine.samples(kind.rate_hz)
    while True:
        at_s = count * kind.length_s
        machine.load = load * (1 + kind.wander * math.sin(at_s / 11))
        level = 1 + kind.wander * math.sin(at_s / 17)
        samples = machine.samples(round(kind.length_s * kind.rate_hz)) * level
        yield from windower.push(Block(samples.astype(np.float32), round(at_s * 1e9), after_gap=count == 0))
        count += 1


def cwru(folder: Path, end: str) -> World:
    """The bearings of Case Western Reserve University at 48 kHz: normal at two loads, 13 faults, none graded."""
    names = [row["file"] for row in _rows(folder) if row["file"].endswith(f"_{end}.flac")]
    normal = sorted(name for name in names if name.startswith("normal/"))
    faulty = sorted(name for name in names if name.startswith("48k_DE/"))
    cut = {name: _cut(folder / name) for name in (*normal, *faulty)}
    rest = {name: cut[name][round(len(cut[name]) * TAKEN) :] for name in normal}
    judged = [("recorded normal", window) for windows in rest.values() for window in windows]
    judged += [("recorded fault", window) for name in faulty for window in cut[name]]
    learned = {f"load{n}": cut[name][: round(len(cut[name]) * TAKEN)] for n, name in enumerate(normal)}
    return _in_order(f"CWRU 48 kHz, {end}", learned, judged)


def propeller(folder: Path) -> World:
    """A brushless motor without its propeller (normal, a state for each throttle) and with it."""
    takes: dict[tuple[str, str], list[Window]] = defaultdict(list)
    for row in sorted(_rows(folder), key=lambda row: row["file"]):
        takes[row["label"], row["condition"].rpartition("=")[2]] += _cut(folder / row["file"])
    normal = {throttle: windows for (label, throttle), windows in takes.items() if label == "no_prop"}
    learned = {f"throttle{t}": windows[: round(len(windows) * TAKEN)] for t, windows in normal.items()}
    judged: list[tuple[str, Window]] = []
    for throttle, windows in normal.items():
        judged += [("recorded normal", window) for window in windows[len(learned[f"throttle{throttle}"]) :]]
        judged += [("recorded fault", window) for window in takes.get(("prop", throttle), [])]
    return _in_order("motor with propeller, 48 kHz", learned, judged)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _cut(file: Path) -> list[Window]:
    return list(recorded_windows(POINT, [0], LENGTH_S, HOP_S, [file]))


def _in_order(name: str, learned: dict[str, list[Window]], judged: Sequence[tuple[str, Window]]) -> World:
    """Windows of many files, with times as if they had been heard one after the other."""
    hop_ns = round(HOP_S * 1e9)
    timed = {
        state: [replace(window, time_ns=n * hop_ns) for n, window in enumerate(windows)]
        for state, windows in learned.items()
    }
    sequence = [(kind, replace(window, time_ns=n * hop_ns)) for n, (kind, window) in enumerate(judged)]
    return World(name, LENGTH_S, HOP_S, timed, sequence)
