"""What starting costs with 100 baselines: read, hash and signature verified, indexes built.

Each has one state of 512 windows of one channel at 16 kHz (7 bands), as it is really stored: vectors of encoder and
spectrum in half precision, whitening, indicators, spectrograms of 256 windows.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from echo_edge.baseline import Baseline, Learned, Origin
from echo_edge.baseline_manifest import pack
from echo_edge.baseline_store import BaselineStore
from echo_edge.material import Material
from echo_edge.normal_state import NormalState

BASELINES, WINDOWS, BANDS, WIDTH = 100, 512, 7, 192
TARGET_S = 2.0
HOP_NS = 5_000_000_000


def make_state() -> NormalState:
    rng = np.random.default_rng(0)
    starts = np.arange(WINDOWS, dtype=np.int64) * HOP_NS
    material = Material(
        rng.standard_normal((WINDOWS, 1, BANDS, WIDTH)).astype(np.float16),
        rng.standard_normal((WINDOWS, 1, BANDS, 32)).astype(np.float16),
        rng.uniform(1, 2, (WINDOWS, 1, 6)),
        np.zeros((WINDOWS, 1, 64, 64), np.uint8),
        np.zeros((WINDOWS, 1)),
        starts,
        starts + HOP_NS,
        ("crest", "kurtosis", "a", "b", "c", "d"),
    )
    return NormalState.learn("run", material)


def main() -> None:
    state = make_state()
    origin = Origin("echo-tiny", "0" * 64, 16_000, (0,), 5.0, 5.0, "g")
    points = [f"m/p{i}" for i in range(BASELINES)]
    with tempfile.TemporaryDirectory() as folder:
        store = BaselineStore(Path(folder) / "state.db", "bench")
        for point in points:
            given = Baseline(point, origin, "bench", (state,), {"run": Learned("live", WINDOWS)})
            store.activate(point, store.propose(given, "bench").id, "bench")
        size_mb = (Path(folder) / "state.db").stat().st_size / 1e6
        begun_s = time.perf_counter()
        for summary in store.list():
            assert summary.status == "active"
        listed_s = time.perf_counter() - begun_s
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        for point in points:
            assert store.active(point) is not None
        loaded_s, loaded_cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
        begun_s = time.perf_counter()
        for _ in points:
            NormalState.from_arrays("run", state.arrays())
        indexes_s = time.perf_counter() - begun_s
    kept_mb = len(pack([state])) / 1e6
    table = Table("what", "s", title=f"{BASELINES} baselines of {kept_mb:.2f} MB, {size_mb:.0f} MB on disk")
    table.add_row(f"load them all (target < {TARGET_S:g} s)", f"{loaded_s:.2f}")
    table.add_row("processor time of it", f"{loaded_cpu_s:.2f}")
    table.add_row("of it, indexes", f"{indexes_s:.2f}")
    table.add_row("list them", f"{listed_s:.3f}")
    Console().print(table, "met" if loaded_s < TARGET_S else "MISSED")
    figures = {"load_s": loaded_s, "load_cpu_s": loaded_cpu_s, "indexes_s": indexes_s, "list_s": listed_s}
    print(json.dumps({"baselines": figures}))


if __name__ == "__main__":
    main()
