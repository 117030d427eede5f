"""Secrets that systemd hands over: files of a folder that it names in $CREDENTIALS_DIRECTORY.

The unit takes them from ``/etc/echo-edge/secrets/NAME``, which is root's alone: who is root looks there before the
service's first start, when systemd has handed nothing over yet.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from echo_edge.errors import ConfigError
from echo_edge.store import CONFIGURATIONS

UNSET = "-"
"""What the unit file puts in place of a secret that was not given (``SetCredential=``)."""

SECRETS = "secrets"
OPERATORS = "operators_"
"""How systemd names what lies in the folder ``operators``."""


def credentials_of(
    path: Path, etc: Path = CONFIGURATIONS, handed_over: Path = Path("/run/credentials"), *, root: bool | None = None
) -> str | None:
    """Where the secrets of the daemon with this configuration can be seen, by this user; None: nowhere.

    That is ``$CREDENTIALS_DIRECTORY``, else what systemd handed to the service, else what it will hand over.

    Args:
        root: who looks is root, who alone can see the latter; absent, the system is asked.
    """
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    if given is not None:  # systemd names them to ExecReload= as well, and shows them to ExecStart= alone
        return given if os.access(given, os.R_OK | os.X_OK) else None
    if path.parent.resolve() != etc:
        return None
    service = handed_over / f"echo-edge@{path.stem}.service"
    if os.access(service, os.R_OK | os.X_OK):
        return str(service)
    root = os.geteuid() == 0 if root is None else root
    return str(etc / SECRETS / path.stem) if root else None


def credential_file(folder: str, name: str) -> Path:
    """The file of one credential in a folder of ``credentials_of``; there or not."""
    if Path(folder).parent.name == SECRETS and name.startswith(OPERATORS):
        return Path(folder) / OPERATORS.rstrip("_") / name.removeprefix(OPERATORS)
    return Path(folder) / name


def credential(folder: str | None, name: str, where: str) -> Path:
    """The file of one credential; its permissions are systemd's.

    Args:
        where: the key of the configuration that asks for it.

    Raises:
        ConfigError: there is none of this name, and into which file it belongs.
    """
    if folder is None:
        raise ConfigError([f"{where}: '{name}' needs systemd's LoadCredential=; there is no $CREDENTIALS_DIRECTORY"])
    path = credential_file(folder, name)
    try:
        with path.open("rb") as file:
            unset = file.read(len(UNSET) + 2).strip() == UNSET.encode()
    except FileNotFoundError:
        unset = True
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if unset:
        source = _source(folder, name)
        mend = (
            f"put it into {source}, root's alone (or what LoadCredential= of a drop-in names), then start the service"
        )
        raise ConfigError([f"{where}: systemd was given no credential '{name}'; {mend}"])
    return path


def _source(folder: str, name: str) -> Path:
    """The file that the unit takes it from; where there is no unit, as in a container, the file itself."""
    unit = re.fullmatch(r"echo-edge@(.+)\.service", Path(folder).name)
    return credential_file(folder if unit is None else str(CONFIGURATIONS / SECRETS / unit[1]), name)
