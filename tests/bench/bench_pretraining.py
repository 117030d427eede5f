"""How fast pretraining is here: bands a second, beside what matrix products reach in the same run; waiting for data.

One step is that of the training loop: forward, backward, clip, AdamW, teacher, on one batch of simulated machines as
long as ``--seconds``. Steps in fp32, steps in bf16 and matrix products take turns, so that a busy machine slows all of
them; the fastest of each counts. With ``--threads 1`` processor time is taken, which another process cannot stretch.
The waiting is that of a real run of ``trainer.pretrain``, by the clock, with clips of all lengths and one worker.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.profiler import ProfilerActivity, profile

from trainer.bands import bands_of
from trainer.config import PretrainConfig, read_config
from trainer.data.dataset import Batch, Batches
from trainer.distributed import World
from trainer.loop import PRECISION
from trainer.model.echo import Echo
from trainer.objective import Objective, step_flops
from trainer.pretrain import optimiser_of, pretrain

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"
TARGET_SHARE = {"tiny": 0.25, "small": 0.40}  # of the bf16 peak
TARGET_WAITING = 0.05
CLIPS_ON_GPU = {"tiny": 32, "small": 256}  # as many as fill it
PRODUCTS = {  # rows, inner, columns: those of the encoder stay in a processor's cache, a GPU needs large ones
    "cpu": ((1024, 192, 768), (1024, 768, 192), (512, 384, 768), (1024, 1024, 1024)),
    "cuda": ((4096, 4096, 4096), (8192, 8192, 8192)),
}
IN_PRODUCTS = re.compile(r"^aten::(?:\w*mm|\w*convolution\w*|\w*attention\w*)$")
WARM_UP, WATCHED = 8, 16  # steps of the run that is watched for waiting


def configured(size: str, device: torch.device, *changes: str) -> PretrainConfig:
    """Return the configuration of a size, on simulated machines alone, with one process's part of the batch."""
    clips = CLIPS_ON_GPU[size] if device.type == "cuda" else 8
    low, high = read_config(CONFIGS / f"echo-{size}.yaml").data.bands_per_clip
    share = (f"data.clips_per_batch={clips}", f"data.bands_per_batch={clips * (low + high) // 2}")
    return read_config(CONFIGS / f"echo-{size}.yaml", ("data.manifests=[]", "model.start=null", *share, *changes))


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes: processor time with one thread, else by the clock."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    start = clock()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


class Step:
    """One step of training, again and again on the same batch."""

    def __init__(self, config: PretrainConfig, batch: Batch, precision: str, device: torch.device) -> None:
        torch.manual_seed(0)
        self._objective = Objective(Echo(config.model.echo()), config.objective).to(device)
        self._optimiser = optimiser_of(self._objective, config.optimiser)
        self._model = torch.compile(self._objective) if config.run.compile else self._objective
        self._bands = bands_of(batch, device)
        self._precision, self._device = precision, device
        self._per_clip = config.data.bands_per_batch / config.data.clips_per_batch

    @property
    def flops(self) -> float:
        rows, _, frames = self._bands.seen.shape
        return step_flops(self._objective, rows, frames, self._per_clip)

    def __call__(self) -> None:
        with torch.autocast(self._device.type, PRECISION[self._precision], enabled=self._precision != "fp32"):
            loss = self._model(self._bands, self._per_clip).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self._objective.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._objective.update_teacher(0.999)

    def outside_products(self) -> float:
        """Return the share of a step's time in anything but matrix products, convolutions among them."""
        cuda = self._device.type == "cuda"
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as seen:
            self()
        times = {
            event.key: event.self_device_time_total if cuda else event.self_cpu_time_total
            for event in seen.key_averages()
            if event.key.startswith("aten::")  # a GPU's kernels are listed again by their own names
        }
        inside = sum(us for name, us in times.items() if IN_PRODUCTS.match(name))
        return float(1 - inside / sum(times.values()))


def measure(size: str, device: torch.device, turns: int, length_s: float, compiled: bool) -> dict[str, Any]:
    """Return peaks, and throughput of both precisions, of one size."""
    config = configured(
        size, device, f"data.crop_s=[{length_s}, {length_s}]", "data.clip_s=0", f"run.compile={compiled}"
    )
    batch = Batches(config.data, [], seed=0)[0]
    steps = {precision: Step(config, batch, precision, device) for precision in ("fp32", "bf16")}
    flops: dict[Any, float] = {}
    products: dict[Any, Callable[[], object]] = {}
    for precision in steps:
        for shape in PRODUCTS[device.type]:
            m, k, n = shape
            a, b = (torch.randn(*s, device=device, dtype=PRECISION[precision]) for s in ((m, k), (k, n)))
            products[precision, shape] = partial(torch.matmul, a, b)
            flops[precision, shape] = 2 * m * k * n
    calls: dict[Any, Callable[[], object]] = {**products, **steps}
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(turns + 1):
        for name, call in calls.items():
            repeats = 1 if name in steps else 5
            taken = min(seconds(call, device) for _ in range(repeats))
            if turn:  # the first warms up
                best[name] = min(best[name], taken)
    peaks = {p: max(flops[p, s] / best[p, s] for s in PRODUCTS[device.type]) / 1e9 for p in steps}
    return {
        "size": size,
        "device": device.type,
        "bands": len(batch.rows["clip"]),
        "gflop": round(steps["fp32"].flops / 1e9, 1),
        "peak_gflops": {precision: round(peak) for precision, peak in peaks.items()},
        "precisions": {
            precision: {
                "step_s": round(best[precision], 4),
                "bands_per_s": round(len(batch.rows["clip"]) / best[precision], 1),
                "of_fp32_peak": round(step.flops / best[precision] / peaks["fp32"] / 1e9, 3),
                "of_bf16_peak": round(step.flops / best[precision] / peaks["bf16"] / 1e9, 3),
                "outside_products": round(step.outside_products(), 3),
            }
            for precision, step in steps.items()
        },
    }


def watch(size: str, device: torch.device, precision: str) -> dict[str, float]:
    """Return what a real run logs of its speed, over steps with clips of all lengths."""
    changes = (f"run.steps={WARM_UP + WATCHED}", f"run.precision={precision}", "run.evaluate_every=0")
    workers = ("data.workers=1",) if device.type == "cpu" else ()
    config = configured(
        size, device, *changes, *workers, f"run.log_every={WARM_UP}", "run.collapse_below=0", "run.compile=false"
    )
    with tempfile.TemporaryDirectory() as folder:
        pretrain(config, Path(folder), World(device=device))
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    watched = [line for line in lines if line["step"] > WARM_UP]
    return {
        key: round(sum(line[key] for line in watched) / len(watched), 4)
        for key in ("bands_per_s", "data_wait_share", "flop_utilisation")
    }


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print a table for people."""
    table = Table(title="pretraining: one step, and a real run's waiting")
    for heading in ("model", "on", "GFLOP", "precision", "bands/s", "of fp32 peak", "of bf16 peak", "outside products",
                    "run: bands/s", "waiting"):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in rows:
        for precision, found in row["precisions"].items():
            good = found["of_bf16_peak"] >= TARGET_SHARE[row["size"]]
            ran = row["run"] if precision == row["run"]["precision"] else None
            waiting = (
                f"{ran['data_wait_share']:.1%}{'' if ran['data_wait_share'] <= TARGET_WAITING else ' !'}" if ran else ""
            )
            table.add_row(
                row["size"], row["device"], f"{row['gflop']:.0f}", precision, f"{found['bands_per_s']:.0f}",
                f"{found['of_fp32_peak']:.0%}", f"{found['of_bf16_peak']:.0%}{'' if good else ' !'}",
                f"{found['outside_products']:.0%}", f"{ran['bands_per_s']:.0f}" if ran else "", waiting,
            )  # fmt: skip
    console.print(table)
    for row in rows:
        peaks = ", ".join(f"{precision} {peak} GFLOP/s" for precision, peak in row["peak_gflops"].items())
        console.print(f"peak of matrix products on {row['device']} beside {row['size']}: {peaks}")
    console.print("! misses its target: of the bf16 peak 25 % for tiny, 40 % for small; waiting at most 5 %")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench_pretraining", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--sizes", nargs="+", default=["tiny", "small"], choices=sorted(TARGET_SHARE))
    parser.add_argument("--turns", type=int, default=4, help="how often each takes its turn; the fastest counts")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the clips of the measured step")
    parser.add_argument("--threads", type=int, help="of torch (default: as many as it takes)")
    parser.add_argument("--compile", action="store_true", help="measure the step through torch.compile")
    parser.add_argument("--no-run", action="store_true", help="leave the real run out")
    arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    for name in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for size in arguments.sizes:
            device = torch.device(name)
            row = measure(size, device, arguments.turns, arguments.seconds, arguments.compile)
            faster = max(row["precisions"], key=lambda p: row["precisions"][p]["bands_per_s"])
            ran = {} if arguments.no_run else watch(size, device, faster)
            rows.append({**row, "run": {"precision": faster if ran else "", **ran}})
    show(rows, Console(width=120))
    print(json.dumps({"pretraining": rows, "threads": torch.get_num_threads()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
