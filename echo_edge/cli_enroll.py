"""Commands that teach a point its normal states, step by step. Prints, as ``cli`` does."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from echo_edge.cli_shared import (
    EXIT_FAILED,
    EXIT_USAGE,
    AsJson,
    By,
    ConfigPath,
    PointName,
    err,
    fail,
    known_point,
    load,
    out,
    progress_bar,
)
from echo_edge.config_file import load_config
from echo_edge.config_model import ID_PATTERN

if TYPE_CHECKING:
    from echo_edge.enroll_command import EnrollDesk

enroll = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Teach a point how its machine sounds when it is well: sensor check, machine check, collecting, self-test, "
    "decision.\n\nExit codes: 0 accepted, 1 stopped or expired, 2 usage, 3 sensor bad, 4 not enough data, "
    "5 rejected by the self-test, 6 conflict.",
)

TITLES = {
    "sensor_check": "sensor",
    "machine_check": "machine",
    "collecting": "collecting",
    "testing": "self-test",
    "deciding": "decision",
}
NEXT = "decide with echo-edge enroll accept, extend or reject CONFIG {point}; nothing changes before"
STYLES = {"warning": "yellow", "bad": "red"}

Session = Annotated[str | None, typer.Option("--session", help="Only this session; the one that goes on if absent.")]


@enroll.command()
def start(
    config: ConfigPath,
    point: PointName,
    by: By,
    state: Annotated[str, typer.Option(help="Name of the normal state, for example `run-50hz`.")] = "run",
    minutes: Annotated[float, typer.Option(min=0.01, max=20160, help="Of useful signal from the live sensor.")] = 10.0,
    files: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Learn from this recording, or every one in this folder; repeatable."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(min=1e-30, help="Physical units per stored unit of the recordings.")
    ] = None,
    past: Annotated[
        str | None,
        typer.Option(metavar="FROM..TO", help="Learn from past hours, for example `yesterday 08:00..16:00`."),
    ] = None,
    note: Annotated[str, typer.Option(help="A sentence for the record.")] = "",
    healthy: Annotated[
        bool, typer.Option("--healthy", help="The machine is well, even if it sounds unlike what was normal so far.")
    ] = False,
    no_accept: Annotated[
        bool, typer.Option("--no-accept", help="Leave the decision to `enroll accept`; needs a running daemon.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Teach a normal state: from the live sensor, from recordings (`--from`), or from past hours (`--past`).

    Works through the running daemon, or alone when none runs. The active baseline changes only when it is accepted:
    another `--state` is added to it, the same one is replaced. On a terminal you are asked; elsewhere what passed its
    self-test is accepted. At least 12 windows are learned, however few minutes are asked for.
    """
    from echo_edge.enroll_command import accept_or_reject, starting_desk  # noqa: PLC0415

    loaded = load_config(config)
    known_point(loaded, point)
    if not re.match(ID_PATTERN, state):
        fail(f"--state '{state}' is not an id: use up to 48 lower-case letters, digits, '-' and '_'", EXIT_USAGE)
    if files and past:
        fail("--from and --past: give one of them", EXIT_USAGE)
    order: dict[str, Any] = {"state": state, "minutes": minutes, "scale": scale, "by": by, "note": note}
    order |= {"healthy": healthy, "files": [str(file.absolute()) for file in files or []]}
    if past:
        order["past_ns"] = _past(past)
    with starting_desk(loaded, point, files or [], past=past is not None) as desk:
        if no_accept and desk.alone:
            fail("--no-accept: no daemon runs that would keep it until somebody accepts", EXIT_USAGE)
        begun = desk.ask("start", **order)
        if not (as_json or desk.alone):
            follow = f"echo-edge enroll watch {config} {point}"
            text = f"session {begun['session']} goes on if this terminal is closed; to follow it again: {follow}"
            err.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)
        view = _View(as_json)
        progress = _follow(desk, begun, view)
        if progress["phase"] == "deciding" and no_accept:
            view.say(f"it waits for 'echo-edge enroll accept {config} {point}'")
            _print_json(as_json, progress)
            return
        if view.asks and progress["phase"] == "deciding":
            _decide(desk, progress, by, view)
            return
        _done(accept_or_reject(desk, progress, by), as_json)


@enroll.command()
def status(config: ConfigPath, point: PointName, as_json: AsJson = False) -> None:
    """How far is it? Also tells how the latest one ended."""
    from echo_edge.enroll_command import open_desk  # noqa: PLC0415

    with open_desk(load(config, point), point) as desk:
        progress = desk.ask("status")
    if as_json:
        print(json.dumps({"ok": True, "result": progress}))
        return
    view = _View(as_json)
    view.show(progress)
    view.say(_bar_text(progress))
    if progress["phase"] == "deciding":
        view.say(NEXT.format(point=point))


@enroll.command()
def watch(config: ConfigPath, point: PointName, by: By, as_json: AsJson = False) -> None:
    """Follow an enrollment that was started elsewhere, to its decision."""
    from echo_edge.enroll_command import open_desk, outcome  # noqa: PLC0415

    with open_desk(load(config, point), point) as desk:
        view = _View(as_json)
        progress = _follow(desk, desk.ask("status"), view)
        if progress["phase"] != "deciding":
            _done(outcome(progress), as_json)
        elif view.asks:
            _decide(desk, progress, by, view)
        else:
            _print_json(as_json, progress)
            view.say(NEXT.format(point=point))


@enroll.command()
def accept(
    config: ConfigPath,
    point: PointName,
    by: By,
    session: Session = None,
    healthy: Annotated[
        bool, typer.Option("--healthy", help="The machine is well, even if it sounds unlike what was normal so far.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put what was learned in force."""
    from echo_edge.enroll_command import open_desk, outcome  # noqa: PLC0415

    with open_desk(load(config, point), point) as desk:
        fields = {"by": by, "healthy": healthy}
        _done(outcome(desk.ask("accept", session=_session(desk, session), **fields)), as_json)


@enroll.command()
def extend(
    config: ConfigPath,
    point: PointName,
    minutes: Annotated[float, typer.Option(min=0.01, max=20160, help="How much longer to listen.")] = 10.0,
    session: Session = None,
    as_json: AsJson = False,
) -> None:
    """Listen for longer, then test again."""
    from echo_edge.enroll_command import open_desk  # noqa: PLC0415

    with open_desk(load(config, point), point) as desk:
        progress = desk.ask("extend", session=_session(desk, session), minutes=minutes)
        _print_json(as_json, progress)
        _View(as_json).say(f"collecting goes on: {progress['useful']} of {progress['needed']} windows")


@enroll.command()
def reject(
    config: ConfigPath,
    point: PointName,
    by: By,
    why: Annotated[str, typer.Option(help="A sentence for the record.")] = "",
    session: Session = None,
    as_json: AsJson = False,
) -> None:
    """Do not use what was learned; the active baseline stays."""
    _end(config, point, session, by, why, as_json)


@enroll.command()
def stop(config: ConfigPath, point: PointName, by: By, session: Session = None, as_json: AsJson = False) -> None:
    """End an enrollment at any time; the active baseline stays."""
    _end(config, point, session, by, "", as_json)


def _end(config: Path, point: str, session: str | None, by: str, why: str, as_json: bool) -> None:
    from echo_edge.enroll_command import open_desk  # noqa: PLC0415

    with open_desk(load(config, point), point) as desk:
        progress = desk.ask("reject", session=_session(desk, session), by=by, why=why)
        _print_json(as_json, progress)
        _View(as_json).say(f"{progress['reason']}; nothing was changed")


def _session(desk: EnrollDesk, session: str | None) -> str:
    return session or str(desk.ask("status")["session"])


def _past(text: str) -> tuple[int, int]:
    from echo_edge.past import past_span  # noqa: PLC0415

    try:
        return past_span(text, datetime.now().astimezone())
    except ValueError as error:
        fail(f"--past '{text}': {error}", EXIT_USAGE)


class _View:
    """What a person sees: one line per step that is done, and a bar for the one that goes on."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self.asks = not as_json and sys.stdin.isatty() and out.is_terminal
        self._shown: set[str] = set()

    def show(self, progress: dict[str, Any]) -> None:
        if self._json:
            print(json.dumps({"progress": progress}), flush=True)
            return
        news = [check for check in progress["checks"] if check["check"] not in self._shown]
        self._shown |= {check["check"] for check in news}
        fine = [f"{c['check']} {c['text']}".rstrip() for c in news if c["severity"] == "ok"]
        if fine:
            out.print(f"  [green]ok[/] {escape(', '.join(fine))}", highlight=False, soft_wrap=True)
        for check in (c for c in news if c["severity"] != "ok"):
            line = f"{check['severity']}: {check['check']}: {check['text']} -> {check['advice']}"
            out.print(f"  [{STYLES[check['severity']]}]{escape(line)}[/]", highlight=False, soft_wrap=True)
        if (test := progress.get("self_test")) and "self_test" not in self._shown:
            self._shown.add("self_test")
            self.say(f"[4/6] {test['text']}")

    def say(self, text: str) -> None:
        if not self._json:
            out.print(text, markup=False, highlight=False, soft_wrap=True)

    def decision_lines(self, progress: dict[str, Any]) -> None:
        for row in progress["self_test"]["table"]:
            self.say(f"      target {row['target']:g} a month: threshold {row['threshold']:.2f} decades")


def _bar_text(progress: dict[str, Any]) -> str:
    """The line beside the bar: step, excluded windows, why it waits."""
    excluded = ", ".join(f"{n} {reason}" for reason, n in progress["excluded"].items())
    text = f"[{progress['step']}/6] {TITLES.get(progress['phase'], progress['phase'])}"
    text += f" {progress['useful']}/{progress.get('needed', '?')} windows"
    text += f" ({excluded} excluded)" if excluded else ""
    text += f"  PAUSED: {progress['paused']}" if "paused" in progress else ""
    return text + (f": {progress['reason']}" if "reason" in progress else "")


def _follow(desk: EnrollDesk, begun: dict[str, Any], view: _View) -> dict[str, Any]:
    """Show a session until it is to be decided or over."""
    from echo_edge.enroll_command import until_decision  # noqa: PLC0415

    with progress_bar(hidden=not view.asks) as bar:
        task = bar.add_task("", total=None)

        def show(progress: dict[str, Any]) -> None:
            view.show(progress)
            total = progress.get("needed")
            bar.update(task, total=total, completed=progress["useful"], description=escape(_bar_text(progress)))

        return until_decision(desk, begun["session"], show)


def _decide(desk: EnrollDesk, progress: dict[str, Any], by: str, view: _View) -> None:
    """Ask the person at the terminal until it is over."""
    from echo_edge.enroll_command import outcome  # noqa: PLC0415

    session = progress["session"]
    while progress["phase"] == "deciding":
        view.decision_lines(progress)
        question = "[5/6] accept? [y/extend/N] "
        if progress.get("healthy_asked"):
            question = "[5/6] unlike what was normal so far: is it really healthy? [y/extend/N] "
        try:
            answer = input(question).strip().lower()
        except EOFError:
            return
        if answer in {"y", "yes"}:
            healthy = bool(progress.get("healthy_asked"))
            _done(outcome(desk.ask("accept", session=session, by=by, healthy=healthy)), as_json=False)
            return
        if answer in {"e", "extend"}:
            progress = _follow(desk, desk.ask("extend", session=session, minutes=_minutes()), view)
        else:
            desk.ask("reject", session=session, by=by)
            view.say("not accepted; nothing was changed")
            sys.exit(EXIT_FAILED)
    _done(outcome(progress), as_json=False)


def _minutes() -> float:
    while True:
        answer = input("      for how many more minutes? [10] ").strip() or "10"
        try:
            if 0 < (minutes := float(answer)) <= 20160:
                return minutes
        except ValueError:
            pass
        err.print("a number of minutes, please", style="yellow")


def _print_json(as_json: bool, progress: dict[str, Any]) -> None:
    if as_json:
        print(json.dumps({"ok": True, "result": progress}))


def _done(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"ok": True, "result": result}))
        return
    rate = result["false_alarms_per_month"]
    lines = [
        f"\\[6/6] [bold]{result['baseline']}[/bold]: {result['point']} knows {', '.join(result['states'])} "
        f"({result['useful']} windows, {result['learned_s']:.0f} s, model {result['model']}).",
        f"False alarms per month: target {rate['target']:g}, estimated {rate['estimated']:.3g} "
        "(model, and what so short a time cannot have heard), "
        f"demonstrated by so little data: fewer than {rate['demonstrated_upper_95']:.0f} (95 %).",
    ]
    if not result["active"]:
        order = f"echo-edge baseline activate CONFIG {result['point']} {result['baseline']}"
        lines.append(f"[yellow]PROPOSED[/yellow]: another person must activate it: {order}")
    if result["left_out"]:
        lines.append(f"[yellow]Left out[/yellow] of it, enroll again: {escape(result['left_out'])}.")
    if result["provisional"]:
        lines.append("[yellow]PROVISIONAL[/yellow]: alerts stay warnings until 24 h are learned.")
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)
