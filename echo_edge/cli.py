"""Commands: parse, call one function, print, return an exit code. The only module of the daemon that prints."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from echo_edge import __version__
from echo_edge.config import ID_PATTERN, Config
from echo_edge.config_file import load_config, read_password
from echo_edge.errors import (
    ArtifactError,
    ConfigError,
    EchoEdgeError,
    EngineError,
    EnrollError,
    ListenError,
    RecordingError,
)
from echo_edge.store import StoreBusyError

EXIT_FAILED, EXIT_USAGE, EXIT_SENSOR, EXIT_NO_DATA, EXIT_CONFLICT, EXIT_ENGINE, EXIT_CONFIG = 1, 2, 3, 4, 6, 70, 78

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Hears machines and says over MQTT when one stops sounding like itself.\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 sensor bad, 4 not enough or unusable data, "
    "6 conflict (busy), 70 engine failed, 78 a file needs a person.",
)
out = Console()
err = Console(stderr=True)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML configuration file.", show_default=False)]
PointName = Annotated[str, typer.Argument(metavar="POINT", help="Which point, as `machine/point`.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def main() -> None:
    """Entry point: every error of ours becomes one clear message and its documented exit code."""
    try:
        app(standalone_mode=True)
    except ConfigError as error:
        for problem in error.problems:
            err.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(EXIT_CONFIG)
    except EnrollError as error:
        _fail(error, error.exit_code)
    except EchoEdgeError as error:
        codes: dict[type[EchoEdgeError], int] = {
            ArtifactError: EXIT_CONFIG,
            EngineError: EXIT_ENGINE,
            ListenError: EXIT_SENSOR,
            RecordingError: EXIT_NO_DATA,
            StoreBusyError: EXIT_CONFLICT,
        }
        _fail(error, codes.get(type(error), EXIT_FAILED))


def _fail(error: Exception | str, code: int) -> NoReturn:
    err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


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
def devices(as_json: AsJson = False) -> None:
    """List what is plugged in, by stable names, with the lines to paste into the configuration."""
    from dataclasses import asdict  # noqa: PLC0415

    from sensors import SensorError, list_iio, list_mcc172, list_microphones, list_serial_ports  # noqa: PLC0415

    found = []
    for look in (list_microphones, list_serial_ports, list_iio, list_mcc172):
        try:
            found += look()
        except SensorError as error:  # what one kind of sensor lacks must not hide the others
            err.print(error.message, style="yellow", markup=False)
    if as_json:
        print(json.dumps([asdict(device) for device in found], indent=2))
        return
    table = Table("kind", "id", "what", "rates [Hz]", "channels", "problem", title="Plugged in")
    for d in found:
        rates = ", ".join(str(r) for r in d.rates_hz)
        table.add_row(d.kind, d.id, d.description, rates, str(d.channels or ""), d.problem)
    out.print(table if found else "nothing found: no microphone, serial port, IIO device or MCC 172")
    if lines := [line for d in found if not d.problem for line in d.config_lines]:
        out.print("\nTo paste into the configuration:\n\ndevices:")
        for line in lines:
            out.print(
                f"  {line.strip()}" if line == line.lstrip() else line, markup=False, highlight=False, soft_wrap=True
            )


@app.command()
def enroll(
    config: ConfigPath,
    point: PointName,
    state: Annotated[str, typer.Option(help="Name of the normal state, for example `run-50hz`.")] = "run",
    minutes: Annotated[float, typer.Option(min=0.01, help="How long to listen to the live sensor.")] = 10.0,
    files: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Learn from this recording, or every one in this folder; repeatable."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=1e-30, help="Physical units per stored unit of the recordings.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Teach a normal state: from the live sensor for `--minutes`, or with `--from` from recordings to their end.

    Works through the running daemon, or alone when none runs. The active baseline changes only when all went well:
    another `--state` is added to it, the same one is replaced. At least 12 windows are learned, however few minutes
    are asked for; alerts stay warnings until 24 hours are.
    """
    from echo_edge.enroll_command import enroll_point  # noqa: PLC0415

    loaded = load_config(config)
    _known_point(loaded, point)
    if not re.match(ID_PATTERN, state):
        _fail(f"--state '{state}' is not an id: use up to 48 lower-case letters, digits, '-' and '_'", EXIT_USAGE)
    with _bar(as_json) as bar:
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

        result = enroll_point(loaded, point, state, minutes, [f.absolute() for f in files or []], scale, show)
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
    if result["left_out"]:
        lines.append(f"[yellow]Left out[/yellow] of it, enroll again: {result['left_out']}.")
    if result["provisional"]:
        lines.append("[yellow]PROVISIONAL[/yellow]: alerts stay warnings until 24 h are learned.")
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)


@app.command()
def listen(
    config: ConfigPath,
    point: PointName,
    seconds: Annotated[
        float, typer.Option(min=1, help="Stop after so long; without it, listen until Ctrl-C.")
    ] = math.inf,
    save: Annotated[
        Path | None, typer.Option(help="Store what is heard: NAME.flac, or NAME.wav for floats.", show_default=False)
    ] = None,
) -> None:
    """Show live what a sensor delivers: level, spectrum, and the health of the signal, once a second.

    Through the running daemon, which goes on monitoring, or alone when none runs. Nothing is stored without `--save`,
    and that is said in the log.
    """
    from rich.live import Live  # noqa: PLC0415

    from echo_edge.listen import Listener, live  # noqa: PLC0415
    from echo_edge.listen_view import draw, look_line  # noqa: PLC0415
    from echo_edge.record import Recorder, say_stored  # noqa: PLC0415

    loaded = load_config(config)
    _known_point(loaded, point)
    channels = loaded.points()[point].channel_numbers
    path = None if save is None else save.absolute()
    if path is not None:
        say_stored(point, path)
    with ExitStack() as stack:
        info, blocks = stack.enter_context(live(loaded, point, None if path is None else str(path)))
        recorder = None if path is None else stack.enter_context(Recorder(path, info, channels))
        listener = Listener(point, channels, info)
        screen = stack.enter_context(Live(console=out, refresh_per_second=4)) if out.is_terminal else None
        heard_s, lost = 0.0, 0
        for block in blocks:
            if block is None:
                continue
            heard_s += len(block.samples) / info.rate_hz
            lost += block.after_gap
            if recorder is not None:
                recorder.push(block)
            notes = [f"{lost} gaps"] if lost else []
            if recorder is not None:
                notes.append(f"STORING in {recorder.paths[-1]}: {recorder.stored_s:.0f} s")
            for look in listener.push(block):
                if screen is not None:
                    screen.update(draw(point, info, look, notes))
                else:
                    print(look_line(look, info), *notes, sep="; ", flush=True)
            if heard_s >= seconds:
                break


@app.command()
def record(
    config: ConfigPath,
    point: PointName,
    to: Annotated[Path, typer.Option(help="NAME.flac, or NAME.wav for floats.", show_default=False)],
    seconds: Annotated[float, typer.Option(min=0.1, help="How much to store.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Store a point's samples as FLAC or WAV, with their scale in a `manifest.csv` beside the file.

    Through the running daemon, or alone when none runs. No file spans a gap: after one, `NAME-2.flac` begins. What is
    stored can be learned with `enroll --from`, judged with `replay`, measured with `evaluate`.
    """
    from echo_edge.record import record as record_point  # noqa: PLC0415

    loaded = load_config(config)
    _known_point(loaded, point)
    with _bar(as_json) as bar:
        task = bar.add_task("seconds stored", total=math.ceil(seconds))
        result = record_point(loaded, point, to, seconds, lambda done: bar.update(task, completed=math.floor(done)))
    if as_json:
        print(json.dumps(result))
        return
    files = ", ".join(result["files"])
    out.print(f"{result['stored_s']:.1f} s at {result['rate_hz']} Hz in {result['unit']}: {files}", highlight=False)


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
    _known_point(loaded, point)
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
    with _bar(hidden=False) as bar:
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
def simulate(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="microphone, ee1, picoquake, witmotion, csv or wtvb01.")],
    rate_hz: Annotated[
        int | None, typer.Option(min=1, help="Samples per second; else the usual of the kind.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Which invented machine it sits on.")] = 0,
    fault: Annotated[
        str | None, typer.Option(help="What is wrong with that machine, for example `outer_race`.", show_default=False)
    ] = None,
    severity: Annotated[float, typer.Option(min=0, max=1, help="How wrong.")] = 1.0,
    link: Annotated[
        Path | None, typer.Option(help="A stable name for the serial port, which comes and goes with it.")
    ] = None,
    clock_ppm: Annotated[float, typer.Option(help="How fast the sensor's clock runs: drift, or a wrong rate.")] = 0.0,
    trouble: Annotated[
        list[str] | None,
        typer.Option(help="lose, corrupt, cut, garbage, restart, silent, unplug, gain or zeros; repeatable."),
    ] = None,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between troubles.")] = 10.0,
    seconds: Annotated[
        float, typer.Option(min=1, help="End after so long; without it, at Ctrl-C.", show_default=False)
    ] = math.inf,
) -> None:
    """Stand in for a sensor, on a real port or a real sound server, with troubles on request.

    Prints the line to paste into a configuration, and for a microphone the environment that the daemon needs. For
    trying things out without hardware: nothing here is a measurement.
    """
    import threading  # noqa: PLC0415

    from echo_edge.simulate import KINDS, TROUBLES, make_trouble, stand_in  # noqa: PLC0415
    from sensors import FAULTS  # noqa: PLC0415

    for what, value, known in (("KIND", kind, KINDS), ("--fault", fault, FAULTS)):
        if value is not None and value not in known:
            _fail(f"{what}: there is no '{value}'; there is: {', '.join(known)}", EXIT_USAGE)
    for name in trouble or []:
        if name not in TROUBLES:
            _fail(f"--trouble: there is no '{name}'; there is: {', '.join(TROUBLES)}", EXIT_USAGE)
    made = stand_in(kind, rate_hz=rate_hz, seed=seed, fault=fault, severity=severity, link=link, clock_ppm=clock_ppm)
    with made as ready:
        print(f"devices:\n  {ready.config_line}")
        for name, text in ready.env.items():
            print(f"export {name}={shlex.quote(text)}")
        sys.stdout.flush()
        make_trouble(ready, trouble or [], every, seconds, threading.Event(), lambda text: print(text, flush=True))


@app.command()
def demo() -> None:
    """Show it: two invented pumps, a broker, the daemon, a fault, the alert and its end. No hardware, no network."""
    from echo_edge.demo import run_demo  # noqa: PLC0415

    sys.exit(run_demo())


def _known_point(config: Config, point: str) -> None:
    if point not in config.points():
        _fail(f"no point '{point}' in the configuration; known are {', '.join(config.points())}", EXIT_USAGE)


def _bar(hidden: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=hidden or not err.is_terminal)


if __name__ == "__main__":
    main()
