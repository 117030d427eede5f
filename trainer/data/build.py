"""Build a manifest from folders, archives and WebDataset shards, and report what was left out and why.

python -m trainer.data.build manifest.csv recordings/ --licences permissive --val 'fold5/*'
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trainer.data.labels import LabelError
from trainer.data.layouts import LAYOUTS
from trainer.data.licences import PERMISSIVE, UNKNOWN, spdx
from trainer.data.manifest import read_manifest, write_manifest
from trainer.data.survey import Rules, Survey, survey
from trainer.files import publish

NAMES_SHOWN = 3
EXIT_FAILED, EXIT_USAGE, EXIT_NO_DATA = 1, 2, 4

app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)
LayoutName = Enum("LayoutName", {name: name for name in LAYOUTS}, type=str)  # type: ignore[misc]
FOLDER = LayoutName("folder")


def build(
    out: Path, roots: Sequence[Path], rules: Rules, *, layout: str = "folder", jobs: int = 1, quiet: bool = False
) -> Survey:
    """Survey ``roots`` behind a progress bar and write the manifest, if anything was found.

    Raises:
        LabelError: a label file, or a list of the layout, cannot be read.
    """
    columns = (TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("read", total=None)
        found = survey(
            roots, out, rules, LAYOUTS[layout], lambda done, total: bar.update(task, completed=done, total=total), jobs
        )
    if found.recordings:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_manifest(out, found.recordings)
    return found


def as_json(found: Survey) -> dict[str, Any]:
    """Return the whole report: totals, and every name that was left out."""
    return {
        "recordings": len(found.recordings),
        "hours": round(sum(hours for _, hours in found.hours("split").values()), 4),
        "kept": [
            {"split": split, "licence": licence, "rate_hz": rate, "recordings": count, "hours": round(hours, 4)}
            for (split, licence, rate), (count, hours) in found.hours("split", "licence", "rate_hz").items()
        ],
        "left_out": {
            reason: [{"name": item.name, "detail": item.detail} for item in items]
            for reason, items in found.reasons().items()
        },
        "missing": found.missing,
        "notes": found.notes,
    }


def show(found: Survey, console: Console) -> None:
    """Print the report in short: hours by rate and licence, reasons with the first few names."""
    table = Table(title="Kept", title_justify="left")
    for name in ("split", "licence", "rate"):
        table.add_column(name)
    for name in ("recordings", "hours"):
        table.add_column(name, justify="right")
    for (split, licence, rate), (count, hours) in found.hours("split", "licence", "rate_hz").items():
        table.add_row(split, licence, f"{rate} Hz", str(count), f"{hours:.3f}")
    table.add_section()
    for split, (count, hours) in found.hours("split").items():
        table.add_row(*split, "all", "", str(count), f"{hours:.3f}")
    console.print(table)
    for reason, items in found.reasons().items():
        console.print(f"left out, {reason}: {len(items)}", style="yellow", markup=False, highlight=False)
        for item in items[:NAMES_SHOWN]:
            detail = f" ({item.detail})" if item.detail else ""
            console.print(f"    {item.name}{detail}", markup=False, highlight=False, soft_wrap=True)
        if len(items) > NAMES_SHOWN:
            console.print(f"    and {len(items) - NAMES_SHOWN} more", highlight=False)
    if found.missing:
        names = ", ".join(found.missing[:NAMES_SHOWN])
        console.print(f"listed but not there: {len(found.missing)}, such as {names}", style="yellow", markup=False)
    for note in found.notes:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)


@app.command()
def command(
    out: Annotated[Path, typer.Argument(metavar="OUT.csv", help="The manifest to write.", show_default=False)],
    roots: Annotated[
        list[Path],
        typer.Argument(metavar="ROOT...", help="Folders, archives (tar, zip) or single files.", show_default=False),
    ],
    licence: Annotated[
        str, typer.Option(metavar="SPDX", help="Licence of recordings whose licence nothing beside them says.")
    ] = UNKNOWN,
    licences: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPDX",
            help="Use only these licences (repeat, or separate by commas); `permissive` means all under which "
            "trained weights may be given away: public domain, CC0, CC BY, MIT, BSD, Apache and the like.",
        ),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(metavar="HZ", min=1, help="Sampling rate of MAT and CSV files that no label gives.")
    ] = None,
    val: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Hold these out: path below ROOT, `*` crosses folders. Repeatable."),
    ] = None,
    val_share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the files held out by a digest of their path. [default: 0.05, 0 with --val]"
        ),
    ] = None,
    min_s: Annotated[float, typer.Option(min=0, help="Leave out what is shorter.")] = 0.5,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Leave these out: path below ROOT. Repeatable.")
    ] = None,
    layout: Annotated[LayoutName, typer.Option(help="How the corpus is laid out.")] = FOLDER,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write the whole report, every name included.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Threads that decode.")] = os.cpu_count() or 1,
) -> None:
    """List recordings for pretraining, each at its native rate, with licence and digest.

    Every recording is decoded once from end to end, so what is listed can be read. Left out, with the reason: what
    cannot be decoded, is empty, silent, not finite, too short, a duplicate by SHA-256, of another licence, or has no
    sampling rate. A rate is never guessed: MAT and CSV files need `--rate` or a label.

    A `manifest.csv` or `labels.csv` in a file's folder, or above it, may give `path`, `rate_hz`, `licence`, `split`
    and `group`; in a WebDataset shard a sample's JSON may. Recordings of a group share their split.

    Exit codes: 0 written, 1 failed, 2 usage, 4 nothing that can be used.
    """
    console = Console()
    errors = Console(stderr=True, style="red")
    if absent := [str(root) for root in roots if not root.exists()]:
        errors.print(f"not there: {', '.join(absent)}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_USAGE)
    rules = Rules(
        licence=spdx(licence),
        rate_hz=rate,
        val=tuple(val or ()),
        val_share=val_share if val_share is not None else 0.0 if val else 0.05,
        min_s=min_s,
        exclude=tuple(exclude or ()),
        licences=_allowed(licences) if licences else None,
    )
    try:
        found = build(out, roots, rules, layout=layout.value, jobs=jobs)
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            publish(report, (json.dumps(as_json(found), indent=1, ensure_ascii=False) + "\n").encode("utf-8"))
    except (LabelError, OSError) as error:
        errors.print(f"build: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_FAILED) from error
    show(found, console)
    if not found.recordings:
        errors.print("nothing that can be used: no manifest written", markup=False)
        raise typer.Exit(EXIT_NO_DATA)
    digest = read_manifest(out).sha256
    console.print(f"{out}: {len(found.recordings)} recordings, sha256 {digest}", highlight=False, soft_wrap=True)


def _allowed(texts: Sequence[str]) -> frozenset[str]:
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    allowed = {name: PERMISSIVE if name == "permissive" else {spdx(name)} for name in names}
    if unclear := [name for name, known in allowed.items() if known == {UNKNOWN} and name != UNKNOWN]:
        raise typer.BadParameter(f"{', '.join(unclear)}: no SPDX identifier that we know", param_hint="--licences")
    return frozenset().union(*allowed.values())


if __name__ == "__main__":
    app()
