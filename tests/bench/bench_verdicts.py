"""Whether a cheaper arithmetic gives the same verdicts as fp32, and how much faster it is.

    .venv/bin/python -m tests.bench.bench_verdicts echo-tiny --data ../shared/data

Every precision learns the same normals by itself, sets its own threshold, and judges the same windows through the
daemon's own steps, as it would in the field. One more row says what a difference is worth: fp32 again, but with one
window in twenty not learned.

Agreement is the share of windows that are above or below the threshold in both. ``score off`` is the change of
score / threshold (median and 99th percentile), ``company`` the largest of the score when a window shares its call with
others, whose loudness decides on the scale of all. Times are of processor time in the engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from echo_edge import frontend
from echo_edge.artifact import ModelPackage, load_package
from echo_edge.config import Config
from echo_edge.embedder import Embedder
from echo_edge.engine import Engine
from echo_edge.enroll import Enrollment
from echo_edge.normal import Normal
from echo_edge.pipeline import Pipeline
from echo_edge.records import Embedding, Window
from sensors import FAULTS, Machine
from tests.bench.precisions import FloatArray, Inputs, engines
from tests.bench.verdict_worlds import KINDS, World, worlds
from tests.world import POINT, make_config

TARGET = 0.999
FEWER = "fp32, learned 5 % less"
NEAR = 0.25  # a window so close to the threshold (as a share of it) may change sides
TOGETHER = 16  # windows in one call, to see what company does to a verdict


class Timed:
    """An engine that counts the processor time it takes."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._engine = engine
        self.name, self.embed_dim = name, engine.embed_dim
        self.cpu_s = 0.0

    def run(self, bands: FloatArray, position: FloatArray) -> FloatArray:
        begun_s = time.process_time()
        found = self._engine.run(bands, position)
        self.cpu_s += time.process_time() - begun_s
        return found


@dataclass(slots=True)
class Judged:
    """What one precision said of all windows of all worlds, in order."""

    ratio: list[float] = field(default_factory=list)
    """Score by threshold."""

    level: list[str] = field(default_factory=list)
    events: set[tuple[int, str]] = field(default_factory=set)
    """Window and type; repeats of an open alert are left out."""

    cosine_off: float = 0.0
    """The worst 1 - cosine of a band vector."""

    company: float = 0.0
    """The largest relative change of a score by other windows in the same call."""

    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """The embeddings of one world."""

    learned: dict[str, list[Embedding]]
    judged: list[Embedding]


def calibration() -> list[Inputs]:
    """Some seconds of machines that are not judged, for the static quantizer."""
    heard = []
    for seed, rate_hz in enumerate((16_000, 25_600, 48_000) * 6):
        machine = Machine(1000 + seed, rate_hz, shaft_hz=15 + 2 * seed)
        machine.set_fault((None, *FAULTS)[seed % 6], 0.5)
        machine.samples(rate_hz)
        heard.append(frontend.bands(machine.samples(2 * rate_hz)[:, 0], rate_hz))
    return heard


def config_of(world: World) -> Config:
    window = {"length_s": world.length_s, "hop_s": world.hop_s}
    return make_config(machines={"pump": {"points": {"de": {"device": "acc", "window": window}}}})


def hear(embedder: Embedder, world: World, bar: Progress) -> Heard:
    """Embed window by window, as one point of a gateway does."""
    task = bar.add_task(f"{world.name}, {embedder.engine_name}", total=world.size)

    def embed(window: Window) -> Embedding:
        bar.advance(task)
        return embedder.embed([window])[0]

    learned = {state: [embed(window) for window in windows] for state, windows in world.learned.items()}
    judged = [embed(window) for _, window in world.judged]
    bar.remove_task(task)
    return Heard(learned, judged)


def judge(judged: Judged, embedder: Embedder, world: World, heard: Heard, fewer: bool = False) -> None:
    """Enroll and judge by the pipeline's own steps; add what was said to ``judged``."""
    config = config_of(world)
    point = Pipeline(config, embedder).points[POINT]
    for state, windows in world.learned.items():
        enrollment = Enrollment(POINT, state, 0, "bench")
        for n, (window, embedding) in enumerate(zip(windows, heard.learned[state], strict=True)):
            if not (fewer and n % 20 == 10):
                enrollment.add(embedding, point.origin(window))
        point.adopt(enrollment.finish(point.baseline))
    first = len(judged.ratio)
    for n, ((_, window), embedding) in enumerate(zip(world.judged, heard.judged, strict=True)):
        verdict = point.judge(window, embedding)
        assert verdict.score is not None, verdict.reason
        judged.ratio.append(verdict.score.value / verdict.score.threshold)
        judged.level.append(verdict.level)
        if verdict.event is not None and verdict.event.type != "update":
            judged.events.add((first + n, verdict.event.type))
    assert point.baseline is not None
    if not fewer:
        alert = point.config.alert
        normal = Normal("bench", list(point.baseline.states), 1.0, world.hop_s, alert.windows)
        picked = np.linspace(0, len(world.judged) - 1, TOGETHER).astype(int)
        together = embedder.embed([world.judged[i][1] for i in picked])
        alone = np.array([normal.score(heard.judged[i]).value for i in picked])
        changes = np.abs(np.array([normal.score(e).value for e in together]) / alone - 1)
        judged.company = max(judged.company, float(changes.max()))


def cosine_off(exact: Heard, found: Heard) -> float:
    """The worst 1 - cosine of a band vector."""
    worst = 0.0
    for one, other in zip(exact.judged, found.judged, strict=True):
        a, b = one.bands.astype(np.float64), other.bands.astype(np.float64)
        cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
        worst = max(worst, float((1 - cosine).max()))
    return worst


def measure(
    package: ModelPackage, machines: int, data: Path | None, console: Console, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what every precision (or fp32 and ``only`` those) said, beside fp32."""
    kinds: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as bar:
        made_by = engines(package, Path(folder), calibration())
        timed = {name: Timed(name, make()) for name, make in made_by.items() if not only or name in ("fp32", *only)}
        said = {name: Judged() for name in (*timed, FEWER)}
        made = worlds(machines, data)
        task = bar.add_task("all", total=len(made) * len(timed))
        for make_world in made:
            world = make_world()
            kinds += [(world.name, kind) for kind, _ in world.judged]
            exact: Heard | None = None
            for name, engine in timed.items():
                embedder, before_s = Embedder(package, engine), engine.cpu_s
                heard = hear(embedder, world, bar)
                said[name].cpu_s += engine.cpu_s - before_s
                exact = exact or heard
                said[name].cosine_off = max(said[name].cosine_off, cosine_off(exact, heard))
                judge(said[name], embedder, world, heard)
                bar.advance(task)
            assert exact is not None
            judge(said[FEWER], Embedder(package, timed["fp32"]), world, exact, fewer=True)
    rows = [figures(name, said["fp32"], one, kinds) for name, one in said.items()]
    return {"bench": "verdicts", "package": package.name, "sha256": package.sha256, "target": TARGET, "rows": rows}


def figures(name: str, exact: Judged, found: Judged, kinds: list[tuple[str, str]]) -> dict[str, Any]:
    """Return one precision's agreement with fp32, all together, by kind and by world."""
    was, now = np.array(exact.ratio), np.array(found.ratio)
    same, off = (was > 1) == (now > 1), np.abs(now / was - 1)
    kind, world = np.array([kind for _, kind in kinds]), np.array([world for world, _ in kinds])
    events = len(exact.events | found.events)
    return {
        "option": name,
        "windows": len(same),
        "agree": float(same.mean()),
        "agree_by_kind": {k: float(same[kind == k].mean()) for k in KINDS if k in kind},
        "agree_by_world": {w: float(same[world == w].mean()) for w in dict.fromkeys(world.tolist())},
        "above_by_kind": {k: float((now > 1)[kind == k].mean()) for k in KINDS if k in kind},
        "near": float((np.abs(was - 1) < NEAR).mean()),
        "agree_near": float(same[np.abs(was - 1) < NEAR].mean()),
        "levels_agree": float(np.mean([a == b for a, b in zip(exact.level, found.level, strict=True)])),
        "events_agree": len(exact.events & found.events) / events if events else 1.0,
        "events": len(found.events),
        "score_off_median": float(np.median(off)),
        "score_off_p99": float(np.quantile(off, 0.99)),
        "cosine_off": found.cosine_off,
        "company": found.company,
        "ms": 1e3 * found.cpu_s / len(same),  # of learned and judged windows, by the judged: only the ratio counts
        "times": exact.cpu_s / found.cpu_s if found.cpu_s else None,
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Print one table."""
    rows = result["rows"]
    windows = f"{rows[0]['windows']} windows, {rows[0]['near']:.1%} of them within {NEAR:.0%} of the threshold"
    title = f"verdicts of {result['package']}: agreement with fp32 on {windows}; target {TARGET:.1%}"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False)
    table.add_column("", no_wrap=True)
    kinds = list(rows[0]["agree_by_kind"])
    headings = ("windows", *kinds, "near", "levels", "alerts", "score off", "99 %", "1 - cos", "company", "times")
    for heading in headings:
        table.add_column(heading.replace(" ", "\n", 1), justify="right")
    for row in rows:
        own = row["times"] is not None
        table.add_row(
            row["option"],
            f"{row['agree']:.2%}{'' if row['agree'] >= TARGET else ' !'}",
            *(f"{row['agree_by_kind'][kind]:.1%}" for kind in kinds),
            f"{row['agree_near']:.1%}",
            f"{row['levels_agree']:.1%}",
            f"{row['events_agree']:.0%}",
            f"{row['score_off_median']:.1%}",
            f"{row['score_off_p99']:.1%}",
            f"{row['cosine_off']:.0e}" if own else "",
            f"{row['company']:.1%}" if own else "",
            f"{row['times']:.2f}" if own else "",
        )
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench_verdicts", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("package", help="a model package: a name or a path")
    parser.add_argument("--machines", type=int, default=8, help="how many invented machines (default: 8)")
    parser.add_argument("--only", nargs="+", default=(), help="of the options, these (default: all that are here)")
    parser.add_argument("--data", type=Path, help="folder with cwru/ and bldc_motor_mic/, judged too when given")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args(argv)
    console = Console(width=150)
    result = measure(load_package(arguments.package), arguments.machines, arguments.data, console, arguments.only)
    show(result, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
