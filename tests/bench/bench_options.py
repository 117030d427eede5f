"""How fast the encoder is in each arithmetic this machine can do: fp32, int8, and OpenVINO's where it is installed.

Speed alone: what a lower precision costs in verdicts is measured by ``bench_verdicts``, with trained weights
(docs/decisions/0014-cpu-precision.md). OpenVINO is not among this project's dependencies; ``pip install openvino`` adds
its columns. One thread, turn by turn, least processor time per window, against our single-precision engine in the same
run; 1 - cosine is of the band vectors.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from echo_edge import frontend
from echo_edge.artifact import load_package
from tests.bench.bench_encoder import LENGTHS_S, RATES_HZ, fastest_ms
from tests.bench.bench_verdicts import calibration
from tests.bench.precisions import engines
from trainer.export import export_package
from trainer.model.echo import PRESETS, Echo


def main() -> None:
    table = Table("model", "window", "option", "ms", "times fp32", "1 - cosine", title="CPU options, one thread")
    rows = []
    heard = calibration()
    for size in ("tiny", "small"):
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            model = Echo(PRESETS[size]).eval()
            path, _ = export_package(model, Path(folder), size, provenance="bench", licence="none")
            made = engines(load_package(path), Path(folder), heard)
            runs = {name: make().run for name, make in made.items()}
            for rate_hz in RATES_HZ:
                for length_s in LENGTHS_S:
                    noise = np.random.default_rng(0).standard_normal(rate_hz * length_s).astype(np.float32)
                    bands, position = frontend.bands(noise, rate_hz)
                    exact = runs["fp32"](bands, position)
                    ms = fastest_ms(5, **{name: partial(run, bands, position) for name, run in runs.items()})
                    for name, run in runs.items():
                        found = run(bands, position)
                        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1)
                        off = float(1 - ((found * exact).sum(axis=1) / lengths).min())
                        times = ms["fp32"] / ms[name]
                        window = f"{rate_hz // 1000} kHz {length_s} s"
                        rows.append({"size": size, "window": window, "option": name, "ms": ms[name], "times": times})
                        table.add_row(size, window, name, f"{ms[name]:.1f}", f"{times:.2f}", f"{max(off, 0):.1e}")
    Console(width=100).print(table)
    print(json.dumps({"options": rows}))


if __name__ == "__main__":
    main()
