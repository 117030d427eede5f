"""The command ``backtest``. Prints, as ``cli`` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as RichTable

from echo_edge.cli_shared import EXIT_USAGE, ConfigPath, PointName, fail, known_point, out, progress_bar
from echo_edge.config_file import load_config


def backtest(
    config: ConfigPath,
    point: PointName,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Recordings or folders of them, in order; folders by name."),
    ] = None,
    times: Annotated[
        Path | None, typer.Option(help="CSV `path,start` instead of FILE: recordings and when each began.")
    ] = None,
    past: Annotated[
        str | None, typer.Option(metavar="FROM..TO", help="What is remembered of the point instead of FILE.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV `path[,start_s,end_s],label[,fault][,severity][,scale]`; labels normal, anomaly."),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="A stored baseline; else the active one.")] = None,
    learn: Annotated[
        list[Path] | None, typer.Option(help="Learn from this recording or folder, for this run alone; repeatable.")
    ] = None,
    learn_minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Learn the first so many minutes, for this run alone.")
    ] = None,
    scale: Annotated[float | None, typer.Option(min=1e-30, help="Physical units per stored unit.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw scores, alerts and faults into this PNG.")] = None,
) -> None:
    """Replay days of recordings through the exact pipeline: false alarms against the promise, faults found and missed.

    Beside ours, a mean log spectrum alone and plain nearest neighbours judge the same windows, each with a threshold
    for the same rate of false alarms. What is not labelled counts as normal. Nothing is stored; the active baseline
    stays.
    """
    from echo_edge.assembly import make_embedder  # noqa: PLC0415
    from echo_edge.backtest_report import as_json, as_markdown, notes, tables, tidy  # noqa: PLC0415
    from echo_edge.backtest_run import Plan  # noqa: PLC0415
    from echo_edge.backtest_run import backtest as run_backtest  # noqa: PLC0415
    from echo_edge.baseline_store import open_store  # noqa: PLC0415
    from echo_edge.history_reader import HistoryReader  # noqa: PLC0415
    from echo_edge.store import history_folder, state_folder  # noqa: PLC0415

    loaded = load_config(config)
    known_point(loaded, point)
    if sum((bool(files), times is not None, past is not None)) != 1:
        fail("say what to replay: FILE..., --times or --past, one of them", EXIT_USAGE)
    if past is not None and (labels is not None or learn_minutes is not None):
        fail("--labels and --learn-minutes are for recordings, not for --past", EXIT_USAGE)
    span_ns = None if past is None else _span(past)
    if sum((baseline is not None, bool(learn), learn_minutes is not None)) > 1:
        fail("--baseline, --learn and --learn-minutes exclude each other", EXIT_USAGE)
    targets = [path for path in (json_file, markdown, picture) if path is not None]
    if missing := [path for path in targets if not path.absolute().parent.is_dir()]:
        fail(f"{missing[0]}: there is no such folder", EXIT_USAGE)
    recordings, starts_ns = _recordings(files, times)
    plan = Plan(recordings, starts_ns, labels, scale, baseline, learn or (), learn_minutes, span_ns)
    folder = state_folder(loaded.gateway.id)
    store, history = open_store(loaded, folder), HistoryReader(history_folder(folder))
    with progress_bar(hidden=False) as bar:
        task = bar.add_task("reading", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"{what}, windows", completed=done, total=total or None)

        found = run_backtest(loaded, point, plan, make_embedder(loaded), store, history, show)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(found), indent=1) + "\n")
    if picture is not None:
        from echo_edge.backtest_picture import draw  # noqa: PLC0415

        picture.write_bytes(draw(found))
    if markdown is not None:
        markdown.write_text(as_markdown(found, None if picture is None else picture.name))
    for note in notes(found):
        out.print(note, markup=False, highlight=False, soft_wrap=True)
    for table in tables(found):
        shown = RichTable(*table.columns, title=table.title)
        for row in table.rows:
            shown.add_row(*tidy(row))
        out.print(shown)


def _span(past: str) -> tuple[int, int]:
    from datetime import datetime  # noqa: PLC0415

    from echo_edge.past import past_span  # noqa: PLC0415

    try:
        return past_span(past, datetime.now().astimezone())
    except ValueError as error:
        fail(f"--past: {error}", EXIT_USAGE)


def _recordings(files: list[Path] | None, times: Path | None) -> tuple[list[Path], list[int] | None]:
    from echo_edge.backtest_labels import read_times  # noqa: PLC0415
    from echo_edge.recordings import recordings_in  # noqa: PLC0415

    if times is not None:
        return read_times(times)
    return [file for path in files or [] for file in recordings_in(path)], None
