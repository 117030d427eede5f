"""Commands: parse, call one function, print, return an exit code. Only the ``cli`` modules of the daemon print."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from echo_edge import __version__
from echo_edge.cli_alert import app as alert
from echo_edge.cli_backtest import backtest
from echo_edge.cli_baseline import app as baseline
from echo_edge.cli_baseline import audit
from echo_edge.cli_bundle import bundle
from echo_edge.cli_clip import app as clip
from echo_edge.cli_doctor import doctor
from echo_edge.cli_engine import build_engine
from echo_edge.cli_enroll import enroll
from echo_edge.cli_operator import operator
from echo_edge.cli_order import mute, order, threshold
from echo_edge.cli_past import drift, promise
from echo_edge.cli_release import self_test
from echo_edge.cli_review import app as review
from echo_edge.cli_review import feedback
from echo_edge.cli_schema import schema
from echo_edge.cli_sensors import devices, listen, record, simulate
from echo_edge.cli_shared import (
    EXIT_CONFIG,
    EXIT_CONFLICT,
    EXIT_ENGINE,
    EXIT_FAILED,
    EXIT_NO_DATA,
    EXIT_SENSOR,
    EXIT_TERMINATED,
    AsJson,
    ConfigPath,
    PointName,
    err,
    fail,
    known_point,
    out,
    progress_bar,
)
from echo_edge.cli_state import state as state_commands
from echo_edge.cli_status import status
from echo_edge.config_file import load_config
from echo_edge.credentials import credentials_of
from echo_edge.errors import (
    ArtifactError,
    ConfigError,
    EchoEdgeError,
    EngineError,
    ListenError,
    OrderError,
    RecordingError,
)
from echo_edge.log_lines import OneLine
from echo_edge.store import StoreBusyError
from echo_edge.systemd import on_journal

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Hears machines and says over MQTT when one stops sounding like itself.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 sensor bad, 4 not enough or unusable data, "
    "5 rejected by the self-test, 6 conflict (busy), 70 engine failed, 78 a file needs a person.",
)
app.add_typer(enroll, name="enroll")
for command in (
    backtest,
    build_engine,
    bundle,
    devices,
    doctor,
    listen,
    record,
    simulate,
    drift,
    promise,
    feedback,
    audit,
    schema,
    self_test,
):
    app.command()(command)
for ordering in (status, mute, threshold, order):
    app.command()(ordering)
app.add_typer(alert, name="alert")
app.add_typer(clip, name="clip")
app.add_typer(state_commands, name="state")
app.add_typer(operator, name="operator")
app.add_typer(baseline, name="baseline")
app.add_typer(review, name="review")


def main() -> None:
    """Entry point: every error of ours becomes one clear message and its documented exit code."""
    # What a command started or opened must be ended and closed by SIGTERM, too; ``run`` takes the signal over.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    try:
        app(standalone_mode=True)
    except ConfigError as error:
        for problem in error.problems:
            err.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_CONFIG)
    except OrderError as error:
        fail(error, error.exit_code)
    except EchoEdgeError as error:
        codes: dict[type[EchoEdgeError], int] = {
            ArtifactError: EXIT_CONFIG,
            EngineError: EXIT_ENGINE,
            ListenError: EXIT_SENSOR,
            RecordingError: EXIT_NO_DATA,
            StoreBusyError: EXIT_CONFLICT,
        }
        fail(error, codes.get(type(error), EXIT_FAILED))


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(config: ConfigPath) -> None:
    """Monitor: run the daemon until SIGTERM or Ctrl-C.

    Baselines live in `$STATE_DIRECTORY`, else in `~/.local/state/echo-edge/GATEWAY`.
    """
    from echo_edge.daemon import run as run_daemon  # noqa: PLC0415  # seconds of imports that no other command needs
    from echo_edge.reload import run_reloading  # noqa: PLC0415

    # the daemon takes it over while it runs; before, and between two configurations, there is nothing to read again
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(journal=on_journal(sys.stderr.fileno())))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    sys.exit(run_reloading(config, lambda loaded, versions: run_daemon(loaded, folder, versions), folder))


@app.command()
def check(config: ConfigPath, as_json: AsJson = False) -> None:
    """Check a configuration: every problem with file, line and mend. Exit code 78 when there is one."""
    from echo_edge.config_check import check as check_config  # noqa: PLC0415

    problems: list[str] = []
    try:
        loaded = check_config(config, credentials_folder=credentials_of(config))
    except ConfigError as error:
        problems = error.problems
    if as_json:
        print(json.dumps({"ok": not problems, "problems": problems}))
    elif problems:
        for problem in problems:
            err.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
    else:
        watched = ", ".join(f"{name} on {point.device}" for name, point in loaded.points().items())
        out.print(f"{config}: fine. It watches {watched}", markup=False, highlight=False, soft_wrap=True)
    if problems:
        sys.exit(EXIT_CONFIG)


@app.command()
def replay(
    config: ConfigPath,
    point: PointName,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings, played one after the other.")],
    scale: Annotated[float | None, typer.Option(min=1e-30, help="Physical units per stored unit.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Draw every event into this folder: the window beside its nearest normal, PNG.")
    ] = None,
) -> None:
    """Judge recordings exactly as the daemon would: prints scores and events as JSON lines.

    The point must have been enrolled. A window that cannot be judged is a line with its reason instead of a score.
    """
    from echo_edge.replay import replay as replay_files  # noqa: PLC0415

    loaded = load_config(config)
    known_point(loaded, point)
    for line in replay_files(loaded, point, files, scale, pictures):
        print(json.dumps(line))


@app.command()
def evaluate(
    normal: Annotated[list[Path], typer.Option("--normal", help="Normal recordings: a file or folder; repeatable.")],
    test: Annotated[Path, typer.Option("--test", help="CSV `path,label[,group][,scale]`; labels normal, anomaly.")],
    model: Annotated[str, typer.Option(help="Model package: name or path.")] = "echo-tiny",
    window_s: Annotated[float, typer.Option(min=0.1, max=20, help="Seconds per window.")] = 1.0,
    threads: Annotated[int, typer.Option(min=1, max=64, help="CPU threads.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Measure on labelled recordings: ROC-AUC and partial AUC, a mean log spectrum beside ours.

    Only the first channel is used. Paths in the CSV are relative to it; a file's score is the mean of its windows';
    the partial AUC goes to a false positive rate of 0.1. The scale of normal recordings comes from a `manifest.csv`
    beside them.
    """
    from echo_edge.artifact import load_package  # noqa: PLC0415
    from echo_edge.embedder import Embedder  # noqa: PLC0415
    from echo_edge.engine import create_engine  # noqa: PLC0415
    from echo_edge.evaluate import evaluate as evaluate_files  # noqa: PLC0415

    package = load_package(model)
    embedder = Embedder(package, create_engine("auto", package, threads))
    with progress_bar(hidden=False) as bar:
        task = bar.add_task("reading", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        result = evaluate_files(embedder, normal, test, window_s, show)
    if as_json:
        print(json.dumps(result))
        return
    table = Table("group", "normal", "anomaly", "ours: AUC", "pAUC", "mean log spectrum: AUC", "pAUC")
    table.title = f"{result['model']}, windows of {window_s:g} s at {result['rate_hz']} Hz"
    ours, trivial = result["ours"], result["mean_log_spectrum"]
    rows = [("all", ours, trivial)] + [(g, ours["groups"][g], trivial["groups"][g]) for g in ours["groups"]]
    for group, a, b in rows:
        figures = [f"{d[k]:.3f}" if k in d else "-" for d in (a, b) for k in ("roc_auc", "pauc")]
        table.add_row(group, str(a["normal"]), str(a["anomaly"]), *figures)
    out.print(table)


@app.command()
def demo(
    page: Annotated[
        bool, typer.Option("--page", help="Serve the page, too, on this machine alone, until Ctrl-C.")
    ] = False,
) -> None:
    """Show it: two invented pumps, a broker, the daemon, a fault, the alert and its end. No hardware, no network."""
    from echo_edge.demo import run_demo  # noqa: PLC0415

    sys.exit(run_demo(page=page))


if __name__ == "__main__":
    main()
