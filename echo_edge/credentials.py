"""Secrets that systemd hands over: files of a folder that it names in $CREDENTIALS_DIRECTORY."""

from __future__ import annotations

from pathlib import Path

from echo_edge.errors import ConfigError

UNSET = "-"
"""What the unit file puts in place of a secret that was not given (``SetCredential=``)."""


def credential(folder: str | None, name: str, where: str) -> Path:
    """The file of one credential; its permissions are systemd's.

    Args:
        where: the key of the configuration that asks for it.

    Raises:
        ConfigError: systemd gave none of this name.
    """
    if folder is None:
        raise ConfigError([f"{where}: '{name}' needs systemd's LoadCredential=; there is no $CREDENTIALS_DIRECTORY"])
    path = Path(folder) / name
    try:
        with path.open("rb") as file:
            unset = file.read(len(UNSET) + 2).strip() == UNSET.encode()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    if unset:
        raise ConfigError(
            [
                f"{where}: systemd was given no credential '{name}'; put it into the file that the unit "
                "names for it (LoadCredential= in systemctl cat echo-edge@), then restart the service"
            ]
        )
    return path
