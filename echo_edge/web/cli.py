"""Commands of the page: run it, check its configuration, and say who may log in."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from echo_edge import __version__
from echo_edge.errors import ConfigError, EchoEdgeError
from echo_edge.log_lines import OneLine
from echo_edge.order_types import ROLES, Role
from echo_edge.systemd import on_journal
from echo_edge.web.accounts import AccountError, Accounts, AccountsError
from echo_edge.web.config import WebConfig, load_web_config, service_folders, state_folder

EXIT_FAILED, EXIT_USAGE, EXIT_CONFIG = 1, 2, 78

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="The page of a gateway: machines, alerts, teaching what is normal, in a browser.\n\n"
    "The first time: `check` the configuration, `setup` the first admin, `run` it (as a service: "
    "`systemctl enable --now echo-edge-web@NAME`).\n\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 78 a file needs a person.",
)
user = typer.Typer(no_args_is_help=True, help="Who may log in. A running page goes by it at once.")
app.add_typer(user, name="user")


def _of_a_service(path: Path) -> Path:
    service_folders(path)
    return path


ConfigPath = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", help="The page's YAML configuration file.", show_default=False, callback=_of_a_service
    ),
]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="As in `m.lang`; it stands beside what they do.", show_default=False)
]
RoleOption = Annotated[str, typer.Option("--role", help=f"One of {', '.join(ROLES)}.")]


def main() -> None:
    """Entry point: every error of ours becomes one clear message and its documented exit code."""
    try:
        app(standalone_mode=True)
    except ConfigError as error:
        for problem in error.problems:
            typer.secho(problem, fg="red", err=True)
        sys.exit(EXIT_CONFIG)
    except AccountsError as error:
        _fail(str(error), EXIT_CONFIG)
    except AccountError as error:
        _fail(str(error), EXIT_USAGE if error.field else EXIT_FAILED)
    except EchoEdgeError as error:
        _fail(str(error), EXIT_FAILED)


def _fail(text: str, code: int) -> NoReturn:
    typer.secho(text, fg="red", err=True)
    sys.exit(code)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(config: ConfigPath) -> None:
    """Serve the page until SIGTERM or Ctrl-C.

    It needs no daemon to start; while none runs, it says so.
    """
    from echo_edge.web.server import serve  # noqa: PLC0415  # what the other commands do without
    from echo_edge.web.service import make_door, make_service  # noqa: PLC0415

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(journal=on_journal(sys.stderr.fileno())))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # else whoever sends nonsense fills the log
    loaded = load_web_config(config)
    serve(make_service(make_door(loaded, _accounts(loaded))), loaded)


@app.command()
def check(config: ConfigPath) -> None:
    """Check a configuration: every problem with file, line and mend. Exit code 78 when there is one."""
    from echo_edge.web.server import Certificate  # noqa: PLC0415  # what the other commands do without

    loaded = load_web_config(config)
    if loaded.tls is not None and loaded.tls.key_file is not None:  # a credential is seen by the service alone
        Certificate(loaded.tls.certificate_file, loaded.tls.key_file)
    print(f"{config}: fine. The page of {loaded.gateway} is at {loaded.address}")


@app.command()
def setup(config: ConfigPath, name: Annotated[str, typer.Option("--name", help="Of the admin.")] = "admin") -> None:
    """Make the first admin: prints a one-time code, which is for this terminal alone and stands in no log.

    With the code they choose a password on the page; the others they let in there, or you do with `user add`.
    """
    loaded = load_web_config(config)
    accounts = _accounts(loaded)
    if any(account.role == "admin" for account in accounts.all().values()):
        _fail("there is an admin already: `echo-edge-web user list`; a new code: `echo-edge-web user code`", EXIT_USAGE)
    _tell(name, accounts.add(name, "admin"), loaded.address)


@user.command("add")
def add(config: ConfigPath, name: Name, role: RoleOption = "technician") -> None:
    """Let somebody in: prints a one-time code, with which they choose a password on the page."""
    loaded = load_web_config(config)
    _tell(name, _accounts(loaded).add(name, _role(role)), loaded.address)


@user.command("list")
def list_(config: ConfigPath) -> None:
    """List who may log in."""
    for name, account in _accounts(load_web_config(config)).all().items():
        state = f"code until {account.code.until:%Y-%m-%d %H:%M} UTC" if account.code else "password"
        print(f"{name:<24} {account.role:<12} {state}")


@user.command("role")
def role_(config: ConfigPath, name: Name, role: Annotated[str, typer.Argument(metavar="ROLE")]) -> None:
    """Give somebody another role; they log in anew."""
    _accounts(load_web_config(config)).set_role(name, _role(role))
    print(f"{name} is {role} now")


@user.command("remove")
def remove(config: ConfigPath, name: Name) -> None:
    """Let somebody in no more; they are logged out at once."""
    _accounts(load_web_config(config)).remove(name)
    print(f"{name} can no longer log in")


@user.command("code")
def code_(config: ConfigPath, name: Name) -> None:
    """Take somebody's password away and print a new one-time code, as after a forgotten password."""
    loaded = load_web_config(config)
    _tell(name, _accounts(loaded).new_code(name), loaded.address)


def _accounts(config: WebConfig) -> Accounts:
    return Accounts(state_folder(config.gateway))


def _role(text: str) -> Role:
    if text not in ROLES:
        raise AccountError("role", "bad_role", f"'{text}' is no role; there are {', '.join(ROLES)}")
    return text


def _tell(name: str, code: str, address: str) -> None:
    print(f"name            {name}\none-time code   {code}\n")
    print(f"Within 24 hours, open {address}first and choose a password.")
    if address.startswith(("http://127.", "http://localhost", "https://127.", "https://localhost")):
        port = address.rstrip("/").rpartition(":")[2]
        print(f"From another machine: ssh -L {port}:127.0.0.1:{port} THIS-GATEWAY, then the same address there.")
