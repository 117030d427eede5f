"""What a verdict costs beside the embedding it judges: nearest neighbours among 1,000 normal windows, band by band."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from echo_edge.artifact import load_package
from echo_edge.embedder import Embedder
from echo_edge.engine import create_engine
from echo_edge.normal import Normal, NormalState
from echo_edge.records import Window

NORMALS = 1000
TARGET_SHARE = 0.02
SECOND_NS = 1_000_000_000


def median_ms(work: Callable[[], object], repeats: int) -> float:
    work()
    taken = []
    for _ in range(repeats):
        begun_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun_s)
    return float(np.median(taken)) * 1e3


def main() -> None:
    package = load_package("echo-tiny")
    embedder = Embedder(package, create_engine("auto", package, threads=1))
    random = np.random.default_rng(0)
    table = Table("window", "embed [ms]", "search [ms]", "share", f"target < {TARGET_SHARE:.0%}", "whole score [ms]")
    table.title = f"scoring against {NORMALS} normals, {package.name}, one thread"
    rows = []
    for rate_hz in (16_000, 48_000):
        for length_s in (2, 5, 10):
            noise = random.standard_normal((1, rate_hz * length_s)).astype(np.float32)
            window = Window("m/p", noise, rate_hz, 0)
            (embedding,) = embedder.embed([window])
            vectors = embedding.bands + 0.1 * random.standard_normal((NORMALS, *embedding.bands.shape))
            starts = np.arange(NORMALS, dtype=np.int64) * length_s * SECOND_NS
            state = NormalState.learn("run", vectors.astype(np.float32), starts, starts + length_s * SECOND_NS)
            normal = Normal("bl_0001", [state], 1.0, length_s, 5)
            embed_ms = median_ms(lambda w=window: embedder.embed([w]), 15)  # type: ignore[misc]
            search_ms = median_ms(lambda s=state, e=embedding: s.ratios(e.bands), 200)  # type: ignore[misc]
            score_ms = median_ms(lambda n=normal, e=embedding: n.score(e), 200)  # type: ignore[misc]
            share = search_ms / embed_ms
            name = f"{rate_hz // 1000} kHz {length_s} s"
            rows.append({"window": name, "embed_ms": embed_ms, "search_ms": search_ms, "score_ms": score_ms})
            met = "met" if share < TARGET_SHARE else "MISSED"
            table.add_row(name, f"{embed_ms:.1f}", f"{search_ms:.3f}", f"{share:.2%}", met, f"{score_ms:.3f}")
    Console().print(table)
    print(json.dumps({"index": rows}))


if __name__ == "__main__":
    main()
