"""What is kept of every window of an operated machine: computed once, cached by machine and day, shared by all methods.

Shape suffixes: W = windows, C = channels, N = bands, D = embedding width, K = indicators.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echo_edge.artifact import load_package
from echo_edge.bearing_lines import Bearing
from echo_edge.embedder import Embedder
from echo_edge.engine.onnx import OnnxEngine
from echo_edge.indicators import IndicatorSpec, measure, names
from echo_edge.records import Embedding, Window
from sensors.machine import BPFI, BPFO
from tests.torture.hall import DAY_WINDOWS, HOP_S
from tests.torture.operation import Operation, site

MODEL = "echo-tiny"
BATCH = 8
HOP_NS = round(HOP_S * 1e9)
CENTRED, AS_IT_IS = ("bands", "spectrum"), ("indicators", "level_db")
ARRAYS = (*CENTRED, *AS_IT_IS)
ABOUT = ("point", "rate_hz", "first", "cost_s", "indicator_names", "hop_ns", "length_ns")
BEARING = Bearing(BPFO, BPFI, 2.357, 0.3983)  # 6205, as in ``sensors.machine``
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heard:
    """Windows in a row, as all methods see them."""

    point: str
    rate_hz: int
    first: int
    """Number of the first window since the stream began."""

    bands: Floats
    """Shape (W, C, N, D): embeddings."""

    spectrum: Floats
    """Shape (W, C, N, 32): what the encoder read, averaged over time."""

    indicators: Floats
    """Shape (W, C, K), in their units."""

    level_db: Floats
    """Shape (W, C)."""

    cost_s: dict[str, float]
    """Seconds of processor time per stage."""

    indicator_names: tuple[str, ...]
    hop_ns: int = HOP_NS
    length_ns: int = HOP_NS

    def __len__(self) -> int:
        return len(self.bands)

    @property
    def begin_ns(self) -> NDArray[np.int64]:
        """Shape (W,): when each window begins."""
        return (self.first + np.arange(len(self), dtype=np.int64)) * self.hop_ns

    def rows(self, begin: int, end: int) -> Heard:
        """Some of these windows, by their place among them; ``end`` not included."""
        cut: dict[str, Any] = {name: getattr(self, name)[begin:end] for name in ARRAYS}
        return replace(self, first=self.first + begin, **cut)

    def part(self, first: int, last: int) -> Heard:
        """Windows of these numbers since the stream began, ``last`` not included."""
        return self.rows(max(0, first - self.first), max(0, last - self.first))


def joined(parts: Iterable[Heard]) -> Heard:
    """Windows of stretches that follow each other."""
    all_of = list(parts)
    cost_s = {stage: sum(part.cost_s[stage] for part in all_of) for stage in all_of[0].cost_s}
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in all_of]) for name in ARRAYS}
    return replace(all_of[0], cost_s=cost_s, **arrays)


def make_embedder(model: str = MODEL) -> Embedder:
    package = load_package(model)
    return Embedder(package, OnnxEngine(package, 1))


def hear(windows: Iterable[Window], embedder: Embedder, hop_ns: int = HOP_NS, shaft_hz: float | None = None) -> Heard:
    """Compute everything of windows in a row, at least one.

    Args:
        shaft_hz: where it is known, the lines of a 6205 bearing join the indicators.
    """
    cost_s = dict.fromkeys(("simulate", "embed", "indicators"), 0.0)
    embeddings: list[Embedding] = []
    measured: list[NDArray[np.float64]] = []
    begin: Window | None = None
    for batch in _batches(windows, cost_s):
        begin = begin or batch[0]
        with _clock(cost_s, "embed"):  # its picture is large, and not needed
            embeddings += [replace(e, picture=e.picture[:, :0]) for e in embedder.embed(batch)]
        with _clock(cost_s, "indicators"):
            measured += [measure(window, IndicatorSpec.of(window, shaft_hz, BEARING)) for window in batch]
    if begin is None:
        raise ValueError("no window to hear")
    bands, spectrum, level_db = (
        np.stack([getattr(e, name) for e in embeddings]).astype(np.float32)
        for name in ("bands", "spectrum", "level_db")
    )
    first = round(begin.time_ns / hop_ns)
    return Heard(
        begin.point,
        begin.rate_hz,
        first,
        bands,
        spectrum,
        np.stack(measured).astype(np.float32),
        level_db,
        cost_s,
        names(IndicatorSpec.of(begin, shaft_hz, BEARING)),
        hop_ns,
        round(begin.length_s * 1e9),
    )


def _batches(windows: Iterable[Window], cost_s: dict[str, float]) -> Iterator[list[Window]]:
    feed = iter(windows)
    while True:
        with _clock(cost_s, "simulate"):
            batch = list(islice(feed, BATCH))
        if not batch:
            return
        yield batch


@contextmanager
def _clock(cost_s: dict[str, float], stage: str) -> Iterator[None]:
    begun_s = time.process_time()
    yield
    cost_s[stage] += time.process_time() - begun_s


@dataclass(frozen=True, slots=True)
class Growth:
    """A fault that grows evenly from nothing to ``top``."""

    fault: str
    top: float


@dataclass(frozen=True, slots=True)
class Piece:
    """Windows in a row of one machine's stream: what is heard and kept at a time."""

    machine: int
    first: int
    """Number of the first window since the stream began."""

    last: int
    """Past the last one."""

    growth: Growth | None = None
    """Over these windows; without one the machine is healthy."""

    @property
    def severity_w(self) -> NDArray[np.float64]:
        """How large the fault is at the end of each window: shape (W,)."""
        length = self.last - self.first
        return np.zeros(length) if self.growth is None else self.growth.top * np.arange(1, length + 1) / length

    def windows(self) -> Iterator[Window]:
        fault = None if self.growth is None else self.growth.fault
        severity_w = np.concatenate([np.zeros(self.first), self.severity_w])
        return Operation(site(self.machine), self.last, fault, severity_w).part(self.first, self.last)

    def file(self, cache: Path) -> Path:
        """Where it is kept. The name tells all that the content depends on, but the code and the model."""
        about = "" if self.growth is None else f"-{self.growth.fault}-{self.growth.top:g}"
        return cache / f"machine{self.machine:03d}-{self.first:07d}-{self.last:07d}{about}.npz"


@dataclass(frozen=True, slots=True)
class Stay:
    """A healthy machine, and how long it is listened to from the stream's beginning."""

    machine: int
    windows: int

    @property
    def pieces(self) -> list[Piece]:
        """Day by day."""
        begins = range(0, self.windows, DAY_WINDOWS)
        return [Piece(self.machine, begin, min(self.windows, begin + DAY_WINDOWS)) for begin in begins]


def read_piece(file: Path) -> Heard:
    with np.load(file, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        arrays = {name: _restored(stored, name) for name in CENTRED} | {name: stored[name] for name in AS_IT_IS}
        return Heard(**arrays, **{**about, "indicator_names": tuple(about["indicator_names"])})


def write_piece(file: Path, heard: Heard) -> None:
    """In half precision, without the mean of the day: what differs between windows keeps its digits."""
    about = {name: getattr(heard, name) for name in ABOUT}
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about))} | {name: getattr(heard, name) for name in AS_IT_IS}
    for name in CENTRED:
        values: Floats = getattr(heard, name)
        centre = values.mean(axis=0)
        arrays |= {name: (values - centre).astype(np.float16), f"{name}_centre": centre}
    unfinished = file.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as out:
        np.savez(out, **arrays)
    unfinished.replace(file)


def _restored(stored: Any, name: str) -> Floats:
    return stored[name].astype(np.float32) + stored[f"{name}_centre"]


def hear_piece(piece: Piece, cache: Path, model: str = MODEL) -> dict[str, float]:
    """Compute one piece unless it is there already; return what it cost."""
    file = piece.file(cache)
    if not file.exists():
        shaft_hz = site(piece.machine).shaft_hz
        write_piece(file, hear(piece.windows(), make_embedder(model), shaft_hz=shaft_hz))
    with np.load(file, allow_pickle=False) as stored:
        return dict(json.loads(str(stored["about"]))["cost_s"])


def hear_all(pieces: Sequence[Piece], cache: Path, jobs: int, model: str = MODEL) -> dict[str, float]:
    """Fill the cache, in as many processes; return seconds of processor time per stage over all windows."""
    cache.mkdir(parents=True, exist_ok=True)
    total: Counter[str] = Counter()
    for cost_s in in_processes(hear_piece, [(piece, cache, model) for piece in pieces], jobs, "pieces heard"):
        total.update(cost_s)
    return dict(total)


def in_processes(work: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], jobs: int, title: str) -> list[Any]:
    """Return what ``work`` makes of every task, in order, and show how far it is."""
    done: list[Any] = [None] * len(tasks)
    begun_s = time.monotonic()
    for library in ("OMP", "OPENBLAS", "MKL"):  # each process is one core's worth
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(work, *task): i for i, task in enumerate(tasks)}
        for count, future in enumerate(as_completed(running), 1):
            done[running[future]] = future.result()
            passed_s = time.monotonic() - begun_s
            left_s = passed_s / count * (len(tasks) - count)
            bar = "#" * round(30 * count / len(tasks))
            end = "\n" if count == len(tasks) else "\r"
            print(
                f"{title} [{bar:<30}] {count}/{len(tasks)}, {passed_s:.0f} s, {left_s:.0f} s to go ",
                end=end,
                file=sys.stderr,
                flush=True,
            )
    return done
