"""What the indicators of a window cost beside its embedding; with ``--data``, what bearing lines tell on CWRU's faults.

.venv/bin/python -m tests.bench.bench_indicators --data ../shared/data
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import fft
from scipy.signal.windows import hann
from sklearn.metrics import roc_auc_score

from echo_edge.artifact import load_package
from echo_edge.bearing_lines import Bearing, line_levels_db, plan_lines
from echo_edge.embedder import Embedder
from echo_edge.engine import create_engine
from echo_edge.indicators import IndicatorSpec, measure
from echo_edge.records import Window
from sensors import read_recording

LENGTH_S = 5
TARGET_MS = 15.0
BEARINGS = {"DE": Bearing(3.5848, 5.4152, 2.3567, 0.3983), "FE": Bearing(3.0530, 4.9469, 1.9937, 0.3817)}  # 6205, 6203
LINES = {"outer": "bpfo", "inner": "bpfi", "ball": "bsf"}
RPM = (1797, 1772, 1750, 1730)  # nominal, by load, where a file has none


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds cwru/manifest.csv")
    data = parser.parse_args().data
    speed()
    if data is not None:
        faults(data / "cwru")


def least_ms(work: Callable[[], object], repeats: int) -> float:
    """Processor time, and the least: others may use the machine, too."""
    taken = []
    for _ in range(repeats + 1):
        begun_s = time.process_time()
        work()
        taken.append(time.process_time() - begun_s)
    return min(taken[1:]) * 1e3


def speed() -> None:
    package = load_package("echo-tiny")
    embedder = Embedder(package, create_engine("auto", package, threads=1))
    random = np.random.default_rng(0)
    table = Table(
        "window", "embed [ms]", "indicators [ms]", "with bearing [ms]", "share", title="one thread, echo-tiny"
    )
    rows = []
    for rate_hz, channels, unit in ((16_000, 1, "Pa"), (25_600, 3, "g"), (26_667, 3, "g"), (48_000, 1, "Pa")):
        noise = random.standard_normal((channels, rate_hz * LENGTH_S)).astype(np.float32)
        window = Window("m/p", noise, rate_hz, 0, unit)
        bare, full = IndicatorSpec.of(window), IndicatorSpec.of(window, 29.5, BEARINGS["DE"])
        embed_ms = least_ms(lambda w=window: embedder.embed([w]), 9)  # type: ignore[misc]
        bare_ms, full_ms = (least_ms(lambda w=window, s=s: measure(w, s), 40) for s in (bare, full))  # type: ignore[misc]
        name = f"{channels} x {rate_hz / 1000:g} kHz {LENGTH_S} s"
        rows.append({"window": name, "embed_ms": embed_ms, "bare_ms": bare_ms, "bearing_ms": full_ms})
        table.add_row(name, f"{embed_ms:.1f}", f"{bare_ms:.2f}", f"{full_ms:.2f}", f"{full_ms / embed_ms:.1%}")
    Console().print(table, f"target: below {TARGET_MS:g} ms")
    print(json.dumps({"indicators": rows}))


def faults(folder: Path) -> None:
    """Tell each fault from the others by its own line, in every window: ROC-AUC."""
    table = Table("recordings", "window", "band from", *LINES, title="CWRU: ROC-AUC of a fault's own line")
    for subset, channel, length_s in (
        ("12k_DE", "DE", 1),
        ("12k_DE", "DE", 5),
        ("12k_FE", "FE", 5),
        ("48k_DE", "DE", 1),
    ):
        recordings = _recordings(folder, subset, channel, length_s)
        for low_hz in (500, 1000, 2000, 3000):
            levels = _levels(recordings, BEARINGS[channel], low_hz)
            areas = [f"{_area(levels, fault, line):.2f}" for fault, line in LINES.items()]
            table.add_row(subset, f"{length_s} s", f"{low_hz} Hz", *areas)
    Console().print(table)


Recording = tuple[str, float, int, NDArray[np.float32]]


def _recordings(folder: Path, subset: str, channel: str, length_s: int) -> list[Recording]:
    """Fault, turns per second, rate and up to four windows, shape (W, S), of each."""
    found = []
    subsets = {subset, "normal"} if subset == "48k_DE" else {subset}  # the normal recordings are of 48 kHz
    for row in csv.DictReader((folder / "manifest.csv").open()):
        if row["subset"] in subsets and row["channel"] == channel:
            samples, rate_hz, _ = read_recording(folder / row["file"])
            frames = rate_hz * length_s
            count = min(len(samples) // frames, 4)
            windows = samples[: count * frames, 0].reshape(count, frames)
            shaft_hz = float(row["rpm_in_file"] or RPM[int(row["load_hp"])]) / 60
            found.append((row["fault"], shaft_hz, rate_hz, windows - windows.mean(axis=1, keepdims=True)))
    return found


Levels = dict[str, dict[str, NDArray[np.float64]]]


def _levels(recordings: list[Recording], bearing: Bearing, low_hz: float) -> Levels:
    """Line -> fault -> levels of all windows."""
    gathered: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for fault, shaft_hz, rate_hz, windows in recordings:
        n_fft = fft.next_fast_len(windows.shape[1], real=True)
        plan = plan_lines(bearing, shaft_hz, rate_hz, n_fft, low_hz)
        shaped = windows * hann(windows.shape[1], sym=False).astype(np.float32)
        levels = line_levels_db(fft.rfft(shaped, n_fft, axis=1), plan)
        for line, values in zip(plan.defects, levels.T, strict=True):
            gathered[line][fault] += values.tolist()
    return {line: {fault: np.array(values) for fault, values in by.items()} for line, by in gathered.items()}


def _area(levels: Levels, fault: str, line: str) -> float:
    own = levels[line][fault]
    other = np.concatenate([values for f, values in levels[line].items() if f != fault])
    return float(roc_auc_score(np.repeat([1, 0], [len(own), len(other)]), np.concatenate([own, other])))


if __name__ == "__main__":
    main()
