"""What a verdict costs beside the embedding it judges, what its coarse search misses, and what a point keeps in memory.

Normal windows are embeddings of an invented machine whose load wanders, in whitened coordinates as the daemon has them.
Where more are wanted than it pays to embed, two of them are mixed and a little noise is added: neighbours then lie as
close as in a long enrollment, closer than random vectors do.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from echo_edge import normal_state
from echo_edge.artifact import load_package
from echo_edge.config import AlertConfig
from echo_edge.embedder import Embedder
from echo_edge.engine import create_engine
from echo_edge.indicators import IndicatorSpec, measure, names
from echo_edge.material import Material
from echo_edge.nearest import Nearest
from echo_edge.normal import Normal
from echo_edge.normal_state import NormalState
from echo_edge.records import Embedding, Window
from sensors import Machine
from trainer.export import export_package
from trainer.model.echo import PRESETS, Echo

SECOND_NS = 1_000_000_000
RATE_HZ, LENGTH_S = 48_000, 5  # 19 bands
TARGET_SHARE, TARGET_RECALL = 0.05, 0.99


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median processor time of one call, which another process cannot stretch."""
    work()
    taken = []
    for _ in range(repeats):
        begun_s = time.thread_time()
        work()
        taken.append(time.thread_time() - begun_s)
    return float(np.median(taken)) * 1e3


def embedder_of(size: str) -> Embedder:
    """The shipped tiny model; the small one has untrained weights, which cost as much."""
    if size == "tiny":
        package = load_package("echo-tiny")
    else:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            path, _ = export_package(Echo(PRESETS[size]).eval(), Path(folder), size, provenance="bench", licence="none")
            package = load_package(path)
            return Embedder(package, create_engine("auto", package, threads=1))
    return Embedder(package, create_engine("auto", package, threads=1))


def machine_windows(count: int, rate_hz: int, length_s: float, seed: int) -> list[Window]:
    random = np.random.default_rng(seed)
    machine = Machine(seed, rate_hz)
    windows, load = [], 0.7
    for i in range(count):
        load = 0.7 + 0.92 * (load - 0.7) + 0.05 * random.standard_normal()
        machine.load = float(np.clip(load, 0.3, 1))
        samples = machine.samples(round(length_s * rate_hz)).T.copy()
        windows.append(Window("m/p", samples, rate_hz, round(i * length_s * SECOND_NS), "g"))
    return windows


def embedded(embedder: Embedder, windows: list[Window]) -> list[Embedding]:
    spec = IndicatorSpec.of(windows[0])
    found = []
    for window in windows:
        (one,) = embedder.embed([window])
        object.__setattr__(one, "indicators", measure(window, spec))
        object.__setattr__(one, "indicator_names", names(spec))
        found.append(one)
    return found


def enlarged(material: Material, count: int) -> Material:
    """So many windows like these, in order of time."""
    random = np.random.default_rng(0)
    a, b = random.integers(len(material), size=(2, count))
    share = random.uniform(0, 1, (count, 1, 1, 1)).astype(np.float32)
    own = np.arange(count) % len(material)
    mixed = {}
    for name in ("bands", "spectrum"):
        vectors: NDArray[np.float16] = getattr(material, name)
        spread = vectors.std(axis=0, dtype=np.float32)
        between = share * vectors[a] + (1 - share) * vectors[b]
        mixed[name] = (between + 0.3 * spread * random.standard_normal(between.shape, np.float32)).astype(np.float16)
    length_ns = int(material.end_ns[0] - material.start_ns[0])
    start_ns = np.arange(count, dtype=np.int64) * length_ns
    like = material.pick(own)
    return Material(
        mixed["bands"],
        mixed["spectrum"],
        like.indicators * np.exp(0.05 * random.standard_normal(like.indicators.shape)),
        like.picture,
        like.level_db,
        start_ns,
        start_ns + length_ns,
        material.indicator_names,
    )


def recall(part: Nearest, asked: NDArray[np.float16]) -> tuple[float, float]:
    """Compare coarse search and exact distances with the same rule after an exact search.

    Args:
        asked: shape (W, C, N, D).
    Returns:
        Share of distances that are the same but for rounding (0.1 %), and the largest relative difference.
    """
    coarse = np.stack([part.distances(one) for one in asked])
    exact = part.exact_distances(asked)
    off = np.abs(coarse - exact) / np.maximum(exact, 1e-12)
    return float((off < 1e-3).mean()), float(off.max())


def memory_mb(state: NormalState) -> tuple[float, float]:
    """Bank and tables as they are kept, and the 8 bit copies that are searched."""
    kept = sum(array.nbytes for array in state.arrays().values())
    searched = sum(part.bank.size for part in state.parts.values() if isinstance(part, Nearest))
    return kept / 1e6, searched / 1e6


class Tables:
    """What is printed at the end."""

    def __init__(self) -> None:
        self.speed = Table("model", "normals", "embed [ms]", "searches [ms]", "score [ms]", "share", "")
        self.speed.title = f"a window of {LENGTH_S} s at {RATE_HZ // 1000} kHz, one thread; target < {TARGET_SHARE:.0%}"
        self.recall = Table("model", "normals", "part", "recall", "", "largest error")
        self.recall.title = f"coarse search, then exact distances, against exact search; target >= {TARGET_RECALL}"
        self.room = Table(
            "model", "normals", "kept [MB]", "8 bit copies [MB]", title="memory of one state, one channel"
        )
        self.learning = Table("model", "windows", "learned in [s]", "normals kept")

    def against(self, size: str, count: int, embed_ms: float, base: Material, asked: list[Embedding]) -> dict[str, Any]:
        """Measure against so many normals."""
        state = learned(enlarged(base, count))
        judge = Normal("bl_0001", [state], 1.0, LENGTH_S, AlertConfig())
        banks = {name: part for name, part in state.parts.items() if isinstance(part, Nearest)}
        views = {"echo": Material.of(asked).bands, "spectrum": Material.of(asked).spectrum}
        search_ms = {name: searching_ms(part, views[name][0]) for name, part in banks.items()}
        score_ms = median_ms(lambda: judge.score(asked[0]), 100)
        share = score_ms / embed_ms
        searches = ", ".join(f"{name} {ms:.2f}" for name, ms in search_ms.items())
        cells = (str(count), f"{embed_ms:.1f}", searches, f"{score_ms:.2f}", f"{share:.1%}")
        self.speed.add_row(size, *cells, "met" if share < TARGET_SHARE else "MISSED")
        kept_mb, copies_mb = memory_mb(state)
        self.room.add_row(size, str(count), f"{kept_mb:.1f}", f"{copies_mb:.1f}")
        row: dict[str, Any] = {"model": size, "normals": count, "embed_ms": embed_ms, "score_ms": score_ms}
        row |= {"search_ms": search_ms, "kept_mb": kept_mb, "copies_mb": copies_mb}
        for name, part in banks.items():
            hit, error = recall(part, views[name])
            met = "met" if hit >= TARGET_RECALL else "MISSED"
            self.recall.add_row(size, str(count), name, f"{hit:.4f}", met, f"{error:.2%}")
            row[f"recall_{name}"] = hit
        return row

    def learn(self, size: str, count: int, base: Material) -> dict[str, Any]:
        """Measure how long so many windows take to learn."""
        material = enlarged(base, count)
        begun_s = time.perf_counter()
        state = NormalState.learn("run", material)
        took_s = time.perf_counter() - begun_s
        print(f"{size}: learned {count} windows in {took_s:.1f} s", file=sys.stderr, flush=True)
        self.learning.add_row(size, str(count), f"{took_s:.1f}", str(state.windows))
        return {"model": size, "learned": count, "seconds": took_s}


def searching_ms(part: Nearest, vectors: NDArray[np.float16]) -> float:
    return median_ms(lambda: part.distances(vectors), 100)


def learned(material: Material) -> NormalState:
    """A state of many windows: where there are more than a bank holds, the rest is added without the usual thinning.

    Added windows have no local density of their own, which costs a search nothing.
    """
    most = normal_state.MAX_BANK
    state = NormalState.learn("run", material.pick(slice(0, most)))
    if len(material) <= most:
        return state
    parts = dict(state.parts)
    for name, vectors in (("echo", material.bands), ("spectrum", material.spectrum)):
        part = parts[name]
        if isinstance(part, Nearest):
            bank = np.concatenate([part.bank, part.whitened(vectors[most:])])
            crowding = np.ones(bank.shape[:3], np.float32)
            crowding[:most] = part.crowding
            parts[name] = Nearest(part._whitenings, bank, crowding)
    return replace(state, parts=parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer windows, and nothing learned that takes minutes")
    quick = parser.parse_args().quick
    tables, rows = Tables(), []
    for size in ("tiny", "small"):
        embedder = embedder_of(size)
        machine = machine_windows(1, RATE_HZ, LENGTH_S, 3)
        embed_ms = median_ms(lambda e=embedder, m=machine: e.embed(m), 15)  # type: ignore[misc]
        many = 60 if quick else 200
        heard = embedded(embedder, machine_windows(many + 20, RATE_HZ, LENGTH_S, 1))
        base, asked = Material.of(heard[:many]), heard[many:]
        asked += embedded(embedder, machine_windows(20, RATE_HZ, LENGTH_S, 2))  # another machine: a fault
        rows += [tables.against(size, count, embed_ms, base, asked) for count in (normal_state.MAX_BANK, 10_000)]
        rows += [tables.learn(size, count, base) for count in ((120, 720) if quick else (120, 720, 17_280))]
    for each in (tables.speed, tables.recall, tables.room, tables.learning):
        Console().print(each)
    print(json.dumps({"index": rows}))


if __name__ == "__main__":
    main()
