"""Commands about sensors: what is plugged in, what it delivers, what stands in for it. Prints, as ``cli`` does."""

from __future__ import annotations

import json
import math
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from echo_edge.cli_shared import (
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    AsJson,
    ConfigPath,
    PointName,
    err,
    fail,
    known_point,
    out,
    printable,
    progress_bar,
)
from echo_edge.config_file import load_config

MAX_S = 30 * 24 * 3600


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
        cells = (d.kind, d.id, d.description, rates, str(d.channels or ""), d.problem)
        table.add_row(*(Text(printable(cell)) for cell in cells))  # what a device calls itself is no markup
    out.print(table if found else "nothing found: no microphone, serial port, IIO device or MCC 172")
    if lines := [line for d in found if not d.problem for line in d.config_lines]:
        out.print("\nTo paste into the configuration:\n\ndevices:")
        for line in lines:
            out.print(line, markup=False, highlight=False, soft_wrap=True)


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
    from echo_edge.record import Recorder, check_target, say_stored  # noqa: PLC0415

    loaded = load_config(config)
    known_point(loaded, point)
    channels = loaded.points()[point].channel_numbers
    path = None if save is None else save.absolute()
    if path is not None:
        check_target(path)
    with ExitStack() as stack:
        info, blocks = stack.enter_context(live(loaded, point, None if path is None else str(path)))
        recorder = None if path is None else stack.enter_context(Recorder(path, info, channels))
        if path is not None:
            say_stored(point, path)
        listener = Listener(point, channels, info)
        screen = stack.enter_context(Live(console=out, refresh_per_second=4)) if out.is_terminal else None
        heard_s, lost = 0.0, 0
        try:
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
        except KeyboardInterrupt:  # the usual end
            pass
    if recorder is not None:
        err.print(recorder.kept(), markup=False, highlight=False, soft_wrap=True)


def record(
    config: ConfigPath,
    point: PointName,
    to: Annotated[Path, typer.Option(help="NAME.flac, or NAME.wav for floats.", show_default=False)],
    seconds: Annotated[float, typer.Option(min=0.1, max=MAX_S, help="How much to store.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Store a point's samples as FLAC or WAV, with their scale in a `manifest.csv` beside the file.

    Through the running daemon, or alone when none runs. No file spans a gap: after one, `NAME-2.flac` begins. A sensor
    that is lost ends the recording; what was stored until then, or until Ctrl-C, is kept. It can be learned with
    `enroll --from`, judged with `replay`, measured with `evaluate`.
    """
    from echo_edge.record import record as record_point  # noqa: PLC0415

    loaded = load_config(config)
    known_point(loaded, point)
    with progress_bar(as_json) as bar:
        task = bar.add_task("seconds stored", total=math.ceil(seconds))
        result = record_point(loaded, point, to, seconds, lambda done: bar.update(task, completed=math.floor(done)))
    if as_json:
        print(json.dumps(result))
        return
    files = ", ".join(result["files"])
    stored = f"{result['stored_s']:.1f} s at {result['rate_hz']} Hz in {result['unit']}: {files}"
    gaps = f"; {result['gaps']} gaps" if result["gaps"] else ""
    out.print(stored + gaps, markup=False, highlight=False, soft_wrap=True)
    if result["interrupted"]:
        sys.exit(EXIT_INTERRUPTED)


def simulate(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="microphone, ee1, picoquake, witmotion, csv or wtvb01.")],
    rate_hz: Annotated[
        int | None,
        typer.Option(min=1, max=200_000, help="Samples per second; else the usual of the kind.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which invented machine it sits on.")] = 0,
    fault: Annotated[
        str | None, typer.Option(help="What is wrong with that machine, for example `outer_race`.", show_default=False)
    ] = None,
    severity: Annotated[float, typer.Option(min=0, max=1, help="How wrong.")] = 1.0,
    link: Annotated[
        Path | None, typer.Option(help="A stable name for the serial port, which comes and goes with it.")
    ] = None,
    clock_ppm: Annotated[
        float,
        typer.Option(min=-500_000, max=500_000, help="How fast the sensor's clock runs: drift, or a wrong rate."),
    ] = 0.0,
    trouble: Annotated[
        list[str] | None,
        typer.Option(
            help="Of serial sensors: lose, corrupt, cut, garbage, restart, silent, unplug; of a microphone: silent, "
            "gain; of wtvb01: silent, zeros, corrupt, unplug. Repeatable."
        ),
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

    from echo_edge.simulate import KINDS, TROUBLES, check_troubles, make_trouble, stand_in  # noqa: PLC0415
    from sensors import FAULTS  # noqa: PLC0415

    for what, value, known in (("KIND", kind, KINDS), ("--fault", fault, FAULTS)):
        if value is not None and value not in known:
            fail(f"{what}: there is no '{value}'; there is: {', '.join(known)}", EXIT_USAGE)
    for name in trouble or []:
        if name not in TROUBLES:
            fail(f"--trouble: there is no '{name}'; there is: {', '.join(TROUBLES)}", EXIT_USAGE)
    made = stand_in(kind, rate_hz=rate_hz, seed=seed, fault=fault, severity=severity, link=link, clock_ppm=clock_ppm)
    with made as ready:
        check_troubles(ready, trouble or [])
        print(f"devices:\n  {ready.config_line}")
        for name, text in ready.env.items():
            print(f"export {name}={shlex.quote(text)}")
        sys.stdout.flush()
        make_trouble(ready, trouble or [], every, seconds, threading.Event(), lambda text: print(text, flush=True))
