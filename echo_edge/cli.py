"""Commands: parse, call one function, print, return an exit code. Only the ``cli`` modules of the daemon print."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from echo_edge import __version__
from echo_edge.cli_backtest import backtest
from echo_edge.cli_baseline import app as baseline
from echo_edge.cli_baseline import audit
from echo_edge.cli_past import drift, feedback, promise, review
from echo_edge.cli_sensors import devices, listen, record, simulate
from echo_edge.cli_shared import (
    EXIT_CONFIG,
    EXIT_CONFLICT,
    EXIT_ENGINE,
    EXIT_FAILED,
    EXIT_NO_DATA,
    EXIT_SENSOR,
    EXIT_TERMINATED,
    EXIT_USAGE,
    AsJson,
    By,
    ConfigPath,
    PointName,
    err,
    fail,
    known_point,
    out,
    progress_bar,
)
from echo_edge.cli_state import state as state_commands
from echo_edge.config_file import load_config, read_password
from echo_edge.config_model import ID_PATTERN
from echo_edge.errors import (
    ArtifactError,
    ConfigError,
    EchoEdgeError,
    EngineError,
    ListenError,
    OrderError,
    RecordingError,
)
from echo_edge.store import StoreBusyError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Hears machines and says over MQTT when one stops sounding like itself.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 sensor bad, 4 not enough or unusable data, "
    "6 conflict (busy), 70 engine failed, 78 a file needs a person.",
)
for command in (backtest, devices, listen, record, simulate, drift, feedback, review, promise, audit):
    app.command()(command)
app.add_typer(state_commands, name="state")
app.add_typer(baseline, name="baseline")


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

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run_daemon(load_config(config), os.environ.get("CREDENTIALS_DIRECTORY")))


@app.command()
def check(config: ConfigPath, as_json: AsJson = False) -> None:
    """Check a configuration: every problem with file, line and mend. Exit code 78 when there is one."""
    from echo_edge.artifact import load_package  # noqa: PLC0415

    problems: list[str] = []
    try:
        loaded = load_config(config)
        if loaded.mqtt.password_file is not None:
            read_password(loaded.mqtt, None)
        load_package(loaded.model)
    except ConfigError as error:
        problems = error.problems
    except ArtifactError as error:
        problems = [f"{config}: model: {error}"]
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
def enroll(
    config: ConfigPath,
    point: PointName,
    by: By,
    state: Annotated[str, typer.Option(help="Name of the normal state, for example `run-50hz`.")] = "run",
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to listen to the live sensor.")] = 10.0,
    files: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Learn from this recording, or every one in this folder; repeatable."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=1e-30, help="Physical units per stored unit of the recordings.")
    ] = None,
    note: Annotated[str, typer.Option(help="What to remember of it; kept with the baseline.")] = "",
    as_json: AsJson = False,
) -> None:
    """Teach a normal state: from the live sensor for `--minutes`, or with `--from` from recordings to their end.

    Works through the running daemon, or alone when none runs. The active baseline changes only when all went well:
    another `--state` is added to it, the same one is replaced. At least 12 windows are learned, however few minutes
    are asked for; alerts stay warnings until 24 hours are.
    """
    from echo_edge.enroll_command import enroll_point  # noqa: PLC0415

    loaded = load_config(config)
    known_point(loaded, point)
    if not re.match(ID_PATTERN, state):
        fail(f"--state '{state}' is not an id: use up to 48 lower-case letters, digits, '-' and '_'", EXIT_USAGE)
    with progress_bar(as_json) as bar:
        task = bar.add_task("opening", total=None)

        def show(progress: dict[str, Any]) -> None:
            if as_json:
                print(json.dumps({"progress": progress}), flush=True)
            excluded = "".join(f", {n} excluded ({reason})" for reason, n in progress["excluded"].items())
            bar.update(
                task,
                total=progress["needed"] or None,
                completed=progress["useful"],
                description=f"useful windows{excluded}",
            )

        recordings = [f.absolute() for f in files or []]
        result = enroll_point(loaded, point, state, minutes, recordings, scale, show, by, note)
    if as_json:
        print(json.dumps({"ok": True, "result": result}))
        return
    rate = result["false_alarms_per_month"]
    lines = [
        f"[bold]{result['baseline']}[/bold]: {point} knows {', '.join(result['states'])} "
        f"({result['useful']} windows, {result['learned_s']:.0f} s, model {result['model']}).",
        f"False alarms per month: target {rate['target']:g}, estimated {rate['estimated']:g} (fitted tail), "
        f"demonstrated by so little data: fewer than {rate['demonstrated_upper_95']:.0f} (95 %).",
    ]
    if not result["active"]:
        order = f"echo-edge baseline activate {config} {point} {result['baseline']}"
        lines.append(f"[yellow]PROPOSED[/yellow]: another person must activate it: {order}")
    if result["left_out"]:
        lines.append(f"[yellow]Left out[/yellow] of it, enroll again: {result['left_out']}.")
    if result["provisional"]:
        lines.append("[yellow]PROVISIONAL[/yellow]: alerts stay warnings until 24 h are learned.")
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)


@app.command()
def replay(
    config: ConfigPath,
    point: PointName,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings, played one after the other.")],
    scale: Annotated[float | None, typer.Option(min=1e-30, help="Physical units per stored unit.")] = None,
) -> None:
    """Judge recordings exactly as the daemon would: prints scores and events as JSON lines.

    The point must have been enrolled. A window that cannot be judged is a line with its reason instead of a score.
    """
    from echo_edge.replay import replay as replay_files  # noqa: PLC0415

    loaded = load_config(config)
    known_point(loaded, point)
    for line in replay_files(loaded, point, files, scale):
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
def demo() -> None:
    """Show it: two invented pumps, a broker, the daemon, a fault, the alert and its end. No hardware, no network."""
    from echo_edge.demo import run_demo  # noqa: PLC0415

    sys.exit(run_demo())


if __name__ == "__main__":
    main()
