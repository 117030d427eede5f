"""Evaluate encoders on the SIREN benchmark.

    python -m trainer.siren check cwru DATA/cwru                          what is there, and what is missing
    python -m trainer.siren run cwru DATA/cwru                            all encoders that need no download
    python -m trainer.siren run dcase2023 DATA --encoder runs/echo-small/checkpoint.pth --encoder mean-log-spectrum
    torchrun --nproc-per-node 4 -m trainer.siren run mafaulda DATA/mafaulda --encoder echo-tiny
    python -m trainer.siren encoders                                      their names, and the files to fetch
    python -m trainer.siren methods DATA                                  ways to score, on machines in noise

Every run adds to the report in --out. A run that was stopped goes on where it was: vectors are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from trainer.distributed import world
from trainer.evaluation.recordings import DataError
from trainer.files import publish
from trainer.siren.encoders.base import Mode
from trainer.siren.errors import SirenError, TreeError
from trainer.siren.methods import measure
from trainer.siren.parts import by_parts, equally_wide
from trainer.siren.picture import picture
from trainer.siren.registry import FETCHED, WITHOUT_DOWNLOAD, Choice, encoder
from trainer.siren.report import markdown
from trainer.siren.results import load_all, save
from trainer.siren.run import Wanted, evaluate
from trainer.siren.tasks import TASKS
from trainer.siren.tasks.base import Task

RATE_HZ = 48_000  # at which encoders are asked whether their bands are equally wide
SHOWN = 40  # problems, before a line says how many more

HELP = str(__doc__).replace("\n\n    python", "\n\n\b\n    python")  # so that the examples keep their lines
app = typer.Typer(help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
console = Console(stderr=True, soft_wrap=True)


class Modes(str, Enum):
    """Which figures are wanted."""

    siren = "siren"
    strict = "strict"
    both = "both"


Words = Annotated[
    list[str] | None,
    typer.Option("--encoder", metavar="WORD", help="see the command 'encoders'; default: all without a download"),
]
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help=", ".join(TASKS))]
Root = Annotated[Path, typer.Argument(metavar="ROOT", help="the data set's folder")]


@app.command()
def check(dataset: DatasetName, root: Root) -> None:
    """Say what of a data set is there and what is missing; exit with 1 when something is."""
    try:
        task = _task(dataset)
        listing = task.find(root)
    except SirenError as error:
        raise _fail(error) from error
    table = Table("clips of", "found", "official", title=f"{task.title} in {root}")
    for count in listing.counts:
        official = "not published" if count.official is None else f"{'about ' if count.about else ''}{count.official}"
        table.add_row(count.what, str(count.found), official, style="" if count.complete else "bold red")
    Console().print(table)
    _print_problems(listing.problems)
    whole = "complete: every file is there; what is in them, run reads"
    typer.echo(f"{len(listing.problems)} problems" if listing.problems else whole)
    raise typer.Exit(1 if listing.problems else 0)


@app.command()
def encoders() -> None:
    """List the encoders, and which file from where each needs."""
    typer.echo("Without a download:")
    for name in WITHOUT_DOWNLOAD:
        typer.echo(f"  {name}")
    typer.echo("An ECHO package by name or path; a checkpoint (.safetensors, .pth, .pt); untrained:SIZE:SEED.")
    typer.echo("An encoder of your own: package.module:Class (docs/siren.md).")
    typer.echo("With weights that you fetch into checkpoints/, or name as WORD:PATH:")
    for name, (source, _) in FETCHED.items():
        typer.echo(f"  {name:13} {source.file}, {source.licence}, from {source.page}")


@app.command()
def run(
    dataset: DatasetName,
    root: Root,
    encoder_words: Words = None,
    mode: Annotated[Modes, typer.Option(help="as published, as a careful person would, or both")] = Modes.both,
    ks: Annotated[
        list[int] | None, typer.Option("--k", min=1, help="neighbours that vote, once for each; default: 1, 3 and 5")
    ] = None,
    out: Annotated[Path, typer.Option(help="results and report; later runs add to it")] = Path("runs/siren"),
    cache: Annotated[Path | None, typer.Option(help="where vectors are kept; default: OUT/cache")] = None,
    workers: Annotated[int, typer.Option(min=0, help="processes that read and decode")] = 2,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="let a checkpoint run code; only for files you trust as a program")
    ] = False,
) -> None:
    """Evaluate encoders on one data set, and write <dataset>.json, .csv, report.md and report.png."""
    words = encoder_words or list(WITHOUT_DOWNLOAD)
    modes: tuple[Mode, ...] = ("siren", "strict") if mode is Modes.both else (mode.value,)
    try:
        task = _task(dataset)
        listing = task.find(root)
        if "strict" in modes and listing.problems:
            _print_problems(listing.problems)
            raise TreeError(
                f"{root}: {len(listing.problems)} problems, named above. Mend them, or say --mode siren, which passes "
                "over them as the published code does"
            )
        wanted = Wanted(words, modes, sorted(set(ks or (1, 3, 5))), out, cache or out / "cache", workers, allow_pickle)
        with world() as here, Progress(*BAR, console=console, disable=not (here.leads and console.is_terminal)) as bar:
            lines: dict[str, TaskID] = {}

            def told(name: str, done: int, total: int) -> None:
                if name not in lines:
                    lines[name] = bar.add_task(name, total=total)
                bar.update(lines[name], completed=done)

            try:
                evaluate(task, listing, wanted, here, lambda made: save(made, out), told)
            finally:  # what one encoder failed at, others have done
                report = _write_report(out) if here.leads else ""
        if report:
            typer.echo(report)
            console.print(f"written: {out}/report.md, report.png, {dataset}.json, {dataset}.csv")
    except KeyboardInterrupt as error:
        console.print("stopped; the same command goes on from here")
        raise typer.Exit(130) from error
    except SirenError as error:
        raise _fail(error) from error


@app.command()
def methods(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="folder with cwru/, bldc_motor_mic/ and audio/")],
    encoder_words: Words = None,
    out: Annotated[Path | None, typer.Option(help="write the table to this file too")] = None,
) -> None:
    """Measure ways to score (per band, local density, combined ...) on real machines in noise and at other levels."""
    try:
        choice = Choice(torch.device("cpu"))
        made = [encoder(word, "strict", choice) for word in encoder_words or WITHOUT_DOWNLOAD]
        with Progress(*BAR, console=console, disable=not console.is_terminal) as bar:
            line = bar.add_task("encoders and machines", total=None)

            def told(done: int, total: int) -> None:
                bar.update(line, completed=done, total=total)

            text = measure(made, data, told)
            for one in made:
                if equally_wide(one, RATE_HZ):
                    bar.update(line, description=f"the daemon's rule part by part, {one.name}")
                    text += "\n" + by_parts(one, data, told)
    except (SirenError, DataError) as error:
        raise _fail(error) from error
    typer.echo(text)
    if out is not None:
        publish(out, text.encode())


def _write_report(out: Path) -> str:
    """Write text and picture of all results in a folder; return the text, or nothing when there are none."""
    runs = [run for run in load_all(out, list(TASKS)) if run.results]
    if not runs:
        return ""
    text = markdown(runs, "report.png")
    publish(out / "report.png", picture(runs))
    publish(out / "report.md", text.encode())
    return text


def _task(dataset: str) -> Task:
    if dataset not in TASKS:
        raise TreeError(f"{dataset}: no such data set; there are {', '.join(TASKS)}")
    return TASKS[dataset]


def _print_problems(problems: Sequence[str]) -> None:
    for problem in problems[:SHOWN]:
        console.print(problem, markup=False, highlight=False)
    if len(problems) > SHOWN:
        console.print(f"... and {len(problems) - SHOWN} more")


def _fail(error: Exception) -> typer.Exit:
    console.print(f"siren: {error}", markup=False, highlight=False)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
