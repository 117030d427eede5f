"""What all commands share: consoles, arguments, exit codes, texts, the progress bar."""

from __future__ import annotations

import getpass
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from echo_edge.config import Config
from echo_edge.config_file import load_config
from echo_edge.errors import ConfigError
from echo_edge.store import AS_SERVICE, control_socket, service_folders, state_path

EXIT_FAILED, EXIT_USAGE, EXIT_SENSOR, EXIT_NO_DATA, EXIT_CONFLICT, EXIT_ENGINE, EXIT_CONFIG = 1, 2, 3, 4, 6, 70, 78
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143

out = Console()
err = Console(stderr=True)


def login_name() -> str:
    """Who is at the terminal."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without an entry, as in some containers
        return "unknown"


def _of_a_service(path: Path) -> Path:
    service_folders(path)
    return path


ConfigPath = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", help="The YAML configuration file.", show_default=False, callback=_of_a_service),
]
PointName = Annotated[str, typer.Argument(metavar="POINT", help="Which point, as `machine/point`.", show_default=False)]
By = Annotated[
    str,
    typer.Option("--by", default_factory=login_name, show_default="login name", help="Who; kept with what is done."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def fail(error: Exception | str, code: int) -> NoReturn:
    err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def known_point(config: Config, point: str) -> None:
    if point not in config.points():
        fail(f"no point '{point}' in the configuration; known are {', '.join(config.points())}", EXIT_USAGE)


def printable(text: str) -> str:
    """What devices, files and people call themselves, without what would steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def cells(*values: object) -> list[Text]:
    """A table's cells: what people and files call themselves is no markup."""
    return [Text(printable("" if value is None else str(value))) for value in values]


def table_of(*columns: str, whole: tuple[str, ...], title: str | None = None) -> Table:
    """A table that cuts nothing on a narrow terminal: the columns ``whole`` keep one line, the others fold."""
    table = Table(title=title)
    for name in columns:
        table.add_column(name, no_wrap=name in whole, overflow="fold")
    return table


def local_time(time_ns: int | None) -> str:
    return "" if time_ns is None else f"{datetime.fromtimestamp(time_ns / 1e9).astimezone():%Y-%m-%d %H:%M}"


def say(text: str) -> None:
    out.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def load(config: Path, point: str | None = None) -> Config:
    """Read the configuration that is in force, and insist that it has the point.

    Where the file cannot be used that is, as for the daemon, the last one that worked; a line on stderr says so. What
    goes by the file itself calls ``load_config``.
    """
    try:
        read = load_config(config)
    except ConfigError as error:
        read = _in_force(config, error)
    if point is not None:
        known_point(read, point)
    return read


def gateway_of(config: Path, point: str | None = None) -> str:
    """The id of the gateway whose daemon is to be asked, for what needs no more of the configuration.

    Who may use the socket of a service, and not see its state, asks all the same while the file is broken; the daemon
    itself says then whether it has the point.
    """
    try:
        return load(config, point).gateway.id
    except ConfigError as error:
        if "STATE_DIRECTORY" not in os.environ or not os.access(control_socket(state_path("")), os.W_OK):
            raise
        _warn(error, "asking the daemon, which goes by the last one that worked")
        return config.stem


def _in_force(config: Path, why: ConfigError) -> Config:
    from echo_edge.config_versions import last_working  # noqa: PLC0415  # the model's imports, for a broken file alone

    if (worked := last_working(config)) is None:
        folder = state_path("")
        if os.environ.get("STATE_DIRECTORY") and folder.is_dir() and not os.access(folder, os.X_OK):
            hint = f"{folder}: what the daemon goes on with is for its user to read; {AS_SERVICE}"
            raise ConfigError([*why.problems, hint])
        raise why
    _warn(why, "going by the last configuration that worked")
    return worked


def _warn(why: ConfigError, what: str) -> None:
    more = f" (and {len(why.problems) - 1} more)" if len(why.problems) > 1 else ""
    text = f"{why.problems[0]}{more}; {what}"
    err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def progress_bar(hidden: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=hidden or not err.is_terminal)
