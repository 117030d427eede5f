"""What a run says of itself: JSON lines, TensorBoard, a progress bar, and its arithmetic.

Shape suffixes: M = masked sequences, L = tokens, D = width.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import TracebackType

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from trainer.files import publish
from trainer.model.echo import EchoConfig


class Log:
    """Metrics of one run, written by its first process."""

    def __init__(self, folder: Path, step: int, total: int) -> None:
        self._lines = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns)
        self._task = self._progress.add_task("pretraining", total=total, completed=step)

    def __enter__(self) -> Log:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()
        self._board.close()
        self._lines.close()

    def advance(self, step: int) -> None:
        self._progress.update(self._task, completed=step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line of metrics."""
        digits = {key: float(f"{value:.9g}") for key, value in values.items()}  # nine tell every float32 from the next
        self._lines.write(json.dumps({"step": step, **digits}) + "\n")
        self._lines.flush()
        for key, value in values.items():
            self._board.add_scalar(key, value, step)
        loss = values.get("loss")
        if loss is not None:
            self._progress.update(self._task, description=f"loss {loss:.4f}")


def cut_after(path: Path, step: int) -> None:
    """Drop lines of later steps, and a last one that was cut short: a resumed run writes them again."""
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
        publish(path, "".join(line + "\n" for line in lines).encode())


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return math.inf


def encoder_flops(config: EchoConfig, sequences: int, tokens: int, *, cls_only: bool = False) -> float:
    """Return the floating-point operations of the matrix products of one forward pass over (M, L, D).

    ``cls_only``: the last layer computes keys and values of all tokens, the rest for CLS alone.
    """
    dim, hidden = config.embed_dim, config.embed_dim * config.mlp_ratio
    keys, rest, attention = 4 * dim * dim, 4 * dim * dim + 4 * dim * hidden, 4 * tokens * dim
    layer = tokens * (keys + rest + attention)
    last = tokens * keys + rest + attention if cls_only else layer
    return sequences * ((config.depth - 1) * layer + last)


class Stopwatch:
    """Where the time goes: in the step, or in waiting for data."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.waited_s = 0.0

    def waiting(self, since: float) -> None:
        self.waited_s += time.perf_counter() - since

    def lap(self) -> tuple[float, float]:
        """Return seconds since the last lap and the part of them spent waiting; begin a new lap."""
        now = time.perf_counter()
        total_s, waited_s = now - self._start, self.waited_s
        self._start, self.waited_s = now, 0.0
        return total_s, waited_s


@cache
def peak_flops(device: torch.device, dtype: torch.dtype, size: int = 2048, repeats: int = 5) -> float:
    """Measure what a plain matrix product reaches here, in operations per second: what utilisation is a share of."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best_s = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        c = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best_s = min(best_s, time.perf_counter() - start)
    del c
    return 2 * size**3 / best_s
