"""How long a year of DCASE takes: ECHO-Small on clips of ten seconds, through the benchmark's engine and one at a time.

Three ways take turns on the same files, so that a busy machine slows all: torch eager, one clip after the other, as
the published extractor does; the engine with torch; the engine with ONNX Runtime (processor only). Each starts from
the WAV files and ends with vectors; the engine's also lie in its cache. The fastest of several turns counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from trainer.export import export_package
from trainer.model.echo import PRESETS, Echo
from trainer.siren.encoders.echo import TorchEcho, echo
from trainer.siren.engine import embed_clips
from trainer.siren.tasks.base import Clip

RATE_HZ, CLIP_S = 16_000, 10
YEAR_CLIPS = 10_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as name:
        clips_per_s = _measure(Path(name), arguments.clips, arguments.turns, device)
    slowest = clips_per_s["torch eager, one clip at a time"]
    table = Table("ECHO-Small, 16 kHz, 10 s", "clips/s", f"{YEAR_CLIPS} clips", "ratio")
    for way, rate in clips_per_s.items():
        minutes = YEAR_CLIPS / rate / 60
        table.add_row(
            way,
            f"{rate:.2f}",
            f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h",
            f"{rate / slowest:.2f}",
        )
    Console().print(table, f"on {device}, {torch.get_num_threads()} threads")
    return 0


def _measure(folder: Path, count: int, turns: int, device: torch.device) -> dict[str, float]:
    random = np.random.default_rng(0)
    clips = []
    for i in range(count):
        path = folder / f"{i}.wav"
        soundfile.write(path, random.normal(0, 0.1, RATE_HZ * CLIP_S), RATE_HZ)
        clips.append(Clip(name=path.name, path=path, rate_hz=RATE_HZ))
    torch.manual_seed(0)
    model = Echo(PRESETS["small"]).to(device).eval()
    batched = TorchEcho("torch", model, device)

    def one_at_a_time(_: Path) -> None:
        with torch.inference_mode():
            for clip in clips:
                samples, _rate = soundfile.read(clip.path, dtype="float32")
                model.embed(torch.from_numpy(samples).to(device), RATE_HZ)[0].cpu()

    ways: dict[str, Callable[[Path], object]] = {
        "torch eager, one clip at a time": one_at_a_time,
        "the engine, torch": lambda cache: embed_clips(batched, clips, cache),
    }
    if device.type == "cpu":
        package, _report = export_package(model, folder, "bench-small", provenance="none", licence="none")
        runtime = echo(str(package), device)
        ways["the engine, ONNX Runtime"] = lambda cache: embed_clips(runtime, clips, cache)
    best = dict.fromkeys(ways, 0.0)
    for turn in range(turns):
        for number, (way, run) in enumerate(ways.items()):
            before = time.perf_counter()
            run(folder / f"cache-{turn}-{number}")
            best[way] = max(best[way], count / (time.perf_counter() - before))
    return best


if __name__ == "__main__":
    sys.exit(main())
