"""Small pretraining runs that several tests share: a few steps of a tiny encoder, here or in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from trainer.config import PretrainConfig, read_config
from trainer.data.manifest import Manifest, Recording, read_manifest, write_manifest
from trainer.distributed import World
from trainer.pretrain import pretrain

ROOT = Path(__file__).resolve().parents[2]
TINY = """
model: {width: 32, depth: 2}
data: {clips_per_batch: 4, bands_per_batch: 12, crop_s: [0.4, 0.8], workers: 0}
objective: {clone_budget: 6, decoder_layers: 1}
optimiser: {base_lr: 0.1}
run: {steps: 6, log_every: 1, save_every: 2}
"""
OF_THE_CLOCK = {"bands_per_s", "data_wait_share", "flop_utilisation"}

# The public way to look at a run from outside is its evaluation; here it is what befalls the process instead.
BEFALLEN = """
import os, resource, signal, sys
import torch, typer
import trainer.pretrain
def befall(*_):
    {what}
    return {{}}
trainer.pretrain.evaluate_while_training = befall
torch.set_num_threads(1)
typer.run(trainer.pretrain.main)
"""
KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


def recorded(folder: Path, name: str, samples: NDArray[Any], rate_hz: int, **changes: Any) -> Recording:
    """Write one recording and return its row."""
    folder.mkdir(exist_ok=True)
    soundfile.write(folder / name, samples, rate_hz, subtype="FLOAT")
    frames, channels = (*samples.shape, 1)[:2]
    row: dict[str, Any] = {"offset_s": 0.0, "duration_s": frames / rate_hz, "split": "train", "licence": "CC0-1.0"}
    digest = sha256((folder / name).read_bytes()).hexdigest()
    return Recording(name, rate_hz, channels, frames, sha256=digest, **{**row, **changes})


def listed(folder: Path, recordings: Sequence[Recording]) -> Manifest:
    """Write a manifest and read it back."""
    write_manifest(folder / "all.csv", recordings)
    return read_manifest(folder / "all.csv")


def noises(folder: Path, lengths_s: Sequence[float], rates_hz: Sequence[int] = (8_000, 16_000, 44_100)) -> Manifest:
    """Return a manifest of recorded noise, ``0.wav`` and so on, of these lengths, at these rates in turn."""
    rows = []
    for number, length_s in enumerate(lengths_s):
        rate_hz = rates_hz[number % len(rates_hz)]
        noise = 0.1 * np.random.default_rng(number).standard_normal(round(length_s * rate_hz))
        rows.append(recorded(folder, f"{number}.wav", noise, rate_hz))
    return listed(folder, rows)


def configured(folder: Path, *changes: str) -> PretrainConfig:
    """Return the tiny run's configuration; a manifest's name is relative to ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(TINY)
    return read_config(folder / "tiny.yaml", changes)


def run_here(folder: Path, out: str, *changes: str) -> Path:
    """Run or continue the tiny configuration in this process; return the run's folder."""
    pretrain(configured(folder, *changes), folder / out, World())
    return folder / out


def run_apart(
    folder: Path, out: str, *changes: str, befalls: str = "pass", processes: int = 1
) -> subprocess.Popen[str]:
    """Start the same in a process of its own, or in several under ``torchrun``; ``befalls`` is done at evaluations."""
    configured(folder, *changes)
    script = folder / f"{out}.py"
    script.write_text(BEFALLEN.format(what=befalls))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    sets = [word for change in changes for word in ("--set", change)]
    command = [sys.executable, *(torchrun if processes > 1 else []), str(script), str(folder / "tiny.yaml")]
    return subprocess.Popen(
        [*command, str(folder / out), *sets],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def metrics(run: Path) -> list[dict[str, float]]:
    """Return a run's lines, less what the clock says."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in OF_THE_CLOCK} for line in lines]
